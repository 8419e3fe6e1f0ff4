"""The FIFO between stages against a plain queue, under random traffic."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from amaranth.sim import Simulator

from hwsim.accelerator.timing import fifo_latency
from hwsim.design import MemoryInfo
from hwsim.design.roles import Role, Style
from hwsim.rtl.fifo import Fifo
from hwsim.rtl.memory import DesignMemory


def memory(depth: int, width: int) -> DesignMemory:
    """A memory of ``depth`` beats of ``width`` bits."""
    name, instances = "fifo.link", ("fifo_link.memory",)
    return DesignMemory(
        MemoryInfo(name, Role.FIFO, "source", depth, width, Style.MEMORY, 1, 1, instances)
    )


def traffic(depth: int, seed: int, cycles: int = 400) -> None:
    """Drive random reservations, late writes and reads; compare every cycle with a queue."""
    rng = np.random.default_rng(seed)
    dut = Fifo(memory=memory(depth, 8))
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    reserve_odds, write_odds, read_odds = rng.uniform(0.2, 1.0, 3)

    async def bench(ctx):  # type: ignore[no-untyped-def]
        stored: deque[tuple[int, int]] = deque()
        free, owed, beats = depth, 0, 0
        for cycle in range(cycles):
            reserve = bool(free > 0 and rng.random() < reserve_odds)
            write = bool(owed > 0 and rng.random() < write_odds)
            read = bool(rng.random() < read_odds)
            beat = int(rng.integers(256))
            ctx.set(dut.i.reserve, reserve)
            ctx.set(dut.i.write, write)
            ctx.set(dut.i.data, beat)
            ctx.set(dut.o.ready, read)
            _, _, room, level, valid, payload = await ctx.tick().sample(
                dut.i.room, dut.level, dut.o.valid, dut.o.payload
            )
            offered = bool(stored) and stored[0][0] + fifo_latency(depth) <= cycle
            assert (room, level, valid) == (free > 0, len(stored), offered)
            if valid:
                assert payload == stored[0][1]
            if valid and read:
                stored.popleft()
                free, beats = free + 1, beats + 1
            if reserve:
                free, owed = free - 1, owed + 1
            if write:
                stored.append((cycle, beat))
                owed -= 1
        assert beats > 20

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 32, 33, 50])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_a_queue(depth: int, seed: int) -> None:
    traffic(depth, seed)


@pytest.mark.parametrize(
    ("depth", "width", "text"),
    [
        (1, 0, "bits must be an integer >= 1, not 0"),
        (1, "8", "bits must be an integer >= 1, not '8'"),
        (0, 8, "words must be an integer >= 1, not 0"),
    ],
)
def test_wrong_sizes(depth: int, width: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"^memory 'fifo.link': {text}$"):
        memory(depth, width)
