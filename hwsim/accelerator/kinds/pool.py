"""Pools: of each window, and of each channel."""

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
    same_lanes,
)
from hwsim.accelerator.operations import tree
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.timing import Timing, tree_registers, window_read
from hwsim.design.operation import Operation
from hwsim.network import AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d, Op


def window_timing(
    x: Stream, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], tail: int
) -> Timing:
    """Of a stage that works channel by channel on windows; tail: cycles behind the adder tree."""
    beats = x.beats
    return Timing(
        x.type.height,
        x.type.width,
        beats,
        window_read(kernel) + tree_registers(kernel[0] * kernel[1]) + tail,
        kernel,
        stride,
        pad,
        kernel[0],
        steps=beats,
        need=tuple(range(beats)),
    )


def _pool_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    assert isinstance(op, MaxPool2d | AvgPool2d)
    return window_timing(x, op.kernel, op.stride, (0, 0), tail)


def _global_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    return replace(each_beat(x, 2 + tail), emit_last_pixel=True)


def larger(bits: int, times: int) -> Counter[Operation]:
    return Counter({Operation("compare", bits): times, Operation("select", bits): times})


def _pool_operations(stage: Stage) -> Counter[Operation]:
    x, t = stage.inputs[0], stage.timing
    terms = t.kernel[0] * t.kernel[1]
    if isinstance(stage.op, MaxPool2d):
        return larger(x.type.bits, (terms - 1) * x.lanes * t.frame_steps)
    return tree(terms, x.type.bits, stage.accumulator.bits, x.lanes * t.frame_steps)


def _global_operations(stage: Stage) -> Counter[Operation]:
    times = stage.inputs[0].lanes * stage.timing.frame_steps
    if isinstance(stage.op, GlobalMaxPool):
        return larger(stage.accumulator.bits, times)
    return Counter({Operation("add", stage.accumulator.bits): times})


POOL = StageKind(
    name="pool",
    words="pool of each window",
    colour=2,
    takes=lambda op: isinstance(op, MaxPool2d | AvgPool2d),
    riders=RIDERS,
    reads_flat=never,
    keeps_flat=False,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.RING,
    accumulator=Accumulator.NONE,
    timing=_pool_timing,
    operations=_pool_operations,
)

GLOBAL_POOL = StageKind(
    name="global_pool",
    words="pool of each channel",
    colour=2,
    takes=lambda op: isinstance(op, GlobalMaxPool | GlobalAvgPool),
    riders=RIDERS,
    reads_flat=never,
    keeps_flat=False,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.NONE,
    accumulator=Accumulator.FRAME,
    timing=_global_timing,
    operations=_global_operations,
)
