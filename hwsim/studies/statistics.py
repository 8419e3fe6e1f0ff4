"""Intervals of a mean over chips and of a yield, and a rule when to stop adding chips.

The losses of chips at low voltage are skewed: most chips lose nothing, one in a hundred loses
everything. An interval from the spread of the drawn chips (Student's interval, or a bootstrap) is
then far too short, since most draws miss the chip that matters. The intervals here assume only that
chips are drawn independently and that accuracies lie in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, ndtri

from hwsim.errors import HwsimError

CONFIDENCE = 0.95

LEAST, MOST = 70, 1120
"""Default numbers of chips at a voltage: the least, and the most."""

_STAKES = (1 + np.cos(np.pi * (np.arange(1, 65) - 0.5) / 64)) / 2
"""Shares of the capital, 0..1, that bettors stake: quantiles of the arcsine distribution."""

_ROUNDING = 1e-7
"""Less than one image of any test set, more than shares in single precision are rounded."""


class StatisticsError(HwsimError):
    """A figure cannot be estimated in this way; the text says what is allowed."""


@dataclass(frozen=True)
class Estimate:
    """A mean or a share over ``count`` chips or images and its interval, low <= mean <= high."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def width(self) -> float:
        return self.high - self.low


def estimate(
    values: Sequence[float] | np.ndarray,
    confidence: float = CONFIDENCE,
    *,
    least: float = 0.0,
    most: float = 1.0,
) -> Estimate:
    """Mean of values that lie in least..most, two or more, with its betting interval.

    Hedged capital of Waudby-Smith and Ramdas (Estimating means of bounded random variables by
    betting, JRSS-B 86, 2024). A bettor who doubts that the mean is as low as m stakes a share u
    of the capital on every chip and multiplies it by ``1 - u + u * x / m``. Were m the mean, no
    capital could be expected to grow, and by Ville's inequality one in 40 at most would ever
    reach forty times its start. So what m makes it rich is too low; the upper end is that of
    ``1 - x``. The capital is spread over many u by the arcsine law, as in Cover's universal
    portfolio, so it ends nearly as if the best u had been known; the order of the chips plays no
    part.

    The interval holds for every distribution, and at all numbers of chips at once: a caller may
    look at it after each chip and stop at any time. Raises StatisticsError for fewer than two
    values and for values out of range.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise StatisticsError(f"an interval needs at least 2 chips, not {x.size}")
    if not (least <= x.min() and x.max() <= most):
        raise StatisticsError(f"values must be {least:g}..{most:g}, not {x.min():g}..{x.max():g}")
    whole, mean = most - least, float(x.mean())
    wanted = log(2 / (1 - confidence))
    low = least + whole * _lower_end((x - least) / whole, wanted)
    high = most - whole * _lower_end((most - x) / whole, wanted)
    # The mean lies within but for rounding.
    return Estimate(mean, min(low, mean), max(high, mean), len(x))


def _lower_end(x: np.ndarray, wanted: float) -> float:
    """The largest m at which the logarithm of the capital is ``wanted``; 0 where there is none."""
    value, count = np.unique(x, return_counts=True)

    def excess(m: float) -> float:
        growth = np.log1p(_STAKES[:, None] * (value / m - 1)) @ count
        best = float(growth.max())
        return best + log(float(np.exp(growth - best).mean())) - wanted

    # The capital falls as m grows, to its start or less at the mean.
    first, mean = 1e-12, float(x.mean())
    if mean <= first or excess(first) < 0:
        return 0.0
    return float(brentq(excess, first, mean, xtol=1e-12))


def paired_difference(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean of ``a - b``, shares that were measured on the same chips, in the same order.

    Chips that are bad for one method are mostly bad for the other, so this interval is narrower
    than those of the two means. Raises StatisticsError for different numbers of chips.
    """
    if len(a) != len(b):
        raise StatisticsError(f"pairs need equally many chips, not {len(a)} and {len(b)}")
    gap = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return estimate(gap, confidence, least=-1.0, most=1.0)


def share_of_chips(good: int, chips: int, looks: int = 1) -> Estimate:
    """A yield with the interval of Clopper and Pearson (Biometrika 26, 1934).

    The interval is exact for a number of chips that was fixed beforehand. If a rule looks at the
    interval up to ``looks`` times, at numbers of chips fixed beforehand, to decide whether to add
    chips, each look has an equal part of the 5 % (Bonferroni). Raises StatisticsError unless 0 <=
    good <= chips, chips >= 1.
    """
    if not 0 <= good <= chips or chips < 1:
        raise StatisticsError(f"good must be 0..{chips} of at least 1 chip, not {good}")
    tail = (1 - CONFIDENCE) / looks / 2
    low = float(betaincinv(good, chips - good + 1, tail)) if good else 0.0
    high = float(betaincinv(good + 1, chips - good, 1 - tail)) if good < chips else 1.0
    return Estimate(good / chips, low, high, chips)


