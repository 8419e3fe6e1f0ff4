"""Stages with weights: dense and multiplexer convolutions and Linear, and depthwise convolutions.

Raises MappingError for grouped convolutions that are not depthwise.
"""

from __future__ import annotations

from collections import Counter

from hwsim.accelerator.fold import Fold, is_depthwise, is_mac
from hwsim.accelerator.kinds.kind import (
    RIDERS,
    Accumulator,
    StageKind,
    Window,
    never,
    same_lanes,
)
from hwsim.accelerator.kinds.pool import window_timing
from hwsim.accelerator.operations import tree
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.timing import WEIGHT_READ, Timing, tree_registers, window_read
from hwsim.accelerator.weights import WeightStore, weight_store
from hwsim.design.operation import Operation
from hwsim.errors import MappingError
from hwsim.network import Conv2d, Linear, MuxConv2d, Op, TensorType, Weighted, bits_for

# -- timing ----------------------------------------------------------------------------------------


def mac_terms(op: Op, simd: int) -> int:
    """Products that one output lane adds in one step."""
    return simd * (op.kernel[0] * op.kernel[1] if isinstance(op, Conv2d) else 1)


def _mac_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    assert isinstance(op, Weighted)
    if isinstance(op, Conv2d) and op.groups != 1:
        raise MappingError(
            f"grouped convolution with {op.groups} groups is not mapped; "
            "use groups 1, or as many groups as input and output channels",
            op=op.name,
        )
    rows, cols, beats = x.type.height, x.type.width, x.beats
    groups = -(-output.type.channels // fold.pe)
    kernel, stride, pad = (1, 1), (1, 1), (0, 0)
    if isinstance(op, (MuxConv2d, Conv2d)):
        kernel, stride, pad = op.kernel, op.stride, op.pad
    whole = isinstance(op, Linear)
    if whole:
        rows, cols, beats = 1, 1, x.frame_beats
    accumulate = int(beats > 1)
    pointwise = kernel == (1, 1) and stride == (1, 1)
    if pointwise:
        # A window of one pixel does not look at its neighbours: the rows may as well be pixels.
        rows, cols = rows * cols, 1
    streaming = pointwise and groups == 1
    fetch = WEIGHT_READ if streaming else window_read(kernel)
    latency = fetch + 1 + tree_registers(mac_terms(op, fold.simd)) + accumulate + tail
    return Timing(
        rows,
        cols,
        beats,
        latency,
        kernel,
        stride,
        pad,
        row_slots=0 if streaming else kernel[0],
        groups=groups,
        steps=beats,
        need=tuple(range(beats)),
        emit_last_step=True,
    )


def _depthwise_timing(op: Op | None, fold: Fold, x: Stream, output: Stream, tail: int) -> Timing:
    assert isinstance(op, Conv2d)
    return window_timing(x, op.kernel, op.stride, op.pad, 1 + tail)


# -- operations ------------------------------------------------------------------------------------


def _product(x: TensorType, weight: tuple[int, int]) -> int:
    """Width of ``x`` times any weight between the two given ones."""
    ends = [value * w for value in (x.lo, x.hi) for w in weight]
    return bits_for(min(*ends, 0), max(*ends, 0))[0]


def _multiply(stage: Stage, store: WeightStore, times: int) -> Counter[Operation]:
    """``times`` products with weights that come from a store, by kind of weight."""
    x, code = stage.inputs[0].type, store.code
    if code.kind == "int":
        return Counter({Operation("multiply", x.bits, code.bits): times})
    most = (1 << ((1 << code.exponent_bits) - 1)) if code.exponent_bits else 1
    shifted, bits = _product(x, (0, most)), _product(x, (-most, most))
    count: Counter[Operation] = Counter()
    # The barrel shifter, the negated value, the choice between both, and zero.
    count[Operation("select", shifted)] += code.exponent_bits * times
    count[Operation("negate", bits)] += times
    count[Operation("select", bits)] += (1 + code.zero) * times
    return count


def _weighted(stage: Stage, outputs: int, inputs: int, positions: int) -> Counter[Operation]:
    """Taps, products and sums of ``outputs`` lanes that each add ``inputs`` x ``positions``."""
    store = weight_store(stage)
    steps, x, most = stage.timing.frame_steps, stage.inputs[0].type, stage.accumulator.bits
    if stage.fold.weights == "constant" and store.words == 1:
        return _fixed(stage, store, steps)
    count: Counter[Operation] = Counter()
    if stage.fold.weights == "constant":
        # A table in the fabric: one level of multiplexers per address bit.
        depth = (store.words - 1).bit_length()
        count[Operation("select", store.bits)] += depth * steps
    lanes = outputs * inputs
    if isinstance(stage.op, MuxConv2d):
        taps = stage.op.kernel[0] * stage.op.kernel[1]
        count[Operation("select", x.bits)] += (taps - 1) * lanes * steps
    count.update(_multiply(stage, store, lanes * positions * steps))
    bits = _product(x, (int(store.weight.min()), int(store.weight.max())))
    count.update(tree(inputs * positions, bits, most, outputs * steps))
    return count


def _fixed(stage: Stage, store: WeightStore, steps: int) -> Counter[Operation]:
    """Weights that are wiring: zeros vanish, powers of two cost nothing, minus signs negate.

    Other weights cost one addition less than their canonical signed digits.
    """
    x, most = stage.inputs[0].type, stage.accumulator.bits
    count: Counter[Operation] = Counter()
    for weights in store.weight[0]:
        used = [int(w) for w in weights.ravel() if w]
        for w in used:
            bits, digits = _product(x, (w, w)), (abs(w) ^ 3 * abs(w)).bit_count()
            count[Operation("add", bits)] += (digits - 1) * steps
            count[Operation("negate", bits)] += (w < 0) * steps
        if used:
            count.update(tree(len(used), _product(x, (min(used), max(used))), most, steps))
    return count


def _mac_operations(stage: Stage) -> Counter[Operation]:
    store = weight_store(stage)
    _, outputs, inputs, positions = store.weight.shape
    count = _weighted(stage, outputs, inputs, positions)
    if stage.timing.steps > 1:
        add = Operation("add", stage.accumulator.bits)
        count[add] += outputs * stage.timing.frame_steps
    return count


def _depthwise_operations(stage: Stage) -> Counter[Operation]:
    store = weight_store(stage)
    return _weighted(stage, store.weight.shape[1], 1, store.weight.shape[3])


MAC = StageKind(
    name="mac",
    words="multiply and accumulate",
    colour=0,
    takes=is_mac,
    riders=RIDERS,
    reads_flat=lambda op: isinstance(op, Linear),
    keeps_flat=False,
    by_pe=True,
    output_lanes=lambda fold, x: fold.pe,
    window=Window.RING,
    accumulator=Accumulator.GROUP,
    timing=_mac_timing,
    operations=_mac_operations,
)

DEPTHWISE = StageKind(
    name="depthwise",
    words="multiply and add within a channel",
    colour=0,
    takes=is_depthwise,
    riders=RIDERS,
    reads_flat=never,
    keeps_flat=False,
    by_pe=False,
    output_lanes=same_lanes,
    window=Window.RING,
    accumulator=Accumulator.NONE,
    timing=_depthwise_timing,
    operations=_depthwise_operations,
)
