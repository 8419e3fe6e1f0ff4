"""Who imports whom: packages of hwsim on floors, drawn from the code.

Every package stands one floor above the highest that it imports (imports inside functions count,
imports for types alone do not). Packages that import each other share a floor and are named.

    python docs/images/draw_imports.py [--root FOLDER] [--svg imports.svg]

--root: a checkout to look at, this one by default.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from markupsafe import Markup

from hwsim.report.svg import box, drawing, label

HOMES = {"hwsim": "hwsim", "models": "hwsim.models", "rtl": "hwsim.rtl"}
WIDTH, ROW = 1000, 66
LEAVES = "leaves"
"""Modules right below ``hwsim`` that import each other at most: errors, names, schema, jit ..."""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for folder, package in HOMES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            found[name] = path
    return found


def imported(tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Modules of ``known`` that a syntax tree imports, but for types."""
    if isinstance(tree, ast.ImportFrom) and tree.module:
        for alias in tree.names:
            inner = f"{tree.module}.{alias.name}"
            if inner in known or tree.module in known:
                yield inner if inner in known else tree.module
    typing = isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.dump(tree.test)
    for child in tree.orelse if isinstance(tree, ast.If) and typing else ast.iter_child_nodes(tree):
        yield from imported(child, known)


def package_of(module: str, known: dict[str, Path]) -> str:
    """``accelerator`` for ``hwsim.accelerator.cycles``, ``errors`` for ``hwsim.errors``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def picture(root: Path) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Packages that each package imports, and how many modules each has."""
    known = modules(root)
    edges: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    single = {name.split(".")[1] for name in known if name.count(".") == 1} - {
        name.split(".")[1] for name in known if name.count(".") > 1
    }
    for module, path in known.items():
        here = package_of(module, known)
        sizes[here] = sizes.get(here, 0) + (path.stat().st_size > 0)
        found = {package_of(name, known) for name in imported(ast.parse(path.read_bytes()), known)}
        edges.setdefault(here, set()).update(found - {here})
    while inner := {name for name in single if not edges[name] <= single}:
        single -= inner
    named = {name: LEAVES if name in single else name for name in edges}
    merged: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for name, found in edges.items():
        home = named[name]
        merged.setdefault(home, set()).update({named[other] for other in found} - {home})
        counts[home] = counts.get(home, 0) + sizes[name]
    return merged, counts


def floors(edges: dict[str, set[str]]) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Packages floor by floor, lowest first, and the imports that go up (left out for that)."""
    graph = {name: set(found) for name, found in edges.items()}
    upward = []
    while True:
        try:
            order = list(TopologicalSorter(graph).static_order())
            break
        except CycleError as error:
            circle = error.args[1]
            # The import that closes the circle with the fewest others of its package behind it.
            pair = min(
                zip(circle, circle[1:], strict=False), key=lambda p: len(graph[p[1]] - {p[0]})
            )
            importer, target = pair[1], pair[0]
            graph[importer].discard(target)
            upward.append((importer, target))
    level: dict[str, int] = {}
    for name in order:
        level[name] = 1 + max((level[below] for below in graph[name]), default=-1)
    rows: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for name, n in level.items():
        rows[n].append(name)
    return [sorted(row) for row in rows], sorted(upward)


def text(root: Path) -> str:
    edges, sizes = picture(root)
    rows, upward = floors(edges)
    lines = []
    for n, row in reversed(list(enumerate(rows))):
        for name in row:
            lines.append(
                f"{n:>2}  {name:<13}{sizes[name]:>3} files  {', '.join(sorted(edges[name]))}"
            )
    lines += [f"    circle: {importer} imports {target}" for importer, target in upward]
    return "\n".join(lines)


def draw(root: Path) -> Markup:
    """The floors, and of each package which of the floor right below it imports."""
    edges, _ = picture(root)
    rows, upward = floors(edges)
    parts = [label(24, 24, "Floors of hwsim: a package imports from floors below its own", "l b")]
    height = 48 + ROW * len(rows)
    for n, row in enumerate(rows):
        y = height - ROW * (n + 1)
        width = min(300.0, (WIDTH - 48) / len(row) - 12)
        for k, name in enumerate(row):
            x = 24 + k * (width + 12)
            colour = {"models": "f3", "rtl": "f2"}.get(name, "f0")
            below = [other for other in rows[n - 1] if other in edges[name]] if n else []
            parts += [
                box(x, y, width, ROW - 14, "card", rx=5),
                box(x, y, 6, ROW - 14, colour, rx=2),
                label(x + 16, y + 22, name, "l b"),
                label(x + 16, y + 40, f"on {', '.join(below)}" if below else "", "s m"),
            ]
    for n, (importer, target) in enumerate(upward):
        parts.append(label(24, height + 16 + 16 * n, f"circle: {importer}, {target}", "s m"))
    return drawing(parts, WIDTH, height + 8 + 16 * len(upward), "Imports of hwsim", alone=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--svg", type=Path)
    arguments = parser.parse_args()
    print(text(arguments.root))
    if arguments.svg:
        arguments.svg.write_text(str(draw(arguments.root)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
