"""The steps of docs/architecture.md, "Adding an op": all of them, no others, none forgotten unseen.

``Absolute``, an op that only this file has, takes the steps one by one. With all of them it runs
in every world; without any one of them ``missing`` names the step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_faults_evaluate
from amaranth.hdl import Module, Mux, Value
from amaranth.lib.wiring import Component
from torch import Tensor

from hwsim import testing
from hwsim.accelerator import Operation, Stage, build_pipeline, count_operations, simulate
from hwsim.accelerator import kinds as stage_kinds
from hwsim.accelerator.kinds import ADD, KINDS, StageKind
from hwsim.execute import plan
from hwsim.execute.layout import Layout
from hwsim.execute.terms import TERMS
from hwsim.faults import design_faults
from hwsim.models import golden
from hwsim.models.testing import GoldenConformance
from hwsim.network import INPUT, Flatten, Network, Op, Requantize, TensorType, load, reference, save
from hwsim.network.ops import OP_TYPES
from hwsim.report.graph import draw_pipeline
from hwsim.rtl.accelerator import STAGES
from hwsim.rtl.stage import StageComponent
from hwsim.rtl.testing import AmaranthConformance
from hwsim.rtl.util import Pipe
from hwsim.testing import conformance, random_networks
from hwsim.testing.faulty import chip

DOCS = Path(__file__).parent.parent / "docs" / "architecture.md"

TABLES: dict[str, tuple[str, Callable[[], set[type[Op]]]]] = {
    "meaning": ("`MEANING` of `hwsim/network/reference.py`", lambda: set(reference.MEANING)),
    "row": ("`ROWS` of `hwsim/testing/conformance.py`", lambda: set(conformance.ROWS)),
    "golden": ("`_MEANING` of `models/golden.py`", lambda: set(golden._MEANING)),
    "kernel": (
        "`TERMS` of `hwsim/execute/terms.py` or `_MAKE` of `hwsim/execute/plan.py`",
        lambda: {*TERMS, *plan._MAKE},
    ),
    "kind": ("`KINDS` of `hwsim/accelerator/kinds/`", lambda: mapped_ops()),
    "random": ("`hwsim/testing/random_networks.py`", lambda: random_ops()),
}
"""Where every op has to be: in the words of the docs, and what is there."""

COMPONENTS = "`STAGES` of `rtl/accelerator.py`"


def mapped_ops() -> set[type[Op]]:
    """Ops that a kind of stage takes; Flatten needs none."""
    takes = {
        type(op)
        for row in conformance.ROWS.values()
        for _, network in row.cases()
        for op in network
        if any(kind.takes(op) for kind in KINDS.values())
    }
    return {*takes, Flatten}


def random_ops() -> set[type[Op]]:
    networks = (random_networks.random_network(seed) for seed in range(60))
    return {type(op) for network in networks for op in network}


def missing() -> list[str]:
    """What is not there, one line each."""
    lines = [
        f"{words} lacks {op.__name__}"
        for words, found in TABLES.values()
        for op in sorted(set(OP_TYPES.values()) - found(), key=lambda op: op.__name__)
    ]
    kinds = sorted(kind.name for kind in KINDS.values() if kind not in STAGES)
    return lines + [f"{COMPONENTS} lacks {name}" for name in kinds]


def test_nothing_is_missing() -> None:
    assert missing() == []


def test_every_op_has_one_kind() -> None:
    for row in conformance.ROWS.values():
        for _, network in row.cases():
            for op in network:
                takers = [kind.name for kind in KINDS.values() if kind.takes(op)]
                assert len(takers) == (0 if isinstance(op, Flatten) else 1), (op.kind, takers)


def test_kinds_are_what_they_are_called() -> None:
    found = {v for v in vars(stage_kinds).values() if isinstance(v, StageKind)}
    assert set(KINDS.values()) == set(STAGES) == found
    assert all(KINDS[kind.name] is kind for kind in found)


def test_the_docs_name_every_table() -> None:
    section = " ".join(DOCS.read_text("utf-8").partition("## Adding an op")[2].split())
    for words in (*(words for words, _ in TABLES.values()), COMPONENTS):
        assert words in section, words


# -- an op of this file alone ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Absolute(Op, abstract=True):
    """``|x|``; abstract only until the first step is taken, so that no other test knows it."""

    @property
    def words(self) -> str:
        return "absolute value"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        return TensorType.for_range(x.shape, 0, max(-x.lo, x.hi))


def _kernel(op: Op, x: Layout, y: Layout) -> Callable[..., None]:
    def run(a: np.ndarray, out: np.ndarray) -> None:
        np.abs(x.inside(a), out=y.inside(out), dtype=np.int64, casting="unsafe")

    return run


def _golden(self: golden.GoldenNetwork, op: Absolute, x: Tensor) -> Tensor:
    return x.abs()


def _operations(stage: Stage) -> Any:
    lanes, bits = stage.inputs[0].lanes, stage.inputs[0].type.bits
    times = lanes * stage.timing.frame_steps
    return {Operation("negate", bits): times, Operation("select", bits): times}


class AbsoluteStage(StageComponent):
    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        return pipe.register([Mux(x < 0, -x, x) for x in self.lanes(self.i0.payload)], "size")


ABSOLUTE = replace(
    ADD,
    name="absolute",
    words="absolute value",
    takes=lambda op: isinstance(op, Absolute),
    operations=_operations,
)


def _value(op: Op, inputs: Any, types: Any, c: int, p: int, q: int) -> int:
    return abs(inputs[0](c, p, q))


def _cases() -> Iterator[tuple[str, Network]]:
    for bits, signed in ((1, True), (4, False), (8, True)):
        source = TensorType(5, 3, 4, bits, signed)
        yield f"{bits}-{signed}", Network("case", source, (Absolute("y", (INPUT,)),))
    half, zero = np.full(5, 3), np.full(5, -2)
    rider = Requantize("q", ("y",), half, zero, 1, -7, 7)
    yield "rider", Network("case", TensorType(5, 3, 4, 4, True), (Absolute("y", (INPUT,)), rider))


def _random(self: Any) -> None:
    self.requantize()
    self.add(Absolute)


STEPS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "meaning": lambda p: p.setitem(reference.MEANING, Absolute, lambda op, x: abs(x)),
    "row": lambda p: p.setitem(conformance.ROWS, Absolute, conformance.Row(_value, _cases)),
    "golden": lambda p: p.setitem(golden._MEANING, Absolute, _golden),
    "kernel": lambda p: p.setitem(plan._MAKE, Absolute, _kernel),
    "kind": lambda p: p.setitem(KINDS, "absolute", ABSOLUTE),
    "component": lambda p: p.setitem(STAGES, ABSOLUTE, AbsoluteStage),
    "random": lambda p: p.setattr(random_networks._Builder, "block_requantize", _random),
}
"""How each step is taken here; a package that adds an op from outside takes them just so."""


def take(patch: pytest.MonkeyPatch, forgotten: str = "") -> None:
    patch.setitem(OP_TYPES, "Absolute", Absolute)
    for name, step in STEPS.items():
        if name != forgotten:
            step(patch)


@pytest.mark.parametrize("forgotten", [*STEPS, ""])
def test_a_forgotten_step_is_named(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take(monkeypatch, forgotten)
    if forgotten == "":
        assert missing() == []
        return
    if forgotten == "component":
        assert missing() == [f"{COMPONENTS} lacks absolute"]
        return
    lines = missing()
    assert f"{TABLES[forgotten][0]} lacks Absolute" in lines
    # Without a row there is no network that shows whether a kind takes the op.
    assert len(lines) == (2 if forgotten == "row" else 1)


def test_an_op_without_type_or_words_cannot_be() -> None:
    class Wordless(Op, abstract=True):
        def infer(self, inputs: Sequence[TensorType]) -> TensorType:
            return inputs[0]

    class Typeless(Op, abstract=True):
        words = "nothing"

    for wrong, lacks in ((Wordless, "words"), (Typeless, "infer")):
        with pytest.raises(TypeError, match=f"abstract method '?{lacks}"):
            wrong("y", (INPUT,))  # type: ignore[abstract]


@pytest.mark.parametrize("forgotten", inspect.signature(StageKind).parameters)
def test_a_kind_without_a_field_cannot_be(forgotten: str) -> None:
    fields = {name: value for name, value in vars(ADD).items() if name != forgotten}
    with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{forgotten}'"):
        StageKind(**fields)


WORLDS = (
    testing.ReferenceConformance,
    GoldenConformance,
    testing.ExecutorConformance,
    testing.FusedExecutorConformance,
    AmaranthConformance,
)


@pytest.mark.parametrize("world", WORLDS)
def test_with_all_steps_the_op_runs_in_every_world(
    world: type[conformance.Conformance], monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch)

    class TestAbsolute(world):  # type: ignore[misc, valid-type]
        ops = (Absolute,)

    labels = [label for label, _ in TestAbsolute().cases()]
    assert labels == [f"Absolute-{label}" for label, _ in _cases()]
    for _, network in TestAbsolute().cases():
        TestAbsolute().test_op(network)


def test_with_all_steps_the_op_is_stored_counted_drawn_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    take(monkeypatch)
    *_, (_, network) = _cases()
    save(network, tmp_path / "a.hwnet")
    assert [op.kind for op in load(tmp_path / "a.hwnet")] == ["Absolute", "Requantize"]
    pipeline = build_pipeline(network)
    (stage,) = pipeline.stages
    assert stage.words == "absolute value, requantize"
    assert count_operations(stage)[Operation("negate", 4)] == 5 * 3 * 4
    report = simulate(pipeline, 2)
    high_water = {
        f.name: seen.high_water for f, seen in zip(pipeline.fifos, report.fifos, strict=True)
    }
    assert "absolute value" in draw_pipeline(pipeline, high_water, report.frame_interval_cycles)
    x = random_networks.random_input(network, 0, 3)
    clean = reference.evaluate(network, x)["q"]
    faults = design_faults(pipeline, chip("flip", 1), 0.2)
    seen = test_faults_evaluate.compare(faults, x, 0)["q"]
    assert (seen != clean).any()
