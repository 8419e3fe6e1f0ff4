"""Random networks through cocotb on the emitted Verilog: every value and cycle figure, with ==."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.emitted import SIMULATOR

from hwsim.accelerator import DeadlockError, Pipeline, simulate
from hwsim.errors import MappingError
from hwsim.rtl.emit import generate
from hwsim.rtl.verify import verify
from hwsim.testing import Limits, random_depths, random_folding, random_input, random_network

pytestmark = pytest.mark.cosim

LIMITS = Limits(channels=4, size=6, blocks=2)
FRAMES = 3


def pipeline(seed: int) -> Pipeline | None:
    """Random network, folding and FIFO depths; None when it cannot be mapped."""
    rng = np.random.default_rng(seed)
    network = random_network(seed, LIMITS)
    try:
        drawn = random_depths(network, random_folding(network, rng), rng)
    except MappingError:
        return None
    try:
        simulate(drawn, FRAMES)
    except DeadlockError:
        return drawn.with_depths({fifo.name: 200 for fifo in drawn.fifos})
    return drawn


def compare(seed: int, folder: Path, simulator: str) -> bool:
    """Verify network ``seed``; False when it cannot be mapped."""
    drawn = pipeline(seed)
    if drawn is None:
        return False
    generate(drawn, folder, random_input(drawn.network, seed, FRAMES))
    rng = np.random.default_rng(seed)
    gap, stall = rng.choice([0.1, 0.3, 0.6], 2)
    result = verify(folder, simulator, None, gap, stall, seed)
    assert result.failures == ()
    assert result.passed
    assert result.cycles_equal
    assert (result.tests, result.images) == (6, FRAMES)
    assert all(
        predicted == measured for run in result.runs for predicted, measured in run.figures.values()
    )
    return True


@pytest.mark.parametrize("first", range(0, 16, 4))
def test_random_networks(tmp_path: Path, first: int) -> None:
    seeds = range(first, first + 4)
    assert sum(compare(seed, tmp_path / str(seed), SIMULATOR) for seed in seeds) >= 3


def test_verilator_agrees(tmp_path: Path) -> None:
    assert compare(3, tmp_path / "3", "verilator")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 124))
def test_many_random_networks(tmp_path: Path, seed: int) -> None:
    simulator = "verilator" if seed % 3 == 0 else SIMULATOR
    if not compare(seed, tmp_path / "out", simulator):
        pytest.skip("this network is not mapped")
