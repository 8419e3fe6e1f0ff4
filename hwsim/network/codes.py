"""The bits of one weight, by its alphabet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.network.types import Alphabet


@dataclass(frozen=True)
class WeightCode:
    """Encoding of one weight.

    kind ``int``: two's complement of ``bits``. kind ``sign``: bit 0 set for a negative weight,
    then ``exponent_bits`` of a power of two, then a bit that is set for weight 0, present only
    when ``zero``.
    """

    kind: str
    bits: int
    exponent_bits: int = 0
    zero: bool = False

    @classmethod
    def choose(cls, alphabet: Alphabet, weight: np.ndarray) -> WeightCode:
        """The narrowest code for ``weight``, whose entries are in ``alphabet`` or 0."""
        if alphabet.name == "ternary":
            return cls("int", 2)
        if alphabet.name.startswith("int"):
            return cls("int", int(alphabet.name[-1]))
        exponent_bits = int(alphabet.name[-1]) - 1 if alphabet.is_pow2 else 0
        zero = bool((weight == 0).any())
        return cls("sign", 1 + exponent_bits + zero, exponent_bits, zero)

    def encode(self, weight: np.ndarray) -> np.ndarray:
        """Codes of ``weight`` (same shape) as unsigned integers."""
        if self.kind == "int":
            return weight & ((1 << self.bits) - 1)
        size = np.abs(weight)
        exponent = np.where(size > 0, np.log2(np.maximum(size, 1)).round().astype(np.int64), 0)
        code = (weight < 0).astype(np.int64) | exponent << 1
        return code | (weight == 0).astype(np.int64) << (self.bits - 1) if self.zero else code

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Weights that codes stand for, any bit pattern included; same shape, int64."""
        if self.kind == "int":
            return codes << (64 - self.bits) >> (64 - self.bits)
        size = np.int64(1) << (codes >> 1 & ((1 << self.exponent_bits) - 1))
        weight = np.where(codes & 1, -size, size)
        return np.where(codes >> (self.bits - 1) & 1, 0, weight) if self.zero else weight
