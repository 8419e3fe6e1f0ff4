"""The parts of a pipeline: streams, the FIFOs that carry them, the stages that FIFOs link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.accelerator.fold import Fold
from hwsim.accelerator.timing import Timing, fifo_latency
from hwsim.network import Lookup, Op, Requantize, TensorType, Weighted

if TYPE_CHECKING:
    from hwsim.accelerator.kinds import StageKind


@dataclass(frozen=True)
class Stream:
    """How a tensor travels: pixels in raster order, ``ceil(channels / lanes)`` beats a pixel.

    Lane l of beat g of a pixel is channel ``g * lanes + l``; lanes past the last channel carry
    unspecified values. ``type`` is the map as it was before any Flatten; ``flat`` tells that the
    tensor counts as the vector of its values.
    """

    tensor: str
    type: TensorType
    lanes: int
    flat: bool = False

    @property
    def beats(self) -> int:
        """Beats per pixel."""
        return -(-self.type.channels // self.lanes)

    @property
    def frame_beats(self) -> int:
        return self.beats * self.type.height * self.type.width

    @property
    def bits(self) -> int:
        """Width of a beat."""
        return self.lanes * self.type.bits


@dataclass(frozen=True)
class Fifo:
    """One link: ``producer`` and ``consumer`` are stage names, or the pipeline's ends."""

    name: str
    producer: str
    consumer: str
    stream: Stream
    depth: int

    @property
    def latency(self) -> int:
        return fifo_latency(self.depth)


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage: it computes ``op`` (None: resize, fork), ``riders`` are done at its end.

    kind: record of this kind of stage (``hwsim.accelerator.kinds``). inputs: streams that the stage
    reads, in the op's order. accumulator: type of the output of ``op``, before the riders.
    output: the stream that the stage yields.
    """

    name: str
    kind: StageKind
    op: Op | None
    riders: tuple[Op, ...]
    fold: Fold
    inputs: tuple[Stream, ...]
    accumulator: TensorType
    output: Stream
    timing: Timing

    @property
    def ops(self) -> tuple[Op, ...]:
        """The ops that this stage does, in order; none of a stage that hwsim puts between."""
        return self.riders if self.op is None else (self.op, *self.riders)

    @property
    def requantize(self) -> Requantize | None:
        """The requantizer at the stage's end, which may be all that the stage does."""
        return next((op for op in self.ops if isinstance(op, Requantize)), None)

    @property
    def requantizer(self) -> Requantize:
        """``requantize`` of a stage that has one; raises TypeError for all others."""
        if self.requantize is None:
            raise TypeError(f"stage {self.name} has no requantizer")
        return self.requantize

    @property
    def lookup(self) -> Lookup | None:
        """The lookup at the stage's end, which may be all that the stage does."""
        return next((op for op in self.ops if isinstance(op, Lookup)), None)

    @property
    def table(self) -> Lookup:
        """``lookup`` of a stage that has one; raises TypeError for all others."""
        if self.lookup is None:
            raise TypeError(f"stage {self.name} has no lookup table")
        return self.lookup

    @property
    def requantized(self) -> TensorType:
        """What the requantizer yields; without one the same as ``accumulator``."""
        if self.requantize is None:
            return self.accumulator
        return TensorType.for_range(self.output.type.shape, self.requantize.lo, self.requantize.hi)

    @property
    def beat_counter(self) -> str:
        """The step counter that tells which channels a beat has that leaves the stage.

        Stages that walk their output channels in groups count them in ``group``, all others in
        ``n``; a flattened map has channels of its own in every pixel.
        """
        if self.output.flat:
            return "beat"
        return "group" if self.kind.by_pe else "n"

    @property
    def weighted(self) -> Weighted:
        """``op`` of a stage with weights; raises TypeError for all others."""
        if not isinstance(self.op, Weighted):
            raise TypeError(f"stage {self.name} has no weights")
        return self.op

    @property
    def tensors(self) -> tuple[str, ...]:
        """Network tensors that this stage computes, in order."""
        return tuple(op.name for op in self.ops)

    @property
    def pe(self) -> int:
        """Output lanes that are folded; 1 for stages that work channel by channel."""
        return self.output.lanes if self.kind.by_pe else 1

    @property
    def weights(self) -> str | None:
        """Where the weights are: ``memory`` or ``constant``; None without weights."""
        return self.fold.weights if isinstance(self.op, Weighted) else None

    @property
    def words(self) -> str:
        """The stage in a few words, for people: ``max pool 2×2 / 2, requantize``."""
        if self.op is None:
            return self.kind.words
        return ", ".join(op.words for op in self.ops)
