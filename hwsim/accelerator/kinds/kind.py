"""All that hwsim knows about a kind of stage: one record, which all other code reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from hwsim.accelerator.fold import Fold
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.timing import Timing
from hwsim.design.operation import Operation
from hwsim.network import Lookup, Op, Requantize


class Window(Enum):
    """Where a stage that does not stream keeps its input."""

    NONE = "none"
    """Nowhere: stages of this kind always stream."""
    RING = "ring"
    """Rows in a ring of memories, one bank for each tap of the kernel."""
    PIXELS = "pixels"
    """Two pixels in registers."""


class Accumulator(Enum):
    """Registers in which a stage adds up, or compares, over several steps."""

    NONE = "none"
    """None: a step yields its results. The best-so-far of an ArgMax does not count."""
    GROUP = "group"
    """One for each output lane, over the steps of a group of output channels."""
    FRAME = "frame"
    """One for each channel, over the pixels of a frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StageKind:
    """A kind of stage. Every field must be given, so a kind that lacks one cannot be.

    name: name in files and in the record ``KINDS``. words: work of these stages, for people.
    colour: colour of its boxes in drawings, a number of the report's palette.
    takes: whether the stage of this op is of this kind; kinds that hwsim adds between stages take
    no op.
    riders: kinds of ops that may be done at the stage's end, in this order: each is the only
    reader of what comes before it.
    reads_flat: whether the op may read a flattened map, which streams pixel by pixel.
    keeps_flat: the output of a flattened map is a flattened map.
    by_pe: output lanes are folded by ``pe``; all other kinds work channel by channel.
    output_lanes: number of output lanes, from fold and input.
    window: where the input is kept. accumulator: where sums are kept.
    timing: the timing contract, from op, fold, input, output, and cycles of the riders;
    the input ring has one kernel height. Raises MappingError for an op that cannot be mapped.
    operations: operations of the datapath in a frame, without turning the window and the riders'.

    The RTL of a kind is ``STAGES`` in ``hwsim.rtl.accelerator``.
    """

    name: str
    words: str
    colour: int
    takes: Callable[[Op], bool]
    riders: tuple[type[Op], ...]
    reads_flat: Callable[[Op], bool]
    keeps_flat: bool
    by_pe: bool
    output_lanes: Callable[[Fold, Stream], int]
    window: Window
    accumulator: Accumulator
    timing: Callable[[Op | None, Fold, Stream, Stream, int], Timing]
    operations: Callable[[Stage], Counter[Operation]]

    def __str__(self) -> str:
        return self.name


def never(op: Op) -> bool:
    """No op: for ``takes`` and ``reads_flat``."""
    return False


def same_lanes(fold: Fold, x: Stream) -> int:
    """Lanes leave as they come: for ``output_lanes``."""
    return x.lanes


def no_operations(stage: Stage) -> Counter[Operation]:
    """For ``operations`` of stages that only pass values on."""
    return Counter()


def each_beat(x: Stream, latency: int) -> Timing:
    """Timing of a stage that streams, one beat a step."""
    beats = x.beats
    return Timing(
        x.type.height, x.type.width, beats, latency, steps=beats, need=tuple(range(beats))
    )


RIDERS: tuple[type[Op], ...] = (Requantize, Lookup)
"""For ``riders`` of stages that compute: their results may be requantized, then looked up."""


def riders_latency(riders: Iterable[Op]) -> int:
    """Cycles of ops at a stage's end.

    A requantizer takes one to multiply (unless all multipliers are 1), to add, and to clamp; a
    table takes one to be read.
    """
    cycles = 0
    for op in riders:
        cycles += 1
        if isinstance(op, Requantize):
            cycles += 1 if (op.multiplier == 1).all() else 2
    return cycles
