"""The accelerator: the stages and FIFOs of a pipeline, wired up."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from hwsim.accelerator import Pipeline, StageKind
from hwsim.accelerator.kinds import (
    ADD,
    ARGMAX,
    DEPTHWISE,
    FORK,
    GLOBAL_POOL,
    LOOKUP,
    MAC,
    POOL,
    REQUANTIZE,
    RESIZE,
)  # fmt: skip
from hwsim.config.accelerator import MOST_FIFO_BEATS
from hwsim.design.roles import Role
from hwsim.faults import DesignFaults
from hwsim.rtl.fifo import Fifo
from hwsim.rtl.mac import DepthwiseStage, MacStage
from hwsim.rtl.memory import design_memories
from hwsim.rtl.pointwise import AddStage, ArgMaxStage, PassStage
from hwsim.rtl.pool import GlobalPoolStage, PoolStage
from hwsim.rtl.resize import ResizeStage
from hwsim.rtl.stage import StageComponent
from hwsim.rtl.util import index, named

STAGES: dict[StageKind, type[StageComponent]] = {
    MAC: MacStage,
    DEPTHWISE: DepthwiseStage,
    POOL: PoolStage,
    GLOBAL_POOL: GlobalPoolStage,
    ADD: AddStage,
    REQUANTIZE: PassStage,
    LOOKUP: PassStage,
    FORK: PassStage,
    ARGMAX: ArgMaxStage,
    RESIZE: ResizeStage,
}
"""Component of each kind of stage."""

LEVEL_BITS = MOST_FIFO_BEATS.bit_length()
"""Bits that each FIFO level takes in the port ``levels``."""


class Accelerator(Component):
    """A whole network as a stream processor.

    Members:
    ``i``: input stream; a beat holds ``pipeline.input.lanes`` channels of a pixel, lane 0 in the
    lowest bits, pixels in raster order, frames without a break. Lanes past the last channel are
    ignored.
    ``i__last``: high with the last beat of each frame; may be tied low.
    ``i__misaligned``: from the first beat with which ``i__last`` was wrong until reset: high
    before a frame's last beat, or low with it although it was high before.
    ``o``: output stream of the same form (``pipeline.output``).
    ``o__last``: high while the last beat of a frame is offered.
    ``busy``, ``blocked``: one bit per stage, in the order of ``pipeline.stages``: it starts a
    step in this cycle; it has its data but an output FIFO is full.
    ``levels``: beats in each FIFO, 16 bits per FIFO in the order of ``pipeline.fifos``.
    These three and ``i__misaligned`` only observe and may stay open.

    faults: of the pipeline's memories, for a fault-injection build, which takes just as many
    cycles and reads what the faulty memories would. Raises MappingError for a protection of
    memories that are written.
    """

    def __init__(self, *, pipeline: Pipeline, faults: DesignFaults | None = None) -> None:
        if faults is not None and faults.pipeline is not pipeline:
            raise ValueError("faults must be those of this pipeline")
        self._pipeline, self._faults = pipeline, faults
        self._memories = design_memories(pipeline, faults)
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(pipeline.input.bits))),
                "i__last": In(1),
                "i__misaligned": Out(1),
                "o": Out(stream.Signature(unsigned(pipeline.output.bits))),
                "o__last": Out(1),
                "busy": Out(len(pipeline.stages)),
                "blocked": Out(len(pipeline.stages)),
                "levels": Out(len(pipeline.fifos) * LEVEL_BITS),
            }
        )
        self.stages: dict[str, StageComponent] = {}

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    @property
    def faults(self) -> DesignFaults | None:
        return self._faults

    def _known(self, m: Module) -> Value:
        """The beat at the input with zeros in the lanes past the last channel.

        What is on them does not count. Unknown values in a simulator would count, though: zero
        times unknown is unknown.
        """
        x = self._pipeline.input
        used = x.type.channels - (x.beats - 1) * x.lanes
        if used == x.lanes:
            return self.i.payload
        beat = Signal(index(x.beats), name="input_beat")
        last = named(m, "input_last", beat == x.beats - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        at = used * x.type.bits
        return Cat(self.i.payload[:at], Mux(last, 0, self.i.payload[at:]))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipeline, memories = self._pipeline, self._memories
        self.stages = {}
        for stage in pipeline.stages:
            component = STAGES[stage.kind](
                stage=stage, outputs=len(pipeline.outputs_of(stage.name)), memories=memories
            )
            m.submodules[f"stage_{stage.name}"] = self.stages[stage.name] = component
        fifos = {}
        for link in pipeline.fifos:
            fifo = Fifo(memory=memories[Role.FIFO.memory(link.name)])
            m.submodules[f"fifo_{link.name}"] = fifos[link.name] = fifo
            if link is pipeline.fifos[0]:
                m.d.comb += [
                    self.i.ready.eq(fifo.i.room),
                    fifo.i.reserve.eq(self.i.valid & self.i.ready),
                    fifo.i.write.eq(self.i.valid & self.i.ready),
                    fifo.i.data.eq(self._known(m)),
                ]
            if link is pipeline.fifos[-1]:
                connect(m, fifo.o, flipped(self.o))
        for stage in pipeline.stages:
            component = self.stages[stage.name]
            for n, link in enumerate(pipeline.outputs_of(stage.name)):
                connect(m, getattr(component, f"o{n}"), fifos[link.name].i)
            for n, link in enumerate(pipeline.inputs_of(stage.name)):
                connect(m, fifos[link.name].o, getattr(component, f"i{n}"))
        self._frames(m)
        levels = [fifos[link.name].level for link in pipeline.fifos]
        m.d.comb += [
            self.busy.eq(Cat(*(component.busy for component in self.stages.values()))),
            self.blocked.eq(Cat(*(component.blocked for component in self.stages.values()))),
            self.levels.eq(
                Cat(*(Cat(level, Const(0, LEVEL_BITS - len(level))) for level in levels))
            ),
        ]
        return m

    def _frames(self, m: Module) -> None:
        """Mark the last beat of each frame that leaves, check the marks of those that come."""
        last = _last_of_frame(m, "o", self.o, self._pipeline.output.frame_beats)
        due = _last_of_frame(m, "i", self.i, self._pipeline.input.frame_beats)
        m.d.comb += self.o__last.eq(last)
        marked = Signal()  # i__last is in use: it was high before
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += marked.eq(marked | self.i__last)
            with m.If((self.i__last != due) & (self.i__last | marked)):
                m.d.sync += self.i__misaligned.eq(1)


def _last_of_frame(m: Module, name: str, link: stream.Interface, beats: int) -> Value:
    """High while the next beat that ``link`` passes on is the last of ``beats``."""
    if beats == 1:
        return Const(1)
    beat = Signal(range(beats), name=f"{name}_beat")
    last = Signal(name=f"{name}_last")
    m.d.comb += last.eq(beat == beats - 1)
    with m.If(link.valid & link.ready):
        m.d.sync += beat.eq(beat + 1)
        with m.If(last):
            m.d.sync += beat.eq(0)
    return last
