"""Philox-4x32-10: a counter-based generator, so that every cell has its number without storing it.

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
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Four 32-bit numbers for a counter and a key; all are uint64 that hold 32 bits."""
    for _ in range(_ROUNDS):
        a, b = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c2 = (b >> _HALF) ^ c1 ^ k0, (a >> _HALF) ^ c3 ^ k1
        c1, c3 = b & _LOW, a & _LOW
        k0, k1 = (k0 + _WEYL_0) & _LOW, (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3
