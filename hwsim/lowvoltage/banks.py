"""Fits a failure law together with how banks differ, to the failing cells of a memory.

The critical voltages of all cells of a bank are shifted by an offset of the bank, which is normal
over banks: with ``u`` of the unit normal for a bank and ``z`` the probit of the law, a cell fails
with the probability of which ``(z + sqrt(share) u) / sqrt(1 - share)`` is the probit. Averaged over
banks that is the law again. Given ``u``, cells are independent, and each fails from its highest
voltage downwards, so the counts of a bank are multinomial. Law and share maximise the likelihood
of all banks, integrated over ``u`` by adaptive quadrature (Pinheiro and Bates, J. Comp. Graph.
Stat. 4, 1995); intervals follow from its curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr, ndtri
from scipy.stats import t as student

from hwsim.lowvoltage.cell_list import CellList
from hwsim.lowvoltage.fit import Fit, FitError, LineData, check_law, fit_law, law_of
from hwsim.lowvoltage.technology import BankShift, Point

_NODES = np.linspace(-8, 8, 65)
_GOLDEN = (np.sqrt(5) - 1) / 2
_FARTHEST = 12.0
DISTANCES = (0, 1, 2, 3, 4, 8, 16)
"""Distances in rows at which pairs of failing cells are counted; 0: two cells in one word."""


def fit_banks(cells: CellList, kind: str, source: str, confidence: float = 0.95) -> Fit:
    """The law called ``kind`` and the offsets of banks that make the list ``cells`` most likely.

    ``intervals`` has ``bank_share`` too. Raises FitError for fewer than three voltages or banks,
    and if failures do not become fewer as the voltage rises.
    """
    banks, size = cells.shape.banks, cells.shape.rows * cells.shape.bits
    if banks < 3:
        raise FitError(f"at least 3 banks are needed to tell how they differ, there are {banks}")
    sums = [
        Point(voltage=v, failed=int(n), cells=cells.shape.cells)
        for v, n in zip(cells.voltages, cells.counts().sum(axis=0), strict=True)
    ]
    check_law(sums, kind)
    alone = fit_law(sums, kind, source, confidence)
    data = LineData.of(sums)
    model = _Likelihood.of(cells, data.x, kind)
    start = np.array([*data.line_of(alone.law), 0.5])
    options = {"xatol": 1e-5, "fatol": 1e-7, "maxfev": 4000, "initial_simplex": _simplex(start)}
    best = minimize(model.loss, start, method="Nelder-Mead", options=options)
    if not best.success or best.x[1] >= 0:
        raise FitError("the failures do not fall as the voltage rises: no law fits")
    line, spread = best.x[:2], abs(best.x[2])
    covariance = np.linalg.pinv(_curvature(model.loss, best.x))
    reach = student.ppf(0.5 + confidence / 2, banks - 1)
    values, intervals = data.parameters(line, kind), {}
    for name, value in values.items():
        gradient = data.gradient(line, kind, name)
        half = reach * np.sqrt(max(gradient @ covariance[:2, :2] @ gradient, 0.0))
        intervals[name] = (float(value - half), float(value + half))
    half = reach * np.sqrt(max(covariance[2, 2], 0.0))
    intervals["bank_share"] = (_share(max(spread - half, 0.0)), _share(spread + half))
    return replace(
        alone,
        law=law_of(kind, source, data, line),
        intervals=intervals,
        banks=BankShift(share=_share(spread), cells=size),
    )


def _share(spread: float) -> float:
    """Share of the variance, if the offset's s.d. is ``spread`` times the s.d. of single cells."""
    return float(spread**2 / (1 + spread**2))


def _simplex(start: np.ndarray) -> np.ndarray:
    return np.concatenate([start[np.newaxis], start + np.diag([0.1, 0.05, 0.2])])


