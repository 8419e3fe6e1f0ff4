"""Fresh random errors of no particular chip, for training: each access has new errors.

Every cell fails independently with one probability. The generator draws the gap to the next failing
cell, a geometric number, so healthy cells cost nothing (Devroye, Non-uniform random variate
generation, 1986, section X.2: floor(E / -log(1 - p)) with E exponential). E is -log(U) of a
53-bit uniform number, so each probability is right to 2**-53. The logarithm is written out below
in operations that IEEE 754 rounds alike everywhere; so a seed gives the same errors on every
machine, and LLVM can make vectors of it.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np

from hwsim.jit import njit
from hwsim.lowvoltage.chip import ChipError, key_of, memory_number
from hwsim.lowvoltage.inject import Masks, mask_type
from hwsim.lowvoltage.philox import philox_run
from hwsim.lowvoltage.technology import FaultModel, VoltageError
from hwsim.lowvoltage.transient import ALWAYS

GAPS, PREFERENCES = 16, 17
"""Streams of the generator; ``hwsim.lowvoltage.chip`` uses other streams."""

MOST_CELLS = 1 << 33
"""Largest number of cells of a memory; more cells would run out of counters."""

_FLIPS = FaultModel()
_BLOCKS = 512
_DENSE = 1 / 8
"""Share of faulty words above which masks are for every word."""

_SPARE = 8.0
"""Room for errors, in standard deviations of their number; a draw beyond the room is redone."""

_11, _32, _52 = np.uint64(11), np.uint64(32), np.uint64(52)
_BIAS = np.uint64(1023)
_LN2 = math.log(2)
_FRACTION_OF_ROOT_2 = int.from_bytes(np.float64(math.sqrt(2)).tobytes(), "little") % (1 << 52)
_CARRY = np.uint64((1 << 52) - _FRACTION_OF_ROOT_2)


def fresh_masks(
    memory: str,
    words: int,
    bits: int,
    probability: float,
    dtype: np.dtype | type,
    *,
    seed: int,
    step: int = 0,
    model: FaultModel = _FLIPS,
) -> Masks:
    """Errors of one access to every word of a memory, for ``inject`` and ``undo``.

    Each of ``words`` x ``bits`` cells fails with ``probability``, 0..1, independently of the
    others, and does what ``model`` says (default: it flips); write failures are those of words
    that are written once, after they powered up. dtype: of the arrays that the masks
    are for, 8 or 16 bits. The same ``memory``, ``seed`` (0 .. 2**64 - 1) and ``step``
    (0 .. 2**32 - 1) give the same errors, any other draw is independent.

    Raises VoltageError for a probability outside 0..1, ChipError for numbers out of range and
    for words that do not fit into ``dtype``.
    """
    unsigned = mask_type(dtype, bits)
    if not 0 <= probability <= 1:
        raise VoltageError(f"bit error rate must be 0..1, not {probability:g}")
    if not 0 <= seed < 1 << 64 or not 0 <= step < 1 << 32:
        raise ChipError(f"seed must be 0..2^64 - 1 and step 0..2^32 - 1, not {seed} and {step}")
    if not 0 <= words * bits <= MOST_CELLS:
        raise ChipError(f"a memory must have 0..{MOST_CELLS} cells, not {words} x {bits}")
    p = probability * model.errs / ALWAYS
    dense = 1 - (1 - p) ** bits > _DENSE
    faults = words * bits * p
    room = words if dense else min(words, int(faults + _SPARE * (math.sqrt(faults) + 8)))
    rate = _rate(p)
    ones = math.ceil(model.ones * 2.0**32) if model.kind != "flip" else -1
    counter = np.uint64(step << 32), np.uint64(memory_number(memory))
    while True:
        word = np.empty(0 if dense else room, np.int64)
        keep, flip = np.full(room, ~unsigned.type(0)), np.zeros(room, unsigned)
        count = 0
        if p:
            count = _draw(words, bits, rate, ones, *counter, *key_of(seed), dense, word, keep, flip)
        if dense:
            return Masks(slice(None), keep, flip, bits, words)
        if count <= room:
            return Masks(word[:count], keep[:count], flip[:count], bits, words)
        room = count


@lru_cache
def _rate(p: float) -> float:
    """-log(1 - p), rounded alike everywhere, which C libraries do not promise."""
    if p < 1e-20 or p == 1:
        return p if p < 1 else math.inf
    with localcontext(prec=60):
        return float(-(1 - Decimal(p)).ln())


@njit
def _draw(words, bits, rate, ones, first, number, k0, k1, dense, word, keep, flip):  # type: ignore[no-untyped-def]
    """Write masks as far as there is room; returns the number of words with errors.

    rate: -log(1 - p). ones: share of failing cells that read 1, of 2**32; -1: cells flip.
    """
    even, odd = np.empty(_BLOCKS, np.uint64), np.empty(_BLOCKS, np.uint64)
    real = np.empty(_BLOCKS)
    gap_even, gap_odd = np.empty(_BLOCKS, np.int64), np.empty(_BLOCKS, np.int64)
    at_word, at_bit = np.empty(2 * _BLOCKS, np.int64), np.empty(2 * _BLOCKS, np.int64)
    reads = np.ones(2 * _BLOCKS, np.int64)
    cells, room = words * bits, len(flip)
    at, last, count = -1, -1, 0
    clear = np.int64(ones >= 0)
    kept = flipped = np.int64(0)
    while True:
        philox_run(first, number, np.uint64(GAPS), k0, k1, even, odd)
        _gaps(even, rate, cells, real, gap_even)
        _gaps(odd, rate, cells, real, gap_odd)
        at = _positions(gap_even, gap_odd, at, bits, at_word, at_bit)
        if clear:
            philox_run(first, number, np.uint64(PREFERENCES), k0, k1, even, odd)
            for i in range(_BLOCKS):
                reads[2 * i] = np.int64(even[i] >> _32) < ones
                reads[2 * i + 1] = np.int64(odd[i] >> _32) < ones
        for i in range(2 * _BLOCKS):
            w = at_word[i]
            if w >= words:
                return count
            if dense:
                keep[w] &= ~(clear << at_bit[i])
                flip[w] |= reads[i] << at_bit[i]
                continue
            if w != last:
                kept, flipped, last = np.int64(-1), np.int64(0), w
                count += 1
            kept &= ~(clear << at_bit[i])
            flipped |= reads[i] << at_bit[i]
            if count <= room:
                word[count - 1], keep[count - 1], flip[count - 1] = w, kept, flipped
        first += np.uint64(_BLOCKS)


@njit
def _gaps(number, rate, most, real, gap):  # type: ignore[no-untyped-def]
    """Healthy cells before the next failing one, at most ``most``; destroys ``number``.

    U = (number >> 11 + 1) / 2**53 is split into 2**-e * m with m in sqrt(1/2) .. sqrt(2), and
    log(m) = 2 artanh(s) with s = (m - 1) / (m + 1), |s| < 0.172: its series is cut off where
    terms are below 2**-53.
    """
    coded = real.view(np.uint64)
    top = np.float64(most)
    for i in range(np.uintp(len(number))):
        real[i] = np.float64(number[i] >> _11) + 1.0
    for i in range(np.uintp(len(number))):
        exponent = (coded[i] + _CARRY) >> _52
        coded[i] -= (exponent - _BIAS) << _52
        number[i] = np.uint64(53) + _BIAS - exponent
    for i in range(np.uintp(len(number))):
        # np.divide: a plain division would check for zero, which forbids vectors.
        s = np.divide(real[i] - 1.0, real[i] + 1.0)
        z = s * s
        series = 1 / 23
        series = series * z + 1 / 21
        series = series * z + 1 / 19
        series = series * z + 1 / 17
        series = series * z + 1 / 15
        series = series * z + 1 / 13
        series = series * z + 1 / 11
        series = series * z + 1 / 9
        series = series * z + 1 / 7
        series = series * z + 1 / 5
        series = series * z + 1 / 3
        log = 2.0 * s + 2.0 * s * (z * series)
        exponential = np.float64(number[i]) * _LN2 - log
        gap[i] = np.int64(min(np.divide(exponential, rate), top))


@njit
def _positions(gap_even, gap_odd, at, bits, word, bit):  # type: ignore[no-untyped-def]
    """Word and bit of the failing cells after cell ``at``; returns the last one."""
    for i in range(np.uintp(len(gap_even))):
        at += gap_even[i] + 1
        word[2 * i] = at
        at += gap_odd[i] + 1
        word[2 * i + 1] = at
    width = np.float64(bits)
    for i in range(np.uintp(len(word))):
        cell = word[i]
        # Exact: cells are below 2**48, so a quotient is never rounded up to an integer.
        word[i] = np.int64(np.divide(np.float64(cell), width))
        bit[i] = cell - word[i] * bits
    return at
