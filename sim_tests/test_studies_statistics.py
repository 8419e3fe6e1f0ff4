"""How often intervals cover the truth, and how wide they are, also when looked at again and again.

Each is asked for both: an interval that is too short misses the truth, one that is too long says
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from hwsim.studies.statistics import (
    Bound,
    Estimate,
    StatisticsError,
    StopRule,
    chips_for_mean,
    chips_for_yield,
    estimate,
    paired_difference,
    share_of_chips,
    share_of_images,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]


def rare(rng: np.random.Generator, chips: int) -> np.ndarray:
    """One chip in a hundred loses everything, the others nothing: mean 0.99."""
    return (rng.random(chips) < 0.99).astype(float)


def skewed(rng: np.random.Generator, chips: int) -> np.ndarray:
    """Of 100 images most chips lose few, some many: mean 0.98, standard deviation 0.046."""
    return rng.binomial(100, rng.beta(9.0, 9.0 / 49, chips)) / 100


def two_kinds(rng: np.random.Generator, chips: int) -> np.ndarray:
    """Nine chips in ten around 0.95, the tenth around 0.45: mean 0.9."""
    centre = np.where(rng.random(chips) < 0.9, 0.95, 0.45)
    return centre + rng.integers(-4, 5, chips) / 100


# -- means of bounded values -----------------------------------------------------------------------


def capital(x: np.ndarray, m: float) -> float:
    """What one unit becomes when m is doubted from below: the integral over stakes, by Simpson."""
    angle = np.linspace(0, np.pi, 2001)
    end = np.array([np.prod([1 - u + u * v / m for v in x]) for u in (1 + np.cos(angle)) / 2])
    weight = np.where(np.arange(2001) % 2, 4.0, 2.0)
    weight[[0, -1]] = 1
    return float(end @ weight / weight.sum())


@pytest.mark.parametrize("draw", [rare, skewed, two_kinds])
def test_ends_are_where_bettors_have_forty_times_their_start(draw: Draw) -> None:
    x = np.append(draw(np.random.default_rng(4), 60), 0.0)
    found = estimate(x)
    assert found.mean == x.mean()
    assert found.count == 61
    assert found.low < found.mean < found.high
    assert abs(capital(x, found.low) / 40 - 1) < 1e-3
    assert abs(capital(1 - x, 1 - found.high) / 40 - 1) < 1e-3
    # By the other confidence, twenty times.
    assert abs(capital(x, estimate(x, 0.9).low) / 20 - 1) < 1e-3


def test_chips_that_are_all_alike() -> None:
    """Losses that strike few chips remain possible."""
    perfect = estimate(np.ones(200))
    assert (perfect.mean, perfect.high) == (1.0, 1.0)
    assert 1 - 6 / 200 < perfect.low < 1 - 4 / 200
    dead = estimate(np.zeros(200))
    assert (dead.mean, dead.low) == (0.0, 0.0)
    assert np.isclose(dead.high, 1 - perfect.low, rtol=1e-9)


def test_order_and_scale_of_values_play_no_part() -> None:
    x = skewed(np.random.default_rng(1), 80)
    found = estimate(x)
    again = estimate(x[::-1])
    assert np.allclose((again.low, again.high), (found.low, found.high), rtol=1e-9)
    mirrored = estimate(1 - x)
    ends = (1 - mirrored.high, 1 - mirrored.low)
    assert np.allclose(ends, (found.low, found.high), rtol=0, atol=1e-9)
    stretched = estimate(3 * x - 2, least=-2.0, most=1.0)
    ends = ((stretched.low + 2) / 3, (stretched.high + 2) / 3)
    assert np.allclose(ends, (found.low, found.high), rtol=0, atol=1e-9)


def study(draw: Draw, mean: float, rule: StopRule) -> tuple[float, float, float]:
    """(share of 200 campaigns whose interval holds the mean, its width, chips), both means."""
    rng, hits, width, chips = np.random.default_rng(0), 0, 0.0, 0
    for _ in range(200):
        values = draw(rng, rule.most)
        count = next(n for n in rule.looks if rule.done(values[:n]))
        found = estimate(values[:count])
        hits += found.low <= mean <= found.high
        width += found.width / 200
        chips += count
    return hits / 200, width, chips / 200


@pytest.mark.parametrize(
    ("draw", "mean", "chips", "narrow", "wide"),
    [
        (rare, 0.99, 20, 0.2, 0.27),
        (rare, 0.99, 200, 0.035, 0.05),
        (skewed, 0.98, 20, 0.19, 0.25),
        (skewed, 0.98, 200, 0.025, 0.04),
        (two_kinds, 0.9, 200, 0.06, 0.09),
    ],
)
def test_coverage(draw: Draw, mean: float, chips: int, narrow: float, wide: float) -> None:
    covered, width, _ = study(draw, mean, StopRule.fixed(chips))
    assert covered >= 0.95
    assert narrow < width < wide


@pytest.mark.parametrize(("draw", "mean"), [(rare, 0.99), (skewed, 0.98)])
def test_students_interval_does_not_cover_these(draw: Draw, mean: float) -> None:
    """So the draws are hard ones."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        x = draw(rng, 20)
        hits += abs(x.mean() - mean) <= 2.093 * x.std(ddof=1) / np.sqrt(20)
    assert hits / 300 < 0.85


