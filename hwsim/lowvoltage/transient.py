"""Which failing cells err in which access: a hash, the same in software and RTL.

Accesses of a memory (of each bank of a window memory) are counted from reset, modulo 2**32. In
access ``a`` the failing cell at bit ``b`` errs when byte ``b mod 4`` of

    mix((a * 0x9E3779B9 + (key ^ (b // 4 * 0x85EBCA6B))) mod 2**32)

is below ``errs``, the number of accesses out of 256 in which failing cells err. Write failures go
by the number of the write, counted over all banks. ``mix`` is the
32-bit finalizer lowbias32 (C. Wellons, public domain): two multiplications, three shifts. ``key``
follows from the chip's seed, the memory's name and the bank.
"""

from __future__ import annotations

import hashlib

import numpy as np

from hwsim.jit import njit

ALWAYS = 256
"""``errs`` of cells that err in every access."""

GOLDEN, LANE = 0x9E3779B9, 0x85EBCA6B
MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
SHIFTS = (16, 15, 16)

_MASK = np.uint64(0xFFFFFFFF)
_GOLDEN, _LANE = np.uint64(GOLDEN), np.uint64(LANE)
_M0, _M1 = (np.uint64(m) for m in MULTIPLIERS)
_S0, _S1, _S2 = (np.uint64(s) for s in SHIFTS)
_TWO, _THREE, _EIGHT, _BYTE = np.uint64(2), np.uint64(3), np.uint64(8), np.uint64(0xFF)


def transient_key(seed: int, memory: str, bank: int = 0) -> int:
    """32-bit key of one bank of a chip's memory."""
    text = f"{seed} {memory} {bank}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


@njit
def errs_now(key, access, bit, errs):  # type: ignore[no-untyped-def]
    """Whether the failing cell at ``bit`` errs in ``access``; all four uint64."""
    x = (access * _GOLDEN + (key ^ ((bit >> _TWO) * _LANE & _MASK))) & _MASK
    x ^= x >> _S0
    x = x * _M0 & _MASK
    x ^= x >> _S1
    x = x * _M1 & _MASK
    x ^= x >> _S2
    return (x >> (_EIGHT * (bit & _THREE))) & _BYTE < errs
