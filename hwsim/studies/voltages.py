"""A supply voltage of its own for each memory: least energy at a bound on the accuracy lost.

Each memory is measured alone, level by level. Were losses to add up, the best assignment for a
price L of accuracy would be, memory by memory, the level of least ``energy + L * loss``. From a
price at which hardly anything may be lost it is halved until the assignment, measured whole, is no
longer within the bound; between the last two prices others are tried. So what is returned was
measured, not assumed.

In a small memory faults are rare: most chips have none, one in a hundred loses everything, and a
few chips do not show it. So a loss counts at higher levels too, in proportion to the error rates,
as it does where faults strike one at a time. What saves little energy is then not put at risk.

A search uses few chips, which show nothing: its choice has a margin, and no interval. The winner
also looks better than it is, since it was chosen to suit the chips and images of the search.
``judge_voltages`` measures the winner on other images (``halves``) and on as many other chips as
the answer needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from hwsim.hashes import value_hash
from hwsim.progress import NoProgress, Progress, Task
from hwsim.studies.curve import CurvePoint, accuracies
from hwsim.studies.statistics import Bound, StatisticsError, StopRule
from hwsim.studies.study import ChipRecords, Study

_DEAREST, _HALVINGS, _BISECTIONS = 64.0, 18, 5
"""Price of losing the bound, relative to all memories' energy at vmin, how often it halves, and
how often the interval between the last two prices does."""


@dataclass(frozen=True)
class Assignment:
    """Voltages relative to vmin by memory, and the energy relative to all at vmin.

    accuracies: of the chips that were searched on.
    """

    voltages: Mapping[str, float]
    accuracies: tuple[float, ...]
    energy_rel_vmin: float

    @property
    def mean(self) -> float:
        """Accuracy in the mean of the chips."""
        return float(np.mean(self.accuracies))

    @property
    def cautious(self) -> float:
        """The mean less two standard errors: a margin for the search, no interval."""
        return self.mean - 2 * float(np.std(self.accuracies, ddof=1)) / sqrt(len(self.accuracies))


@dataclass(frozen=True)
class MemoryVoltages:
    """The best assignment found, and the best one with a single voltage for all.

    clean: accuracy without faults; loss: how much of it may be lost (by the cautious mean).
    alone: by memory, mean accuracy with it at a level and all others at vmin. Levels below the
    first at which a memory alone loses more than that are not measured and not in it.
    """

    levels: tuple[float, ...]
    clean: float
    loss: float
    alone: Mapping[str, Mapping[float, float]]
    uniform: Assignment
    best: Assignment


def search_voltages(
    study: Study,
    energies: Mapping[str, float],
    levels: Sequence[float],
    *,
    chips: int = 10,
    loss: float = 0.01,
    seed: int = 0,
    records: ChipRecords | None = None,
    progress: Progress | None = None,
) -> MemoryVoltages:
    """Voltages for the memories of ``energies`` (pJ of a frame's accesses at one voltage, > 0).

    levels: voltages relative to vmin to choose from, at most 1; 1.0 is added. chips: seeds
    ``seed`` ...; judge the result on other chips. records: chips that were counted before; new
    counts are added. Raises StatisticsError for fewer than 2 chips or a loss outside 0..1,
    VoltageError for a level outside the technology's data.
    """
    rule = StopRule.fixed(chips)
    Bound(1.0, loss)
    steps = tuple(sorted({*levels, 1.0}))
    for level in steps:
        study.technology.probability(level)
    total = (len(energies) + 1) * len(steps) + _HALVINGS + _BISECTIONS
    records = ChipRecords() if records is None else records
    with (progress or NoProgress()).task("voltages of memories", total * chips) as task:
        search = _Search(study, energies, steps, rule, loss, seed, records, task)
        return search.result()


def halves(study: Study) -> tuple[Study, Study]:
    """The same study of the first half of its images, to search on, and of the rest, to judge on.

    Raises StatisticsError for a single image.
    """
    if study.images < 2:
        raise StatisticsError(
            "voltages of single memories need at least 2 images: half to search on, half to judge"
        )
    middle = study.images // 2
    return (
        replace(study, x=study.x[:middle], labels=study.labels[:middle]),
        replace(study, x=study.x[middle:], labels=study.labels[middle:]),
    )


def judge_voltages(
    study: Study,
    voltages: Mapping[str, float],
    rule: StopRule,
    bound: Bound,
    *,
    seed: int = 0,
    records: ChipRecords | None = None,
    progress: Progress | None = None,
) -> CurvePoint:
    """Accuracy of chips with the named memories at these voltages, and all others at vmin.

    Voltages are relative to vmin. Chips ``seed`` ... are added until ``rule`` is satisfied about
    ``bound``. Voltage and error rate of the point belong to the lowest voltage. Raises VoltageError
    for a voltage outside the technology's data.
    """
    records = ChipRecords() if records is None else records
    lowest = min(voltages.values(), default=1.0)
    with (progress or NoProgress()).task("chips at voltages of memories", rule.most) as task:
        rate = study.technology.probability(lowest)
        used = rule if rate else StopRule.fixed(rule.least)
        found = _accuracies(study, voltages, used, seed, records, task, bound)
    return CurvePoint(lowest, rate, tuple(found), len(rule.looks))


def _accuracies(
    study: Study,
    voltages: Mapping[str, float],
    rule: StopRule,
    seed: int,
    records: ChipRecords,
    task: Task,
    bound: Bound | None = None,
) -> list[float]:
    every = {name: study.technology.probability(voltage) for name, voltage in voltages.items()}
    rates = {name: rate for name, rate in every.items() if rate}
    key = value_hash([study.key, rates])
    return accuracies(
        study, key, rule, seed, records, task, lambda chip: study.faults(chip, rates), bound
    )


@dataclass(frozen=True, eq=False)
class _Search:
    study: Study
    energies: Mapping[str, float]
    levels: tuple[float, ...]
    rule: StopRule
    loss: float
    seed: int
    records: ChipRecords
    task: Task

    def result(self) -> MemoryVoltages:
        uniform = self._uniform()
        alone = {name: self._alone(name) for name in self.energies}
        good = [uniform]

        def enough(price: float) -> bool:
            found = self._measure(self._cheapest(alone, price))
            if self._good(found):
                good.append(found)
            return good[-1] is found

        price, halvings = _DEAREST, 0
        while halvings < _HALVINGS and enough(price):
            price, halvings = price / 2, halvings + 1
        if 0 < halvings < _HALVINGS:
            low, high = price, 2 * price
            for _ in range(_BISECTIONS):
                middle = sqrt(low * high)
                low, high = (low, middle) if enough(middle) else (middle, high)
        best = min(good, key=lambda one: one.energy_rel_vmin)
        return MemoryVoltages(self.levels, self._clean, self.loss, alone, uniform, best)

    def _uniform(self) -> Assignment:
        found = self._measure({})
        for count, level in enumerate(reversed(self.levels[:-1]), 2):
            lower = self._measure(dict.fromkeys(self.energies, level))
            if not self._good(lower):
                self._skip(count)
                break
            found = lower
        return found

    def _alone(self, name: str) -> dict[float, float]:
        found = {}
        for count, level in enumerate(reversed(self.levels), 1):
            found[level] = self._measure({name: level}).mean
            if found[level] < self._clean - self.loss:
                self._skip(count)
                break
        return found

    def _cheapest(
        self, alone: Mapping[str, Mapping[float, float]], price: float
    ) -> dict[str, float]:
        """For each memory the level of least energy share plus ``price`` times lost bounds."""
        whole = sum(self.energies.values())

        def best(name: str) -> float:
            costs = []
            for level in alone[name]:
                energy = self.energies[name] / whole * self._energy_rel(level)
                lost = self._lost(alone[name], level) / self.loss
                costs.append((energy + price * lost, level))
            return min(costs)[1]

        return {name: best(name) for name in self.energies}

    def _lost(self, alone: Mapping[float, float], level: float) -> float:
        """Accuracy that is lost at ``level``, as the measured levels from there down say."""
        rate = self.study.technology.probability
        lost = (
            (self._clean - alone[low]) * (rate(level) / rate(low) if low < level else 1)
            for low in alone
            if low <= level
        )
        return max(0.0, *lost)

    def _good(self, found: Assignment) -> bool:
        return found.cautious >= self._clean - self.loss

    @property
    def _clean(self) -> float:
        return self.study.clean / self.study.images

    def _measure(self, voltages: Mapping[str, float]) -> Assignment:
        """Accuracy with the named memories at these voltages and all others at vmin."""
        found = _accuracies(self.study, voltages, self.rule, self.seed, self.records, self.task)
        whole = {name: voltages.get(name, 1.0) for name in self.energies}
        energy = sum(pj * self._energy_rel(whole[name]) for name, pj in self.energies.items())
        return Assignment(whole, tuple(found), energy / sum(self.energies.values()))

    def _skip(self, measured: int) -> None:
        """The levels after the first ``measured`` ones are not needed."""
        self.task.advance((len(self.levels) - measured) * self.rule.most)

    def _energy_rel(self, voltage_rel: float) -> float:
        return self.study.technology.energy_rel(voltage_rel)
