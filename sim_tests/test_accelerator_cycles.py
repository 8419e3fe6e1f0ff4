"""The cycle model against a simulator that plays the timing contract tick by tick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.amaranth_run import random_folding
from support.random_networks import Limits, random_network
from support.tick_model import play

from hwsim.accelerator import DeadlockError, Pipeline, build_pipeline, simulate

SEEDS = st.integers(0, 2**32 - 1)


def random_pipeline(rng: np.random.Generator, limits: Limits | None = None) -> Pipeline:
    """Any network, folding and FIFO depths, shallow ones (which may deadlock) included."""
    network = random_network(rng, limits or Limits(channels=6, size=7, blocks=4))
    pipeline = build_pipeline(network, random_folding(network, rng))
    choice = [1, 2, 3, 4, 7, 16, 40] if rng.random() < 0.7 else [60, 200]
    return pipeline.with_depths({f.name: int(rng.choice(choice)) for f in pipeline.fifos})


def random_waits(rng: np.random.Generator, most: int) -> list[int]:
    if rng.random() < 0.4:
        return [0]
    length = int(rng.integers(1, 20))
    return [int(v) for v in rng.integers(0, most, length) * (rng.random(length) < 0.5)]


@settings(max_examples=250)
@given(SEEDS)
def test_every_figure_equals_the_tick_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = random_pipeline(rng)
    frames = int(rng.integers(1, 5))
    gaps, stalls = random_waits(rng, 6), random_waits(rng, 9)
    expected = play(pipeline, frames, gaps, stalls)
    if expected is None:
        with pytest.raises(DeadlockError):
            simulate(pipeline, frames, gaps, stalls)
    else:
        assert simulate(pipeline, frames, gaps, stalls) == expected
