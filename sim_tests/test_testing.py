"""``hwsim.testing`` as others use it: its page is followed, and what is wrong is found."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwsim import testing
from hwsim.design import MemoryInfo, Operation, Style
from hwsim.execute import Executor
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults
from hwsim.lowvoltage.protection import Gates, Parity, Secded
from hwsim.network import Conv2d, Network
from hwsim.testing import Answers, designs
from hwsim.testing.faulty import chip

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


def page() -> dict[str, Any]:
    """The names that the page's Python defines."""
    session: dict[str, Any] = {"__name__": "page"}
    for code in BLOCKS:
        exec(compile(code, PAGE.name, "exec"), session)
    return session


SESSION = page()


def test_the_page_is_followed(tmp_path: Path) -> None:
    """Its first two blocks are a test file, and pytest prints what the page shows."""
    (tmp_path / "test_mine.py").write_text("\n\n".join(BLOCKS[:2]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=tmp_path, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    shown = re.search(r"^\d+ passed", PAGE.read_text("utf-8"), re.M)
    assert shown is not None
    assert shown[0] in done.stdout, done.stdout


def test_every_public_name_is_told() -> None:
    assert set(testing.__all__) <= set(dir(testing))
    for name in testing.__all__:
        assert getattr(testing, name) is not None


def test_nothing_imports_pytest() -> None:
    code = (
        "import sys, hwsim.testing, hwsim.rtl.testing, hwsim.models.testing\n"
        "print([m for m in ('pytest', 'hypothesis') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert found.stdout == "[]\n", found.stderr


def test_the_kind_of_fault_of_the_page() -> None:
    world = SESSION["TestStages"]()
    for _, faults in list(world.cases())[::5]:
        world.test_faulty_chip(faults)


# -- wrong designs ---------------------------------------------------------------------------------

Squares: Any = SESSION["Squares"]


def two_paths(self: Any) -> tuple[MemoryInfo, ...]:
    (memory,) = Squares.memories(self)
    return memory, replace(memory, name="other.weight")


def in_the_fabric(self: Any) -> tuple[MemoryInfo, ...]:
    (memory,) = Squares.memories(self)
    return (replace(memory, style=Style.CONSTANT),)


def growing(self: Any) -> Mapping[str, Counter[Operation]]:
    self.asked = getattr(self, "asked", 0) + 1
    return {"table": Counter({Operation("add", 8): self.asked})}


def too_wide(self: Any, memory: MemoryInfo) -> np.ndarray:
    return Squares.stored(self, memory) + 32


def backwards(self: Any, memory: MemoryInfo) -> list[int]:
    return [int(n) ** 2 for n in range(15, -1, -1)]


WRONG = [
    ("test_banks_have_paths_of_their_own", "memories", two_paths),
    ("test_banks_have_paths_of_their_own", "memories", in_the_fabric),
    ("test_answers_do_not_change", "operations", growing),
    ("test_images_are_what_is_stored", "stored", too_wide),
    ("test_images_are_what_is_stored", "image", backwards),
    ("test_faulty_words_are_read_by_the_rule_of_a_cell", "image", backwards),
    ("test_plain_data_restore_the_design", "to_plain", lambda self: {"kind": "", "pace": 3}),
    ("test_names_and_sizes_agree", "memories", lambda self: ()),
    ("test_energy_of_parts_adds_up", "memories", in_the_fabric),
    ("test_units_of_work_take_whole_cycles", "cycles", lambda self, work: Squares(0).cycles(work)),
]
"""Which test finds a member of a design that is wrong."""


@pytest.mark.parametrize(("name", "member", "value"), WRONG)
def test_wrong_designs_are_found(name: str, member: str, value: Any) -> None:
    tests = SESSION["TestSquares"]()
    test = getattr(tests, name)
    test(Squares(3))
    wrong = type("Wrong", (Squares,), {member: value})(3)
    if name == "test_energy_of_parts_adds_up":
        wrong.operations = lambda: {"table": Counter()}
    with pytest.raises(AssertionError):
        test(wrong)


def test_designs_restored_to_others_are_found() -> None:
    class Forgets(SESSION["TestSquares"]):  # type: ignore[misc]
        def restore(self, design: Any, plain: dict[str, Any]) -> Any:
            return Squares(4)

    Forgets().test_plain_data_restore_the_design(Squares(4))
    with pytest.raises(AssertionError):
        Forgets().test_plain_data_restore_the_design(Squares(3))


def test_a_wrong_system_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = SESSION["TestSquares"]()
    tests.test_a_system_has_the_same_memories(Squares(3))
    slower = {"left": Squares(3), "right": Squares(4)}
    monkeypatch.setattr(designs, "_twice", lambda design: designs.System(slower))
    with pytest.raises(AssertionError):
        tests.test_a_system_has_the_same_memories(Squares(3))


@pytest.mark.parametrize(
    ("test", "patched"),
    [
        ("test_faults_follow_from_names", "design_faults"),
        ("test_faults_are_written_down_and_found_again", "restore_faults"),
    ],
)
def test_faults_of_another_chip_are_found(
    test: str, patched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = getattr(SESSION["TestSquares"](), test)
    method(Squares(3))
    other = design_faults(Squares(3), chip("flip", 8), designs.RATE)
    monkeypatch.setattr(designs, patched, lambda *asked: other)
    with pytest.raises(AssertionError):
        method(Squares(3))


# -- wrong back ends -------------------------------------------------------------------------------


def test_wrong_back_ends_are_found() -> None:
    class Late(testing.Conformance):
        ops = (Conv2d,)
        off = 1

        def accepts(self, network: Network) -> bool:
            return self.off < 2

        def tensors(self, network: Network, x: np.ndarray) -> dict[str, np.ndarray]:
            found = Executor(network, threads=1).tensors(x)
            last = np.array(found[network.output])
            last[-1, -1, -1, -1] += self.off
            return {**found, network.output: last}

    world = Late()
    label, network = next(world.cases())
    assert label == "Conv2d-binary"
    text = r"^y\[3, 1, 2, 3\]: -?\d+, must be -?\d+; 1 of 96 values differ$"
    with pytest.raises(AssertionError, match=text):
        world.test_op(network)
    world.off = 0
    world.test_op(network)
    world.off = 2
    with pytest.raises(AssertionError, match="that must be refused was accepted"):
        world.test_op(network)


def test_wrong_evaluators_of_faults_are_found() -> None:
    class Shifted(testing.FaultConformance):
        off = 1

        def answers(self, faults: DesignFaults, x: np.ndarray, first_frame: int) -> Answers:
            executor, first = FaultyExecutor(faults), first_frame + self.off
            return Answers(executor.tensors(x, first), executor.run(x, first))

    world, cases = Shifted(), dict(Shifted().cases())
    with pytest.raises(AssertionError, match="values differ"):
        world.test_faulty_chip(cases["transient_flip"])
    world.off = 0
    world.test_faulty_chip(cases["transient_flip"])
    none = replace(cases["flip"], memories={})
    with pytest.raises(AssertionError, match="no fault is seen"):
        world.test_faulty_chip(none)


class _Lazy(Secded):
    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        return seen[:, :bits]


class _Mixing(Parity):
    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        return super()._decode(seen, bits)[::-1]


class _Free(Parity):
    def gates(self, bits: int) -> Gates:
        return Gates(-1, 0)


@pytest.mark.parametrize(
    ("protection", "test"),
    [
        (_Lazy(), "test_single_errors_are_corrected_where_it_says_so"),
        (_Mixing(1), "test_words_without_errors_read_as_stored"),
        (_Mixing(1), "test_words_do_not_depend_on_each_other"),
        (_Free(1), "test_costs_are_those_of_its_check_bits"),
    ],
)
def test_wrong_protections_are_found(protection: Any, test: str) -> None:
    class Mine(testing.ProtectionConformance):
        def corrects(self, protection: Any, bits: int) -> np.ndarray:
            cells = bits + protection.check_bits(bits)
            return np.full(cells, isinstance(protection, Secded))

    right = Secded() if isinstance(protection, Secded) else Parity(1)
    getattr(Mine(), test)(right)
    with pytest.raises(AssertionError):
        getattr(Mine(), test)(protection)


def test_a_protection_that_corrects_more_than_it_says_is_found() -> None:
    with pytest.raises(AssertionError, match="is corrected, too"):
        testing.ProtectionConformance().test_single_errors_are_corrected_where_it_says_so(Secded())
