"""How sure a mean over chips is, when to stop adding chips, and how sure a share of images is.

Chips are drawn independently, so the mean of their accuracies has a t interval. Chips at low
voltage are skewed (most lose little, some much), which the t interval feels only while chips are
few; a bootstrap needs more chips than that to be better. Where all chips are alike the interval is
empty: n chips without a loss leave losses possible that strike fewer than about 3 in n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student

from hwsim.errors import HwsimError

CONFIDENCE = 0.95


class StatisticsError(HwsimError):
    """A figure cannot be estimated as asked; says what is allowed."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``count`` chips and its interval, low <= mean <= high."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def width(self) -> float:
        return self.high - self.low


def estimate(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of two values or more and its two-sided t interval; raises StatisticsError."""
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise StatisticsError(f"an interval needs at least 2 chips, not {x.size}")
    mean = float(x.mean())
    half = float(student.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half, len(x))


def share(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """``estimate`` of shares: its interval is cut off at 0 and 1."""
    found = estimate(values, confidence)
    return Estimate(found.mean, max(0.0, found.low), min(1.0, found.high), found.count)


def paired_difference(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean of ``a - b`` where both were measured on the same chips, in the same order.

    Chips that are bad for one method are mostly bad for the other, so this interval is narrower
    than those of the two means. Raises StatisticsError for different numbers of chips.
    """
    if len(a) != len(b):
        raise StatisticsError(f"pairs need equally many chips, not {len(a)} and {len(b)}")
    return estimate(np.asarray(a, np.float64) - np.asarray(b, np.float64), confidence)


def share_of_images(right: int, images: int, confidence: float = CONFIDENCE) -> Estimate:
    """A share of test images with Wilson's score interval (JASA 22, 1927).

    It says what accuracy on other images of the kind may be; chips are compared on the same
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
class StopRule:
    """Chips are added until the interval of their mean is at most ``width`` wide.

    At least ``least`` >= 2 and at most ``most`` chips; width None: ``most`` chips. Looking at the
    interval again after every chip stops a little too early, where the spread happens to look
    small, so that intervals cover less often than they say (docs/memories.md: how much).
    """

    most: int
    width: float | None = None
    least: int = 20

    def __post_init__(self) -> None:
        if self.most < 2:
            raise StatisticsError(f"chips must be at least 2, not {self.most}")
        if self.width is not None and not self.width > 0:
            raise StatisticsError(f"width must be > 0, not {self.width:g}")
        if self.least < 2:
            raise StatisticsError(f"least must be at least 2 chips, not {self.least}")
        if self.width is not None and self.most < self.least:
            raise StatisticsError(
                f"with a width there must be at least {self.least} chips, not {self.most}"
            )

    def done(self, values: Sequence[float] | np.ndarray) -> bool:
        """Whether ``values``, one a chip, are enough."""
        if len(values) >= self.most:
            return True
        if self.width is None or len(values) < self.least:
            return False
        return estimate(values).width <= self.width
