"""Whole networks in Amaranth's simulator: every tensor and every cycle figure, with ==."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.accelerator import DeadlockError, Fold, Pipeline, build_pipeline, simulate
from hwsim.errors import MappingError
from hwsim.network import (
    Add,
    Flatten,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.rtl.mac import _Weights
from hwsim.rtl.testing import check, figures, run
from hwsim.testing import Limits, random_depths, random_folding, random_input, random_network

FRAMES = 2
LIMITS = Limits(channels=5, size=7)


def unwilling(pipeline: Pipeline) -> bool:
    """True when these FIFO depths deadlock."""
    try:
        simulate(pipeline, FRAMES)
    except DeadlockError:
        return True
    return False


def compare(seed: int) -> bool:
    """One random network, folding, depths and traffic; False when it cannot be mapped."""
    rng = np.random.default_rng(seed)
    network = random_network(seed, LIMITS)
    images = random_input(network, seed, images=FRAMES)
    try:
        pipeline = random_depths(network, random_folding(network, rng), rng)
    except MappingError:
        return False
    gaps = rng.integers(0, 4, 17) * (rng.random(17) < 0.4) * (seed % 2)
    stalls = rng.integers(0, 6, 13) * (rng.random(13) < 0.5) * (seed % 3 > 0)
    if unwilling(pipeline):
        pipeline = pipeline.with_depths({fifo.name: 300 for fifo in pipeline.fifos})
    model = simulate(pipeline, FRAMES, gaps, stalls)
    got = run(pipeline, images, [int(v) for v in gaps], [int(v) for v in stalls])
    check(network, evaluate(network, images), got, model)
    return True


@pytest.mark.parametrize("first", range(0, 48, 6))
def test_random_networks(first: int) -> None:
    assert sum(compare(seed) for seed in range(first, first + 6)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1400, 20))
def test_many_random_networks(first: int) -> None:
    assert sum(compare(seed) for seed in range(first, first + 20)) >= 16


def residual(channels: int = 4, size: int = 6) -> Network:
    """Fork, 3x3 multiplexer convolution, join."""
    rng = np.random.default_rng(5)
    shape = channels, channels
    return Network(
        "residual",
        TensorType(channels, size, size, 4),
        (
            MuxConv2d(
                "conv",
                ("input",),
                rng.integers(0, 9, shape),
                rng.choice([-1, 1], shape),
                (3, 3),
                pad=(1, 1),
            ),
            Requantize(
                "quant", ("conv",), np.ones(channels, int), np.zeros(channels, int), 1, 0, 15
            ),
            Add("join", ("quant", "input")),
        ),
    )


def test_deadlock_is_the_same_in_both_worlds() -> None:
    network = residual()
    pipeline = build_pipeline(network, {"conv": Fold(1, 1)}, 2)
    with pytest.raises(
        DeadlockError, match=r"^deadlock: these FIFOs are full: .*input__join \(depth 2\)"
    ):
        simulate(pipeline, FRAMES)
    with pytest.raises(AssertionError, match=r"^0 of 288 beats in 3000 cycles$"):
        run(pipeline, random_input(network, 0, FRAMES), limit=3000)


def test_fully_unrolled_constant_layer_takes_one_pixel_per_cycle() -> None:
    network = residual(8, 9)
    pipeline = build_pipeline(network, {"conv": Fold(8, 8, "constant")}, 64)
    images = random_input(network, 0, images=3)
    got = run(pipeline, images)
    assert pipeline.ideal_interval == 81
    assert got.report.frame_interval_cycles == 81
    # Nothing ever holds the input up: beat n goes in at cycle n.
    assert got.report.frame_last_input == (80, 161, 242)
    check(network, evaluate(network, images), got, simulate(pipeline, 3))


def test_off_by_one_in_the_model_is_caught() -> None:
    network = residual()
    pipeline = build_pipeline(network, depths=64)
    images = random_input(network, 1, FRAMES)
    got = run(pipeline, images)
    assert figures(got.report) == figures(simulate(pipeline, FRAMES))
    stage = pipeline.stage("conv")
    late = replace(stage, timing=replace(stage.timing, latency=stage.timing.latency + 1))
    wrong = replace(pipeline, stages=tuple(late if s is stage else s for s in pipeline.stages))
    assert figures(got.report) != figures(simulate(wrong, FRAMES))


def test_off_by_one_in_the_rtl_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    network = residual()
    pipeline = build_pipeline(network, depths=64)
    images = random_input(network, 1, FRAMES)
    expected, model = evaluate(network, images), simulate(pipeline, FRAMES)
    right = _Weights.select
    monkeypatch.setattr(
        _Weights,
        "select",
        lambda self, taps, o, i: right(self, [*taps[1:], taps[0]], o, i),
    )
    with pytest.raises(AssertionError, match="conv"):
        check(network, expected, run(pipeline, images), model)


def test_datapath_and_contract_must_agree() -> None:
    pipeline = build_pipeline(residual(), depths=64)
    stage = pipeline.stage("conv")
    late = replace(stage, timing=replace(stage.timing, latency=9))
    wrong = replace(pipeline, stages=tuple(late if s is stage else s for s in pipeline.stages))
    text = f"^stage conv: datapath has {stage.timing.latency} registers, its timing says 9$"
    with pytest.raises(AssertionError, match=text):
        run(wrong, random_input(residual(), 0, 1))


def test_flattened_maps_keep_their_order() -> None:
    rng = np.random.default_rng(3)
    network = Network(
        "flat",
        TensorType(5, 3, 2, 4, signed=True),
        (
            Flatten("flat", ("input",)),
            Requantize(
                "quant", ("flat",), rng.integers(-9, 9, 30), rng.integers(-9, 9, 30), 2, -16, 15
            ),
            Linear("out", ("quant",), rng.integers(-8, 8, (7, 30))),
        ),
    )
    images = random_input(network, 0, FRAMES)
    for fold in (Fold(7, 3), Fold(2, 2), Fold(3, 5, "constant")):
        pipeline = build_pipeline(network, {"quant": Fold(1, 2), "out": fold})
        check(network, evaluate(network, images), run(pipeline, images), simulate(pipeline, FRAMES))
