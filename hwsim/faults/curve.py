"""Accuracy against voltage over many chips, and the lowest voltage that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from hwsim.faults.design import DesignFaults
from hwsim.faults.statistics import Estimate, StatisticsError, StopRule, share
from hwsim.faults.study import Records, Study
from hwsim.progress import NoProgress, Progress, Task
from hwsim.run.files import value_hash

_DIGITS = 6
"""Decimals of voltages that are found by halving: far below what any data resolves."""


@dataclass(frozen=True)
class CurvePoint:
    """Accuracies (0..1) of chips ``seed``, ``seed + 1``, ... at one voltage."""

    voltage_rel: float
    bit_error_rate: float
    accuracies: tuple[float, ...]

    @cached_property
    def accuracy(self) -> Estimate:
        """Mean over the chips with its 95 % interval."""
        return share(self.accuracies)

    def within(self, clean: float, loss: float) -> bool:
        """Whether the mean is at most ``loss`` below ``clean``, and its interval is too.

        An interval that reaches further down leaves open whether the mean does.
        """
        return self.accuracy.low >= clean - loss


@dataclass(frozen=True)
class VoltageCurve:
    """Accuracy against voltage.

    points: ascending in voltage; the last is vmin, where nothing fails. clean: accuracy without
    faults. loss: how much of it may be lost.
    """

    points: tuple[CurvePoint, ...]
    clean: float
    loss: float

    @property
    def lowest(self) -> CurvePoint:
        """The lowest voltage that is good enough, as are all higher ones that were measured."""
        for below, point in pairwise(reversed((None, *self.points))):
            assert below is not None
            if point is None or not point.within(self.clean, self.loss):
                return below
        raise AssertionError("vmin has no faults")

    @property
    def next_lower(self) -> CurvePoint | None:
        """The measured point below ``lowest``, the first that is not good enough."""
        at = self.points.index(self.lowest)
        return self.points[at - 1] if at else None


def measure_curve(
    study: Study,
    voltages: Iterable[float],
    rule: StopRule,
    *,
    loss: float = 0.01,
    seed: int = 0,
    refine: int = 0,
    records: Records | None = None,
    progress: Progress | None = None,
) -> VoltageCurve:
    """Accuracy of ``study`` at ``voltages`` (relative to vmin) and at vmin.

    Chips are those of seeds ``seed``, ``seed + 1``, ...: the same at every voltage, in every
    study. loss: of the clean accuracy, that is acceptable. refine: how often the interval between
    the lowest voltage that is good enough and the next lower one is halved, and its middle
    measured too. records: what was counted before, and where to keep what is counted now.

    Raises VoltageError for a voltage outside the technology's data, before anything is measured,
    and StatisticsError unless 0 < loss < 1.
    """
    if not 0 < loss < 1:
        raise StatisticsError(f"the loss that is acceptable must be between 0 and 1, not {loss:g}")
    records = Records() if records is None else records
    rates = {v: study.technology.probability(v) for v in sorted({*voltages, 1.0}, reverse=True)}
    total = (len(rates) + refine) * rule.most
    name = f"{study.protection.name}: chips at voltages"
    with (progress or NoProgress()).task(name, total) as task:

        def measure(voltage: float) -> CurvePoint:
            rate = study.technology.probability(voltage)
            key = value_hash([study.key, rate])
            found = accuracies(
                study, key, rule, seed, records, task, lambda chip: study.faults(chip, rate)
            )
            return CurvePoint(voltage, rate, tuple(found))

        points = [measure(voltage) for voltage in rates]
        curve = VoltageCurve(_ascending(points), study.clean / study.images, loss)
        for _ in range(refine):
            below = curve.next_lower
            if below is None:
                break
            middle = round((below.voltage_rel + curve.lowest.voltage_rel) / 2, _DIGITS)
            points.append(measure(middle))
            curve = VoltageCurve(_ascending(points), curve.clean, loss)
    return curve


def _ascending(points: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    return tuple(sorted(points, key=lambda point: point.voltage_rel))


def accuracies(
    study: Study,
    key: str,
    rule: StopRule,
    seed: int,
    records: Records,
    task: Task,
    faults: Callable[[int], DesignFaults],
) -> list[float]:
    """Accuracy of chips ``seed``, ``seed + 1``, ... until ``rule`` is content.

    faults: what fails on the chip of a seed. key: what its counts are recorded under.
    """
    values: list[float] = []
    while not rule.done(values):
        chip = seed + len(values)
        right = records.get(key, chip)
        if right is None:
            right = study.right(faults(chip))
            records.add(key, chip, right)
        values.append(right / study.images)
        task.advance()
    task.advance(rule.most - len(values))
    return values
