"""The bench around an emitted accelerator: offers, takes and measures without Python's help.

All that happens in a clock cycle happens here, in hardware, so that a simulator runs at full
speed; the cocotb side (``cosim``) only refills the stimulus every few dozen beats.
"""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Signal, unsigned
from amaranth.lib.wiring import Component, In, Out

from hwsim.accelerator import Pipeline
from hwsim.rtl.accelerator import LEVEL_BITS
from hwsim.rtl.util import index

WAIT_BITS = 8
"""Width of one gap or stall."""

COUNTER_BITS = 32
_CHUNK_BITS = 4096


def chunk_beats(beat_bits: int) -> int:
    """Beats that travel between bench and Python at once: a power of two, at most 64."""
    return min(64, 1 << max(_CHUNK_BITS // beat_bits, 1).bit_length() - 1)


class Bench(Component):
    """Drives the module ``accelerator`` and counts what the cycle model predicts.

    Cycle 0 is the first one after reset. Counting ends with the last output transfer.

    Beats travel in chunks. ``feed_count`` and ``taken_count`` tell how many chunks were used up
    and filled; in the very cycle in which a count changes, the next chunk is due.

    Stimulus:
    ``frames``: how many frames to run.
    ``feed``, ``gaps``: a chunk of beats, and the idle cycles before each of them.
    ``stalls``: cycles in which the sink is not ready before each beat of a chunk that it takes.

    Measurements:
    ``taken``: the newest output beats, the last one highest.
    ``first_input``, ``last_input``, ``first_output``, ``last_output``: cycles of the newest
    frame's first and last beat; ``input_frames``, ``output_frames``: whole frames so far.
    ``busy``, ``blocked``: cycles per stage, 32 bits each; ``high_water``: per FIFO, 16 bits each.
    ``cycle``: counts until ``done``; ``beats``: output beats so far; ``extra``: beats that came
    after the last one was due.
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
                "gaps": In(self._feed_beats * WAIT_BITS),
                "feed_count": Out(counter),
                "stalls": In(self._taken_beats * WAIT_BITS),
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
                "done": Out(1),
            }
        )

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    def elaborate(self, platform):
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
        m.submodules.accelerator = Instance(
            "accelerator",
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_i__payload=i_payload,
            i_i__valid=i_valid,
            o_i__ready=i_ready,
            o_o__payload=o_payload,
            o_o__valid=o_valid,
            i_o__ready=o_ready,
            o_busy=starts,
            o_blocked=waits,
            o_levels=levels,
        )
        self._source(m, i_valid, i_ready, i_payload)
        self._sink(m, o_valid, o_ready, o_payload)
        with m.If(~self.done):
            m.d.sync += self.cycle.eq(self.cycle + 1)
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

    def _source(self, m: Module, valid: Signal, ready: Signal, payload: Signal) -> None:
        x = self._pipeline.input
        at = Signal(index(self._feed_beats), name="feed_at")
        idle = Signal(WAIT_BITS, name="in_idle")
        m.d.comb += [
            valid.eq((self.input_frames != self.frames) & (idle == self._wait(self.gaps, at))),
            payload.eq(self.feed.word_select(at, x.bits)),
        ]
        with m.If(~valid):
            m.d.sync += idle.eq(idle + 1)
        with m.Elif(ready):
            m.d.sync += idle.eq(0)
            self._advance(m, at, self._feed_beats, self.feed_count)
            self._date(
                m, x.frame_beats, self.first_input, self.last_input, self.input_frames, "in_beat"
            )

    def _sink(self, m: Module, valid: Signal, ready: Signal, payload: Signal) -> None:
        y = self._pipeline.output
        at = Signal(index(self._taken_beats), name="taken_at")
        idle = Signal(WAIT_BITS, name="out_idle")
        m.d.comb += [
            self.done.eq(self.output_frames == self.frames),
            ready.eq(self.done | (idle == self._wait(self.stalls, at))),
        ]
        with m.If(self.done):
            m.d.sync += self.extra.eq(self.extra + valid)
        with m.Elif(~ready):
            m.d.sync += idle.eq(idle + 1)
        with m.Elif(valid):
            m.d.sync += [
                idle.eq(0),
                self.beats.eq(self.beats + 1),
                self.taken.eq(Cat(self.taken, payload)[y.bits :]),
            ]
            self._advance(m, at, self._taken_beats, self.taken_count)
            self._date(
                m,
                y.frame_beats,
                self.first_output,
                self.last_output,
                self.output_frames,
                "out_beat",
            )

    def _wait(self, schedule: Signal, at: Signal):
        return schedule.word_select(at, WAIT_BITS)

    def _advance(self, m: Module, at: Signal, size: int, count: Signal) -> None:
        """Move on in a chunk; count the chunk when it is used up."""
        with m.If(at == size - 1):
            m.d.sync += [at.eq(0), count.eq(count + 1)]
        with m.Else():
            m.d.sync += at.eq(at + 1)

    def _date(
        self, m: Module, size: int, first: Signal, last: Signal, frames: Signal, name: str
    ) -> None:
        """Note the cycle of a frame's first and last beat."""
        beat = Signal(index(size), name=name)
        m.d.sync += beat.eq(beat + 1)
        with m.If(beat == 0):
            m.d.sync += first.eq(self.cycle)
        with m.If(beat == size - 1):
            m.d.sync += [beat.eq(0), last.eq(self.cycle), frames.eq(frames + 1)]
