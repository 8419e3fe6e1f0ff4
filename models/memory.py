"""The memory between quantizer and arithmetic: the place where errors strike.

A layer passes its integers through a ``Memory``. Healthy, it is the identity; with errors, the
integers become code words, bits of the words change, and what the words then stand for goes on,
with the gradient passing straight through. Codes are those of the accelerator's memories
(``hwsim.accelerator.weights``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.models.quantize import straight_through
from hwsim.models.recompute import MOST_BLOCKS, Block, block_of, node_number, now
from hwsim.network import Alphabet, tap_bits
from hwsim.network.codes import WeightCode


class Coding(Protocol):
    """How integers become words of ``bits`` bits."""

    @property
    def bits(self) -> int: ...

    def encode(self, integers: Tensor) -> Tensor:
        """Words, contiguous, in the narrowest type of 8 or 16 bits that holds them."""
        ...

    def decode(self, words: Tensor) -> Tensor:
        """The integers that the words stand for."""
        ...


class Errors(Protocol):
    """The changes that errors make to the words of a memory."""

    def coding(self, memory: Memory, name: str) -> Coding:
        """How ``memory``, which is called ``name``, stores its integers; by default its own way."""
        return memory

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        """Change words in place.

        words: contiguous int8, uint8, int16 or uint16 tensor [copies, ...] of ``bits``-bit words;
        of activations each image is a copy, since one after the other they use the same cells.
        """


_NUMBERS = count(1)
_MEMORIES: WeakValueDictionary[int, Memory] = WeakValueDictionary()
"""Memories by a number of their own, which is what a compiled graph can hold."""


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
        self.blocks: deque[Block[Errors]] = deque(maxlen=MOST_BLOCKS)
        self._enroll()

    def _enroll(self) -> None:
        self.number = next(_NUMBERS)
        _MEMORIES[self.number] = self

    def begin(self, errors: Errors, name: str, norms: bool) -> Callable[[], None]:
        """Errors from now on; returns what ends them and brings back what was before.

        norms: whether batch norms compute as deployed.
        """
        before = self.errors, self.name
        block = Block(errors, name, now(), norms)
        self.blocks.append(block)
        self.errors, self.name = errors, name

        def end() -> None:
            self.errors, self.name = before
            block.end = now()
            if block.end == block.start:
                self.blocks.remove(block)

        return end

    def forward(self, integers: Tensor, use: int = 0) -> Tensor:
        """What is read. use: of a module that is called at several places, which one, 0 ..."""
        if not self.strikes():
            return integers
        return straight_through(integers, self.struck(integers.detach(), use))

    def strikes(self) -> bool:
        """Whether errors strike in this pass."""
        # A compiler would watch the blocks, and compile anew for each.
        errors = self.errors if torch.compiler.is_compiling() else self._striking()[0]
        return errors is not None

    def _striking(self) -> tuple[Errors | None, str]:
        """The errors of this pass and the memory's name in it."""
        number = node_number() if self.blocks else None
        if number is None:
            return self.errors, self.name
        block = block_of(number, self.blocks)
        return (None, self.name) if block is None else (block.errors, block.name)

    def struck(self, integers: Tensor, use: int = 0) -> Tensor:
        """Integers as they are read, in the type of ``integers``."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return torch.ops.hwsim.struck(integers, self.number, use)
        errors, name = self._striking()
        if errors is None:
            return integers.clone()
        coding = errors.coding(self, name)
        words = coding.encode(integers)
        copies = words if self.kind == "activation" else words[None]
        errors.strike(memory_name(name, use), copies, coding.bits)
        return coding.decode(words).to(integers.dtype)

    def coded(self, code: WeightCode | None) -> Coding | None:
        """How the accelerator stores the same integers, in ``code`` (None: as unsigned numbers).

        None where it cannot.
        """
        if code is None:
            return None if self.signed else self
        return self if self.signed and code == WeightCode("int", self.bits) else None

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

    def __getstate__(self) -> dict[str, Any]:
        """Without errors: a copy is healthy."""
        return {**self.__dict__, "errors": None, "blocks": deque(maxlen=MOST_BLOCKS)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._enroll()

    def extra_repr(self) -> str:
        return f"{self.kind}, bits={self.bits}, signed={self.signed}"


class Tables:
    """A code by tables: uint8 words of an alphabet's integers, float32 integers of all words."""

    def __init__(self, alphabet: Alphabet, code: WeightCode, device: torch.device):
        values = np.array(alphabet.values + (0,) * code.zero)
        self.bits, self.lowest = code.bits, alphabet.values[0]
        words = np.zeros(alphabet.values[-1] - self.lowest + 1, np.uint8)
        words[values - self.lowest] = code.encode(values)
        integers = code.decode(np.arange(1 << code.bits)).astype(np.float32)
        self.words = torch.from_numpy(words).to(device)
        self.integers = torch.from_numpy(integers).to(device)

    def encode(self, integers: Tensor) -> Tensor:
        return self.words[(integers - self.lowest).long()]

    def decode(self, words: Tensor) -> Tensor:
        return self.integers[words.long()]


