"""Accuracy against voltage of any module whose memories fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hwsim.lowvoltage.chip import Chip
from hwsim.lowvoltage.technology import MemoryTechnology
from hwsim.models.attributes import FaultModelError
from hwsim.models.injector import FaultInjector
from hwsim.models.stored import weights_read_once
from hwsim.progress import NoProgress, Progress
from hwsim.studies.curve import CurvePoint, VoltageCurve
from hwsim.studies.statistics import Bound, StopRule


def voltage_curve(
    faults: FaultInjector,
    technology: MemoryTechnology,
    accuracy: Callable[[], float],
    voltages: Iterable[float],
    *,
    chips: int | None = None,
    loss: float = 0.01,
    goal: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> VoltageCurve:
    """Accuracy of a model against the voltage of its memories, over many chips.

    accuracy: evaluates the model as it is and returns a share 0..1; it is called once for each
    chip (seeds ``seed`` ..., the same at every voltage) and once without errors. voltages:
    relative to vmin; vmin itself is added. chips: how many; default: until the intervals decide
    (``StopRule``). loss: of the clean accuracy, that is acceptable, in the mean, or, with a goal,
    to that share of the chips: ``lowest`` of the result is the lowest voltage that is shown to
    keep it. A mean takes 500 chips to show a loss of 0.01. For networks on an accelerator give
    ``faults`` a placement, so that the chips are those of ``hwsim faults``, which also knows the
    other memories (constants, FIFOs, windows, accumulators).

    Raises VoltageError outside the technology's data, FaultModelError for fewer than 2 chips and
    StatisticsError for a loss or goal outside 0..1.
    """
    if chips is not None and chips < 2:
        raise FaultModelError(f"chips must be at least 2, not {chips}")
    Bound(1.0, loss, goal)
    rule = StopRule() if chips is None else StopRule.fixed(chips)
    rates = {v: technology.probability(v) for v in sorted({*voltages, 1.0})}
    was_training = faults.model.training
    faults.model.eval()
    try:
        with (progress or NoProgress()).task("chips at voltages", len(rates) * rule.most) as task:
            clean = accuracy()
            bound = Bound(clean, loss, goal)
            points = []
            for voltage, rate in rates.items():
                found: list[float] = []
                count = rule if rate else StopRule.fixed(rule.least)
                while not count.done(found, bound):
                    if rate:
                        number = seed + len(found)
                        # The weights are read once, not for every batch.
                        with (
                            weights_read_once(faults.model),
                            faults.chip(Chip(technology, number), rate=rate),
                        ):
                            found.append(accuracy())
                    else:
                        found.append(clean)
                    task.advance()
                task.advance(rule.most - len(found))
                points.append(CurvePoint(voltage, rate, tuple(found), len(rule.looks)))
    finally:
        faults.model.train(was_training)
    return VoltageCurve(tuple(points), bound)