@pytest.mark.parametrize(
    ("draw", "mean", "deviation"), [(rare, 0.99, 0.0995), (two_kinds, 0.9, 0.152)]
)
def test_many_chips_make_an_interval_nearly_as_narrow_as_the_spread_allows(
    draw: Draw, mean: float, deviation: float
) -> None:
    """A normal interval of the true spread; an interval at all numbers of chips is wider."""
    x = draw(np.random.default_rng(0), 20_000)
    ratio = estimate(x).width / (2 * 1.96 * deviation / np.sqrt(20_000))
    assert 1.2 < ratio < 2.2


@pytest.mark.parametrize(("draw", "mean"), [(rare, 0.99), (skewed, 0.98), (two_kinds, 0.9)])
def test_intervals_hold_at_all_numbers_of_chips_at_once(draw: Draw, mean: float) -> None:
    """Whoever looks again and again, and stops where the interval misses the mean, rarely can."""
    rng, missed = np.random.default_rng(2), 0
    for _ in range(100):
        values = draw(rng, 320)
        looks = (estimate(values[:n]) for n in (10, 40, 160, 320))
        missed += any(not found.low <= mean <= found.high for found in looks)
    assert missed <= 5


def test_coverage_of_chips_that_are_added_until_the_interval_is_narrow() -> None:
    rule = StopRule(20, 640, 0.08)
    covered, width, chips = study(two_kinds, 0.9, rule)
    assert covered >= 0.95
    assert 0.05 < width <= 0.08
    assert 160 < chips < 320


def test_differences_of_pairs() -> None:
    rng = np.random.default_rng(0)
    chips = rng.beta(30, 3, 400)
    a, b = chips - 0.05 * rng.random(400), chips
    found = paired_difference(a, b)
    assert np.isclose(found.mean, (a - b).mean(), rtol=1e-12)
    assert found.low < -0.025 < found.high
    assert 0 < found.width < 0.06
    other = paired_difference(b, a)
    assert np.allclose((-other.high, -other.low), (found.low, found.high), rtol=0, atol=1e-9)


# -- yields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("good", "chips"), [(0, 20), (20, 20), (7, 20), (365, 368), (1, 2)])
@pytest.mark.parametrize("looks", [1, 5])
def test_clopper_and_pearsons_interval_is_scipys(good: int, chips: int, looks: int) -> None:
    found = share_of_chips(good, chips, looks)
    wanted = binomtest(good, chips).proportion_ci(1 - 0.05 / looks, method="exact")
    assert (found.mean, found.count) == (good / chips, chips)
    assert np.allclose((found.low, found.high), wanted, rtol=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.95, 0.99])
def test_coverage_of_yields(p: float) -> None:
    """Exactly, over all outcomes of 400 chips."""
    outcomes = np.arange(401)
    found = [share_of_chips(int(k), 400) for k in outcomes]
    covered = [one.low <= p <= one.high for one in found]
    assert 0.95 <= binom.pmf(outcomes, 400, p)[covered].sum() < 0.985


def test_coverage_of_yields_that_are_looked_at_again() -> None:
    """By the rule of the yield itself; looks that did not share the 5 % would miss more."""
    rule, rng = StopRule(20, 640), np.random.default_rng(3)
    bound = Bound(1.0, 0.5, 0.9)
    hits, hasty, chips = 0, 0, []
    for _ in range(1000):
        values = (rng.random(640) < 0.9).astype(float)
        count = next(n for n in rule.looks if rule.done(values[:n], bound))
        found = bound.share(values[:count], len(rule.looks))
        hits += found.low <= 0.9 <= found.high
        alone = (bound.share(values[:n]) for n in rule.looks)
        hasty += all(one.low <= 0.9 <= one.high for one in alone)
        chips.append(count)
    assert hasty / 1000 < 0.93
    assert 0.95 <= hits / 1000 < 0.995


@pytest.mark.parametrize(("looks", "chips"), [(1, 368), (5, 528)])
def test_chips_that_show_a_yield(looks: int, chips: int) -> None:
    assert chips_for_yield(0.99, looks) == chips
    assert share_of_chips(chips, chips, looks).low >= 0.99
    assert share_of_chips(chips - 1, chips - 1, looks).low < 0.99


