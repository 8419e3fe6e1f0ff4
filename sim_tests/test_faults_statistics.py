"""How often intervals cover the truth, also when chips are added until they are narrow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp, ttest_rel

from hwsim.faults.statistics import (
    StatisticsError,
    StopRule,
    estimate,
    paired_difference,
    share,
    share_of_images,
)


def test_t_interval_is_scipys() -> None:
    x = np.random.default_rng(0).normal(0.9, 0.02, 12)
    found, wanted = estimate(x), ttest_1samp(x, 0).confidence_interval(0.95)
    assert (found.mean, found.count) == (x.mean(), 12)
    assert np.allclose((found.low, found.high), wanted, rtol=1e-12)
    assert found.width == found.high - found.low


def test_paired_difference_is_scipys() -> None:
    rng = np.random.default_rng(0)
    chips = rng.normal(0.9, 0.05, 20)
    a, b = chips + rng.normal(0.01, 0.002, 20), chips
    found, wanted = paired_difference(a, b, 0.9), ttest_rel(a, b).confidence_interval(0.9)
    assert np.allclose((found.low, found.high), wanted, rtol=1e-12)
    assert found.width < 0.1 * estimate(a, 0.9).width


def test_interval_of_a_share_stays_within_0_and_1() -> None:
    low, high = share([0.0, 0.5]), share([1.0, 0.5])
    assert (low.mean, low.low, low.high) == (0.25, 0, 1)
    assert (high.mean, high.low, high.high) == (0.75, 0, 1)
    alike = share([0.5] * 3)
    assert (alike.low, alike.high) == (0.5, 0.5)


@pytest.mark.parametrize(("right", "images"), [(0, 10), (10, 10), (9138, 10000), (1, 2)])
def test_ends_of_wilsons_interval_solve_its_equation(right: int, images: int) -> None:
    """Each end is the share p for which the count lies z standard deviations off."""
    found = share_of_images(right, images)
    assert found.mean == right / images
    for p in (found.low, found.high):
        if 0 < p < 1:
            z = (right - images * p) / np.sqrt(images * p * (1 - p))
            assert abs(abs(z) - 1.959963984540054) < 1e-9
    assert found.low == 0 if right == 0 else found.low > 0
    assert found.high == 1 if right == images else found.high < 1


@pytest.mark.parametrize("p", [0.5, 0.9, 0.97])
def test_coverage_of_wilsons_interval(p: float) -> None:
    """Exactly, over all outcomes of 1,000 images."""
    outcomes = np.arange(1001)
    covered = []
    for k in outcomes:
        found = share_of_images(int(k), 1000)
        covered.append(found.low <= p <= found.high)
    assert abs(binom.pmf(outcomes, 1000, p)[covered].sum() - 0.95) < 0.01


def normal(rng: np.random.Generator, chips: int) -> np.ndarray:
    return rng.normal(0.9, 0.01, chips)


def skewed(rng: np.random.Generator, chips: int) -> np.ndarray:
    """Exponential losses: most chips lose little, some much; the same spread, mean 0.9."""
    return 0.91 - rng.exponential(0.01, chips)


def coverage(
    draw: Callable[[np.random.Generator, int], np.ndarray], rule: StopRule
) -> tuple[float, float]:
    """(share of 2,000 campaigns whose interval holds the mean 0.9, chips in the mean)."""
    rng, hits, chips = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        values = draw(rng, rule.most)
        # What lies before the least number of chips never stops.
        count = next(n for n in range(rule.least, rule.most + 1) if rule.done(values[:n]))
        found = estimate(values[:count])
        hits += found.low <= 0.9 <= found.high
        chips += count
    return hits / 2000, chips / 2000


@pytest.mark.parametrize(
    ("draw", "width", "covered", "chips"),
    [
        (normal, None, 0.948, 24),
        (normal, 0.008, 0.952, 26.3),
        (skewed, None, 0.931, 24),
        (skewed, 0.008, 0.91, 26.5),
        (skewed, 0.0055, 0.892, 47.4),
    ],
)
def test_coverage_of_the_stop_rule(
    draw: Callable[[np.random.Generator, int], np.ndarray],
    width: float | None,
    covered: float,
    chips: float,
) -> None:
    """The figures of docs/memories.md; the standard error of 2,000 campaigns is 0.5 to 0.7 %."""
    rule = StopRule(24) if width is None else StopRule(100, width)
    found, mean = coverage(draw, rule)
    assert (round(found, 3), round(mean, 1)) == (covered, chips)


def test_stop_rule() -> None:
    alike = [0.5] * 50
    rule = StopRule(most=40, width=0.01, least=5)
    assert [rule.done(alike[:n]) for n in (4, 5, 40)] == [False, True, True]
    apart = [0.1, 0.9] * 25
    assert [rule.done(apart[:n]) for n in (5, 39, 40)] == [False, False, True]
    assert [StopRule(7).done(alike[:n]) for n in (6, 7)] == [False, True]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: estimate([0.5]), "an interval needs at least 2 chips, not 1"),
        (lambda: StopRule(1), "chips must be at least 2, not 1"),
        (lambda: StopRule(40, 0.0), "width must be > 0, not 0"),
        (lambda: StopRule(10, 0.1), "with a width there must be at least 20 chips, not 10"),
        (lambda: StopRule(10, 0.1, 1), "least must be at least 2 chips, not 1"),
        (
            lambda: paired_difference([1, 2], [1, 2, 3]),
            "pairs need equally many chips, not 2 and 3",
        ),
        (
            lambda: share_of_images(3, 2),
            "right must be 0..2 of at least 1 image, not 3",
        ),
    ],
)
def test_errors(call: Callable[[], object], text: str) -> None:
    with pytest.raises(StatisticsError) as caught:
        call()
    assert str(caught.value) == text
