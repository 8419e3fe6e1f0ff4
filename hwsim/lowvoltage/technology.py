"""Memory technologies: probability that a cell fails, and energy, against supply voltage.

A cell fails below a critical voltage of its own. The share of cells whose critical voltage lies
above V is the *law* p(V) of the technology, so the cells that fail at a higher voltage are always
among those that fail at a lower one. Technologies are YAML files (``configs/memories/``); every
voltage in a file is in the same unit, and functions take voltages relative to ``vmin``, the lowest
voltage at which no failure was observed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import ndtr, ndtri
from scipy.stats import beta

from hwsim.config.loader import StrictModel, load_config
from hwsim.errors import HwsimError
from hwsim.lowvoltage.transient import ALWAYS

Voltage = Annotated[float, Field(gt=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Source = Annotated[str, Field(min_length=1)]


class VoltageError(HwsimError):
    """A voltage or a probability lies outside the technology's data."""


class Point(StrictModel):
    """``failed`` of ``cells`` cells failed at ``voltage``."""

    voltage: Voltage
    failed: Annotated[int, Field(ge=0)]
    cells: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _failed_are_cells(self) -> Point:
        if self.failed > self.cells:
            raise ValueError("failed must be <= cells")
        return self

    @property
    def share(self) -> float:
        return self.failed / self.cells

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the failure probability."""
        tail = (1 - confidence) / 2
        k, n = self.failed, self.cells
        low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
        high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
        return low, high


class ProbitLaw(StrictModel):
    """``p = Q((V - mean) / sigma)``, Q being the upper tail of the unit normal.

    Critical voltages are normal, as mismatch of threshold voltages makes them.
    """

    kind: Literal["probit"]
    mean: Voltage
    sigma: Voltage
    source: Source

    def probability(self, voltage: float) -> float:
        return float(ndtr((self.mean - voltage) / self.sigma))


class ExponentialLaw(StrictModel):
    """``p = probability_at * 10 ** ((at - V) / decade)``, at most 1."""

    kind: Literal["exponential"]
    at: Voltage
    probability_at: Annotated[float, Field(gt=0, le=1)]
    decade: Voltage
    source: Source

    def probability(self, voltage: float) -> float:
        return float(min(1.0, self.probability_at * 10 ** ((self.at - voltage) / self.decade)))


class TableLaw(StrictModel):
    """The measured points themselves; between them the probit of p is linear in V.

    Between the highest point with a failure and vmin the line of the last two points is extended.
    """

    kind: Literal["table"]


class FaultModel(StrictModel):
    """What a failing cell does when it is read, or when it is written.

    ``flip``: the bit read is the opposite of the bit stored. ``stuck``: the bit read is the
    cell's own, whatever is stored; ``ones`` is the share of failing cells that read 1 (0: stuck
    at zero, 1: stuck at one, between: each cell has a preferred value of its own).
    ``write_failure``: the cell reads what it holds, but a write may fail, which leaves what it
    held before; ``ones`` is the share of failing cells that power up as 1. persistence: share of
    accesses (write failures: of writes) in which a failing cell errs, taken to the nearest 1/256;
    below 1 errors come and go (``hwsim.lowvoltage.transient``).
    """

    kind: Literal["flip", "stuck", "write_failure"] = "flip"
    ones: Share = 0.5
    persistence: Annotated[float, Field(ge=1 / 256, le=1)] = 1.0

    @property
    def errs(self) -> int:
        """Accesses, or writes, out of 256 in which a failing cell errs."""
        return round(self.persistence * ALWAYS)

    @classmethod
    def asymmetric(cls, p01: float, p10: float) -> tuple[FaultModel, float]:
        """The model, and the share of failing cells, in which a stored 0 reads 1 with
        probability ``p01`` and a stored 1 reads 0 with ``p10``.

        A cell that prefers 1 spoils stored zeros only, so the shares add up: ``p01 + p10``
        cells fail, ``p01`` of them towards 1. Raises VoltageError unless both are
        probabilities with a sum in (0, 1].
        """
        if not (p01 >= 0 and p10 >= 0 and 0 < p01 + p10 <= 1):
            raise VoltageError(f"p01 and p10 must be >= 0 with a sum in (0, 1], not {p01}, {p10}")
        return cls(kind="stuck", ones=p01 / (p01 + p10)), p01 + p10


class BankShift(StrictModel):
    """Banks differ: critical voltages of all cells of a bank are shifted by a normal offset.

    share: the part of the variance of critical voltages that is common to a bank. cells: number of
    cells of a bank. The law gives the share of all cells that fail; ``share`` does not change it.
    """

    share: Annotated[float, Field(ge=0, lt=1)]
    cells: Annotated[int, Field(ge=1)]


class MemoryTechnology(StrictModel):
    """How one kind of memory fails, and how much energy it saves, as its supply falls.

    vmin: lowest voltage at which no failure was observed. nominal: supply by the data sheet.
    points: measurements. lowest: lowest voltage for which the law holds; default: the lowest
    voltage of the points. faults: how failing cells read. banks: how banks differ; None: not at
    all. The energy of an access is proportional to the square of the voltage, leakage power to the
    voltage (as in ``hwsim.accelerator.energy``).
    """

    description: Source
    source: Source
    vmin: Voltage
    nominal: Voltage
    nominal_source: Source
    law: Annotated[ProbitLaw | ExponentialLaw | TableLaw, Field(discriminator="kind")]
    points: tuple[Point, ...] = ()
    lowest: Voltage | None = None
    faults: FaultModel = FaultModel()
    banks: BankShift | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MemoryTechnology:
        if self.nominal < self.vmin:
            raise ValueError("nominal must be at least vmin")
        voltages = [point.voltage for point in self.points]
        if voltages != sorted(set(voltages)):
            raise ValueError("points must have ascending voltages, each once")
        if self.law.kind == "table" and len(self._failing()) < 2:
            raise ValueError("points must have at least two with failures for a table")
        if not self.points and self.lowest is None:
            raise ValueError("lowest is required where there are no points")
        if self.lowest is not None and self.lowest > self.vmin:
            raise ValueError("lowest must be at most vmin")
        if any(p.failed and p.voltage >= self.vmin for p in self.points):
            raise ValueError("points must have no failures at vmin or above")
        shares = [point.share for point in self._failing()]
        if self.law.kind == "table" and shares != sorted(shares, reverse=True):
            raise ValueError("points must fail less at higher voltages for a table")
        return self

    def _failing(self) -> list[Point]:
        return [point for point in self.points if 0 < point.failed < point.cells]

    @property
    def lowest_rel(self) -> float:
        """Lowest voltage for which the law holds, relative to vmin."""
        low = self.points[0].voltage if self.lowest is None else self.lowest
        return low / self.vmin

    @property
    def nominal_rel(self) -> float:
        """Nominal voltage relative to vmin."""
        return self.nominal / self.vmin

    def probability(self, voltage_rel: float) -> float:
        """Probability that a cell fails at ``voltage_rel`` times vmin; 0 from vmin upwards.

        Raises VoltageError outside ``lowest_rel`` .. ``nominal_rel``: beyond its data a law is
        a guess.
        """
        if not self.lowest_rel <= voltage_rel <= self.nominal_rel:
            raise VoltageError(
                f"voltage must be {self.lowest_rel:.4g}..{self.nominal_rel:.4g} of vmin (what the "
                f"data covers), not {voltage_rel:.4g}{self._unit_of(voltage_rel)}"
            )
        if voltage_rel >= 1:
            return 0.0
        voltage = voltage_rel * self.vmin
        if self.law.kind != "table":
            return self.law.probability(voltage)
        volts, probits = self._line(np.searchsorted(self._volts(), voltage, side="right"))
        slope = (probits[1] - probits[0]) / (volts[1] - volts[0])
        return float(ndtr(probits[0] + slope * (voltage - volts[0])))

    def _unit_of(self, value: float) -> str:
        """A hint, where ``value`` is far off and would be a voltage in another unit."""
        if 0.9 * self.lowest_rel <= value <= 1.1 * self.nominal_rel:
            return ""
        for unit, scale in (("%", 1e-2), ("V", 1 / self.vmin), ("mV", 1e-3 / self.vmin)):
            # Of a technology in shares of vmin, volts say nothing.
            known = unit == "%" or self.vmin != 1
            if known and self.lowest_rel <= value * scale <= self.nominal_rel:
                return f" (if it is in {unit}, that is {value * scale:.4g} of vmin)"
        return ""

    def voltage_for(self, probability: float) -> float:
        """Lowest voltage, relative to vmin, at which at most this share of cells fails.

        Raises VoltageError for a probability that is not within 0..1 or that is higher than
        the law reaches at ``lowest_rel``.
        """
        if not 0 <= probability <= 1:
            raise VoltageError(f"bit error rate must be 0..1, not {probability:g}")
        top = self.probability(self.lowest_rel)
        if probability > top:
            raise VoltageError(
                f"bit error rate must be at most {top:.3g} (that of the lowest voltage with "
                f"data), not {probability:.3g}"
            )
        low, high = self.lowest_rel, 1.0
        # Laws fall strictly, so halving finds the voltage to the last bit.
        while low < (middle := (low + high) / 2) < high:
            low, high = (low, middle) if self.probability(middle) <= probability else (middle, high)
        return high if self.probability(low) > probability else low

    def energy_rel(self, voltage_rel: float) -> float:
        """Energy of an access relative to the energy at vmin."""
        return voltage_rel**2

    def _volts(self) -> list[float]:
        return [point.voltage for point in self._failing()]

    def _line(self, at: np.intp) -> tuple[list[float], list[float]]:
        """Voltages and probits of the two points whose line holds before point ``at``."""
        points = self._failing()
        first = min(max(int(at) - 1, 0), len(points) - 2)
        pair = points[first : first + 2]
        return [p.voltage for p in pair], [float(ndtri(p.share)) for p in pair]


def load_technology(source: Path | str) -> MemoryTechnology:
    """The technology of a YAML file or of a shipped name; raises ConfigError."""
    return load_config(source, MemoryTechnology, "memories")
