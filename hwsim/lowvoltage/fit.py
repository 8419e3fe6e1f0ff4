"""Fits a failure law to measured counts, with confidence intervals.

Rows of one voltage are arrays that were measured there. Three things make their counts scatter,
and an interval has to know all of them:

counting    binomial. Whether the arrays are the same ones at all voltages, so that cells which
            fail at a higher voltage are among those at a lower one, a table of counts does not
            say; of both covariances the one that makes the interval wider counts.
voltages    the law is not exactly the memory's. A random offset of each voltage in units of the
            link (probits; logarithms for the exponential law), its variance by restricted
            likelihood (Patterson and Thompson, Biometrika 58, 1971), the line by weighted least
            squares with it, Student's t with voltages - 2 degrees of freedom (Knapp and Hartung,
            Stat. Med. 22, 2003).
arrays      each has an offset of its own, its variance by the method of moments of Paule and
            Mandel (J. Res. NBS 87, 1982) from what the rows of one voltage differ by. Arrays are
            taken to be the same ones at all voltages, in which case their mean offset moves all
            points alike and no residual shows it.

The law is that of all arrays together: the share of cells that fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import yaml
from pydantic import ValidationError
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr, ndtri
from scipy.stats import norm
from scipy.stats import t as student

from hwsim.errors import HwsimError, OutputError
from hwsim.files import whole_file
from hwsim.lowvoltage.tables import Table, TableError, read_table
from hwsim.lowvoltage.technology import (
    BankShift,
    ExponentialLaw,
    FaultModel,
    MemoryTechnology,
    Point,
    ProbitLaw,
)

LAWS = ("probit", "exponential")
COUNTS = {
    "voltage": ("voltage", "vdd"),
    "failed": ("failed", "failures", "faults"),
    "cells": ("cells",),
}
"""Names that the columns of a table of counts may have."""


class FitError(HwsimError):
    """Measurements cannot be read or do not determine a law; says what is missing."""


@dataclass(frozen=True)
class Fit:
    """A law fitted to ``points``, one or more of each voltage, ascending.

    intervals: parameter -> (low, high) at ``confidence``. dispersion: Pearson's chi-square of the
    voltages per degree of freedom, 1 for points that scatter as binomial counts do. between: s.d.
    of the offsets of voltages and of arrays, in units of the link; None where no voltage has two
    arrays, or fewer than two banks were told apart. banks: how banks differ, where that was
    fitted (``hwsim.lowvoltage.banks``).
    """

    law: ProbitLaw | ExponentialLaw
    intervals: dict[str, tuple[float, float]]
    confidence: float
    dispersion: float
    points: tuple[Point, ...]
    between_voltages: float = 0.0
    between_arrays: float | None = None
    banks: BankShift | None = None

    @property
    def lowest(self) -> float:
        return self.points[0].voltage

    @property
    def highest(self) -> float:
        return self.points[-1].voltage

    @property
    def sums(self) -> tuple[Point, ...]:
        """One point for each voltage, arrays added up."""
        return added_up(self.points)


def added_up(points: Sequence[Point]) -> tuple[Point, ...]:
    """Points in ascending order of voltage; the points of one voltage are added up."""
    found = []
    for voltage, same in groupby(points, lambda point: point.voltage):
        rows = list(same)
        failed, cells = sum(p.failed for p in rows), sum(p.cells for p in rows)
        found.append(Point(voltage=voltage, failed=failed, cells=cells))
    return tuple(found)


def read_points(path: Path | str) -> tuple[Point, ...]:
    """Points of a table with the columns ``voltage``, ``failed``, ``cells``, ascending.

    One row for each array and voltage, in any order (``hwsim.lowvoltage.tables``); without a header
    there are these three columns in this order. Raises FitError naming the file, the line and the
    allowed values.
    """
    try:
        return table_points(read_table(path))
    except TableError as error:
        raise FitError(str(error)) from None


def table_points(table: Table) -> tuple[Point, ...]:
    """The points of a table that was read; raises TableError, too."""
    if table.header is None:
        if table.columns != len(COUNTS):
            raise FitError(
                f"{table.path}: has {table.columns} columns and no header; without one there must "
                f"be 3: {', '.join(COUNTS)}"
            )
        at = {name: n for n, name in enumerate(COUNTS)}
    else:
        at = table.find(COUNTS)
    if missing := [name for name in COUNTS if name not in at]:
        raise FitError(
            f"{table.path}: lacks the column {missing[0]}; needed are {', '.join(COUNTS)}"
        )
    columns = {
        "voltage": table.voltages(at["voltage"]),
        "failed": table.integers(at["failed"], "failed"),
        "cells": table.integers(at["cells"], "cells"),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    found = [_point(row, table.place(n)) for n, row in enumerate(rows)]
    return tuple(sorted(found, key=lambda point: point.voltage))


def _point(values: dict[str, float | int], place: str) -> Point:
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
    slope: derivative of the probability; bend: its derivative relative to that.
    """

    of: Callable[[np.ndarray], np.ndarray]
    logs: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    slope: Callable[[np.ndarray], np.ndarray]
    bend: Callable[[np.ndarray], np.ndarray]


