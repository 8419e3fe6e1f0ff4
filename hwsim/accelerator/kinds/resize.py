"""A change of lanes between two stages."""

from __future__ import annotations

from collections import Counter

from hwsim.accelerator.fold import Fold
from hwsim.accelerator.kinds.kind import Accumulator, StageKind, Window, never
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.timing import Timing
from hwsim.design.operation import Operation
from hwsim.network import Op


def _timing(op: Op | None, fold: Fold, x: Stream, y: Stream, tail: int) -> Timing:
    need = tuple((min((t + 1) * y.lanes, x.type.channels) - 1) // x.lanes for t in range(y.beats))
    pixels = x.type.height * x.type.width
    return Timing(pixels, 1, x.beats, 1, row_slots=2, steps=y.beats, need=need)


def _operations(stage: Stage) -> Counter[Operation]:
    """One output beat out of those of two pixels."""
    y = stage.output
    selects = (stage.timing.row_slots * y.beats - 1) * stage.timing.frame_steps
    return Counter({Operation("select", y.bits): selects})


RESIZE = StageKind(
    name="resize",
    words="change of lanes",
    colour=5,
    takes=never,
    riders=(),
    reads_flat=never,
    keeps_flat=True,
    by_pe=False,
    output_lanes=lambda fold, x: fold.simd,
    window=Window.PIXELS,
    accumulator=Accumulator.NONE,
    timing=_timing,
    operations=_operations,
)
