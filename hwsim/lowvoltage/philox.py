"""Philox-4x32-10, a counter-based generator: every cell has its number without storage.

Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011. ``philox(counter, key)`` maps
four 32-bit counter words and two key words to four 32-bit numbers; checked against the published
known answers.
"""

from __future__ import annotations

import numpy as np

from hwsim.jit import njit

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10


@njit
def _round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    a, b = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
    return (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW


@njit
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Four 32-bit numbers for a counter and a key; all are uint64 that hold 32 bits."""
    for _ in range(_ROUNDS):
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@njit
def philox_run(first, c2, c3, k0, k1, even, odd):  # type: ignore[no-untyped-def]
    """Numbers of the counters (low half, high half of ``first + i``, c2, c3), i = 0, 1, ..

    even, odd: uint64 [counters], get the numbers 0 (low half) and 1, and 2 and 3. The same as
    ``philox`` in a loop, five times as fast: LLVM makes vectors of it only when all is inline
    and indices are unsigned.
    """
    for i in range(np.uintp(len(even))):
        counter = first + i
        x0, x1, x2, x3 = counter & _LOW, counter >> _HALF, c2, c3
        key0, key1 = k0, k1
        for _ in range(_ROUNDS):
            x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0, key1)
            key0, key1 = (key0 + _WEYL_0) & _LOW, (key1 + _WEYL_1) & _LOW
        even[i] = x0 | x1 << _HALF
        odd[i] = x2 | x3 << _HALF
