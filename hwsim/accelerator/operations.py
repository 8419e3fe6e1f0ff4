"""How many operations of which width each stage carries out in a frame.

Counted is what the datapath does in every step, in folded lanes past the last channel too: those
lanes toggle like all others. An n:1 multiplexer is n - 1 two-input ones. Requantizers count once
per lane and beat that leaves the stage. Counters, addresses and pipeline registers are not
counted, nor what starts, holds or clears a value (zeros outside the image, accumulators).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hwsim.accelerator.pipeline import Stage
from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.weights import WeightStore, weight_store
from hwsim.network import GlobalMaxPool, MaxPool2d, MuxConv2d, TensorType, bits_for

KINDS = ("add", "negate", "compare", "multiply", "select")


@dataclass(frozen=True)
class Operation:
    """An operation on ``bits`` bits; a multiplication has a second operand of ``other`` bits.

    kind: add; negate (the sign flip of a weight); compare (of two values); multiply; select (a
    2:1 multiplexer).
    """

    kind: str
    bits: int
    other: int = 0


def count_operations(stage: Stage) -> Counter[Operation]:
    """Operations of ``stage`` per frame."""
    count: Counter[Operation] = Counter()
    count.update(_window(stage))
    count.update(_DATAPATHS[stage.kind](stage))
    count.update(_requantize(stage))
    return Counter({operation: n for operation, n in count.items() if n})


def tree(terms: int, bits: int, most: int, times: int) -> Counter[Operation]:
    """``times`` adder trees over ``terms`` values of ``bits``; sums never need above ``most``."""
    count: Counter[Operation] = Counter()
    while terms > 1:
        bits = min(bits + 1, most)
        count[Operation("add", bits)] += terms // 2 * times
        terms -= terms // 2
    return count


def _window(stage: Stage) -> Counter[Operation]:
    """Turning the banks of a ring into place: one multiplexer per row, one per column."""
    height, width = stage.timing.kernel
    selects = height * width * (height - 1 + width - 1) * stage.timing.frame_steps
    return Counter({Operation("select", stage.inputs[0].bits): selects})


def _none(stage: Stage) -> Counter[Operation]:
    return Counter()


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
    assert store is not None
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


def _mac(stage: Stage) -> Counter[Operation]:
    store = weight_store(stage)
    assert store is not None
    _, outputs, inputs, positions = store.weight.shape
    count = _weighted(stage, outputs, inputs, positions)
    if stage.timing.steps > 1:
        add = Operation("add", stage.accumulator.bits)
        count[add] += outputs * stage.timing.frame_steps
    return count


def _depthwise(stage: Stage) -> Counter[Operation]:
    store = weight_store(stage)
    assert store is not None
    return _weighted(stage, store.weight.shape[1], 1, store.weight.shape[3])


def _larger(bits: int, times: int) -> Counter[Operation]:
    return Counter({Operation("compare", bits): times, Operation("select", bits): times})


def _pool(stage: Stage) -> Counter[Operation]:
    x, t = stage.inputs[0], stage.timing
    terms = t.kernel[0] * t.kernel[1]
    if isinstance(stage.op, MaxPool2d):
        return _larger(x.type.bits, (terms - 1) * x.lanes * t.frame_steps)
    return tree(terms, x.type.bits, stage.accumulator.bits, x.lanes * t.frame_steps)


def _global_pool(stage: Stage) -> Counter[Operation]:
    times = stage.inputs[0].lanes * stage.timing.frame_steps
    if isinstance(stage.op, GlobalMaxPool):
        return _larger(stage.accumulator.bits, times)
    return Counter({Operation("add", stage.accumulator.bits): times})


def _add(stage: Stage) -> Counter[Operation]:
    times = stage.inputs[0].lanes * stage.timing.frame_steps
    return Counter({Operation("add", stage.accumulator.bits): times})


def _argmax(stage: Stage) -> Counter[Operation]:
    """Every lane against the others, and the best against the best so far."""
    x = stage.inputs[0]
    times = x.lanes * stage.timing.frame_steps
    chosen = Operation("select", x.type.bits + stage.output.type.bits)
    return Counter({Operation("compare", x.type.bits): times, chosen: times})


def _resize(stage: Stage) -> Counter[Operation]:
    """One output beat out of those of two pixels."""
    y = stage.output
    selects = (stage.timing.row_slots * y.beats - 1) * stage.timing.frame_steps
    return Counter({Operation("select", y.bits): selects})


def _requantize(stage: Stage) -> Counter[Operation]:
    store = requantize_store(stage)
    if store is None or stage.rider is None:
        return Counter()
    times = stage.output.lanes * stage.timing.output_beats
    shifted = max(1, store.sum_bits - stage.rider.shift)
    count: Counter[Operation] = Counter()
    if store.multiplier_bits:
        count[Operation("multiply", stage.accumulator.bits, store.multiplier_bits)] += times
    count[Operation("add", store.sum_bits)] += times
    count[Operation("compare", shifted)] += 2 * times
    count[Operation("select", stage.output.type.bits)] += 2 * times
    return count


_DATAPATHS = {
    "mac": _mac,
    "depthwise": _depthwise,
    "pool": _pool,
    "global_pool": _global_pool,
    "add": _add,
    "requantize": _none,
    "fork": _none,
    "argmax": _argmax,
    "resize": _resize,
}
