"""The one rule of failing cells, wherever their bits are held."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator

from hwsim.cells import (
    failing_cells,
    failing_cells_jit,
    masks_in_access,
    masks_in_access_jit,
    read_cells,
    read_cells_jit,
)

CELLS = list(product((0, 1), repeat=3))
"""Stored, keep and flip of all kinds of cells, one a bit."""

READS = {(1, 0): (0, 1), (1, 1): (1, 0), (0, 0): (0, 0), (0, 1): (1, 1)}
"""By (keep, flip): what is read where 0 is stored, and where 1 is."""

STORED, KEEP, FLIP = (sum(cell[n] << at for at, cell in enumerate(CELLS)) for n in range(3))
SEEN = sum(READS[keep, flip][stored] << at for at, (stored, keep, flip) in enumerate(CELLS))
FAILING = sum(((keep, flip) != (1, 0)) << at for at, (_, keep, flip) in enumerate(CELLS))
LOW = 0xFF


def simulated(stored: int, keep: int, flip: int) -> int:
    """In Amaranth; masks are constants, as in a build."""
    m, seen, data = Module(), Signal(8), Signal(8, init=stored)
    m.d.comb += seen.eq(read_cells(data, ~Const(~keep & LOW, 8), Const(flip, 8)))
    found = []

    async def look(context) -> None:  # type: ignore[no-untyped-def]
        await context.delay(1e-9)
        found.append(context.get(seen))

    simulator = Simulator(m)
    simulator.add_testbench(look)
    simulator.run()
    return found[0]


def arrays(stored: int, keep: int, flip: int) -> int:
    return int(read_cells(*(np.array([n], np.int64) for n in (stored, keep, flip)))[0])


def tensors(stored: int, keep: int, flip: int) -> int:
    return int(read_cells(*(torch.tensor([n]) for n in (stored, keep, flip)))[0])


@pytest.mark.parametrize("read", [read_cells, read_cells_jit, arrays, tensors, simulated])
def test_what_is_read(read: Callable[[int, int, int], int]) -> None:
    assert read(STORED, KEEP, FLIP) & LOW == SEEN


@pytest.mark.parametrize("failing", [failing_cells, failing_cells_jit])
def test_failing(failing: Callable[[int, int], int]) -> None:
    assert failing(KEEP, FLIP) & LOW == FAILING


@pytest.mark.parametrize("masks", [masks_in_access, masks_in_access_jit])
def test_cells_that_do_not_err_read_what_is_stored(masks: Callable) -> None:  # type: ignore[type-arg]
    for erring in range(LOW + 1):
        seen = read_cells(STORED, *masks(KEEP, FLIP, erring))
        assert seen & LOW == SEEN & erring | STORED & ~erring & LOW
