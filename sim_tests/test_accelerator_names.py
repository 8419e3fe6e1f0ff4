"""Names of ops mean nothing: whatever they are, the accelerator is the same."""

from __future__ import annotations

import re
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.emitted import SIMULATOR, tiny_images, tiny_network
from support.nasty_names import nasty_names, renamed

from hwsim.accelerator import (
    DeadlockError,
    Fold,
    Pipeline,
    build_pipeline,
    memory_list,
    simulate,
    smallest_depths,
)
from hwsim.accelerator.cycles import CycleReport
from hwsim.errors import MappingError
from hwsim.faults import design_faults
from hwsim.lowvoltage import ChipError
from hwsim.network import Add, GlobalMaxPool, MaxPool2d, Network, TensorType, evaluate
from hwsim.report.graph import draw_pipeline
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.emit import generate
from hwsim.rtl.testing import check, figures, run
from hwsim.rtl.verify import verify
from hwsim.rtl.verilog import to_verilog
from hwsim.testing import Limits, random_folding, random_input, random_network
from hwsim.testing.faulty import chip

SEEDS = st.integers(0, 2**32 - 1)
LIMITS = Limits(channels=5, size=6, blocks=4)


def both(seed: int, depth: int = 300) -> tuple[Pipeline, Pipeline] | None:
    """One random network, mapped under plain and under nasty names; None when it is not mapped."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, LIMITS)
    folding = random_folding(network, rng)
    names = nasty_names(network, rng)
    try:
        plain = build_pipeline(network, folding, depth)
    except MappingError:
        return None
    again = {names[name]: fold for name, fold in folding.items()}
    return plain, build_pipeline(renamed(network, names), again, depth)


def dates(report: CycleReport) -> tuple[object, ...]:
    """All figures of a run without the names of stages and FIFOs."""
    found = figures(report)
    stages = [astuple(stage)[1:] for stage in report.stages]
    return *(found[key] for key in sorted(found) if "_" in key and key != "high_water"), stages, [
        astuple(fifo)[1:] for fifo in report.fifos
    ]  # fmt: skip


def memories(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return [
        (m.role, m.words, m.bits, m.style, m.reads, m.writes, m.banks)
        for m in memory_list(pipeline)
    ]


def assert_unique(names: list[str]) -> None:
    assert len({name.casefold() for name in names}) == len(names), names


@settings(max_examples=60)
@given(SEEDS)
def test_pipelines_are_equal_under_any_names(seed: int) -> None:
    pair = both(seed)
    if pair is None:
        return
    plain, nasty = pair
    for pipeline in pair:
        ends = [pipeline.source, pipeline.sink]
        own = [stage.name for stage in pipeline.stages if stage.op is not None]
        others = [stage.name for stage in pipeline.stages if stage.op is None]
        assert own == [stage.op.name for stage in pipeline.stages if stage.op is not None]
        assert len(set(own)) == len(own)
        assert not {name.casefold() for name in pipeline.network.types} & {
            name.casefold() for name in (*ends, *others)
        }
        assert_unique(ends + others)
        assert_unique([fifo.name for fifo in pipeline.fifos])
        listed = [memory.name for memory in memory_list(pipeline)]
        assert len(set(listed)) == len(listed)
        banks = [bank for memory in memory_list(pipeline) for bank in memory.instances]
        assert len(set(banks)) == len(banks)
    assert [s.timing for s in plain.stages] == [s.timing for s in nasty.stages]
    assert memories(plain) == memories(nasty)
    assert dates(simulate(plain, 3)) == dates(simulate(nasty, 3))
    assert list(smallest_depths(plain).values()) == list(smallest_depths(nasty).values())
    shallow = [p.with_depths(dict.fromkeys((f.name for f in p.fifos), 2)) for p in pair]
    assert outcome(shallow[0]) == outcome(shallow[1])


def outcome(pipeline: Pipeline) -> object:
    try:
        return dates(simulate(pipeline, 3))
    except DeadlockError:
        return "deadlock"


def test_names_of_the_ends_and_of_helpers_give_way() -> None:
    def pool(name: str, source: str) -> MaxPool2d:
        return MaxPool2d(name, (source,), (1, 1), (1, 1))

    ops = (
        pool("source", "input"),
        pool("resize_fork", "input"),
        Add("fork", ("source", "resize_fork")),
        pool("a", "fork"),
        pool("a__b", "a"),
        pool("b__c", "a"),
        pool("c", "a__b"),
        Add("sink", ("b__c", "c")),
    )
    network = Network("names", TensorType(2, 3, 3, 4), ops)
    pipeline = build_pipeline(network, {"source": Fold(1, 2), "fork": Fold(1, 1)})
    assert [stage.name for stage in pipeline.stages] == [
        *("fork_b", "source", "resize_fork", "resize_fork_b", "resize_fork_b_b", "fork"),
        *("a", "a__b", "b__c", "c", "sink"),
    ]  # fmt: skip
    assert (pipeline.source, pipeline.sink) == ("source_b", "sink_b")
    images = random_input(network, 0, 2)
    check(network, evaluate(network, images), run(pipeline, images), simulate(pipeline, 2))
    high_water = {fifo.name: 1 for fifo in pipeline.fifos}
    drawn = str(draw_pipeline(pipeline, high_water, 50))
    assert all(f">{stage.name}<" in drawn for stage in pipeline.stages)
    assert [drawn.count(f">{end}  2×3×3 u") for end in ("input", "output")] == [1, 1]


def test_a_layer_called_as_a_role_is_not_taken_for_it() -> None:
    ops = (MaxPool2d("weight", ("input",), (2, 1), (1, 1)), GlobalMaxPool("top", ("weight",)))
    pipeline = build_pipeline(Network("names", TensorType(2, 3, 3, 4), ops))
    message = r"^bit error rate: 'weight' is a role and a layer here; name single memories$"
    with pytest.raises(ChipError, match=message):
        design_faults(pipeline, chip("flip", 0), {"weight": 0.5})
    faults = design_faults(pipeline, chip("flip", 0), {"weight.window": 0.5, "fifo": 0.5})
    assert {"weight.window", "fifo.input__weight"} <= set(faults.memories)


def test_fifos_between_names_with_underscores_differ() -> None:
    def pool(name: str, source: str) -> MaxPool2d:
        return MaxPool2d(name, (source,), (1, 1), (1, 1))

    ops = (
        pool("a", "input"),
        pool("a__b", "a"),
        pool("b__c", "a"),
        pool("c", "a__b"),
        Add("d", ("b__c", "c")),
        GlobalMaxPool("top", ("d",)),
    )
    network = Network("names", TensorType(1, 3, 3, 4), ops)
    pipeline = build_pipeline(network)
    assert [f.name for f in pipeline.fifos] == [
        *("input__a", "a__a__b", "a__b__c", "a__b__c_b", "b__c__d", "c__d", "d__top"),
        "top__sink",
    ]  # fmt: skip
    images = random_input(network, 0, 2)
    check(network, evaluate(network, images), run(pipeline, images), simulate(pipeline, 2))


@pytest.mark.parametrize("seed", range(6))
def test_hardware_is_equal_under_any_names(seed: int) -> None:
    pair = both(seed, 40)
    assert pair is not None
    images = random_input(pair[0].network, seed, 2)
    for pipeline in pair:
        if outcome(pipeline) == "deadlock":
            pipeline = pipeline.with_depths(dict.fromkeys((f.name for f in pipeline.fifos), 300))
        expected = evaluate(pipeline.network, images)
        check(pipeline.network, expected, run(pipeline, images), simulate(pipeline, 2))


def hard_names() -> tuple[Network, dict[str, str]]:
    """The residual network whose modules are hardest to tell apart, and which op is which."""
    network = tiny_network(argmax=True)
    names = ("module", "Module", "a", "a__b", "b__c", "c", "a_control", "A", "source", "fork")
    return network, dict(zip((op.name for op in network.ops), names, strict=True))


@pytest.mark.cosim
@pytest.mark.parametrize(
    "simulator", [SIMULATOR, pytest.param("verilator", marks=pytest.mark.slow)]
)
def test_verilog_is_equal_under_any_names(tmp_path: Path, simulator: str) -> None:
    network, names = hard_names()
    folding = {"conv1": Fold(2, 1), "conv2": Fold(1, 2, "constant"), "classes": Fold(2, 1)}
    folding = {names[name]: fold for name, fold in folding.items()}
    pipeline = build_pipeline(renamed(network, names), folding, 60)
    generate(pipeline, tmp_path / "out", tiny_images())
    result = verify(tmp_path / "out", simulator)
    assert result.failures == ()
    assert result.passed


def test_modules_differ_for_tools_that_ignore_case() -> None:
    network, names = hard_names()
    texts = []
    for changed in (network, renamed(network, names)):
        pipeline = build_pipeline(changed, depths=60)
        paths = {f"top.stage_{stage.name}": stage.name for stage in pipeline.stages}
        text = to_verilog(Accelerator(pipeline=pipeline), "top", paths)
        modules = re.findall(r"^module (\S+)\(", text, re.M)
        assert_unique(modules)
        assert all(re.fullmatch(r"[A-Za-z_]\w*", module) for module in modules)
        # The comments stand before the modules of just these stages.
        heads = dict(re.findall(r"^// (\w+)\nmodule (\w+)\(", text, re.M))
        assert set(heads) == {stage.name for stage in pipeline.stages}
        for stage, module in heads.items():
            assert f"  {module} stage_{stage} (" in text
        texts.append(len(modules))
    assert texts[0] == texts[1]
