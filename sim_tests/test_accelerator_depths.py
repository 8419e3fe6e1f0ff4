"""Smallest FIFO depths: full throughput, no deadlock, and none of them larger than necessary."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.emitted import tiny_network
from support.search_depths import smallest_depths as search_depths
from support.tick_model import play

from hwsim.accelerator import (
    DeadlockError,
    Pipeline,
    build_pipeline,
    simulate,
    smallest_depths,
)
from hwsim.accelerator.steady import SteadyState
from hwsim.config.accelerator import MOST_FIFO_BEATS, AcceleratorConfig
from hwsim.config.loader import validate_config
from hwsim.errors import ConfigError, MappingError
from hwsim.network import MaxPool2d, Network, TensorType
from hwsim.rtl.accelerator import LEVEL_BITS, Accelerator
from hwsim.testing import Limits, random_folding, random_network

SEEDS = st.integers(0, 2**32 - 1)
FRAMES = 24


def random_pipeline(seed: int) -> Pipeline:
    rng = np.random.default_rng(seed)
    network = random_network(rng, Limits(channels=6, size=7, blocks=4))
    return build_pipeline(network, random_folding(network, rng))


def slowest(pipeline: Pipeline) -> float:
    """Mean cycles between the frames of the second half of a run; infinite after a deadlock."""
    try:
        last = simulate(pipeline, FRAMES).frame_last_output
    except DeadlockError:
        return float("inf")
    return (last[-1] - last[FRAMES // 2]) / (FRAMES - 1 - FRAMES // 2)


def ample(pipeline: Pipeline) -> Pipeline:
    return pipeline.with_depths({f.name: 3 * f.stream.frame_beats + 64 for f in pipeline.fifos})


@settings(max_examples=60)
@given(SEEDS)
def test_depths_keep_the_interval_and_none_can_shrink(seed: int) -> None:
    pipeline = random_pipeline(seed)
    depths = smallest_depths(pipeline)
    assert set(depths) == {fifo.name for fifo in pipeline.fifos}
    interval = slowest(ample(pipeline))
    tight = pipeline.with_depths(depths)
    assert slowest(tight) == interval
    for name, depth in depths.items():
        if depth > 1:
            assert slowest(tight.with_depths({name: depth - 1})) > interval, name


def cells(pipeline: Pipeline, depths: dict[str, int]) -> int:
    return sum(depths[f.name] * f.stream.bits for f in pipeline.fifos)


def test_trying_all_depths_from_reset_finds_the_same() -> None:
    """But for one network in twenty at most, of which none gets slower.

    Tries from reset refuse depths with which the frames of a short run come unevenly, though
    they come as often in the long run.
    """
    same = cells_found = cells_tried = 0
    for seed in range(120):
        pipeline = random_pipeline(seed)
        interval = int((1, 1, 1.3, 3)[seed % 4] * slowest(ample(pipeline)))
        found, tried = smallest_depths(pipeline, interval), search_depths(pipeline, interval)
        assert slowest(pipeline.with_depths(found)) <= interval
        same += found == tried
        cells_found += cells(pipeline, found)
        cells_tried += cells(pipeline, tried)
    assert same >= 114
    assert cells_found <= cells_tried


def long_run(pipeline: Pipeline) -> float:
    """Cycles a frame in the long run; infinite after a deadlock."""
    try:
        last = simulate(pipeline, 130).frame_last_output
    except DeadlockError:
        return float("inf")
    # Patterns of up to 5 frames are averaged over whole periods.
    return (last[-1] - last[-61]) / 60


@settings(max_examples=80)
@given(SEEDS)
def test_steady_dates_exist_at_the_interval_of_the_long_run_and_not_below(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = random_pipeline(seed)
    deep = rng.random() < 0.5
    depths = {f.name: int(rng.integers(1, 40 if deep else 6)) for f in pipeline.fifos}
    pace = long_run(pipeline.with_depths(depths))
    state = SteadyState(pipeline)
    if pace == float("inf"):
        assert not state.begin(1000 * pipeline.ideal_interval, depths)
    else:
        assert state.begin(math.ceil(pace), depths)
        assert not state.begin(math.ceil(pace) - 1, depths)


@settings(max_examples=60)
@given(SEEDS)
def test_reducing_step_by_step_is_starting_anew(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = random_pipeline(seed)
    depths = {f.name: int(rng.integers(1, 50)) for f in pipeline.fifos}
    interval = int(pipeline.ideal_interval * rng.choice([1, 1.1, 2]))
    state, again = SteadyState(pipeline), SteadyState(pipeline)
    if not state.begin(interval, depths):
        return
    for _ in range(12):
        name = str(rng.choice(list(depths)))
        less = {**depths, name: int(rng.integers(1, depths[name] + 1))}
        possible = again.begin(interval, less)
        assert state.reduce(name, less[name]) == possible
        depths = less if possible else depths
        assert {name: state.depth(name) for name in depths} == depths
        # What the dates use is enough, and no more than there is.
        used = {name: state.used(name) for name in depths}
        assert all(used[name] <= depths[name] for name in depths)
        assert again.begin(interval, used)


def test_the_deepest_fifo() -> None:
    network = tiny_network()
    pipeline = build_pipeline(network, depths=MOST_FIFO_BEATS)
    accelerator = Accelerator(pipeline=pipeline)
    accelerator.elaborate(None)
    assert len(accelerator.levels) == LEVEL_BITS * len(pipeline.fifos)
    too_deep = MOST_FIFO_BEATS + 1
    assert MOST_FIFO_BEATS.bit_length() == LEVEL_BITS < too_deep.bit_length()
    with pytest.raises(MappingError, match=r"^FIFO depth must be 1..65535 beats, not 65536$"):
        build_pipeline(network, depths=too_deep)
    message = r"^depth of FIFO 'input__conv1' must be 1..65535 beats, not 65536$"
    for depths in ({"input__conv1": too_deep}, {"conv1_q__conv2": 2, "input__conv1": too_deep}):
        with pytest.raises(MappingError, match=message):
            build_pipeline(network, depths=depths)
        with pytest.raises(MappingError, match=message):
            pipeline.with_depths(depths)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"fifo_depth": 65536}, "fifo_depth: must be 'auto' or <= 65535, not 65536"),
        ({"fifo_depths": {"a__b": 65536}}, "fifo_depths.a__b: must be <= 65535, not 65536"),
    ],
)
def test_configurations_know_the_deepest_fifo(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^x.yaml: {re.escape(message)}$"):
        validate_config(section, AcceleratorConfig, "x.yaml")
    deepest = json.loads(json.dumps(section).replace("65536", "65535"))
    assert validate_config(deepest, AcceleratorConfig) == AcceleratorConfig(**deepest)


def test_depths_of_frames_that_no_fifo_holds() -> None:
    """One frame has more beats than the deepest FIFO; the search stays within what there is."""
    pool = MaxPool2d("pool", ("input",), (1, 1), (1, 1))
    wide = Network("wide", TensorType(1, 300, 300, 1), (pool,))
    pipeline = build_pipeline(wide)
    depths = smallest_depths(pipeline)
    assert pipeline.input.frame_beats > MOST_FIFO_BEATS
    assert max(depths.values()) <= MOST_FIFO_BEATS


@pytest.mark.parametrize("seed", range(8))
def test_the_tick_simulator_agrees(seed: int) -> None:
    pipeline = random_pipeline(seed)
    depths = smallest_depths(pipeline)
    last, wide = (
        report.frame_last_output
        for report in (play(pipeline.with_depths(depths), 6), play(ample(pipeline), 6))
        if report is not None
    )
    assert last[-1] - last[-2] == wide[-1] - wide[-2]


def test_the_same_search_gives_the_same_depths_whatever_the_depths_were() -> None:
    pipeline = random_pipeline(5)
    other = pipeline.with_depths({fifo.name: 3 for fifo in pipeline.fifos})
    assert smallest_depths(pipeline) == smallest_depths(pipeline) == smallest_depths(other)


def test_a_slower_interval_needs_no_more_cells() -> None:
    pipeline = random_pipeline(11)
    interval = int(slowest(ample(pipeline)))
    relaxed = smallest_depths(pipeline, 3 * interval)
    assert cells(pipeline, relaxed) <= cells(pipeline, smallest_depths(pipeline))
    assert slowest(pipeline.with_depths(relaxed)) <= 3 * interval


def test_an_interval_that_cannot_be_met_is_an_error() -> None:
    pipeline = random_pipeline(3)
    interval = int(slowest(ample(pipeline)))
    with pytest.raises(MappingError, match=f"this folding needs {interval}"):
        smallest_depths(pipeline, interval - 1)
