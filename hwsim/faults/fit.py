"""Fits a failure law to measured counts, with confidence intervals.

Maximum likelihood of the binomial counts; the covariance is the inverse of the Fisher
information, widened by Pearson's chi-square per degree of freedom where the points scatter more
than binomial counts would (quasi-likelihood; McCullagh and Nelder, Generalized linear models,
chapter 4), with Student's t for the intervals.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtri
from scipy.stats import norm
from scipy.stats import t as student

from hwsim.errors import HwsimError, OutputError
from hwsim.faults.technology import ExponentialLaw, MemoryTechnology, Point, ProbitLaw
from hwsim.files import whole_file

LAWS = ("probit", "exponential")
_COLUMNS = ("voltage", "failed", "cells")


class FitError(HwsimError):
    """Measurements cannot be read or do not determine a law; says what is missing."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to ``points``.

    intervals: parameter -> (low, high) at ``confidence``. dispersion: Pearson's chi-square per
    degree of freedom, 1 for points that scatter as binomial counts do; above 1 it has widened
    the intervals. lowest, highest: voltages that the data covers.
    """

    law: ProbitLaw | ExponentialLaw
    intervals: dict[str, tuple[float, float]]
    confidence: float
    dispersion: float
    points: tuple[Point, ...]

    @property
    def lowest(self) -> float:
        return self.points[0].voltage

    @property
    def highest(self) -> float:
        return self.points[-1].voltage


def read_points(path: Path | str) -> tuple[Point, ...]:
    """Points of a CSV file with the columns ``voltage``, ``failed``, ``cells``, ascending.

    Rows of one voltage are added up. Raises FitError naming file, line and what is allowed.
    """
    path = Path(path)
    sums: dict[float, list[int]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise FitError(
                    f"{path}: lacks the column {missing[0]}; needed are {', '.join(_COLUMNS)}"
                )
            for row in rows:
                point = _point(row, f"{path}:{rows.line_num}")
                entry = sums.setdefault(point.voltage, [0, 0])
                entry[0] += point.failed
                entry[1] += point.cells
    except OSError as error:
        raise FitError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error):
        raise FitError(f"{path}: is not a CSV file in UTF-8") from None
    return tuple(
        Point(voltage=voltage, failed=failed, cells=cells)
        for voltage, (failed, cells) in sorted(sums.items())
    )


def _point(row: dict[str, str | None], place: str) -> Point:
    values: dict[str, float | int] = {}
    for name, kind in zip(_COLUMNS, (float, int, int), strict=True):
        try:
            values[name] = kind(row[name] or "")
        except ValueError:
            what = "a number" if kind is float else "an integer"
            raise FitError(f"{place}: {name} must be {what}, not {row[name]!r}") from None
    try:
        return Point.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "failed"
        reason = first["msg"].removeprefix("Value error, ")
        raise FitError(f"{place}: {name}: {reason}, not {values[name]}") from None


@dataclass(frozen=True)
class _Link:
    """How a linear predictor becomes a probability.

    of: predictor of a probability; logs: logarithms of the probability and of its complement;
    slope: derivative of the probability.
    """

    of: Callable[[np.ndarray], np.ndarray]
    logs: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    slope: Callable[[np.ndarray], np.ndarray]


def _logs_of_exponential(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level = np.minimum(level, -1e-9)
    return level, np.log(-np.expm1(level))


_LINKS = {
    "probit": _Link(ndtri, lambda x: (log_ndtr(x), log_ndtr(-x)), norm.pdf),
    "exponential": _Link(np.log, _logs_of_exponential, np.exp),
}


def fit_law(points: Sequence[Point], kind: str, source: str, confidence: float = 0.95) -> Fit:
    """Fit the law called ``kind`` (one of LAWS) to ``points`` in ascending order of voltage.

    Raises FitError for fewer than three voltages, or fewer than two with failures in some but
    not all cells.
    """
    if kind not in LAWS:
        raise FitError(f"law must be one of {', '.join(LAWS)}, not '{kind}'")
    if len(points) < 3:
        raise FitError(f"at least 3 voltages are needed, there are {len(points)}")
    telling = [p for p in points if 0 < p.failed < p.cells]
    if len(telling) < 2:
        raise FitError(
            "at least 2 voltages with failures in some but not all cells are needed, "
            f"there are {len(telling)}"
        )
    voltage, failed, cells = (
        np.array([getattr(p, name) for p in points], float) for name in _COLUMNS
    )
    # Centred and in units of its spread, the line a + b x is well conditioned.
    centre, spread = voltage.mean(), voltage.std()
    x = (voltage - centre) / spread
    link = _LINKS[kind]

    def loss(line: np.ndarray) -> float:
        """Negative log likelihood but for a constant, per failure."""
        fails, holds = link.logs(line[0] + line[1] * x)
        return float(-(failed * fails + (cells - failed) * holds).sum() / failed.sum())

    shares = np.array([p.share for p in telling])
    told = (np.array([p.voltage for p in telling]) - centre) / spread
    start = np.polyfit(told, link.of(shares), 1)[::-1]
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14,
                    "maxiter": 10_000, "maxfev": 10_000})  # fmt: skip
    if not best.success or best.x[1] >= 0:
        raise FitError("the failures do not fall as the voltage rises: no law fits")
    line = best.x
    level = line[0] + line[1] * x
    p, q = (np.exp(log) for log in link.logs(level))
    weight = cells * link.slope(level) ** 2 / (p * q)
    design = np.stack([np.ones_like(x), x], axis=1)
    covariance = np.linalg.inv(design.T @ (weight[:, np.newaxis] * design))
    freedom = len(points) - 2
    pearson = ((failed - cells * p) ** 2 / (cells * p * q)).sum()
    dispersion = float(pearson / freedom)
    reach = student.ppf(0.5 + confidence / 2, freedom) * np.sqrt(max(dispersion, 1.0))

    def parameters(line: np.ndarray) -> dict[str, float]:
        a, b = line[0] - line[1] * centre / spread, line[1] / spread
        if kind == "probit":
            return {"mean": -a / b, "sigma": -1 / b}
        # Referred to the middle of the data, where level and slope are least entangled.
        return {"probability_at": float(np.exp(line[0])), "decade": float(-np.log(10) / b)}

    values = parameters(line)
    intervals = {}
    for name, value in values.items():
        step = 1e-5
        gradient = np.array(
            [
                (parameters(line + step * e)[name] - parameters(line - step * e)[name]) / (2 * step)
                for e in np.eye(2)
            ]
        )
        half = float(reach * np.sqrt(gradient @ covariance @ gradient))
        intervals[name] = (float(value - half), float(value + half))
    law: ProbitLaw | ExponentialLaw
    if kind == "probit":
        law = ProbitLaw(kind="probit", source=source, **values)
    else:
        law = ExponentialLaw(kind="exponential", at=float(centre), source=source, **values)
    return Fit(law, intervals, confidence, dispersion, tuple(points))


def technology_of(
    found: Fit, *, nominal: float, vmin: float | None = None, description: str = "own memory"
) -> MemoryTechnology:
    """The technology of a fit, valid for the voltages that were measured.

    vmin: default: the lowest measured voltage from which on nothing failed. Raises FitError when
    no such voltage was measured, or when vmin and nominal contradict the data.
    """
    if vmin is None:
        failing = max(n for n, point in enumerate(found.points) if point.failed)
        if failing == len(found.points) - 1:
            raise FitError("cells failed at every voltage: say with vmin where none does")
        vmin = found.points[failing + 1].voltage
    try:
        return MemoryTechnology(
            description=description,
            source=found.law.source,
            vmin=vmin,
            nominal=nominal,
            nominal_source=found.law.source,
            law=found.law,
            points=found.points,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise FitError(f"{where}: {text}" if where else text) from None


def write_technology(technology: MemoryTechnology, path: Path) -> None:
    """Write a technology as YAML; raises OutputError when there is a file, or no folder."""
    if path.exists():
        raise OutputError(f"{path}: exists; choose another file with -o")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: is not a folder")
    values = technology.model_dump(mode="json", exclude_none=True)
    with whole_file(path) as file:
        file.write(yaml.safe_dump(values, sort_keys=False).encode())
