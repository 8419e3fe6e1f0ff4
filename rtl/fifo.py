"""The link between two stages: a FIFO that counts its free slots for the producer."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature

from hwsim.accelerator.timing import fifo_latency
from hwsim.rtl.memory import DesignMemory
from hwsim.rtl.util import index


def credit_signature(width: int) -> Signature:
    """Producer's side of a link.

    Members: ``room`` (a slot is free), ``reserve`` (take one slot, only while ``room``),
    ``write`` and ``data`` (fill the slot that was reserved first; any number of cycles later).
    """
    return Signature(
        {"room": In(1), "reserve": Out(1), "write": Out(1), "data": Out(unsigned(width))}
    )


class Fifo(Component):
    """First in, first out, with a slot for a beat in each word of ``memory``.

    The producer reserves a slot when it starts the work whose result will fill it, so the FIFO
    never overflows and its ``write`` needs no handshake. A slot is free again one cycle after
    its beat was taken. A written beat is offered ``fifo_latency(depth)`` cycles later. Beat n
    lies in word ``n mod depth``.

    Members: ``i`` (credit_signature, flipped), ``o`` (stream), ``level`` (beats written and not
    yet taken).
    """

    def __init__(self, *, memory: DesignMemory) -> None:
        self._memory = memory
        width, depth = memory.info.bits, memory.info.words
        super().__init__(
            {
                "i": In(credit_signature(width)),
                "o": Out(stream.Signature(unsigned(width))),
                "level": Out(range(depth + 1)),
            }
        )

    @property
    def memory(self) -> DesignMemory:
        return self._memory

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._memory.info.words
        taken = Signal()
        # The beat that is offered is as many beats after the first as were taken before it.
        memory = self._memory.place(m, ends=taken)
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        _count(m, "free", taken, self.i.reserve, self.i.room, depth, depth)
        m.d.sync += self.level.eq(self.level + self.i.write - taken)

        def step(pointer: Signal) -> Signal:
            wrapped = Signal.like(pointer, name=f"{pointer.name}_next")
            m.d.comb += wrapped.eq(pointer + 1)
            with m.If(pointer == depth - 1):
                m.d.comb += wrapped.eq(0)
            return wrapped

        write_at = Signal(index(depth))
        read_at = Signal(index(depth))
        memory.write(write_at, self.i.data, self.i.write)
        with m.If(self.i.write):
            m.d.sync += write_at.eq(step(write_at))
        read_next = step(read_at)
        with m.If(taken):
            m.d.sync += read_at.eq(read_next)
        if fifo_latency(depth) == 1:
            _count(m, "offered", self.i.write, taken, self.o.valid, depth, 0)
            payload = memory.read(read_at)
        else:
            # The memory reads one cycle ahead, each beat once: when the beat before it is taken,
            # or, into an empty FIFO, in the cycle after it was written.
            written = Signal()
            m.d.sync += written.eq(self.i.write)
            offered = _count(m, "offered", written, taken, self.o.valid, depth, 0)
            first = written & ~self.o.valid
            ahead = Mux(taken, written | (offered != 1), first)
            payload = memory.read(Mux(taken, read_next, read_at), enable=ahead)
        m.d.comb += self.o.payload.eq(payload)
        return m


def _count(
    m: Module, name: str, up: Value, down: Value, some: Signal, most: int, init: int
) -> Signal:
    """A register that counts up and down between 0 and ``most``, and ``some``: it is not 0.

    ``up`` and ``down`` come late in the cycle, so they only select among what is there already.
    ``down`` may be set only while the count is not 0.
    """
    count = Signal(range(most + 1), name=name, init=init)
    not_empty = Signal(name=f"{name}_any", init=init > 0)
    more, less = Signal.like(count, name=f"{name}_more"), Signal.like(count, name=f"{name}_less")
    last = Signal(name=f"{name}_last")
    m.d.comb += [
        more.eq(count + 1), less.eq(count - 1), last.eq(count == 1), some.eq(not_empty)
    ]  # fmt: skip
    with m.If(up & ~down):
        m.d.sync += [count.eq(more), not_empty.eq(1)]
    with m.If(down & ~up):
        m.d.sync += [count.eq(less), not_empty.eq(~last)]
    return count
