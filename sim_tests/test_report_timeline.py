"""The binned timeline: its sums are the figures of the cycle model, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.accelerator import (
    DeadlockError,
    Pipeline,
    StageCycles,
    Timeline,
    build_pipeline,
    simulate,
    steady_timeline,
    timeline,
)
from hwsim.testing import Limits, random_depths, random_folding, random_network

LIMITS = Limits(channels=5, size=7)


def random_pipeline(seed: int) -> Pipeline:
    rng = np.random.default_rng(seed)
    network = random_network(rng, LIMITS)
    return random_depths(network, random_folding(network, rng), rng)


def sums(lines: Timeline) -> tuple[StageCycles, ...]:
    columns = (a.sum(axis=1) for a in (lines.busy, lines.starved, lines.blocked))
    return tuple(
        StageCycles(name, int(b), int(s), int(k))
        for name, b, s, k in zip(lines.names, *columns, strict=True)
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 4),
    bins=st.integers(1, 50),
    gaps=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    stalls=st.lists(st.integers(0, 5), min_size=1, max_size=5),
)
def test_whole_run_sums_to_the_cycle_report(
    seed: int, frames: int, bins: int, gaps: list[int], stalls: list[int]
) -> None:
    pipeline = random_pipeline(seed)
    try:
        report = simulate(pipeline, frames, gaps, stalls)
    except DeadlockError:
        return
    lines = timeline(pipeline, frames, bins, gaps=gaps, stalls=stalls)
    assert sums(lines) == report.stages
    assert lines.cycles == report.total_cycles
    assert lines.busy.shape[1] <= bins
    for part in (lines.busy, lines.starved, lines.blocked):
        assert part.min() >= 0
    spans = lines.busy + lines.starved + lines.blocked
    assert (spans[:, :-1] == lines.bin_cycles).all()
    assert (spans.sum(axis=1) == report.total_cycles).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 10**6))
def test_parts_of_a_run_add_up_to_the_whole(seed: int, cut: int) -> None:
    pipeline = random_pipeline(seed)
    try:
        whole = timeline(pipeline, 2, bins=10**9)
    except DeadlockError:
        return
    if whole.cycles < 2:
        return
    at = 1 + cut % (whole.cycles - 1)
    assert whole.bin_cycles == 1
    left = timeline(pipeline, 2, 7, 0, at - 1)
    right = timeline(pipeline, 2, 7, at)
    for key in ("busy", "starved", "blocked"):
        cycles = getattr(whole, key)
        assert (getattr(left, key).sum(axis=1) == cycles[:, :at].sum(axis=1)).all()
        assert (getattr(right, key).sum(axis=1) == cycles[:, at:].sum(axis=1)).all()


def test_steady_interval_holds_one_frame_of_work_of_every_stage() -> None:
    for seed in range(40):
        pipeline = build_pipeline(random_network(seed, LIMITS))
        try:
            lines = steady_timeline(pipeline, bins=64)
        except DeadlockError:
            continue
        assert lines.cycles == simulate(pipeline, 40).frame_interval_cycles
        steps = [stage.timing.frame_steps for stage in pipeline.stages]
        assert lines.busy.sum(axis=1).tolist() == steps


def test_span_outside_the_run_is_refused() -> None:
    pipeline = build_pipeline(random_network(3, LIMITS))
    total = simulate(pipeline, 1).total_cycles
    text = rf"^span 5\.\.{total} must lie in cycles 0\.\.{total - 1}$"
    with pytest.raises(ValueError, match=text):
        timeline(pipeline, 1, 10, 5, total)
    with pytest.raises(ValueError, match="^bins must be >= 1, not 0$"):
        timeline(pipeline, 1, 0)
