"""Would the tests notice? Small errors are put into chosen modules, and their tests must fail.

A fixed sample of places is drawn for each module (comparisons, constants, operators, and/or,
returned values). Each mutant is written into a copy of the package, and the module's tests run
against that copy until the first failure. What was found is kept in ``--records``, so that an
interrupted run goes on; a change of module or tests makes a mutant new.

    python benchmarks/mutation.py [--per-module 8] [--seed 0] [--modules fit.py ring.py] [--list]
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = {
    "hwsim/accelerator/operations.py": ("test_accelerator_operations", "test_accelerator_energy"),
    "hwsim/accelerator/ring.py": ("test_accelerator_ring",),
    "hwsim/accelerator/timing.py": ("test_accelerator_timing",),
    "hwsim/lowvoltage/protection.py": ("test_lowvoltage_protection",),
    "hwsim/lowvoltage/fit.py": ("test_lowvoltage_fit",),
    "hwsim/lowvoltage/map.py": ("test_lowvoltage_map",),
    "hwsim/studies/statistics.py": ("test_studies_statistics",),
    "hwsim/network/storage.py": ("test_network_storage", "test_network_conformance"),
    "models/export.py": ("test_models_export",),
}
"""Modules whose mutants are tried, and the tests that have to notice."""
LONGEST = 600
"""Seconds that the tests of a module may take, unchanged."""
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "hwsim/accelerator/operations.py",
        "return Counter()",
        "return None",
    ): "Counter.update takes None for nothing",
    (
        "hwsim/studies/statistics.py",
        "lost <= self.loss + _ROUNDING",
        "LtE -> Lt",
    ): "the sum is only there to be above what rounding makes of equal losses",
}
"""Mutants that change nothing that anybody can see: (module, source, change) -> why."""

_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.And: ast.Or,
    ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_HIDDEN = (ast.Raise, ast.JoinedStr, ast.AnnAssign, ast.arguments)
"""Texts of errors, annotations and defaults of parameters are left alone."""


@dataclass(frozen=True)
class Mutant:
    """One change in one module: ``source`` is the changed expression or statement as it was."""

    module: str
    line: int
    source: str
    change: str
    text: str
    """The whole module with the change."""

    @property
    def name(self) -> str:
        return f"{self.module}:{self.line}: {self.source}: {self.change}"

    def key(self) -> str:
        """Hash of all that its fate depends on."""
        tests = [(ROOT / "sim_tests" / f"{test}.py").read_bytes() for test in TESTS[self.module]]
        return hashlib.sha256(b"".join([self.text.encode(), *tests])).hexdigest()


Edit = Callable[[ast.AST], None]


def _edits(node: ast.AST) -> Iterator[tuple[str, Edit]]:
    """What can be changed at a node: how the change is called, and what makes it."""
    if isinstance(node, ast.Compare):
        for n, op in enumerate(node.ops):
            if type(op) in _SWAPS:
                new = _SWAPS[type(op)]
                yield f"{type(op).__name__} -> {new.__name__}", _setter("ops", new, n)
    elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in _SWAPS:
        new = _SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} -> {new.__name__}", _setter("op", new)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5
        yield f"{node.value!r} -> {value!r}", lambda there: setattr(there, "value", value)
    elif isinstance(node, ast.Return) and node.value is not None:
        none = ast.Constant(None)
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield "return None", lambda there: setattr(there, "value", none)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"without {type(node.op).__name__}", _setter("op", ast.UAdd)


def _setter(field: str, new: type, place: int | None = None) -> Edit:
    def change(node: ast.AST) -> None:
        if place is None:
            setattr(node, field, new())
        else:
            getattr(node, field)[place] = new()

    return change


def _visible(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below ``node`` in order, without those whose change nobody should test."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _HIDDEN):
            yield child
            yield from _visible(child)


def mutants(module: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its text."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    found = []
    for index, node in enumerate(_visible(tree)):
        for change, edit in _edits(node):
            changed = copy.deepcopy(tree)
            twin = list(_visible(changed))[index]
            edit(twin)
            source = _around(tree, node)
            line = getattr(node, "lineno", 0)
            found.append(Mutant(module, line, source, change, ast.unparse(changed)))
    return found


def _around(tree: ast.AST, node: ast.AST) -> str:
    """A constant with the expression that it is in; anything else by itself."""
    if isinstance(node, ast.Constant):
        parents = [p for p in ast.walk(tree) if node in ast.iter_child_nodes(p)]
        node = next((p for p in parents if isinstance(p, ast.expr | ast.stmt)), node)
    return ast.unparse(node).partition("\n")[0]


def sample(modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """``count`` mutants of each module, without those that are equivalent."""
    chosen = []
    for module in modules:
        known = mutants(module)
        drawn = random.Random(f"{seed} {module}").sample(known, min(count, len(known)))
        chosen += [m for m in drawn if (module, m.source, m.change) not in EQUIVALENT]
    return chosen


class Sandbox:
    """A copy of the package that comes before the installed one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "hwsim", folder / "hwsim", ignore=ignore)
        for name in ("models", "rtl", "configs"):
            shutil.copytree(ROOT / name, folder / "hwsim" / name, ignore=ignore)

    def path(self, module: str) -> Path:
        """Where the copy of ``module`` is."""
        return self.folder / (module if module.startswith("hwsim/") else f"hwsim/{module}")

    def passes(self, module: str, text: str, seconds: float) -> bool:
        """Whether the module's tests pass with ``text`` in its place, without a crash or hang."""
        path = self.path(module)
        before = path.read_bytes()
        path.write_text(text, encoding="utf-8")
        # -P: without the current folder, which has a package of that name too.
        words = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        tests = [f"sim_tests/{test}.py" for test in TESTS[module]]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        try:
            done = subprocess.run(
                [*words, *tests], cwd=ROOT, env=environment, capture_output=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return False
        finally:
            path.write_bytes(before)
        if done.returncode == 5:
            raise RuntimeError(f"{', '.join(tests)}: no tests were found")
        return done.returncode == 0


def _limit(sandbox: Sandbox, module: str) -> float:
    """Seconds after which the tests of ``module`` hang: a few times what they take unchanged."""
    start = time.monotonic()
    if not sandbox.passes(module, sandbox.path(module).read_text(encoding="utf-8"), LONGEST):
        raise RuntimeError(f"{module}: its tests fail without a change")
    took = time.monotonic() - start
    if sandbox.passes(module, "raise ImportError", LONGEST):
        raise RuntimeError(f"{module}: its tests do not read the copy")
    return 3 * took + 10


def run(chosen: Sequence[Mutant], records: Path) -> list[bool]:
    """Whether each mutant was noticed; raises RuntimeError if tests fail anyway."""
    known: dict[str, bool] = {}
    if records.exists():
        lines = records.read_text(encoding="utf-8").splitlines()
        known = dict(json.loads(line) for line in lines)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder))
        limit: dict[str, float] = {}
        for mutant in chosen:
            key = mutant.key()
            if key not in known:
                if mutant.module not in limit:
                    limit[mutant.module] = _limit(sandbox, mutant.module)
                known[key] = not sandbox.passes(mutant.module, mutant.text, limit[mutant.module])
                with records.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, known[key]]) + "\n")
            found.append(known[key])
            print("killed  " if known[key] else "SURVIVED", mutant.name, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-module", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", nargs="*", default=[], help="ends of their paths")
    parser.add_argument("--records", type=Path, default=ROOT / "build" / "mutation.jsonl")
    parser.add_argument("--list", action="store_true", help="show the sample and stop")
    words = parser.parse_args()
    modules = [m for m in TESTS if not words.modules or m.endswith(tuple(words.modules))]
    chosen = sample(modules, words.per_module, words.seed)
    if words.list:
        print("\n".join(mutant.name for mutant in chosen))
        return
    words.records.parent.mkdir(exist_ok=True)
    found = run(chosen, words.records)
    killed = sum(found)
    print(f"{killed} of {len(found)} mutants killed: {killed / len(found):.1%}")


if __name__ == "__main__":
    main()
