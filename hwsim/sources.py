"""Which source files decide what a module does: the module and all it imports of the package."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent


def import_closure(file: Path) -> list[Path]:
    """``file`` and every file below ``hwsim/`` that it imports, directly or through others; sorted.

    Imports inside functions count, those under ``if TYPE_CHECKING`` do not. A name that is
    imported from a package counts as an import of the package's ``__init__`` and what that
    imports; a module's own parent packages do not count, since a module takes nothing from them.
    """
    found: set[Path] = set()
    left = [file.resolve()]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += _imports(path)
    return sorted(found)


def closure_hash(file: Path) -> str:
    """SHA-256 (hex) of names and contents of ``import_closure(file)``."""
    digest = hashlib.sha256()
    for path in import_closure(file):
        inside = path.is_relative_to(_PACKAGE)
        name = path.relative_to(_PACKAGE).as_posix() if inside else path.name
        digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    names = _imported_names(ast.parse(path.read_bytes()))
    return tuple(file for name in names if (file := _file(name)) is not None)


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Dotted names that a syntax tree imports; absolute imports only, as all of hwsim's are."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            yield inner if _file(inner) is not None else module
    typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    for child in node.orelse if isinstance(node, ast.If) and typing else ast.iter_child_nodes(node):
        yield from _imported_names(child)


def _file(name: str) -> Path | None:
    """File of the package's module or subpackage ``name``; None for everything else."""
    first, *rest = name.split(".")
    if first != _PACKAGE.name:
        return None
    base = _PACKAGE.joinpath(*rest)
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file.resolve()
    return None