@lru_cache(maxsize=64)
def _tables(alphabet: str, code: WeightCode, device: torch.device) -> Tables:
    return Tables(Alphabet(alphabet), code, device)


@dataclass(frozen=True)
class TableCoding:
    """The weights of an alphabet in a code that is no two's complement."""

    alphabet: str
    code: WeightCode

    @property
    def bits(self) -> int:
        return self.code.bits

    def encode(self, integers: Tensor) -> Tensor:
        return _tables(self.alphabet, self.code, integers.device).encode(integers)

    def decode(self, words: Tensor) -> Tensor:
        return _tables(self.alphabet, self.code, words.device).decode(words)


class WeightMemory(Memory):
    """Weights of an alphabet, as the accelerator stores them where no weight is 0.

    A word of several lanes has some without a channel, whose weight is 0. Then the codes of
    binary weights and of powers of two have a bit for it: ``coded`` has it, too.
    """

    def __init__(self, alphabet: Alphabet):
        code = WeightCode.choose(alphabet, np.array(alphabet.values))
        super().__init__(code.bits, signed=code.kind == "int")
        self.table = None if self.signed else TableCoding(alphabet.name, code)

    def encode(self, integers: Tensor) -> Tensor:
        return super().encode(integers) if self.table is None else self.table.encode(integers)

    def decode(self, words: Tensor) -> Tensor:
        return words if self.table is None else self.table.decode(words)

    def coded(self, code: WeightCode | None) -> Coding | None:
        if self.table is None:
            return super().coded(code)
        return None if code is None or code.kind != "sign" else replace(self.table, code=code)


class TapMemory(Memory):
    """Positions 0 .. taps - 1 of multiplexers.

    What is read may lie past the last tap, where the hardware's multiplexer yields 0.
    """

    def __init__(self, taps: int):
        super().__init__(tap_bits(taps), signed=False, kind="tap")

    def forward(self, tap: Tensor, use: int = 0) -> Tensor:
        return self.struck(tap, use) if self.bits and self.strikes() else tap


# One step to compilers and torch.func: what fails is drawn outside of torch, anew for each pass.
@torch.library.custom_op(
    "hwsim::struck", mutates_args=(), schema="(Tensor integers, int memory, int use) -> Tensor"
)
def _struck(integers, memory, use):  # type: ignore[no-untyped-def]
    return _MEMORIES[memory].struck(integers, use)


@_struck.register_fake
def _(integers, memory, use):  # type: ignore[no-untyped-def]
    return torch.empty_like(integers)


def memory_name(name: str, use: int) -> str:
    """Name of the memory of the ``use``-th place (0 ...) at which a module is called."""
    return f"{name}.{use + 1}" if use else name