@pytest.mark.parametrize(("clean", "loss"), [(1.0, 0.01), (0.9, 0.05), (0.005, 0.01)])
def test_chips_that_show_a_mean(clean: float, loss: float) -> None:
    chips = chips_for_mean(clean, loss)
    assert Bound(clean, loss).chips() == chips
    assert estimate(np.full(chips, clean)).low >= clean - loss
    assert chips == 2 or estimate(np.full(chips - 1, clean)).low < clean - loss
    assert chips < 5.6 / loss


# -- images ----------------------------------------------------------------------------------------


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


# -- when to stop ----------------------------------------------------------------------------------


def test_numbers_of_chips_at_which_is_looked() -> None:
    assert StopRule().looks == (70, 140, 280, 560, 1120)
    assert StopRule(50, 120).looks == (50, 100, 120)
    assert StopRule(2, 3).looks == (2, 3)
    assert StopRule.fixed(2).looks == (2,)
    assert StopRule.fixed(7).looks == (7,)


def test_stop_rule() -> None:
    alike, apart = [0.95] * 1120, [0.0, 1.0] * 20
    fixed = StopRule.fixed(7)
    assert [fixed.done(alike[:n]) for n in (2, 6, 7)] == [False, False, True]
    # With nothing asked the least number is enough.
    assert [StopRule(5, 40).done(alike[:n]) for n in (4, 5)] == [False, True]
    narrow = StopRule(5, 40, 0.5)
    assert [narrow.done(alike[:n]) for n in (5, 10, 19, 20)] == [False, True, False, True]
    assert [narrow.done(apart[:n]) for n in (10, 20, 39, 40)] == [False, False, False, True]
    # Until it is decided: far below the bound soon, within it after 500 chips, at the end anyway.
    bound, rule = Bound(0.95, 0.01), StopRule()
    assert rule.done([0.1, 0.2] * 35, bound)
    assert [rule.done(alike[:n], bound) for n in (70, 280, 500, 560)] == [False] * 3 + [True]
    near = ([0.95] * 99 + [0.0]) * 12
    assert [rule.done(near[:n], bound) for n in (560, 1119, 1120)] == [False, False, True]
    goal = Bound(0.95, 0.01, 0.99)
    assert [rule.done(alike[:n], goal) for n in (70, 280, 560)] == [False, False, True]
    width = StopRule(20, 640, 0.05)
    assert [width.done(alike[:n], goal) for n in (20, 80, 160)] == [False, False, True]


def test_bounds_are_kept_or_not_or_it_is_open() -> None:
    mean, goal = Bound(0.95, 0.01), Bound(0.95, 0.01, 0.9)
    assert mean.verdict(Estimate(0.945, 0.94, 0.95, 9)) is True
    assert mean.verdict(Estimate(0.945, 0.9399, 0.95, 9)) is None
    assert mean.verdict(Estimate(0.93, 0.92, 0.9399, 9)) is False
    assert goal.verdict(Estimate(0.95, 0.9, 1.0, 9)) is True
    assert goal.verdict(Estimate(0.8, 0.7, 0.89, 9)) is False
    values = [0.95] * 97 + [0.0] * 3
    assert mean.kept(values) is None
    assert goal.kept(values) is True
    assert goal.kept(values, 40) is None


def test_a_chip_at_the_bound_is_good() -> None:
    """Also where shares are rounded, in double and in single precision."""
    for clean in range(20, 356):
        for number in (np.float64, np.float32):
            values = [number(clean - lost) / number(355) for lost in (0, 3, 4)]
            bound = Bound(float(number(clean) / number(355)), 3 / 355)
            assert bound.share(np.array(values)).mean == 2 / 3


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: estimate([0.5]), "an interval needs at least 2 chips, not 1"),
        (lambda: estimate([0.5, 1.5]), "values must be 0..1, not 0.5..1.5"),
        (lambda: estimate([0.5, float("nan")]), "values must be 0..1, not nan..nan"),
        (lambda: estimate([0.5, inf], least=-1.0), "values must be -1..1, not 0.5..inf"),
        (lambda: StopRule.fixed(1), "chips must be at least 2, not 1"),
        (lambda: StopRule(5, 40, 0.0), "width must be > 0, not 0"),
        (lambda: StopRule(20, 10), "at most 10 chips are fewer than 20 at least"),
        (lambda: Bound(1.0, 2), "the loss that is acceptable must be between 0 and 1, not 2"),
        (lambda: Bound(1.0, 0.1, 95), "a yield must be between 0 and 1, not 95"),
        (lambda: share_of_chips(3, 2), "good must be 0..2 of at least 1 chip, not 3"),
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
