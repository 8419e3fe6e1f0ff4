"""The bench around an emitted accelerator: it offers, takes and measures without Python's help.

All that happens in a clock cycle happens here, in hardware, so that a simulator runs at full
speed; the cocotb side (``cosim``) only refills the stimulus every few dozen beats.
"""

from __future__ import annotations

from amaranth.hdl import (
    Array,
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib.wiring import Component, In, Out

from hwsim.accelerator import Pipeline
from hwsim.rtl.accelerator import LEVEL_BITS
from hwsim.rtl.util import index

COUNTER_BITS = 32
"""Width of dates and counts, and of one gap or stall."""

IDLE_READY = ("low", "high", "alternating")
"""What the sink's ready may do while nothing is offered, in the order of its codes."""

LAST_USE = ("low", "right", "early", "missing")
"""How ``i__last`` may be driven, in the order of its codes: never high; with each frame's last
beat; with the beat before it; with the last beat of the first frame alone."""

_CHUNK_BITS = 4096


def chunk_beats(beat_bits: int) -> int:
    """Beats that travel between bench and Python at once: a power of two, at most 64."""
    return min(64, 1 << max(_CHUNK_BITS // beat_bits, 1).bit_length() - 1)


class Bench(Component):
    """Drives the module ``accelerator`` and counts what the cycle model predicts.

    Cycle 0 is the first one after reset. Counting of what stages do ends with the last output
    transfer. The source holds a beat until it is taken. The sink refuses a beat for as many cycles
    as the schedule says from the cycle in which it is offered.

    Beats travel in chunks. ``feed_count`` and ``taken_count`` tell how many chunks were used up
    and filled; in the very cycle in which a count changes, the next chunk is due.

    Stimulus:
    ``frames``: how many frames to run.
    ``feed``, ``gaps``: a chunk of beats, and the idle cycles before each of them.
    ``stalls``: cycles for which the sink refuses each beat of a chunk.
    ``idle_ready``, ``last_use``: codes of IDLE_READY and LAST_USE.

    Measurements:
    ``taken``: the newest output beats, the last one highest.
    ``first_input``, ``last_input``, ``first_output``, ``last_output``: cycles of the newest
    frame's first and last beat; ``input_frames``, ``output_frames``: whole frames so far.
    ``busy``, ``blocked``: cycles per stage, 32 bits each; ``high_water``: per FIFO, 16 bits each.
    ``beats``: output beats so far; ``extra``: beats that came after the last one was due.
    ``refused``: cycles in which a beat was offered and not taken; ``unstable``: how often such a
    beat was gone or another one in the next cycle. ``wrong_last``: output beats with a wrong
    ``o__last``. ``misaligned``: ``i__misaligned`` rose and stayed; ``misaligned_at``: input beats
    taken until it first rose.
    """

    def __init__(self, *, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        x, y = pipeline.input, pipeline.output
        stages, fifos = len(pipeline.stages), len(pipeline.fifos)
        self._feed_beats, self._taken_beats = chunk_beats(x.bits), chunk_beats(y.bits)
        counter = unsigned(COUNTER_BITS)
        super().__init__(
            {
                "frames": In(counter),
                "feed": In(self._feed_beats * x.bits),
                "gaps": In(self._feed_beats * COUNTER_BITS),
                "feed_count": Out(counter),
                "stalls": In(self._taken_beats * COUNTER_BITS),
                "idle_ready": In(range(len(IDLE_READY))),
                "last_use": In(range(len(LAST_USE))),
                "taken": Out(self._taken_beats * y.bits),
                "taken_count": Out(counter),
                "first_input": Out(counter),
                "last_input": Out(counter),
                "input_frames": Out(counter),
                "first_output": Out(counter),
                "last_output": Out(counter),
                "output_frames": Out(counter),
                "busy": Out(stages * COUNTER_BITS),
                "blocked": Out(stages * COUNTER_BITS),
                "high_water": Out(fifos * LEVEL_BITS),
                "cycle": Out(counter),
                "beats": Out(counter),
                "extra": Out(counter),
                "refused": Out(counter),
                "unstable": Out(counter),
                "wrong_last": Out(counter),
                "misaligned": Out(1),
                "misaligned_at": Out(counter),
                "done": Out(1),
            }
        )

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x, y = self._pipeline.input, self._pipeline.output
        stages, fifos = len(self._pipeline.stages), len(self._pipeline.fifos)
        starts = Signal(stages)
        waits = Signal(stages)
        levels = Signal(fifos * LEVEL_BITS)
        i_payload, o_payload = Signal(x.bits), Signal(y.bits)
        i_valid = Signal()
        i_ready = Signal()
        o_valid = Signal()
        o_ready = Signal()
        i_last, o_last = Signal(), Signal()
        misaligned = Signal()
        m.submodules.accelerator = Instance(
            "accelerator",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_i__payload=i_payload,
            i_i__valid=i_valid,
            o_i__ready=i_ready,
            i_i__last=i_last,
            o_i__misaligned=misaligned,
            o_o__payload=o_payload,
            o_o__valid=o_valid,
            o_o__last=o_last,
            i_o__ready=o_ready,
            o_busy=starts,
            o_blocked=waits,
            o_levels=levels,
        )
        self._source(m, i_valid, i_ready, i_payload, i_last)
        self._watch_alignment(m, misaligned, i_valid & i_ready)
        self._sink(m, o_valid, o_ready, o_payload, o_last)
        m.d.sync += self.cycle.eq(self.cycle + 1)
        with m.If(~self.done):
            for n in range(stages):
                for count, active in ((self.busy, starts), (self.blocked, waits)):
                    part = count.word_select(n, COUNTER_BITS)
                    m.d.sync += part.eq(part + active[n])
            for n in range(fifos):
                high = self.high_water.word_select(n, LEVEL_BITS)
                level = levels.word_select(n, LEVEL_BITS)
                with m.If(level > high):
                    m.d.sync += high.eq(level)
        return m

    def _source(
        self, m: Module, valid: Signal, ready: Signal, payload: Signal, last: Signal
    ) -> None:
        x = self._pipeline.input
        at = Signal(index(self._feed_beats), name="feed_at")
        idle = Signal(COUNTER_BITS, name="in_idle")
        beat = Signal(index(x.frame_beats), name="in_beat")
        final = beat == x.frame_beats - 1
        early = beat == x.frame_beats - 2 if x.frame_beats > 1 else Const(0)
        m.d.comb += last.eq(
            Array([Const(0), final, early, final & (self.input_frames == 0)])[self.last_use]
        )
        m.d.comb += [
            valid.eq((self.input_frames != self.frames) & (idle == self._wait(self.gaps, at))),
            payload.eq(self.feed.word_select(at, x.bits)),
        ]
        with m.If(~valid):
            m.d.sync += idle.eq(idle + 1)
        with m.Elif(ready):
            m.d.sync += idle.eq(0)
            self._advance(m, at, self._feed_beats, self.feed_count)
            self._date(m, beat, x.frame_beats, self.first_input, self.last_input, self.input_frames)

    def _sink(self, m: Module, valid: Signal, ready: Signal, payload: Signal, last: Signal) -> None:
        y = self._pipeline.output
        at = Signal(index(self._taken_beats), name="taken_at")
        waited = Signal(COUNTER_BITS)
        beat = Signal(index(y.frame_beats), name="out_beat")
        idle_ready = Array([Const(0), Const(1), self.cycle[0]])[self.idle_ready]
        m.d.comb += [
            self.done.eq(self.output_frames == self.frames),
            ready.eq(self.done | Mux(valid, waited == self._wait(self.stalls, at), idle_ready)),
        ]
        held, before = Signal(), Signal.like(payload, name="before")
        m.d.sync += [held.eq(valid & ~ready), before.eq(payload)]
        with m.If(held & (~valid | (payload != before))):
            m.d.sync += self.unstable.eq(self.unstable + 1)
        with m.If(self.done):
            m.d.sync += self.extra.eq(self.extra + valid)
        with m.Elif(valid & ~ready):
            m.d.sync += [waited.eq(waited + 1), self.refused.eq(self.refused + 1)]
        with m.Elif(valid):
            with m.If(last != (beat == y.frame_beats - 1)):
                m.d.sync += self.wrong_last.eq(self.wrong_last + 1)
            m.d.sync += [
                waited.eq(0),
                self.beats.eq(self.beats + 1),
                self.taken.eq(Cat(self.taken, payload)[y.bits :]),
            ]
            self._advance(m, at, self._taken_beats, self.taken_count)
            self._date(
                m, beat, y.frame_beats, self.first_output, self.last_output, self.output_frames
            )

    def _watch_alignment(self, m: Module, misaligned: Signal, taken: Value) -> None:
        """Note when the flag rises, and whether it stays."""
        fed, rose, fell = Signal(COUNTER_BITS), Signal(), Signal()
        m.d.sync += fed.eq(fed + taken)
        with m.If(misaligned & ~rose):
            m.d.sync += [rose.eq(1), self.misaligned_at.eq(fed)]
        with m.If(rose & ~misaligned):
            m.d.sync += fell.eq(1)
        m.d.comb += self.misaligned.eq(misaligned & ~fell)

    def _wait(self, schedule: Signal, at: Signal) -> Value:
        return schedule.word_select(at, COUNTER_BITS)

    def _advance(self, m: Module, at: Signal, size: int, count: Signal) -> None:
        """Move on in a chunk; count the chunk when it is used up."""
        with m.If(at == size - 1):
            m.d.sync += [at.eq(0), count.eq(count + 1)]
        with m.Else():
            m.d.sync += at.eq(at + 1)

    def _date(
        self, m: Module, beat: Signal, size: int, first: Signal, last: Signal, frames: Signal
    ) -> None:
        """Note the cycle of a frame's first and last beat; ``beat`` counts in the frame."""
        m.d.sync += beat.eq(beat + 1)
        with m.If(beat == 0):
            m.d.sync += first.eq(self.cycle)
        with m.If(beat == size - 1):
            m.d.sync += [beat.eq(0), last.eq(self.cycle), frames.eq(frames + 1)]
