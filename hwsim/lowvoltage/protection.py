"""Codes that protect memory words: check bits beside the data, and reading in spite of errors.

Check bits are cells like all others and fail like them. A word is its data bits, then its check
bits, bit 0 first. A protection has two costs: check bits, which are stored, read and written, and
two-input gates that data pass on their way in and out. Gates that only switch after an error was
found (for example the gates that find the bit of a syndrome) are not counted.

=============  ==================================================================================
``none``       words read the bits of their cells.
``parity``     an even parity bit for each group of whole values that fit into 8 bits (for each
               value where it is wider); a group whose parity is wrong reads 0. Zeroing in place of
               correcting: Reagen et al., Minerva, ISCA 2016.
``secded``     extended Hamming code (Hamming, 1950) over chunks of at most 64 data bits, as equal
               as can be: r + 1 check bits for k data bits, 2**r >= k + r + 1. Corrects one error
               in a chunk and detects two. A chunk that cannot be corrected is read as it is:
               most of its bits are right. ``secded:zero`` reads it as 0.
``tmr:N``      the top N bits of each value are stored three times; the majority is read.
=============  ==================================================================================

A value is what one lane of the word holds (``value_bits`` bits, the first at bit 0); where they do
not fill the word, the bits left over are a value too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np

from hwsim.cells import read_cells
from hwsim.errors import HwsimError

CHUNK = 64
"""Largest number of data bits that one code word of ``secded`` protects."""

_GROUP = 8
_MAJORITY_GATES = 4

ALLOWED = "none, parity, secded, secded:zero or tmr:N"


class ProtectionError(HwsimError):
    """A protection is not known or does not fit the memory; the text says what is allowed."""


@dataclass(frozen=True)
class Gates:
    """Two-input gates that may switch when a word is written (``encode``) and read (``decode``)."""

    encode: int
    decode: int


class Protection(ABC):
    """How words are protected; see the module text."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The text from which ``parse_protection`` makes this protection."""

    @abstractmethod
    def check_bits(self, bits: int) -> int:
        """Check bits of a word of ``bits`` data bits."""

    @abstractmethod
    def gates(self, bits: int) -> Gates:
        """Gates of encoder and decoder for words of ``bits`` data bits."""

    @abstractmethod
    def _encode(self, data: np.ndarray) -> np.ndarray:
        """Check bits [n, check bits] of words [n, bits]."""

    @abstractmethod
    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        """Data [n, bits] of words as their cells read, [n, bits + check bits]; may change them."""

    def for_values(self, value_bits: int) -> Self:
        """This protection for words whose values are ``value_bits`` >= 1 wide."""
        return self

    def storage(self, bits: int) -> float:
        """Cells of a protected word relative to those of a bare one."""
        return (bits + self.check_bits(bits)) / bits

    def read(self, stored: np.ndarray, keep: np.ndarray, flip: np.ndarray) -> np.ndarray:
        """The data that words with errors read: uint8 [n, bits], one bit an element.

        stored: uint8 [n, bits] of 0 and 1. keep, flip: uint8 [n, bits + check_bits(bits)], masks of
        the cells (``hwsim.cells``). Raises ProtectionError for other shapes.
        """
        bits = stored.shape[1]
        shape = len(stored), bits + self.check_bits(bits)
        if {keep.shape, flip.shape} != {shape}:
            raise ProtectionError(
                f"{self.name}: keep and flip must be {list(shape)} for words of {bits} bits"
            )
        code = np.concatenate((stored, self._encode(stored)), axis=1)
        return self._decode(read_cells(code, keep, flip), bits)


@dataclass(frozen=True)
class Unprotected(Protection):
    """``none``."""

    @property
    def name(self) -> str:
        return "none"

    def check_bits(self, bits: int) -> int:
        return 0

    def gates(self, bits: int) -> Gates:
        return Gates(0, 0)

    def _encode(self, data: np.ndarray) -> np.ndarray:
        return data[:, :0]

    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        return seen


