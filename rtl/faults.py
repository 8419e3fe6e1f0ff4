"""Failing cells in hardware: the values that a faulty memory reads, for fault-injection builds.

What a memory reads passes through ``add_errors`` on its way to the datapath, in the cycle in which
it is there, so nothing moves. Cells whose write fails (``failing_writes``) are left as they are in
the cycle of the write. Only ``hwsim.rtl.memory`` calls this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned

from hwsim.cells import failing_cells, read_cells
from hwsim.design.bits import bits_to_ints
from hwsim.faults.design import MemoryFaults
from hwsim.lowvoltage.transient import ALWAYS, GOLDEN, LANE, MULTIPLIERS, SHIFTS
from hwsim.rtl.util import named

COUNT = unsigned(32)
"""Shape of a counter of accesses."""


@dataclass(frozen=True, eq=False)
class WordErrors:
    """Failing cells of some words: uint8 [words, bits] of what ``MemoryFaults.cells`` holds.

    key, errs: of transient errors.
    """

    keep: np.ndarray
    flip: np.ndarray
    key: int
    errs: int

    @classmethod
    def of(cls, faulty: MemoryFaults, words: slice = slice(None), bank: int = 0) -> WordErrors:
        """The words ``words`` of a memory, which lie in ``bank``.

        Of cells whose write fails ``keep`` alone says so: what they power up as is in the memory.
        """
        keep, flip = (mask[words] for mask in faulty.cells)
        flip = np.zeros_like(flip) if faulty.on_write else flip
        return cls(keep, flip, faulty.keys[bank], faulty.faults.errs)

    @property
    def words(self) -> int:
        return self.keep.shape[0]

    @property
    def bits(self) -> int:
        return self.keep.shape[1]

    @property
    def transient(self) -> bool:
        return self.errs < ALWAYS

    @property
    def failing(self) -> bool:
        """Whether any cell fails."""
        return bool((failing_cells(self.keep, self.flip) & 1).any())

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Bits of the masks ``lost`` and ``flip`` that are set in some word, lowest first.

        ``lost`` is the complement of ``keep``.

        The masks of a word are these bits alone, in this order.
        """
        return {name: np.flatnonzero(mask.any(axis=0)) for name, mask in self._masks.items()}

    @property
    def failing_bits(self) -> list[int]:
        """Bits that fail in some word, ascending."""
        return sorted({bit for bits in self.columns.values() for bit in bits.tolist()})

    @property
    def mask_bits(self) -> int:
        """Width of the masks of a word."""
        return sum(len(bits) for bits in self.columns.values())

    def mask_words(self) -> list[int]:
        """The masks of each word, one integer each."""
        parts = [self._masks[name][:, bits] for name, bits in self.columns.items()]
        return bits_to_ints(np.concatenate(parts, axis=1))

    @property
    def _masks(self) -> dict[str, np.ndarray]:
        return {"lost": 1 - self.keep, "flip": self.flip}


def add_errors(m: Module, cells: WordErrors, data: Value, masks: Value, access: Value) -> Value:
    """``data`` of a word as it is read, combinational.

    masks: those of the word, as in ``WordErrors.mask_words``. access: number of the access whose
    ``data`` is there, of ``access_number``.
    """
    erring = _erring(m, cells, cells.failing_bits, access)
    applied, at = {}, 0
    for name, bits in cells.columns.items():
        mask: list[Value] = [Const(0)] * len(data)
        for bit in bits.tolist():
            mask[bit] = masks[at] & erring[bit]
            at += 1
        applied[name] = named(m, name, Cat(*mask))
    # Whole words at once, so that what is read remains one signal.
    return read_cells(data, ~applied["lost"], applied["flip"])


def failing_writes(m: Module, cells: WordErrors, masks: Value, number: Value) -> Value:
    """The bits whose write fails, combinational.

    masks: of the word that is written, as in ``WordErrors.mask_words``. number: of the write.
    """
    fails: list[Value] = [Const(0)] * cells.bits
    erring = _erring(m, cells, cells.failing_bits, number)
    for at, bit in enumerate(cells.failing_bits):
        fails[bit] = masks[at] & erring[bit]
    return Cat(*fails)


def _erring(m: Module, cells: WordErrors, bits: Sequence[int], access: Value) -> dict[int, Value]:
    """Whether failing cells at ``bits`` err in this access; see ``lowvoltage.transient``."""
    if not cells.transient:
        return {bit: Const(1) for bit in bits}
    numbers: dict[int, Value] = {}
    count = named(m, "count", access * GOLDEN, COUNT)
    for lane in sorted({bit // 4 for bit in bits}):
        offset = cells.key ^ (lane * LANE & 0xFFFFFFFF)
        x: Value = named(m, f"start_{lane}", count + offset, COUNT)
        for n, shift in enumerate(SHIFTS):
            x = named(m, f"shifted_{n}_{lane}", x ^ (x >> shift), COUNT)
            if n < len(MULTIPLIERS):
                x = named(m, f"scaled_{n}_{lane}", x * MULTIPLIERS[n], COUNT)
        numbers[lane] = x
    return {bit: numbers[bit // 4].word_select(bit % 4, 8) < cells.errs for bit in bits}


def access_number(m: Module, faulty: MemoryFaults, strobe: Value, *, starts: bool) -> Value:
    """Number, counted from reset, of the access whose data is there.

    strobe: an access starts, and its data is there in the next cycle (``starts``), or it ends in
    this cycle. A constant where errors do not depend on it.
    """
    if not faulty.transient:
        return Const(0, COUNT)
    count = Signal(
        COUNT, name=f"{faulty.memory.role}_reads", init=(1 << COUNT.width) - 1 if starts else 0
    )
    with m.If(strobe):
        m.d.sync += count.eq(count + 1)
    return count
