"""Input rings: as low as the interval allows, high enough for it, and any height works in RTL."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator import Pipeline, build_pipeline, simulate
from hwsim.accelerator.kinds import RESIZE
from hwsim.accelerator.ring import MULTIPLES, pace
from hwsim.network import evaluate
from hwsim.rtl.testing import check, run
from hwsim.testing import Limits, random_folding, random_input, random_network

SEEDS = st.integers(0, 2**32 - 1)
FRAMES = 32


def random_pipeline(seed: int, limits: Limits) -> Pipeline:
    rng = np.random.default_rng(seed)
    network = random_network(rng, limits)
    pipeline = build_pipeline(network, random_folding(network, rng))
    # What starts faster than it can go on must not look faster for long.
    return pipeline.with_depths({f.name: 8 * f.stream.frame_beats + 64 for f in pipeline.fifos})


def interval(pipeline: Pipeline) -> float:
    last = simulate(pipeline, FRAMES).frame_last_output
    return (last[-1] - last[FRAMES // 2 - 1]) / (FRAMES // 2)


def with_rings(pipeline: Pipeline, rng: np.random.Generator) -> Pipeline:
    """Any ring height in every windowed stage."""
    stages = []
    for stage in pipeline.stages:
        t = stage.timing
        if not t.streaming and stage.kind is not RESIZE:
            rows = int(rng.choice(MULTIPLES)) * t.kernel[0]
            stage = replace(stage, timing=replace(t, row_slots=rows))
        stages.append(stage)
    return replace(pipeline, stages=tuple(stages))


@settings(max_examples=300)
@given(SEEDS)
def test_measured_interval_is_the_ideal_one(seed: int) -> None:
    pipeline = random_pipeline(seed, Limits(channels=6, size=9, blocks=4))
    assert interval(pipeline) == pipeline.ideal_interval


@settings(max_examples=100)
@given(SEEDS)
def test_no_ring_is_higher_than_the_interval_asks(seed: int) -> None:
    pipeline = random_pipeline(seed, Limits(channels=6, size=9, blocks=4))
    for stage in pipeline.stages:
        t = stage.timing
        if t.streaming or stage.kind is RESIZE:
            continue
        heights = [m * t.kernel[0] for m in MULTIPLES]
        assert t.row_slots in heights
        lower = [replace(t, row_slots=rows) for rows in heights if rows < t.row_slots]
        assert all(pace(timing) > pipeline.ideal_interval for timing in lower)


@settings(max_examples=100)
@given(SEEDS)
def test_pace_is_that_of_the_stage_among_idle_neighbours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = with_rings(random_pipeline(seed, Limits(channels=6, size=8, blocks=2)), rng)
    paces = [
        stage.timing.ideal_interval
        if stage.timing.streaming or stage.kind is RESIZE
        else pace(stage.timing)
        for stage in pipeline.stages
    ]
    assert interval(pipeline) == pytest.approx(max(paces), abs=0.5)


@pytest.mark.parametrize("seed", range(25))
def test_any_ring_height_works_in_rtl(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = with_rings(random_pipeline(seed, Limits(channels=4, size=6, blocks=2)), rng)
    images = random_input(pipeline.network, seed, 2)
    model = simulate(pipeline, 2)
    got = run(pipeline, images)
    check(pipeline.network, evaluate(pipeline.network, images), got, model)
