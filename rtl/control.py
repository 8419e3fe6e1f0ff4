"""Stage controllers: when a step starts, the number of the step, the input that it releases.

Both controllers implement ``hwsim.accelerator.timing.Timing`` and nothing else decides when a
stage works.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from hwsim.accelerator.timing import Timing
from hwsim.rtl.util import index, named, table


def _step_members(timing: Timing) -> dict[str, Out]:
    """Ports that describe the step of this cycle.

    ``start``: a step starts; ``emit``: it yields an output beat; ``blocked``: it would start but
    for a full output FIFO; ``first`` and ``last``: first, last step of its group; ``n``: step
    within the group; ``group``; ``address``: step within the pixel; ``first_pixel``: it belongs
    to the frame's first pixel; ``pixel``: pixel within the frame.
    """
    pixels = timing.out_rows * timing.out_cols
    return {
        "room": In(1),
        "start": Out(1),
        "emit": Out(1),
        "blocked": Out(1),
        "first": Out(1),
        "last": Out(1),
        "n": Out(index(timing.steps)),
        "group": Out(index(timing.groups)),
        "address": Out(index(timing.groups * timing.steps)),
        "first_pixel": Out(1),
        "pixel": Out(index(pixels)),
    }


class _StepCounter:
    """The counters of the step loop ``for pixel: for group: for n``; shared by both controllers."""

    def __init__(self, m: Module, port: Component, timing: Timing, available: Value) -> None:
        self.timing = timing
        pixels = timing.out_rows * timing.out_cols
        last_pixel = named(m, "last_pixel", port.pixel == pixels - 1)
        emits = Const(1)
        if timing.emit_last_step:
            emits = emits & port.last
        if timing.emit_last_pixel:
            emits = emits & last_pixel
        emits = named(m, "emits", emits)
        m.d.comb += [
            port.first.eq(port.n == 0),
            port.last.eq(port.n == timing.steps - 1),
            port.first_pixel.eq(port.pixel == 0),
            port.start.eq(available & (~emits | port.room)),
            port.emit.eq(port.start & emits),
            port.blocked.eq(available & emits & ~port.room),
        ]
        self.pixel_done = Signal()
        with m.If(port.start):
            m.d.sync += [port.n.eq(port.n + 1), port.address.eq(port.address + 1)]
            with m.If(port.last):
                m.d.sync += [port.n.eq(0), port.group.eq(port.group + 1)]
                with m.If(port.group == timing.groups - 1):
                    m.d.comb += self.pixel_done.eq(1)
                    m.d.sync += [
                        port.group.eq(0),
                        port.address.eq(0),
                        port.pixel.eq(port.pixel + 1),
                    ]
                    with m.If(last_pixel):
                        m.d.sync += port.pixel.eq(0)
        self.last_pixel = last_pixel


class StreamControl(Component):
    """Controller of a streaming stage: each step takes one beat from every input FIFO.

    Members: ``valid`` (every input offers a beat), ``ready`` (they are taken, in the cycle of
    ``start``), and those of ``_step_members``.
    """

    def __init__(self, *, timing: Timing) -> None:
        if not timing.streaming:
            raise ValueError("timing must be that of a streaming stage")
        self._timing = timing
        super().__init__({"valid": In(1), "ready": Out(1), **_step_members(timing)})

    @property
    def timing(self) -> Timing:
        return self._timing

    def elaborate(self, platform: object) -> Module:
        m = Module()
        _StepCounter(m, self, self._timing, self.valid)
        m.d.comb += self.ready.eq(self.start)
        return m


class WindowControl(Component):
    """Controller of a windowed stage: accepts beats into a ring of rows, issues window steps.

    Members beyond ``_step_members``: ``valid`` / ``ready`` (input handshake; a beat is accepted
    in the cycle in which both are set); where it goes: ``w_bank_row``, ``w_bank_col``,
    ``w_slot`` (which of the rows that a bank holds), ``w_at`` (column part of the address,
    in beats), ``w_beat`` (beat within the pixel); where the window of the current step lies:
    ``r_bank_row``, ``r_bank_col`` (bank of its top left pixel), ``r_slot``, ``r_at``;
    ``row_valid``, ``col_valid``: one bit per kernel row and column, clear where the window
    leaves the image.

    Pixel (row y, column x) lies in bank (y mod kernel rows, (x + pad) mod kernel columns), so
    every window has each bank exactly once and all its taps can be read in one cycle.
    """

    def __init__(self, *, timing: Timing) -> None:
        if timing.streaming:
            raise ValueError("timing must be that of a windowed stage")
        self._timing = timing
        kh, kw = timing.kernel
        slots = timing.row_slots // kh
        at = index(timing.bank_columns * timing.beats)
        super().__init__(
            {
                "valid": In(1),
                "ready": Out(1, init=int(timing.release > 1)),
                "w_bank_row": Out(index(kh)),
                "w_bank_col": Out(index(kw), init=timing.pad[1] % kw),
                "w_slot": Out(index(slots)),
                "w_at": Out(at),
                "w_beat": Out(index(timing.beats)),
                "r_bank_row": Out(index(kh), init=(-timing.pad[0]) % timing.row_slots % kh),
                "r_bank_col": Out(index(kw)),
                "r_slot": Out(index(slots), init=(-timing.pad[0]) % timing.row_slots // kh),
                "r_at": Out(at),
                "row_valid": Out(kh),
                "col_valid": Out(kw),
                **_step_members(timing),
            }
        )

    @property
    def timing(self) -> Timing:
        return self._timing

    def elaborate(self, platform: object) -> Module:
        m = Module()
        t = self._timing
        ahead = self._row_counters(m)
        available = self._available(m, ahead)
        counter = _StepCounter(m, self, t, available)
        self._writer(m)
        self._reader(m, counter)
        self._ready(m, ahead)
        return m

    def _row_counters(self, m: Module) -> Signal:
        """Registers that tell how far the writer is ahead of the reader, in rows."""
        t = self._timing
        most = t.row_slots + max(t.row_advance(p) for p in range(t.out_rows)) + 1
        self._p = Signal(index(t.out_rows))
        self._advance = self._by_row(m, "advance", [t.row_advance(p) for p in range(t.out_rows)])
        self._span = self._by_row(
            m, "span", [t.last_row(p) - t.first_row(p) for p in range(t.out_rows)]
        )
        # Columns count from the left border of the padded image.
        self._w_col = Signal(range(t.pad[1] + t.cols), init=t.pad[1])
        self._r_col = Signal(range(t.stride[1] * (t.out_cols - 1) + 1))
        last = min(t.kernel[1] - 1, t.pad[1] + t.cols - 1)
        self._r_last = Signal(range(t.pad[1] + t.cols), init=last)
        self._w_pixel_done = Signal()
        self._w_row_done = Signal()
        self._r_row_done = Signal()
        ahead = Signal(range(-t.rows, most + 1))
        m.d.sync += ahead.eq(ahead + self._w_row_done - Mux(self._r_row_done, self._advance, 0))
        return ahead

    def _by_row(self, m: Module, name: str, values: list[int]) -> Signal:
        """A signal with one value per output row; rows that differ from most get a case."""
        usual = max(set(values), key=values.count)
        signal = Signal(range(max(values) + 1), name=name)
        m.d.comb += signal.eq(usual)
        with m.Switch(self._p):
            for p, value in enumerate(values):
                if value != usual:
                    with m.Case(p):
                        m.d.comb += signal.eq(value)
        return signal

    def _available(self, m: Module, ahead: Signal) -> Signal:
        """Whether the last beat that the current step needs has been accepted."""
        t = self._timing
        if t.need == tuple(range(t.steps)):
            need = self.n
        else:
            need = named(m, "need", table(t.need, index(t.beats), self.n))
        in_row = (self._w_col > self._r_last) | (
            (self._w_col == self._r_last) & (self.w_beat > need)
        )
        return named(m, "available", (ahead > self._span) | ((ahead == self._span) & in_row))

    def _ready(self, m: Module, ahead: Signal) -> None:
        """A slot is free when no later step needs its old content.

        A register holds that for the writer's pixel, so that the handshake starts at once. It
        is computed for the pixel that will be the writer's in the next cycle and from where
        the reader is now. Without columns to compare it is simple enough to do without.
        """
        t = self._timing
        over = named(m, "over", ahead - t.row_slots)
        if t.release == 1:
            m.d.comb += self.ready.eq(over < 0)
            return

        def free(name: str, row: int, col: Value) -> Signal:
            """Whether the slot at ``col`` is free, ``row`` rows below the writer's."""
            passed = (over + row < self._advance) & (col < self._r_col)
            return named(m, name, (over + row < 0) | passed)

        same = free("free_here", 0, self._w_col)
        next_col = free("free_next_col", 0, self._w_col + 1)
        next_row = free("free_next_row", 1, Const(t.pad[1]))
        with m.If(self._w_row_done):
            m.d.sync += self.ready.eq(next_row)
        with m.Elif(self._w_pixel_done):
            m.d.sync += self.ready.eq(next_col)
        with m.Else():
            m.d.sync += self.ready.eq(same)

    def _writer(self, m: Module) -> None:
        t = self._timing
        kh, kw = t.kernel
        with m.If(self.valid & self.ready):
            m.d.sync += self.w_beat.eq(self.w_beat + 1)
            with m.If(self.w_beat == t.beats - 1):
                m.d.comb += self._w_pixel_done.eq(1)
                m.d.sync += [self.w_beat.eq(0), self._w_col.eq(self._w_col + 1)]
                with m.If(self.w_bank_col == kw - 1):
                    m.d.sync += [self.w_bank_col.eq(0), self.w_at.eq(self.w_at + t.beats)]
                with m.Else():
                    m.d.sync += self.w_bank_col.eq(self.w_bank_col + 1)
                with m.If(self._w_col == t.pad[1] + t.cols - 1):
                    m.d.comb += self._w_row_done.eq(1)
                    m.d.sync += [
                        self._w_col.eq(t.pad[1]),
                        self.w_bank_col.eq(self.w_bank_col.init),
                        self.w_at.eq(0),
                    ]
                    self._turn(m, self.w_bank_row, self.w_slot, 1, "w_turn")

    def _turn(self, m: Module, bank: Signal, slot: Signal, rows: int, name: str) -> None:
        """Move a (bank row, slot) pair on by ``rows`` rows of the ring."""
        t = self._timing
        kh, rows = t.kernel[0], rows % t.row_slots
        total = Signal(range(2 * kh), name=f"{name}_sum")
        carry = Signal(name=f"{name}_carry")
        m.d.comb += [total.eq(bank + rows % kh), carry.eq(total >= kh)]
        m.d.sync += bank.eq(total - Mux(carry, kh, 0))
        if t.row_slots > kh:
            # Banks hold a power of two of rows, so this wraps by itself.
            m.d.sync += slot.eq(slot + carry + rows // kh)

    def _reader(self, m: Module, counter: _StepCounter) -> None:
        t = self._timing
        kh, kw = t.kernel
        sy, sx = t.stride
        last_col = self._r_col == sx * (t.out_cols - 1)
        total = Signal(range(2 * kw), name="r_bank_col_sum")
        carry = Signal(name="r_bank_col_carry")
        m.d.comb += [total.eq(self.r_bank_col + sx % kw), carry.eq(total >= kw)]
        with m.If(counter.pixel_done):
            ends = t.pad[1] + t.cols - 1
            following = Signal(range(ends + sx + 1), name="r_last_next")
            m.d.comb += following.eq(self._r_last + sx)
            m.d.sync += [
                self._r_col.eq(self._r_col + sx),
                self._r_last.eq(following),
                self.r_bank_col.eq(total - Mux(carry, kw, 0)),
                self.r_at.eq(self.r_at + sx // kw * t.beats + Mux(carry, t.beats, 0)),
            ]
            with m.If(following > ends):
                m.d.sync += self._r_last.eq(ends)
            with m.If(last_col):
                m.d.comb += self._r_row_done.eq(1)
                m.d.sync += [
                    self._r_col.eq(0),
                    self._r_last.eq(self._r_last.init),
                    self.r_bank_col.eq(0),
                    self.r_at.eq(0),
                ]
                with m.If(self._p == t.out_rows - 1):
                    m.d.sync += self._p.eq(0)
                    leap = t.rows - sy * (t.out_rows - 1)
                    self._turn(m, self.r_bank_row, self.r_slot, leap, "r_turn_frame")
                with m.Else():
                    m.d.sync += self._p.eq(self._p + 1)
                    self._turn(m, self.r_bank_row, self.r_slot, sy, "r_turn_row")
        rows = [_inside(self._p, t.out_rows, sy, dy - t.pad[0], t.rows) for dy in range(kh)]
        q = self._r_col
        cols = [_inside(q, sx * (t.out_cols - 1) + 1, 1, dx - t.pad[1], t.cols) for dx in range(kw)]
        m.d.comb += [self.row_valid.eq(Cat(*rows)), self.col_valid.eq(Cat(*cols))]


def _inside(position: Signal, count: int, stride: int, offset: int, size: int) -> Value:
    """Whether ``0 <= stride * position + offset < size``, for position in ``0 .. count - 1``."""
    lowest, highest = -(offset // stride), (size - 1 - offset) // stride
    out: Value = Const(1)
    if lowest > 0:
        out = out & (position >= lowest)
    if highest < count - 1:
        out = out & (position <= highest)
    return out
