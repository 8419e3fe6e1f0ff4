"""Small errors in chosen modules are noticed by the modules' tests."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("mutation", ROOT / "benchmarks" / "mutation.py")
assert SPEC is not None
assert SPEC.loader is not None
mutation = importlib.util.module_from_spec(SPEC)
sys.modules["mutation"] = mutation
SPEC.loader.exec_module(mutation)

PER_MODULE, LEAST = 8, 0.95


def test_a_mutant_is_one_change_of_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "def f(x: int = 3) -> int:\n"
        '    """Text with 7."""\n'
        "    if not x < 2:\n"
        '        raise ValueError(f"{x} > 4")\n'
        "    return x + 1\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: code)
    found = mutation.mutants("any.py")
    assert [(m.line, m.source, m.change) for m in found] == [
        (3, "not x < 2", "without Not"),
        (3, "x < 2", "Lt -> LtE"),
        (3, "x < 2", "2 -> 3"),
        (5, "return x + 1", "return None"),
        (5, "x + 1", "Add -> Sub"),
        (5, "x + 1", "1 -> 2"),
    ]
    plain = ast.unparse(ast.parse(code)).splitlines()
    for mutant in found:
        changed = mutant.text.splitlines()
        lines = [n for n, (a, b) in enumerate(zip(plain, changed, strict=True), 1) if a != b]
        assert lines == [mutant.line]


def test_what_is_called_equivalent_is_there() -> None:
    for module, source, change in mutation.EQUIVALENT:
        assert (source, change) in {(m.source, m.change) for m in mutation.mutants(module)}


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
def test_tests_notice(tmp_path: Path) -> None:
    chosen = mutation.sample(list(mutation.TESTS), PER_MODULE, seed=0)
    found = mutation.run(chosen, tmp_path / "records")
    alive = [mutant.name for mutant, killed in zip(chosen, found, strict=True) if not killed]
    assert len(alive) <= (1 - LEAST) * len(found), alive
