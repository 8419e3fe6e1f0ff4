"""A supply voltage of its own for each memory: least energy at a bound on the accuracy lost.

Each memory is measured alone at every level. Were losses to add up, the best assignment for a
price L of accuracy would be, memory by memory, the level of least ``energy + L * loss``. The price
is halved down until the assignment, measured whole, is no longer within the bound, so what is
returned was measured, not assumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwsim.faults.chip import Chip
from hwsim.faults.design import design_faults
from hwsim.faults.statistics import Estimate, StatisticsError, share
from hwsim.faults.study import Study
from hwsim.progress import NoProgress, Progress, Task

_HALVINGS = 12


@dataclass(frozen=True)
class Assignment:
    """Voltages relative to vmin by memory; accuracy over chips; energy relative to all at vmin."""

    voltages: Mapping[str, float]
    accuracy: Estimate
    energy_rel_vmin: float


@dataclass(frozen=True)
class MemoryVoltages:
    """The best assignment found, and the best one with a single voltage for all.

    clean: accuracy without faults; loss: how much of it may be lost (of the interval's low end).
    alone: mean accuracy with one memory at a level and all others at vmin, by memory, in the
    order of ``levels``.
    """

    levels: tuple[float, ...]
    clean: float
    loss: float
    alone: Mapping[str, tuple[float, ...]]
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
    progress: Progress | None = None,
) -> MemoryVoltages:
    """Voltages for the memories of ``energies`` (pJ of a frame's accesses at one voltage, > 0).

    levels: voltages relative to vmin to choose from; 1.0 is added. chips: seeds ``seed`` ...;
    judge the result on others, for it was chosen to suit these. Raises StatisticsError for fewer
    than 2 chips or a loss outside 0..1, VoltageError for a level outside the technology's data.
    """
    if chips < 2:
        raise StatisticsError(f"chips must be at least 2, not {chips}")
    if not 0 < loss < 1:
        raise StatisticsError(f"the loss that is acceptable must be between 0 and 1, not {loss:g}")
    steps = tuple(sorted({*levels, 1.0}))
    for level in steps:
        study.technology.probability(level)
    total = (len(energies) + 1) * (len(steps) - 1) + _HALVINGS
    with (progress or NoProgress()).task("voltages of memories", total * chips) as task:
        search = _Search(study, energies, steps, chips, loss, seed, task)
        return search.result()


class _Search:
    def __init__(
        self,
        study: Study,
        energies: Mapping[str, float],
        levels: tuple[float, ...],
        chips: int,
        loss: float,
        seed: int,
        task: Task,
    ) -> None:
        self.study, self.energies, self.levels = study, energies, levels
        self.seeds, self.task = range(seed, seed + chips), task
        self.clean, self.loss = study.clean / study.images, loss

    def result(self) -> MemoryVoltages:
        uniform = self._uniform()
        alone = {
            name: tuple(self._measure({name: level}).accuracy.mean for level in self.levels)
            for name in self.energies
        }
        best, price = uniform, 1.0
        for _ in range(_HALVINGS):
            found = self._measure(self._cheapest(alone, price))
            if not self._good(found):
                break
            best = min(best, found, key=lambda one: one.energy_rel_vmin)
            price /= 2
        return MemoryVoltages(self.levels, self.clean, self.loss, alone, uniform, best)

    def _uniform(self) -> Assignment:
        found = self._measure({})
        for level in reversed(self.levels[:-1]):
            lower = self._measure(dict.fromkeys(self.energies, level))
            if not self._good(lower):
                break
            found = lower
        return found

    def _cheapest(self, alone: Mapping[str, Sequence[float]], price: float) -> dict[str, float]:
        """For each memory the level of least energy share plus ``price`` times lost bounds."""
        whole = sum(self.energies.values())

        def best(name: str) -> float:
            costs = []
            for level, accuracy in zip(self.levels, alone[name], strict=True):
                lost = max(0.0, self.clean - accuracy) / self.loss
                energy = self.energies[name] / whole * self._energy_rel(level)
                costs.append((energy + price * lost, level))
            return min(costs)[1]

        return {name: best(name) for name in self.energies}

    def _good(self, found: Assignment) -> bool:
        return found.accuracy.low >= self.clean - self.loss

    def _measure(self, voltages: Mapping[str, float]) -> Assignment:
        """Accuracy with the named memories at these voltages and all others at vmin."""
        study, technology = self.study, self.study.technology
        rates = {name: technology.probability(v) for name, v in voltages.items() if v < 1}
        shares = []
        for seed in self.seeds:
            chip = Chip(technology, seed, study.spatial)
            faults = design_faults(
                study.pipeline, chip, rates, tuple(rates), protection=study.protection
            )
            shares.append(study.right(faults) / study.images)
            self.task.advance()
        whole = {name: voltages.get(name, 1.0) for name in self.energies}
        energy = sum(pj * self._energy_rel(whole[name]) for name, pj in self.energies.items())
        return Assignment(whole, share(shares), energy / sum(self.energies.values()))

    def _energy_rel(self, voltage_rel: float) -> float:
        return self.study.technology.energy_rel(voltage_rel)