@dataclass(frozen=True)
class Parity(Protection):
    """``parity``: value_bits is the width of the values in a word."""

    value_bits: int = 1

    @property
    def name(self) -> str:
        return "parity"

    def for_values(self, value_bits: int) -> Self:
        return replace(self, value_bits=value_bits)

    @property
    def group(self) -> int:
        """Data bits that share a parity bit."""
        return self.value_bits * max(1, _GROUP // self.value_bits)

    def check_bits(self, bits: int) -> int:
        return -(-bits // self.group)

    def gates(self, bits: int) -> Gates:
        # A tree of XORs over each group; the reader compares, and masks every data bit.
        return Gates(bits - self.check_bits(bits), 2 * bits)

    def _encode(self, data: np.ndarray) -> np.ndarray:
        starts = np.arange(0, data.shape[1], self.group)
        return np.bitwise_xor.reduceat(data, starts, axis=1)

    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        data = seen[:, :bits]
        right = self._encode(data) == seen[:, bits:]
        return data * np.repeat(right, self.group, axis=1)[:, :bits]


@dataclass(frozen=True)
class Secded(Protection):
    """``secded``; zero: a chunk that cannot be corrected reads 0."""

    zero: bool = False

    @property
    def name(self) -> str:
        return "secded:zero" if self.zero else "secded"

    def check_bits(self, bits: int) -> int:
        return sum(_hamming(size).checks for size in _chunks(bits))

    def gates(self, bits: int) -> Gates:
        codes = [_hamming(size) for size in _chunks(bits)]
        return Gates(
            sum(code.encode_gates for code in codes),
            sum(code.decode_gates for code in codes) + self.zero * bits,
        )

    def _encode(self, data: np.ndarray) -> np.ndarray:
        parts, at = [], 0
        for size in _chunks(data.shape[1]):
            parts.append(_hamming(size).encode(data[:, at : at + size]))
            at += size
        return np.concatenate(parts, axis=1)

    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        at, check = 0, bits
        for size in _chunks(bits):
            code, data = _hamming(size), seen[:, at : at + size]
            wrong = code.wrong_bit(data, seen[:, check : check + code.checks])
            (rows,) = np.nonzero(wrong >= 0)
            data[rows, wrong[rows]] ^= 1
            if self.zero:
                data[wrong == _UNCORRECTABLE] = 0
            at, check = at + size, check + code.checks
        return seen[:, :bits]


@dataclass(frozen=True)
class Tmr(Protection):
    """``tmr:N``: ``top`` >= 1 bits of each value of ``value_bits`` (None: the word is one value).

    Values that are narrower are protected whole.
    """

    top: int
    value_bits: int | None = None

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ProtectionError(f"tmr: must protect at least 1 bit of each value, not {self.top}")

    @property
    def name(self) -> str:
        return f"tmr:{self.top}"

    def for_values(self, value_bits: int) -> Self:
        return replace(self, value_bits=value_bits)

    def protected(self, bits: int) -> np.ndarray:
        """The bits of a word that are stored three times, ascending."""
        bit, size = np.arange(bits), self.value_bits or bits
        end = np.minimum((bit // size + 1) * size, bits)
        return np.flatnonzero(bit >= end - self.top)

    def check_bits(self, bits: int) -> int:
        return 2 * len(self.protected(bits))

    def gates(self, bits: int) -> Gates:
        # a & b | c & (a | b)
        return Gates(0, _MAJORITY_GATES * len(self.protected(bits)))

    def _encode(self, data: np.ndarray) -> np.ndarray:
        return np.tile(data[:, self.protected(data.shape[1])], 2)

    def _decode(self, seen: np.ndarray, bits: int) -> np.ndarray:
        top = self.protected(bits)
        a, b, c = seen[:, top], *np.split(seen[:, bits:], 2, axis=1)
        seen[:, top] = a & b | c & (a | b)
        return seen[:, :bits]


NONE = Unprotected()


def parse_protection(text: str) -> Protection:
    """The protection called ``text``: none, parity, secded, secded:zero or tmr:N."""
    plain: dict[str, Protection] = {
        p.name: p for p in (NONE, Parity(), Secded(), Secded(zero=True))
    }
    kind, _, count = text.partition(":")
    if kind == "tmr" and count.isdecimal() and int(count) > 0:
        return Tmr(int(count))
    if text not in plain:
        raise ProtectionError(
            f"protection must be {ALLOWED} (N >= 1 top bits of each value), not {text!r}"
        )
    return plain[text]


# -- the extended Hamming code ---------------------------------------------------------------------

_CLEAN, _UNCORRECTABLE = -1, -2


def _chunks(bits: int) -> list[int]:
    """Sizes of the chunks of a word, as equal as can be: two errors rarely meet in one."""
    count = -(-bits // CHUNK)
    return [bits // count + (n < bits % count) for n in range(count)]


@dataclass(frozen=True, eq=False)
class _Hamming:
    """The code for ``bits`` data bits.

    columns: uint8 [bits + checks], what an error in each bit adds to the syndrome: for data bit
    j the j-th number that is no power of two, for check bit i 2**i, and the highest bit, the
    parity of the whole word, for all of them. table: uint8 [bytes, 256], syndrome of each byte of
    the word. meaning: int8 [256], the data bit that a syndrome accuses, or _CLEAN where all data
    bits are right, or _UNCORRECTABLE.
    """

    bits: int
    checks: int
    columns: np.ndarray
    table: np.ndarray
    meaning: np.ndarray

    def syndrome(self, word: np.ndarray) -> np.ndarray:
        """uint8 [n] of words [n, up to bits + checks]; bits that are left out count as 0."""
        packed = np.packbits(word, axis=1, bitorder="little")
        place = np.arange(packed.shape[1])
        return np.bitwise_xor.reduce(self.table[place, packed], axis=1)

    def encode(self, data: np.ndarray) -> np.ndarray:
        """Check bits [n, checks]; the last makes the parity of the word even."""
        syndrome = self.syndrome(data)
        checks = syndrome[:, np.newaxis] >> np.arange(self.checks, dtype=np.uint8) & 1
        checks[:, -1] ^= np.bitwise_xor.reduce(checks[:, :-1], axis=1)
        return checks

    def wrong_bit(self, data: np.ndarray, checks: np.ndarray) -> np.ndarray:
        """``meaning`` [n] of words as read."""
        return self.meaning[self.syndrome(np.concatenate((data, checks), axis=1))]

    @property
    def _sums(self) -> int:
        """Data bits that enter the check bits, all of these but the last together."""
        data = self.columns[: self.bits]
        return sum(int(np.count_nonzero(data >> i & 1)) for i in range(self.checks - 1))

    @property
    def encode_gates(self) -> int:
        """A tree for each check bit, and one over all of the word for its parity."""
        return self._sums - (self.checks - 1) + self.bits + self.checks - 2

    @property
    def decode_gates(self) -> int:
        """The trees of the syndrome, and an XOR that may flip each data bit."""
        return self._sums + self.bits + self.checks - 1 + self.bits


@lru_cache(maxsize=CHUNK)
def _hamming(bits: int) -> _Hamming:
    r = next(r for r in range(2, 8) if 1 << r >= bits + r + 1)
    numbers = [n for n in range(1 << r) if n & (n - 1)][:bits]
    whole = 1 << r
    columns = np.array([n | whole for n in (*numbers, *(1 << i for i in range(r)), 0)], np.uint8)
    meaning = np.full(256, _UNCORRECTABLE, np.int8)
    meaning[[0, *columns[bits:]]] = _CLEAN
    meaning[columns[:bits]] = np.arange(bits)
    padded = np.zeros(-(-len(columns) // 8) * 8, np.uint8)
    padded[: len(columns)] = columns
    byte = np.arange(256, dtype=np.uint8)
    table = np.zeros((len(padded) // 8, 256), np.uint8)
    for j in range(8):
        table ^= padded[j::8, np.newaxis] * (byte >> j & 1)
    return _Hamming(bits, r + 1, columns, table, meaning)
