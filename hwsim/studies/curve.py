"""Accuracy against voltage over many chips, and the lowest voltage that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile

from hwsim.faults.design import DesignFaults
from hwsim.hashes import value_hash
from hwsim.progress import NoProgress, Progress, Task
from hwsim.studies.statistics import Bound, Estimate, StopRule, estimate
from hwsim.studies.study import ChipRecords, Study

_DIGITS = 6
"""Decimals of voltages that are found by halving: far below what any data resolves."""


@dataclass(frozen=True)
class CurvePoint:
    """Accuracies (0..1) of chips ``seed``, ``seed + 1``, ... at one voltage.

    looks: how often the stop rule could have stopped adding chips (``StopRule.looks``).
    """

    voltage_rel: float
    bit_error_rate: float
    accuracies: tuple[float, ...]
    looks: int = 1

    @cached_property
    def accuracy(self) -> Estimate:
        """Mean over the chips with its 95 % interval; the width is 0 if no cell can fail."""
        return self._exact(estimate(self.accuracies))

    def share(self, bound: Bound) -> Estimate:
        """The yield with its 95 % interval; the width is 0 if no cell can fail."""
        return self._exact(bound.share(self.accuracies, self.looks))

    def kept(self, bound: Bound) -> bool | None:
        """Whether the bound is kept; None if the interval of the mean or yield leaves it open."""
        return bound.verdict(self.accuracy if bound.goal is None else self.share(bound))

    def _exact(self, found: Estimate) -> Estimate:
        if self.bit_error_rate:
            return found
        return Estimate(found.mean, found.mean, found.mean, found.count)


@dataclass(frozen=True)
class VoltageCurve:
    """Accuracy against voltage.

    points: ascending in voltage; the last is vmin, where no cell fails. bound: the question.
    """

    points: tuple[CurvePoint, ...]
    bound: Bound

    @property
    def clean(self) -> float:
        """Accuracy without faults."""
        return self.bound.clean

    @property
    def lowest(self) -> CurvePoint:
        """The lowest voltage that, like all higher measured ones, is shown to be good enough."""
        for below, point in pairwise(reversed((None, *self.points))):
            assert below is not None
            if point is None or not point.kept(self.bound):
                return below
        raise AssertionError("vmin has no faults")

    @property
    def next_lower(self) -> CurvePoint | None:
        """The measured point below ``lowest``, the first that is not shown to be good enough."""
        at = self.points.index(self.lowest)
        return self.points[at - 1] if at else None

    @property
    def open(self) -> tuple[CurvePoint, ...]:
        """Points below ``lowest``, downwards, that the chips leave undecided."""
        below = self.points[: self.points.index(self.lowest)]
        return tuple(takewhile(lambda point: point.kept(self.bound) is None, reversed(below)))


def measure_curve(
    study: Study,
    voltages: Iterable[float],
    rule: StopRule,
    *,
    loss: float = 0.01,
    goal: float | None = None,
    seed: int = 0,
    refine: int = 0,
    records: ChipRecords | None = None,
    progress: Progress | None = None,
) -> VoltageCurve:
    """Accuracy of ``study`` at ``voltages`` (relative to vmin) and at vmin.

    Chips are those of seeds ``seed``, ``seed + 1``, ...: the same at every voltage, in every
    study. loss, goal: see ``Bound``. refine: how often the interval between the lowest voltage
    that is good enough and the next lower one is halved; the middle is measured, too. records:
    chips that were counted before; new counts are added.

    Raises VoltageError for a voltage outside the technology's data and StatisticsError unless
    loss and goal lie between 0 and 1, before anything is measured.
    """
    Bound(1.0, loss, goal)
    records = ChipRecords() if records is None else records
    rates = {v: study.technology.probability(v) for v in sorted({*voltages, 1.0}, reverse=True)}
    total = (len(rates) - 1 + refine) * rule.most + rule.least
    name = f"{study.protection.name}: chips at voltages"
    with (progress or NoProgress()).task(name, total) as task:
        bound = Bound(study.clean / study.images, loss, goal)

        def measure(voltage: float) -> CurvePoint:
            rate = study.technology.probability(voltage)
            key = value_hash([study.key, rate])
            found = accuracies(
                study,
                key,
                # Where no cell can fail one need not look.
                rule if rate else StopRule.fixed(rule.least),
                seed,
                records,
                task,
                lambda chip: study.faults(chip, rate),
                bound,
            )
            return CurvePoint(voltage, rate, tuple(found), len(rule.looks))

        points = [measure(voltage) for voltage in rates]
        curve = VoltageCurve(_ascending(points), bound)
        for _ in range(refine):
            below = curve.next_lower
            if below is None:
                break
            middle = round((below.voltage_rel + curve.lowest.voltage_rel) / 2, _DIGITS)
            points.append(measure(middle))
            curve = VoltageCurve(_ascending(points), bound)
    return curve


def _ascending(points: Sequence[CurvePoint]) -> tuple[CurvePoint, ...]:
    return tuple(sorted(points, key=lambda point: point.voltage_rel))


def accuracies(
    study: Study,
    key: str,
    rule: StopRule,
    seed: int,
    records: ChipRecords,
    task: Task,
    faults: Callable[[int], DesignFaults],
    bound: Bound | None = None,
) -> list[float]:
    """Accuracy of chips ``seed``, ``seed + 1``, ... until ``rule`` is satisfied about ``bound``.

    faults: the faults on the chip of a seed. key: key of its counts in the records.
    """
    values: list[float] = []
    while not rule.done(values, bound):
        chip = seed + len(values)
        right = records.get(key, chip)
        if right is None or right > study.images:  # or a count that cannot be
            right = study.right(faults(chip))
            records.add(key, chip, right)
        values.append(right / study.images)
        task.advance()
    task.advance(rule.most - len(values))
    return values