def _curvature(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Matrix of second derivatives by central differences."""
    step = 1e-3
    shifts = step * np.eye(len(at))
    found = np.empty((len(at), len(at)))
    for i, a in enumerate(shifts):
        for j, b in enumerate(shifts):
            found[i, j] = (
                loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)
            ) / (4 * step**2)
    return found


@dataclass(frozen=True, eq=False)
class _Likelihood:
    """first: [patterns, voltages], cells of a bank whose highest voltage is that one; healthy:
    [patterns], its other cells; times: banks of this pattern. x: [voltages] of the line.
    """

    first: np.ndarray
    healthy: np.ndarray
    times: np.ndarray
    x: np.ndarray
    kind: str

    @classmethod
    def of(cls, cells: CellList, x: np.ndarray, kind: str) -> _Likelihood:
        banks, size = cells.shape.banks, cells.shape.rows * cells.shape.bits
        first = np.zeros((banks, len(cells.voltages)), np.int64)
        np.add.at(first, (cells.bank, cells.highest), 1)
        patterns, times = np.unique(first, axis=0, return_counts=True)
        return cls(patterns, size - patterns.sum(axis=1), times, x, kind)

    def loss(self, at: np.ndarray) -> float:
        """Negative log likelihood of level, slope and spread, but for a constant."""
        level = at[0] + at[1] * self.x
        z = level if self.kind == "probit" else ndtri(np.exp(np.minimum(level, -1e-9)))
        own = np.sqrt(1 + at[2] ** 2)

        def log_joint(u: np.ndarray) -> np.ndarray:
            """Of counts and offset, [patterns, nodes]."""
            below = log_ndtr(own * z + at[2] * u[..., np.newaxis])
            failed = below.copy()
            # A cell fails first at a voltage if it does there and not at the next higher one.
            ratio = np.minimum(below[..., 1:] - below[..., :-1], -1e-15)
            failed[..., :-1] += np.log(-np.expm1(ratio))
            counts = (self.first[:, np.newaxis] * failed).sum(axis=-1)
            never = log_ndtr(-(own * z[0] + at[2] * u))
            return counts + self.healthy[:, np.newaxis] * never - u * u / 2

        mode = _peak(log_joint, len(self.first))
        step = 1e-3
        for _ in range(3):
            around = log_joint(mode[:, np.newaxis] + np.array([-step, 0, step]))
            bend = (2 * around[:, 1] - around[:, 0] - around[:, 2]) / step**2
            move = (around[:, 2] - around[:, 0]) / (2 * step) / np.maximum(bend, 1.0)
            mode = mode + np.clip(move, -0.01, 0.01)
        # The unit normal alone bends by 1, and the counts only add to that.
        width = 1 / np.sqrt(np.maximum(bend, 1.0))
        nodes = log_joint(mode[:, np.newaxis] + width[:, np.newaxis] * _NODES)
        top = nodes.max(axis=1)
        whole = np.log(np.exp(nodes - top[:, np.newaxis]).sum(axis=1) * width) + top
        return float(-(self.times * whole).sum())


def _peak(log_joint: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """About where concave functions of one variable are highest, [count]: golden sections."""
    low, high = np.full(count, -_FARTHEST), np.full(count, _FARTHEST)
    for _ in range(17):
        width = _GOLDEN * (high - low)
        inner = np.stack([high - width, low + width], axis=1)
        values = log_joint(inner)
        left = values[:, 0] > values[:, 1]
        low, high = np.where(left, low, inner[:, 0]), np.where(left, inner[:, 1], high)
    return (low + high) / 2


@dataclass(frozen=True)
class BankFigures:
    """How failing cells are spread over banks.

    clean: share of banks without a failing cell. dispersion: variance of the number of failing
    cells in a bank over its mean, 1 if cells are independent. worst: the largest number in a bank.
    """

    clean: float
    dispersion: float
    worst: float

    @classmethod
    def of(cls, counts: np.ndarray) -> BankFigures:
        """The figures for numbers of failing cells by bank, [banks]."""
        mean = max(counts.mean(), 1e-300)
        return cls(
            float((counts == 0).mean()), float(counts.var(ddof=1) / mean), float(counts.max())
        )


@dataclass(frozen=True)
class BankRow:
    """One voltage: the failing cells that were seen, and the number that the fit expects.

    fitted, independent: ranges of the figures for 95 % of memories, if banks differ as fitted, and
    if all cells are independent. kept: share of the cells failing here that also fail at the next
    lower voltage; None at the lowest voltage, and if no cell fails.
    """

    voltage: float
    failed: int
    expected: float
    seen: BankFigures
    fitted: tuple[BankFigures, BankFigures]
    independent: tuple[BankFigures, BankFigures]
    kept: float | None


@dataclass(frozen=True)
class PairRow:
    """Pairs of failing cells of a bank ``distance`` rows apart in one column; 0: in one row.

    pairs: at the lowest voltage. expected: if the failing cells of each bank lay anywhere in it.
    """

    distance: int
    pairs: int
    expected: float


def bank_rows(cells: CellList, found: Fit, memories: int = 400) -> list[BankRow]:
    """Figures that independent cells would hide, voltage by voltage, the lowest voltage first.

    memories: number of memories that are drawn from each model.
    """
    if found.banks is None:
        raise FitError("the fit does not tell banks apart")
    counts, rows = cells.counts(), []
    for n, voltage in enumerate(cells.voltages):
        p = found.law.probability(voltage)
        here = cells.fails[:, n]
        rows.append(
            BankRow(
                voltage=voltage,
                failed=int(counts[:, n].sum()),
                expected=p * cells.shape.cells,
                seen=BankFigures.of(counts[:, n]),
                fitted=_range(found.banks.share, p, cells, memories),
                independent=_range(0.0, p, cells, memories),
                kept=float(cells.fails[here, n - 1].mean()) if n and here.any() else None,
            )
        )
    return rows


def _range(
    share: float, p: float, cells: CellList, memories: int
) -> tuple[BankFigures, BankFigures]:
    rng = np.random.default_rng(0)
    banks, size = cells.shape.banks, cells.shape.rows * cells.shape.bits
    drawn = []
    for _ in range(memories):
        shifted = ndtri(p) + np.sqrt(share) * rng.standard_normal(banks)
        failing = rng.binomial(size, ndtr(shifted / np.sqrt(1 - share)))
        drawn.append(astuple(BankFigures.of(failing)))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return BankFigures(*low.tolist()), BankFigures(*high.tolist())


def pair_rows(cells: CellList) -> list[PairRow]:
    """Pairs of failing cells by their distance, at the lowest voltage of the list."""
    _, rows, bits = cells.shape
    size = rows * bits
    failing = cells.cell[cells.fails[:, 0]]
    per_bank = np.bincount(failing // size, minlength=cells.shape.banks)
    all_pairs = (per_bank * (per_bank - 1) / 2).sum() / (size * (size - 1) / 2)
    found = []
    for distance in DISTANCES:
        if distance >= rows:
            continue
        if distance:
            inside = failing[failing // bits % rows < rows - distance]
            pairs = int(np.isin(inside + distance * bits, failing).sum())
            places = bits * (rows - distance)
        else:
            word = np.bincount(np.unique(failing // bits, return_inverse=True)[1])
            pairs = int((word * (word - 1) // 2).sum())
            places = rows * bits * (bits - 1) // 2
        found.append(PairRow(distance, pairs, float(all_pairs * places)))
    return found
