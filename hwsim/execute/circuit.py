"""``Circuit``: a network on hardware whose memories and registers change values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from hwsim.execute.layout import Layout, fits_32
from hwsim.network import INPUT, Network, Op, Requantize, TensorType

Change = Callable[[np.ndarray, int, int], None]
"""Changes a tensor's buffer in place: takes it, the number of its first frame, how many frames."""


class Edit(Protocol):
    """A change of a tensor after it is written."""

    def bind(self, layout: Layout) -> Change:
        """The change, for buffers laid out as ``layout``."""
        ...


@dataclass(frozen=True, eq=False)
class Register:
    """Holds the partial results of an op: sums, or maxima, taken in steps.

    type: type of the register; bits that do not fit are lost. step: step of each term, int64
    [outputs, terms], terms of weight 0 included. keep, flip: int64 [outputs], masks
    (``hwsim.cells``) with which every step but the first reads the register; the type's bits count.
    """

    type: TensorType
    step: np.ndarray
    keep: np.ndarray
    flip: np.ndarray


@dataclass(frozen=True, eq=False)
class Circuit:
    """``network`` with the changes that hardware makes to its tensors.

    held: types of tensors by name, in place of the types that the ops infer. edits: edits of the
    ops' tensors by name, in order. registers: registers by op. sum_bits: number of bits of
    ``x * multiplier + bias`` that each Requantize keeps.
    """

    network: Network
    held: Mapping[str, TensorType] = field(default_factory=dict)
    edits: Mapping[str, tuple[Edit, ...]] = field(default_factory=dict)
    registers: Mapping[str, Register] = field(default_factory=dict)
    sum_bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the hardware makes no changes."""
        return not (self.edits or self.registers or self.sum_bits)

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """Type of every tensor by name, in topological order, the input first."""
        types = {INPUT: self.network.input}
        for op in self.network.ops:
            held = self.held.get(op.name)
            types[op.name] = held or op.infer([types[name] for name in op.inputs])
        return types

    def only_reader(self, tensor: str) -> Op | None:
        """The one op that may take ``tensor`` before it is in memory, or None."""
        readers = self.network.consumers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.edits else None

    def is_narrow(self, op: Requantize) -> bool:
        """True when ``op`` needs no more than 32-bit arithmetic and results."""
        x = self.types[op.inputs[0]]
        lo, hi = op.sum_range(x)
        fits = fits_32(min(lo, op.lo, x.lo), max(hi, op.hi, x.hi))
        return fits and op.name not in self.sum_bits
