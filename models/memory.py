"""Where quantized values are stored between quantizer and arithmetic: the place errors strike.

A layer passes its integers through a ``Memory``. Healthy, it is the identity; with errors, the
integers become code words, bits of the words change, and what the words then stand for goes on,
with the gradient passing straight through. Codes are those of the accelerator's memories
(``hwsim.accelerator.weights``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.accelerator.weights import WeightCode
from hwsim.models.quantize import straight_through
from hwsim.network import Alphabet, tap_bits


class Errors(Protocol):
    """What happens to the words of a memory."""

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        """Change words in place.

        words: contiguous int8, uint8, int16 or uint16 tensor [copies, ...] of ``bits``-bit words;
        of activations each image is a copy, since one after the other they use the same cells.
        """


class Memory(nn.Module):
    """Integers in, integers out (held in floats); ``bits`` per word, two's complement or not.

    name: by which a chip knows the memory; given by whoever injects errors. errors: what strikes
    in the next passes; None: nothing. kind: ``weight``, ``tap`` or ``activation``.
    """

    def __init__(self, bits: int, *, signed: bool, kind: str = "weight"):
        super().__init__()
        self.bits, self.signed, self.kind = bits, signed, kind
        self.name = ""
        self.errors: Errors | None = None

    def forward(self, integers: Tensor) -> Tensor:
        if self.errors is None:
            return integers
        words = self.encode(integers.detach())
        self.errors.strike(
            self.name, words if self.kind == "activation" else words[None], self.bits
        )
        return straight_through(integers, self.decode(words).to(integers.dtype))

    def encode(self, integers: Tensor) -> Tensor:
        """Words, contiguous, in the narrowest type of 8 or 16 bits that holds them."""
        if self.bits <= 8:
            dtype = torch.int8 if self.signed else torch.uint8
        else:
            dtype = torch.int16 if self.signed else torch.uint16
        return integers.to(dtype).contiguous()

    def decode(self, words: Tensor) -> Tensor:
        """The integers that the words stand for."""
        return words

    def extra_repr(self) -> str:
        return f"{self.kind}, bits={self.bits}, signed={self.signed}"


class WeightMemory(Memory):
    """Weights of an alphabet, as the accelerator stores them where no slice is pruned."""

    def __init__(self, alphabet: Alphabet):
        code, values = _codes(alphabet.name)
        super().__init__(code.bits, signed=code.kind == "int")
        self.plain = code.kind == "int"
        self.lowest = alphabet.values[0]
        if not self.plain:
            encode = np.zeros(alphabet.values[-1] - self.lowest + 1, np.uint8)
            encode[np.array(alphabet.values) - self.lowest] = code.encode(np.array(alphabet.values))
            self.register_buffer("_encode", torch.from_numpy(encode), persistent=False)
            self.register_buffer("_decode", torch.from_numpy(values), persistent=False)

    def encode(self, integers: Tensor) -> Tensor:
        if self.plain:
            return super().encode(integers)
        return self.get_buffer("_encode")[(integers - self.lowest).long()]

    def decode(self, words: Tensor) -> Tensor:
        return words if self.plain else self.get_buffer("_decode")[words.long()]


@lru_cache(maxsize=32)
def _codes(name: str) -> tuple[WeightCode, np.ndarray]:
    """Code of an alphabet without zeros, and the integer of each code word (float32)."""
    alphabet = Alphabet(name)
    values = np.array(alphabet.values)
    code = WeightCode.choose(alphabet, values)
    table = np.zeros(1 << code.bits, np.float32)
    table[code.encode(values)] = values
    return code, table


class TapMemory(Memory):
    """Positions 0 .. taps - 1 of multiplexers.

    What is read may lie past the last tap, where the hardware's multiplexer yields 0.
    """

    def __init__(self, taps: int):
        super().__init__(tap_bits(taps), signed=False, kind="tap")

    def forward(self, tap: Tensor) -> Tensor:
        if self.errors is None or self.bits == 0:
            return tap
        words = self.encode(tap)
        self.errors.strike(self.name, words[None], self.bits)
        return words.to(tap.dtype)
