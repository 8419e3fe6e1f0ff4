"""Tensor types and weight alphabets of the integer network (see docs/ir.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.errors import NetworkError

MAX_BITS = 32
"""Widest tensor the network may hold; the executor and the RTL rely on it."""

MAX_SIZE = (1 << 31) - 1
"""Largest number of values of a tensor: 16 GiB in NumPy."""


def bits_for(lo: int, hi: int) -> tuple[int, bool]:
    """Return the narrowest ``(bits, signed)`` that holds every integer in ``lo..hi``.

    Unsigned is chosen when ``lo >= 0``; the width is at least 1.
    """
    if lo > hi:
        raise ValueError(f"lo must be <= hi, not {lo} > {hi}")
    if lo >= 0:
        return max(1, int(hi).bit_length()), False
    return max(max(int(hi), 0).bit_length(), int(-lo - 1).bit_length()) + 1, True


def tap_bits(taps: int) -> int:
    """Bits that select one of ``taps`` kernel positions; 0 if there is only one."""
    return (taps - 1).bit_length()


@dataclass(frozen=True)
class TensorType:
    """Shape and value range of one tensor: ``(channels, height, width)`` integers.

    ``bits`` is 1..32; values are ``0 .. 2**bits - 1``, or two's complement when ``signed``.
    One-dimensional signals have height 1, vectors have height and width 1.
    """

    channels: int
    height: int
    width: int
    bits: int
    signed: bool = False

    def __post_init__(self) -> None:
        for key in ("channels", "height", "width"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise NetworkError(f"tensor {key} must be a positive integer, not {value!r}")
        if self.size > MAX_SIZE:
            shape = " x ".join(map(str, self.shape))
            raise NetworkError(f"tensor of {shape} values: at most {MAX_SIZE} are allowed")
        if type(self.bits) is not int or not 1 <= self.bits <= MAX_BITS:
            raise NetworkError(f"tensor bits must be 1..{MAX_BITS}, not {self.bits!r}")
        if type(self.signed) is not bool:
            raise NetworkError(f"tensor signed must be a truth value, not {self.signed!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def size(self) -> int:
        """Number of values."""
        return self.channels * self.height * self.width

    @property
    def lo(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @classmethod
    def for_range(cls, shape: tuple[int, int, int], lo: int, hi: int) -> TensorType:
        """Narrowest type of ``shape`` that holds ``lo..hi``; raises NetworkError above 32 bits."""
        bits, signed = bits_for(lo, hi)
        if bits > MAX_BITS:
            raise NetworkError(f"values {lo}..{hi} need {bits} bits; at most {MAX_BITS} allowed")
        return cls(*shape, bits, signed)

    def __str__(self) -> str:
        kind = "s" if self.signed else "u"
        return f"{self.channels}x{self.height}x{self.width} {kind}{self.bits}"


@dataclass(frozen=True)
class Alphabet:
    """The set of integer values a layer's weights may take.

    ``name`` is ``binary`` {-1, +1}, ``ternary`` {-1, 0, +1}, ``int2`` .. ``int8`` (two's
    complement) or ``pow2_2`` .. ``pow2_4`` (``pow2_n`` = +-2**s with s in 0..2**(n-1)-1: the
    zero-free code of DenseShift, arXiv 2208.09708). Zero marks a pruned slice and is allowed in
    a ``MuxConv2d`` of any alphabet.
    """

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"binary|ternary|int[2-8]|pow2_[2-4]", str(self.name)):
            raise NetworkError(
                f"alphabet must be binary, ternary, int2..int8 or pow2_2..pow2_4, not {self.name!r}"
            )

    @property
    def is_pow2(self) -> bool:
        return self.name.startswith("pow2_")

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Every allowed value, ascending."""
        if self.name == "binary":
            return (-1, 1)
        if self.name == "ternary":
            return (-1, 0, 1)
        n = int(self.name[-1])
        if self.is_pow2:
            powers = [1 << s for s in range(1 << (n - 1))]
            return tuple(-p for p in reversed(powers)) + tuple(powers)
        return tuple(range(-(1 << (n - 1)), 1 << (n - 1)))

    def contains(self, weight: np.ndarray, *, zero: bool = False) -> bool:
        """True when every entry is in the alphabet (or is 0 and ``zero`` is set)."""
        allowed = np.array((*self.values, 0) if zero else self.values)
        return bool(np.isin(weight, allowed).all())
