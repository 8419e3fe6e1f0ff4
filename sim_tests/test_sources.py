"""Results follow from the code that made them: an edit invalidates what it must, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim import sources
from hwsim.cli.stages import STAGES, report_stage
from hwsim.sources import code_hash, import_closure, module_file

ROOT = Path(__file__).parent.parent
WORK = {stage.name: stage.work.__module__ for stage in (*STAGES, report_stage(Path("unused")))}
WORK["study"] = "hwsim.studies.study"


def reaches(module: str) -> set[str]:
    files = import_closure(module_file(module))  # type: ignore[arg-type]
    return {path.relative_to(ROOT).as_posix() for path in files}


EDITS = {
    # What says, draws or asks decides no figure.
    "hwsim/cli/main.py": "",
    "hwsim/cli/faults.py": "",
    "hwsim/cli/inspect.py": "",
    "hwsim/cli/stages/__init__.py": "",
    "hwsim/report/sections.py": "report",
    "hwsim/result.py": "report",
    "hwsim/studies/result.py": "report",
    "hwsim/studies/campaign.py": "",
    "hwsim/studies/curve.py": "",
    "hwsim/studies/statistics.py": "report",
    "hwsim/lowvoltage/fit.py": "",
    "hwsim/accelerator/timeline.py": "report",
    "hwsim/run/engine.py": "",
    "hwsim/run/workspace.py": "",
    # What decides some.
    "models/train.py": "train",
    "models/augment.py": "train",
    "models/layers.py": "train export evaluate generate",
    "models/export.py": "export",
    "models/golden.py": "evaluate",
    "models/curves.py": "",
    "hwsim/execute/kernels.py": "evaluate generate verify study",
    "hwsim/network/ops.py": "export evaluate simulate generate verify report study",
    "hwsim/accelerator/energy.py": "simulate report",
    "hwsim/accelerator/timing.py": "simulate generate verify report study",
    "hwsim/faults/kernels.py": "generate verify study",
    "hwsim/lowvoltage/chip.py": "train generate verify report study",
    "rtl/mac.py": "generate verify",
    "rtl/bench.py": "verify",
    "rtl/synth.py": "",
}


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_reaches_the_stages_that_depend_on_it(file: str) -> None:
    assert (ROOT / file).is_file()
    assert {name for name, work in WORK.items() if file in reaches(work)} == set(
        EDITS[file].split()
    )


def test_every_stage_begins_in_a_module_of_its_own() -> None:
    assert len(set(WORK.values())) == len(WORK)


TOY = {
    "__init__.py": "from hwsim.deep.core import value\nfrom hwsim.other import b\n",
    "a.py": "from hwsim.deep import value\nimport os\n\n\ndef f() -> int:\n    return value\n",
    "b.py": "from hwsim import a, errors\n\n\ndef g() -> None:\n    from hwsim.lazy import x\n",
    "c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from hwsim import a\n"
    "else:\n    from hwsim import other\n",
    "d.py": "from hwsim.deep import own\n",
    "errors.py": "TEXT = 1\n",
    "lazy.py": "x = 1\n",
    "other.py": "b = 1\n",
    "deep/__init__.py": "from hwsim.deep.core import value\nfrom hwsim.other import b\n\nown = 1\n",
    "deep/core.py": "value = 1\n",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package called hwsim in a folder of its own, in place of the real one."""
    folder = tmp_path / "hwsim"
    for name, text in TOY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sources, "_PACKAGE", folder)
    forget()
    yield folder
    forget()


def forget() -> None:
    for cached in ("_content_hash", "_syntax_hash", "_folder", "_imports", "_passed_on"):
        getattr(sources, cached).cache_clear()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("a", {"a.py", "deep/core.py"}),  # what deep only passes on does not bring in the rest
        ("b", {"b.py", "a.py", "errors.py", "deep/core.py", "lazy.py"}),
        ("c", {"c.py", "other.py"}),
        ("d", {"d.py", "deep/__init__.py", "deep/core.py", "other.py"}),
    ],
)
def test_closure_of_imports(toy: Path, module: str, expected: set[str]) -> None:
    files = import_closure(toy / f"{module}.py")
    assert {path.relative_to(toy).as_posix() for path in files} == expected


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("a.py", "# why\nfrom hwsim.deep import value\nimport os\ndef f()->int: return value", 0),
        (
            "a.py",
            '"""New."""\n' + TOY["a.py"].replace("\n    return", '\n    "Doc."\n    return'),
            0,
        ),
        ("a.py", TOY["a.py"].replace("return value", "return value + 1"), 1),
        ("deep/core.py", "value = 2\n", 1),
        ("deep/__init__.py", TOY["deep/__init__.py"].replace("own = 1", "own = 2"), 0),
        ("other.py", "b = 2\n", 0),
        ("lazy.py", "x = 2\n", 1),
        ("errors.py", "TEXT = 2\n", 0),  # only says what happened
    ],
)
def test_hash_of_code(toy: Path, file: str, text: str, changes: int) -> None:
    before = code_hash(toy / "b.py")
    assert text != TOY[file]
    (toy / file).write_text(text)
    forget()
    assert (code_hash(toy / "b.py") != before) == bool(changes)


def test_files_of_modules() -> None:
    assert module_file("numpy") is None
    assert module_file("hwsim.models.train") == (ROOT / "models" / "train.py")
    assert module_file("hwsim.nothing") is None