def _logs_of_exponential(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level = np.minimum(level, -1e-9)
    return level, np.log(-np.expm1(level))


_LINKS = {
    "probit": _Link(ndtri, lambda x: (log_ndtr(x), log_ndtr(-x)), norm.pdf, np.negative),
    "exponential": _Link(np.log, _logs_of_exponential, np.exp, np.ones_like),
}


def check_law(points: Sequence[Point], kind: str) -> None:
    """Raise FitError unless ``points``, one of each voltage, can determine the law ``kind``."""
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


def fit_law(points: Sequence[Point], kind: str, source: str, confidence: float = 0.95) -> Fit:
    """Fit the law called ``kind`` (one of LAWS) to ``points`` in ascending order of voltage.

    Several points of one voltage are several arrays. Raises FitError for fewer than three
    voltages, or if fewer than two voltages have failures in some but not all cells.
    """
    sums = added_up(points)
    check_law(sums, kind)
    link, data = _LINKS[kind], LineData.of(sums)
    start = _most_likely(data, link)
    line, between = _weighted(data, link)
    arrays = _between_arrays(points, link)
    p, q, _ = _levels(start, data, link)
    freedom = len(sums) - 2
    pearson = ((data.failed - data.cells * p) ** 2 / (data.cells * p * q)).sum()
    values = data.parameters(line, kind)
    halves = _half_widths(data, link, line, between, arrays, kind, confidence)
    intervals = {
        name: (value - halves[name], value + halves[name]) for name, value in values.items()
    }
    return Fit(
        law_of(kind, source, data, line),
        intervals,
        confidence,
        float(pearson / freedom),
        tuple(points),
        float(np.sqrt(between)),
        None if arrays is None else float(np.sqrt(arrays.variance)),
    )


@dataclass(frozen=True)
class LineData:
    """Sums of each voltage, for fits of a line to a link.

    x: voltages, centred and in units of their spread, which makes a + b x well conditioned.
    """

    x: np.ndarray
    failed: np.ndarray
    cells: np.ndarray
    centre: float
    spread: float

    @classmethod
    def of(cls, sums: Sequence[Point]) -> LineData:
        voltage, failed, cells = (
            np.array([getattr(p, name) for p in sums], float) for name in COUNTS
        )
        centre, spread = float(voltage.mean()), float(voltage.std())
        return cls((voltage - centre) / spread, failed, cells, centre, spread)

    def parameters(self, line: np.ndarray, kind: str) -> dict[str, float]:
        """Of the law whose predictor is ``line``."""
        a, b = line[0] - line[1] * self.centre / self.spread, line[1] / self.spread
        if kind == "probit":
            return {"mean": float(-a / b), "sigma": float(-1 / b)}
        # Referred to the middle of the data, where level and slope are least entangled.
        return {"probability_at": float(np.exp(line[0])), "decade": float(-np.log(10) / b)}

    def gradient(self, line: np.ndarray, kind: str, name: str) -> np.ndarray:
        """Derivatives of a parameter by level and slope of the line, float64 [2]."""
        step = 1e-5
        ends = [
            [self.parameters(line + side * step * e, kind)[name] for side in (1, -1)]
            for e in np.eye(2)
        ]
        return np.array([(high - low) / (2 * step) for high, low in ends])

    def line_of(self, law: ProbitLaw | ExponentialLaw) -> np.ndarray:
        """The line that a law of these data is made of."""
        if isinstance(law, ProbitLaw):
            return np.array([law.mean - self.centre, -self.spread]) / law.sigma
        return np.array([np.log(law.probability_at), -np.log(10) * self.spread / law.decade])


def law_of(kind: str, source: str, data: LineData, line: np.ndarray) -> ProbitLaw | ExponentialLaw:
    """The law called ``kind`` whose predictor is ``line``."""
    values = data.parameters(line, kind)
    if kind == "probit":
        return ProbitLaw(kind="probit", source=source, **values)
    return ExponentialLaw(kind="exponential", at=data.centre, source=source, **values)


def _levels(
    line: np.ndarray, data: LineData, link: _Link
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, its complement and the variance of counting in units of the link."""
    level = line[0] + line[1] * data.x
    p, q = (np.exp(log) for log in link.logs(level))
    return p, q, p * q / (data.cells * link.slope(level) ** 2)


def _by_eye(data: LineData, link: _Link) -> np.ndarray:
    """Line through the shares of the voltages that saw failures."""
    telling = (data.failed > 0) & (data.failed < data.cells)
    shares = data.failed[telling] / data.cells[telling]
    return np.polyfit(data.x[telling], link.of(shares), 1)[::-1]


def _most_likely(data: LineData, link: _Link) -> np.ndarray:
    """The line of greatest likelihood, were there nothing but counting."""

    def loss(line: np.ndarray) -> float:
        """Negative log likelihood but for a constant, per failure."""
        fails, holds = link.logs(line[0] + line[1] * data.x)
        terms = data.failed * fails + (data.cells - data.failed) * holds
        return float(-terms.sum() / data.failed.sum())

    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 10_000, "maxfev": 10_000}
    best = minimize(loss, _by_eye(data, link), method="Nelder-Mead", options=options)
    if not best.success or best.x[1] >= 0:
        raise FitError("the failures do not fall as the voltage rises: no law fits")
    return np.asarray(best.x)


_FAR = 2.0
"""Units of the link by which a voltage is told to be off its line at most."""


def _weighted(data: LineData, link: _Link) -> tuple[np.ndarray, float]:
    """Line by iterated weighted least squares, and variance of the offsets of voltages."""
    line, between = _by_eye(data, link), 0.0
    for _ in range(200):
        p, _, counting = _levels(line, data, link)
        level = line[0] + line[1] * data.x
        away = (data.failed / data.cells - p) / link.slope(level)
        response = level + np.clip(away, -_FAR, _FAR)
        between = _restricted(response, counting, data.x)
        new = _solve(response, counting + between, data.x)[0]
        if np.abs(new - line).max() < 1e-8:
            break
        # Half a step keeps tails, where the response is steep, from swinging.
        line = (new + line) / 2
    if not np.isfinite(line).all() or line[1] >= 0:
        raise FitError("the failures do not fall as the voltage rises: no law fits")
    return line, between


def _solve(
    response: np.ndarray, variance: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Line of weighted least squares, and the matrix [2, n] that makes it of responses."""
    design = np.stack([np.ones_like(x), x], axis=1)
    weighted = (design / variance[:, np.newaxis]).T
    makes = np.linalg.solve(weighted @ design, weighted)
    return makes @ response, makes


def _restricted(response: np.ndarray, counting: np.ndarray, x: np.ndarray) -> float:
    """Variance between voltages of greatest restricted likelihood, to a few percent."""
    tried = np.geomspace(counting.min() / 100, _FAR**2, 400)
    variance = counting + tried[:, np.newaxis]
    weight = 1 / variance
    # Sums of weighted least squares, for all variances at once.
    n, sx, sxx = weight.sum(1), (weight * x).sum(1), (weight * x * x).sum(1)
    sy, sxy = (weight * response).sum(1), (weight * x * response).sum(1)
    information = n * sxx - sx**2
    level, slope = (sxx * sy - sx * sxy) / information, (n * sxy - sx * sy) / information
    residual = response - level[:, np.newaxis] - slope[:, np.newaxis] * x
    loss = (np.log(variance) + residual**2 * weight).sum(1) + np.log(information)
    return float(tried[np.argmin(loss)])


def _root(excess: Callable[[float], float], top: float) -> float:
    """Variance >= 0 at which a falling function is 0, 0 where it is below from the start."""
    if not excess(0.0) > 0:
        return 0.0
    while excess(top) > 0:
        top *= 4
    return float(brentq(excess, 0.0, top, xtol=1e-14))


@dataclass(frozen=True)
class _Arrays:
    """How arrays differ: variance of their offsets, degrees of freedom that it rests on, and how
    many equal arrays each voltage has, [voltages].
    """

    variance: float
    freedom: int
    count: np.ndarray


def _between_arrays(points: Sequence[Point], link: _Link) -> _Arrays | None:
    """None where no voltage has two arrays and failures in some of the cells."""
    groups = [list(same) for _, same in groupby(points, lambda point: point.voltage)]
    count = np.array(
        [sum(p.cells for p in rows) ** 2 / sum(p.cells**2 for p in rows) for rows in groups]
    )
    parts = []
    for rows in groups:
        failed, cells = (
            np.array([getattr(p, k) for p in rows], float) for k in ("failed", "cells")
        )
        share = failed.sum() / cells.sum()
        if len(rows) > 1 and 0 < share < 1:
            slope = link.slope(link.of(np.array(share)))
            # Half a cell more keeps rows without a failure in reach of the link.
            shares = (failed + 0.5) / (cells + 1)
            parts.append((link.of(shares), share * (1 - share) / cells / slope**2))
    if not parts:
        return None

    def excess(between: float) -> float:
        found = 0.0
        for response, counting in parts:
            weight = 1 / (counting + between)
            centre = (weight * response).sum() / weight.sum()
            found += (weight * (response - centre) ** 2).sum() - (len(response) - 1)
        return float(found)

    top = max(float(np.ptp(response)) for response, _ in parts) ** 2
    return _Arrays(_root(excess, top), min(len(r) for r, _ in parts) - 1, count)


def _half_widths(
    data: LineData,
    link: _Link,
    line: np.ndarray,
    between: float,
    arrays: _Arrays | None,
    kind: str,
    confidence: float,
) -> dict[str, float]:
    """Half the interval of each parameter."""
    p, q, counting = _levels(line, data, link)
    level = line[0] + line[1] * data.x
    slope = link.slope(level)
    makes = _solve(level, counting + between, data.x)[1]
    # Cells that fail at one voltage are among those of all lower ones, if they are the same cells.
    more, less = np.maximum.outer(p, p), np.minimum.outer(p, p)
    common = np.minimum.outer(data.cells, data.cells) / np.multiply.outer(data.cells, data.cells)
    nested = common * less * (1 - more) / np.multiply.outer(slope, slope)
    np.fill_diagonal(nested, counting)
    own = between * np.eye(len(counting))
    freedom = len(counting) - 2
    response = (data.failed / data.cells - p) / slope
    excess = (response**2 / (counting + between)).sum() / freedom
    reach = student.ppf(0.5 + confidence / 2, freedom) * np.sqrt(max(1.0, excess))
    shifts: list[np.ndarray] = []
    if arrays is not None:
        # The mean of the offsets shifts all points. Their spread bends the mean probability, by how
        # much depends on the few worst arrays: all of it is taken to be uncertain.
        shifts = [
            np.sqrt(arrays.variance / arrays.count),
            link.bend(level) / 2 * arrays.variance,
        ]
        shifts = [student.ppf(0.5 + confidence / 2, arrays.freedom) * shift for shift in shifts]

    halves = {}
    for name in data.parameters(line, kind):
        effect = data.gradient(line, kind, name) @ makes
        variances = [effect @ (cov + own) @ effect for cov in (np.diag(counting), nested)]
        square = reach**2 * max(variances) + sum((effect @ shift) ** 2 for shift in shifts)
        halves[name] = float(np.sqrt(square))
    return halves


def technology_of(
    found: Fit,
    *,
    nominal: float,
    vmin: float | None = None,
    description: str = "own memory",
    faults: FaultModel = FaultModel(),  # noqa: B008 - it is frozen
) -> MemoryTechnology:
    """The technology of a fit, valid for the measured voltages.

    vmin: default: the lowest measured voltage from which on no cell failed. faults: behaviour of
    failing cells. Raises FitError if no such voltage was measured, or if vmin and nominal
    contradict the data.
    """
    points = found.sums
    if vmin is None:
        failing = max(n for n, point in enumerate(points) if point.failed)
        if failing == len(points) - 1:
            raise FitError("cells failed at every voltage: say with vmin where none does")
        vmin = points[failing + 1].voltage
    try:
        return MemoryTechnology(
            description=description,
            source=found.law.source,
            vmin=vmin,
            nominal=nominal,
            nominal_source=found.law.source,
            law=found.law,
            points=points,
            faults=faults,
            banks=found.banks,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        raise FitError(f"{where}: {text}" if where else text) from None


def write_technology(technology: MemoryTechnology, path: Path) -> None:
    """Write a technology as YAML; raises OutputError if the file exists or the folder does not."""
    if path.exists():
        raise OutputError(f"{path}: exists; choose another file with -o")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: is not a folder")
    values = technology.model_dump(mode="json", exclude_none=True)
    with whole_file(path) as file:
        file.write(yaml.safe_dump(values, sort_keys=False).encode())
