"""Statistical tests that bits flip independently with one probability; for fixed seeds."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, chisquare

TAIL = 1e-6
"""Chance of a false alarm that a fixed seed is allowed to have."""

CELLS = {1e-5: 1 << 23, 1e-4: 1 << 20, 1e-3: 1 << 20, 1e-2: 1 << 20, 0.05: 1 << 20, 0.2: 1 << 20}
"""Cells to test at each probability, enough for some 100 flips at least."""

LAGS = (1, 2, 3, 64, 4096)
"""Distances, in words, of the pairs of words that are tested; half the memory comes on top."""


def check_bernoulli(word: np.ndarray, bit: np.ndarray, words: int, bits: int, p: float) -> None:
    """Assert that flips at (word, bit), ascending, are as if each cell flipped by itself.

    In all, per word, per bit position, per pair of words near and far, and in the gaps between
    one flip and the next.
    """
    assert_count(len(word), words * bits, p)
    per_word = np.bincount(word, minlength=words)
    fits_binomial(per_word, bits, p)
    for lag in (*LAGS, words // 2):
        # Blocks of ``lag`` words, each added to the next: every word is in one pair at most.
        blocks = per_word[: words // (2 * lag) * 2 * lag].reshape(-1, 2, lag)
        fits_binomial(blocks.sum(axis=1).ravel(), 2 * bits, p)
    if bits > 1:
        assert chisquare(np.bincount(bit, minlength=bits)).pvalue > TAIL
    gaps = np.diff(word * bits + bit)
    assert gaps.min() >= 1
    fits_geometric(gaps, p)


def assert_count(count: int, n: int, p: float) -> None:
    """``count`` of ``n`` flipped; the bounds have a chance of TAIL to be left."""
    low, high = binom.ppf([TAIL / 2, 1 - TAIL / 2], n, p)
    assert low <= count <= high


def fits_binomial(counts: np.ndarray, n: int, p: float) -> None:
    """Chi-square test of ``counts`` against Binomial(n, p), rare classes put together."""
    expected = binom.pmf(np.arange(n + 1), n, p) * len(counts)
    observed = np.bincount(counts, minlength=n + 1).astype(float)
    last = int(np.flatnonzero(expected >= 5).max())
    expected = np.append(expected[:last], expected[last:].sum())
    observed = np.append(observed[:last], observed[last:].sum())
    if len(expected) > 1:
        assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > TAIL


def fits_geometric(gaps: np.ndarray, p: float) -> None:
    """Chi-square test of gaps >= 1 against the geometric law, in classes of like probability."""
    classes = min(50, len(gaps) // 20)
    edges = np.ceil(np.log1p(-np.arange(1, classes) / classes) / np.log1p(-p))
    edges = np.unique(np.concatenate([[0], edges]))
    # P(gap <= e) = 1 - (1 - p)^e
    shares = np.diff(np.append(-np.expm1(edges * np.log1p(-p)), 1.0))
    observed = np.bincount(np.searchsorted(edges, gaps, side="left") - 1, minlength=len(edges))
    assert chisquare(observed, shares * len(gaps)).pvalue > TAIL
