"""What memories an elaborated accelerator really has, how often they are used, what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Fragment, Shape
from amaranth.hdl._mem import MemoryInstance
from amaranth.sim import Simulator

from hwsim.accelerator import Pipeline
from hwsim.faults import DesignFaults
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.testing import to_beats


@dataclass
class Probe:
    """One memory array: words, bits, enabled cycles, and what it held at the end.

    reads is None where the read port is asynchronous and so has no enable.
    """

    words: int
    bits: int
    reads: int | None
    writes: int
    contents: list[int]


def fragments(fragment: Fragment, path: str = "") -> Iterator[tuple[str, Fragment]]:
    """Every fragment of a design with its path."""
    yield path, fragment
    for child, name, _ in fragment.subfragments:
        yield from fragments(child, f"{path}.{name}" if path else name)


def elaborate(
    pipeline: Pipeline, faults: DesignFaults | None = None
) -> tuple[Accelerator, Fragment]:
    dut = Accelerator(pipeline=pipeline, faults=faults)
    return dut, Fragment.get(dut, None)


def memories(top: Fragment) -> dict[str, MemoryInstance]:
    """Memory arrays of a design by path."""
    return {path: f for path, f in fragments(top) if isinstance(f, MemoryInstance)}


def register_bits(top: Fragment, path: str, pattern: str) -> int:
    """Bits of the registers in fragment ``path`` whose names match ``pattern``."""
    fragment = dict(fragments(top))[path]
    signals = fragment.statements["sync"]._lhs_signals()
    return sum(len(signal) for signal in signals if re.fullmatch(pattern, signal.name))


def probe(
    pipeline: Pipeline, images: np.ndarray, gap: int, stall: int, idle: int = 80
) -> dict[str, Probe]:
    """Run ``images`` until nothing moved for ``idle`` cycles.

    The source pauses ``gap`` cycles after each beat, the sink ``stall``.
    """
    dut, top = elaborate(pipeline)
    found = memories(top)
    ports = [port for m in found.values() for port in (*m._read_ports, *m._write_ports)]
    clocked = [int(port._domain != "comb") for port in ports]
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    counts = np.zeros(len(ports), np.int64)
    held: dict[str, list[int]] = {}
    feed = to_beats(pipeline.input, images)

    async def bench(ctx):  # type: ignore[no-untyped-def]
        sent = quiet = cycle = 0
        while quiet < idle:
            offers = sent < len(feed) and cycle % (gap + 1) == 0
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.i.payload, feed[sent] if offers else 0)
            ctx.set(dut.o.ready, cycle % (stall + 1) == 0)
            sample = await ctx.tick().sample(dut.i.ready, dut.o.valid, *(p._en for p in ports))
            _, _, ready, valid, *enables = sample
            counts[:] += np.array(enables, np.int64)
            sent += bool(offers and ready)
            rests = sent == len(feed) and not valid and not any(map(int.__and__, enables, clocked))
            quiet = quiet + 1 if rests else 0
            cycle += 1
        for path, memory in found.items():
            held[path] = [ctx.get(memory._data[n]) for n in range(memory._data.depth)]

    simulator.add_testbench(bench)
    simulator.run()
    result, at = {}, 0
    for path, memory in found.items():
        (read,) = memory._read_ports
        reads = None if read._domain == "comb" else int(counts[at])
        writes = int(counts[at + 1]) if memory._write_ports else 0
        at += 1 + len(memory._write_ports)
        width = Shape.cast(memory._data.shape).width
        result[path] = Probe(memory._data.depth, width, reads, writes, held[path])
    return result
