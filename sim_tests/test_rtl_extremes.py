"""Networks at the edges of what is legal: all worlds take them, with equal values and dates."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.accelerator import (
    DeadlockError,
    count_operations,
    memory_list,
    simulate,
    smallest_depths,
)
from hwsim.errors import MappingError
from hwsim.execute import Executor
from hwsim.network import evaluate
from hwsim.rtl.testing import check, run
from hwsim.testing import extreme_network, random_depths, random_folding, random_input

FRAMES = 2


def compare(seed: int) -> bool:
    """One network in every world; False when it cannot be mapped."""
    network = extreme_network(seed)
    images = random_input(network, seed, FRAMES)
    expected = evaluate(network, images)
    executed = Executor(network).tensors(images)
    assert all(np.array_equal(executed[name], value) for name, value in expected.items())
    rng = np.random.default_rng(seed)
    try:
        pipeline = random_depths(network, random_folding(network, rng), rng)
    except MappingError:
        return False
    try:
        simulate(pipeline, FRAMES)
    except DeadlockError:
        pipeline = pipeline.with_depths({fifo.name: 300 for fifo in pipeline.fifos})
    model = simulate(pipeline, FRAMES)
    assert min(smallest_depths(pipeline).values()) >= 1
    assert len({memory.name for memory in memory_list(pipeline)}) == len(memory_list(pipeline))
    assert all(n > 0 for stage in pipeline.stages for n in count_operations(stage).values())
    check(network, expected, run(pipeline, images), model)
    return True


@pytest.mark.parametrize("first", range(0, 16, 4))
def test_extreme_networks(first: int) -> None:
    assert sum(compare(seed) for seed in range(first, first + 4)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 400, 20))
def test_many_extreme_networks(first: int) -> None:
    assert sum(compare(seed) for seed in range(first, first + 20)) >= 16
