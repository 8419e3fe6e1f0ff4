"""The operations of each stage in a frame, by kind and width.

The count includes every operation of the datapath in every step, also in folded lanes past the last
channel, since these lanes toggle like all others. An n:1 multiplexer counts as n - 1 two-input
ones. A requantizer and a lookup count once per lane and beat that leaves the stage. The count
leaves out counters, addresses and pipeline registers, and logic that starts, holds or clears a
value (zeros outside the image, accumulators).
"""

from __future__ import annotations

from collections import Counter

from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.stage import Stage
from hwsim.accelerator.tables import table_store
from hwsim.design.operation import Operation


def count_operations(stage: Stage) -> Counter[Operation]:
    """Operations of ``stage`` per frame."""
    count: Counter[Operation] = Counter()
    count.update(_window(stage))
    count.update(stage.kind.operations(stage))
    count.update(_requantize(stage))
    count.update(_lookup(stage))
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


def _requantize(stage: Stage) -> Counter[Operation]:
    if stage.requantize is None:
        return Counter()
    store = requantize_store(stage)
    times = stage.output.lanes * stage.timing.output_beats
    shifted = max(1, store.sum_bits - stage.requantize.shift)
    count: Counter[Operation] = Counter()
    if store.multiplier_bits:
        count[Operation("multiply", stage.accumulator.bits, store.multiplier_bits)] += times
    count[Operation("add", store.sum_bits)] += times
    count[Operation("compare", shifted)] += 2 * times
    count[Operation("select", stage.requantized.bits)] += 2 * times
    return count


def _lookup(stage: Stage) -> Counter[Operation]:
    """Tables in the fabric: one level of multiplexers per address bit. Memories are no logic."""
    if stage.lookup is None or stage.fold.weights != "constant":
        return Counter()
    store = table_store(stage)
    depth = (store.tables * store.entries - 1).bit_length()
    times = depth * store.lanes * stage.timing.output_beats
    return Counter({Operation("select", store.bits): times})
