"""The values in a memory's words, and the bits of each value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.design.bits import bits_to_ints

ONES = np.int64(-1)


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of a memory's words.

    width: bits of each field of a word, lowest first, int64 [fields]. real: bool [words, fields],
    clear where a field belongs to a lane past the last channel: nothing depends on what it holds,
    so synthesis drops it, and it does not fail. lanes: equal parts of a word, one a channel.
    values: what the fields of one lane hold, for people (tap, weight, multiplier, bias, or the
    role of the memory). steady: bool [words, fields], clear where a field belongs to a lane that is
    at times one past the last channel, as the word serves several beats; None: as ``real``.
    """

    width: np.ndarray
    real: np.ndarray
    lanes: int
    values: tuple[str, ...]
    steady: np.ndarray | None = None

    @property
    def always_real(self) -> np.ndarray:
        """Fields that belong to a channel whatever is written: bool [words, fields]."""
        return self.real if self.steady is None else self.real & self.steady

    @property
    def start(self) -> np.ndarray:
        """Lowest bit of each field, int64 [fields]."""
        return np.cumsum(self.width) - self.width

    @property
    def bits(self) -> int:
        return int(self.width.sum())

    def real_bits(self) -> np.ndarray:
        """``real`` of every bit, bool [words, bits]."""
        return np.repeat(self.real, self.width, axis=1)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Bits of words: uint8 [n, bits] of fields, integers [n, fields] or [n, ...] alike."""
        values = np.asarray(values, np.int64).reshape(len(values), len(self.width))
        at = np.arange(self.bits) - np.repeat(self.start, self.width)
        return (np.repeat(values, self.width, axis=1) >> at & 1).astype(np.uint8)

    def words(self, values: np.ndarray) -> list[int]:
        """Whole words, bit 0 lowest, of fields as in ``pack``."""
        return bits_to_ints(self.pack(values))

    def unpack(self, bits: np.ndarray) -> np.ndarray:
        """The inverse of ``pack``: int64 [n, fields], unsigned."""
        weight = np.int64(1) << (np.arange(self.bits) - np.repeat(self.start, self.width))
        return np.add.reduceat(bits * weight, self.start, axis=1)


def signed(values: np.ndarray, bits: int) -> np.ndarray:
    """The lowest ``bits`` (1..64) bits of ``values`` as two's complement."""
    return values << (64 - bits) >> (64 - bits)


def unsigned(values: np.ndarray, bits: int) -> np.ndarray:
    """The lowest ``bits`` (1..64) bits of ``values``; 64 of them fill the whole element."""
    return values & (ONES if bits == 64 else np.int64((1 << bits) - 1))
