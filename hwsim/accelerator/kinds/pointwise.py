"""Stages that handle each beat by itself: add, requantize, lookup, fork; argmax over a frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hwsim.accelerator.fold import Fold
from hwsim.accelerator.kinds.kind import (
    RIDERS,
    Accumulator,
    StageKind,
    Window,
    each_beat,
    never,
    no_operations,
    riders_latency,
    same_lanes,
)
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.timing import Timing, tree_registers
from hwsim.design.operation import Operation
from hwsim.network import Add, ArgMax, Lookup, Op, Requantize


def _add_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    return each_beat(x, 1 + tail)


def _alone_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    assert op is not None
    # One cycle fetches the channel's constants, which riders find fetched already.
    return each_beat(x, 1 + riders_latency([op]) + tail)


def _fork_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    return each_beat(x, 1)


def _argmax_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    latency = 2 + tree_registers(x.lanes)
    return replace(each_beat(x, latency), emit_last_pixel=True, emit_last_step=True)


def _add_operations(stage: Stage) -> Counter[Operation]:
    times = stage.inputs[0].lanes * stage.timing.frame_steps
    return Counter({Operation("add", stage.accumulator.bits): times})


def _argmax_operations(stage: Stage) -> Counter[Operation]:
    """Every lane against the others, and the best against the best so far."""
    x = stage.inputs[0]
    times = x.lanes * stage.timing.frame_steps
    chosen = Operation("select", x.type.bits + stage.output.type.bits)
    return Counter({Operation("compare", x.type.bits): times, chosen: times})


ADD = StageKind(
    name="add",
    words="add",
    colour=3,
    takes=lambda op: isinstance(op, Add),
    riders=RIDERS,
    reads_flat=never,
    keeps_flat=False,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.NONE,
    accumulator=Accumulator.NONE,
    timing=_add_timing,
    operations=_add_operations,
)

REQUANTIZE = StageKind(
    name="requantize",
    words="requantize",
    colour=5,
    takes=lambda op: isinstance(op, Requantize),
    riders=(Lookup,),
    reads_flat=lambda op: True,
    keeps_flat=True,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.NONE,
    accumulator=Accumulator.NONE,
    timing=_alone_timing,
    operations=no_operations,
)

LOOKUP = replace(
    REQUANTIZE,
    name="lookup",
    words="lookup",
    takes=lambda op: isinstance(op, Lookup),
    riders=(),
)

FORK = StageKind(
    name="fork",
    words="fork",
    colour=5,
    takes=never,
    riders=(),
    reads_flat=never,
    keeps_flat=True,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.NONE,
    accumulator=Accumulator.NONE,
    timing=_fork_timing,
    operations=no_operations,
)

ARGMAX = StageKind(
    name="argmax",
    words="argmax",
    colour=5,
    takes=lambda op: isinstance(op, ArgMax),
    riders=(),
    reads_flat=lambda op: True,
    keeps_flat=False,
    by_pe=False,
    output_lanes=lambda fold, x: 1,
    window=Window.NONE,
    accumulator=Accumulator.NONE,
    timing=_argmax_timing,
    operations=_argmax_operations,
)
