"""Automatic folding: meets the interval, no more lanes than that takes, few resizes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator import Fold, auto_fold, build_pipeline, is_mac
from hwsim.accelerator.folding import stages_of
from hwsim.accelerator.kinds import RESIZE
from hwsim.errors import MappingError
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)
from hwsim.testing import Limits, random_network

SEEDS = st.integers(0, 2**32 - 1)


def smallest_interval(network: Network) -> int:
    try:
        auto_fold(network, 1)
    except MappingError as error:
        return int(re.findall(r"it takes (\d+), the smallest possible interval", str(error))[0])
    return 1


@settings(max_examples=120)
@given(SEEDS, st.floats(1, 30))
def test_every_stage_meets_the_interval(seed: int, factor: float) -> None:
    network = random_network(seed, Limits(channels=9, size=7, blocks=4))
    smallest = smallest_interval(network)
    interval = int(smallest * factor)
    folding = auto_fold(network, interval, "constant")
    assert build_pipeline(network, folding).ideal_interval <= interval
    assert auto_fold(network, interval, "constant") == folding
    assert {fold.weights for fold in folding.values()} <= {"constant"}
    if smallest > 1:
        with pytest.raises(MappingError, match=f"every {smallest - 1} cycles is out of reach"):
            auto_fold(network, smallest - 1)


@settings(max_examples=40)
@given(SEEDS, st.floats(1, 10))
def test_lanes_beyond_the_fewest_save_resizes(seed: int, factor: float) -> None:
    network = random_network(seed, Limits(channels=9, size=7, blocks=4))
    interval = int(smallest_interval(network) * factor)
    folding = auto_fold(network, interval)
    resizes = count_resizes(network, folding)
    for op in network:
        if not is_mac(op):
            continue
        fewer = [
            fold
            for pe in range(1, network.types[op.name].channels + 1)
            for simd in range(1, network.types[op.inputs[0]].channels + 1)
            for fold in [Fold(pe, simd)]
            if pe * simd < folding[op.name].pe * folding[op.name].simd
        ]
        for fold in fewer:
            other = {**folding, op.name: fold}
            if build_pipeline(network, other).ideal_interval <= interval:
                assert count_resizes(network, other) > resizes


def count_resizes(network: Network, folding: dict[str, Fold]) -> int:
    return sum(stage.kind is RESIZE for stage in build_pipeline(network, folding).stages)


@pytest.mark.parametrize("seed", range(20))
def test_fixed_folds_are_kept(seed: int) -> None:
    network = random_network(seed, Limits(channels=6, size=6))
    rng = np.random.default_rng(seed)
    ops = [network[name] for name in stages_of(network)]
    op = ops[int(rng.integers(len(ops)))]
    simd = int(rng.integers(1, network.types[op.inputs[0]].channels + 1))
    fixed = {op.name: Fold(1, simd, "constant")}
    folding = auto_fold(network, 10_000, fixed=fixed)
    assert folding[op.name] == fixed[op.name]
    assert build_pipeline(network, folding).folding == folding


def residual_network() -> Network:
    """The shape of a ResNet-20 with multiplexer convolutions, for 3x32x32."""
    rng = np.random.default_rng(0)
    ops: list[Op] = []

    def mux(name: str, source: str, channels: int, outputs: int, stride: int, k: int) -> str:
        shape = outputs, channels
        ops.append(
            MuxConv2d(
                name, (source,), rng.integers(0, k * k, shape), rng.choice([-1, 1], shape),
                (k, k), (stride, stride), (k // 2, k // 2), Alphabet("binary"),
            )
        )  # fmt: skip
        return requantize(name, outputs)

    def requantize(name: str, channels: int) -> str:
        q = f"{name}_q"
        ops.append(Requantize(q, (name,), np.full(channels, 9), np.full(channels, 8), 6, 0, 15))
        return q

    ops.append(Conv2d("stem", ("input",), rng.integers(-8, 8, (16, 3, 3, 3)), pad=(1, 1)))
    x, channels = requantize("stem", 16), 16
    for stage in range(3):
        for block in range(3):
            outputs, stride = 16 << stage, 2 if stage and not block else 1
            name = f"s{stage}b{block}"
            body = mux(f"{name}a", x, channels, outputs, stride, 3)
            body = mux(f"{name}b", body, outputs, outputs, 1, 3)
            shortcut = mux(f"{name}s", x, channels, outputs, stride, 1) if stride > 1 else x
            ops.append(Add(f"{name}add", (body, shortcut)))
            x, channels = requantize(f"{name}add", outputs), outputs
    ops.append(GlobalAvgPool("pool", (x,)))
    ops.append(Linear("fc", ("pool",), rng.integers(-8, 8, (10, 64)), Alphabet("int4")))
    ops.append(ArgMax("answer", ("fc",)))
    return Network("resnet20", TensorType(3, 32, 32, 8), tuple(ops))


def test_a_residual_network_is_balanced_without_resizes_in_its_body() -> None:
    network = residual_network()
    folding = auto_fold(network, 16384)
    pipeline = build_pipeline(network, folding)
    assert pipeline.ideal_interval == 16384
    busiest = [s for s in pipeline.stages if s.timing.frame_steps == 16384]
    # All 3x3 convolutions but the stem and the two that halve the map, which have half the work.
    assert len(busiest) >= 16
    assert all(folding[f"s{n}b{b}b"] == Fold(4, 4) for n in range(3) for b in range(3))
    assert sum(stage.kind is RESIZE for stage in pipeline.stages) <= 4
    slowest = smallest_interval(network)
    assert slowest == 32 * 32
    assert build_pipeline(network, auto_fold(network, slowest)).ideal_interval == slowest


def test_what_is_out_of_reach_names_the_op_and_the_smallest_interval() -> None:
    with pytest.raises(
        MappingError,
        match=r"op 'stem': a frame every 1000 cycles is out of reach: with all lanes it takes "
        r"1024, the smallest possible interval",
    ):
        auto_fold(residual_network(), 1000)
    with pytest.raises(MappingError, match="there is no stage 'nothing'; there are stem, s0b0a, "):
        auto_fold(residual_network(), 1024, fixed={"nothing": Fold()})