def chips_for_yield(goal: float, looks: int = 1) -> int:
    """Number of chips, all good, that are needed to show a yield of at least ``goal``."""
    return ceil(log((1 - CONFIDENCE) / looks / 2) / log(goal))


def chips_for_mean(clean: float, loss: float) -> int:
    """Number of chips, all without loss, that show that the mean loses at most ``loss``."""

    def shown(chips: int) -> bool:
        return estimate(np.full(chips, clean)).low >= clean - loss

    few, enough = 1, 2
    while not shown(enough):
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if shown(middle) else (middle, enough)
    return enough


def share_of_images(right: int, images: int, confidence: float = CONFIDENCE) -> Estimate:
    """A share of test images with Wilson's score interval (JASA 22, 1927).

    The interval is about the accuracy on other images of this kind. Chips are compared on the same
    images, where it plays no part. Raises StatisticsError unless 0 <= right <= images, images
    >= 1.
    """
    if not 0 <= right <= images or images < 1:
        raise StatisticsError(f"right must be 0..{images} of at least 1 image, not {right}")
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    p, n = right / images, images
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # The exact ends of 0 and n images are lost to rounding.
    low = 0.0 if right == 0 else float(middle - half)
    high = 1.0 if right == images else float(middle + half)
    return Estimate(p, low, high, n)


@dataclass(frozen=True)
class Bound:
    """The question about chips: do they lose at most ``loss`` of the accuracy ``clean``?

    goal: None: the question is about the mean. Otherwise it is about the yield: this share of chips
    must each stay within the bound, and the loss of the others does not matter. Raises
    StatisticsError unless loss and goal lie between 0 and 1.
    """

    clean: float
    loss: float
    goal: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.loss < 1:
            raise StatisticsError(
                f"the loss that is acceptable must be between 0 and 1, not {self.loss:g}"
            )
        if self.goal is not None and not 0 < self.goal < 1:
            raise StatisticsError(f"a yield must be between 0 and 1, not {self.goal:g}")

    def share(self, values: Sequence[float] | np.ndarray, looks: int = 1) -> Estimate:
        """The yield: share of the chips with accuracies ``values`` that stay within the bound."""
        lost = self.clean - np.asarray(values, np.float64)
        return share_of_chips(int((lost <= self.loss + _ROUNDING).sum()), len(lost), looks)

    def asked(self, values: Sequence[float] | np.ndarray, looks: int = 1) -> Estimate:
        """The figure that decides: the yield if there is a goal, otherwise the mean."""
        return estimate(values) if self.goal is None else self.share(values, looks)

    def kept(self, values: Sequence[float] | np.ndarray, looks: int = 1) -> bool | None:
        """Whether the bound is kept; None if the interval leaves it open."""
        return self.verdict(self.asked(values, looks))

    def verdict(self, found: Estimate) -> bool | None:
        """Whether the bound is kept, given the deciding figure; None if it stays open."""
        least = self.clean - self.loss if self.goal is None else self.goal
        return True if found.low >= least else False if found.high < least else None

    def chips(self, looks: int = 1) -> int:
        """Least number of chips, none of which loses anything, that shows the bound to be kept."""
        if self.goal is None:
            return chips_for_mean(self.clean, self.loss)
        return chips_for_yield(self.goal, looks)


@dataclass(frozen=True)
class StopRule:
    """Chips are added, from ``least`` to ``most``, until they are enough; 2 <= least <= most.

    With a width: until the interval of the deciding figure is no wider. Without a width: until the
    interval decides whether the bound is kept. The rule looks at the interval after ``least``
    chips, then after twice as many, and so on, since a yield's interval must know the number of
    looks beforehand.
    """

    least: int = LEAST
    most: int = MOST
    width: float | None = None

    def __post_init__(self) -> None:
        if self.least < 2:
            raise StatisticsError(f"chips must be at least 2, not {self.least}")
        if self.most < self.least:
            raise StatisticsError(f"at most {self.most} chips are fewer than {self.least} at least")
        if self.width is not None and not self.width > 0:
            raise StatisticsError(f"width must be > 0, not {self.width:g}")

    @classmethod
    def fixed(cls, chips: int) -> StopRule:
        """A fixed number of chips, whatever their accuracy."""
        return cls(chips, chips)

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of chips at which the interval is looked at."""
        found, count = [], self.least
        while count < self.most:
            found.append(count)
            count *= 2
        return (*found, self.most)

    def done(self, values: Sequence[float] | np.ndarray, bound: Bound | None = None) -> bool:
        """Whether ``values``, one a chip, are enough to decide on ``bound`` or narrow enough.

        Without a bound, the least number of chips is enough.
        """
        looks = self.looks
        if len(values) >= self.most or len(values) not in looks:
            return len(values) >= self.most
        if self.width is None:
            return bound is None or bound.kept(values, len(looks)) is not None
        found = estimate(values) if bound is None else bound.asked(values, len(looks))
        return found.width <= self.width
