"""Failing cells in hardware: what a faulty memory reads, for fault-injection builds.

What a memory reads passes through ``Errors`` on its way to the datapath, in the cycle in which it
is there, so nothing moves. The masks of a word lie in a memory that is read beside the faulty one;
only bits that fail in some word have columns in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from hwsim.accelerator.beats import bits_to_ints
from hwsim.cells import read_cells
from hwsim.errors import MappingError
from hwsim.faults import DesignFaults
from hwsim.faults.design import MemoryFaults
from hwsim.lowvoltage.transient import ALWAYS, GOLDEN, LANE, MULTIPLIERS, SHIFTS
from hwsim.rtl.util import index, named

COUNT = unsigned(32)
"""Shape of a counter of accesses."""

READ_ONLY = ("weight", "constants")


def check_faults(faults: DesignFaults) -> None:
    """Raise MappingError for what cannot be built: check bits of memories that are written."""
    for name, faulty in faults.memories.items():
        if faulty.protected and faulty.memory.role not in READ_ONLY:
            raise MappingError(
                f"memory '{name}': protection {faulty.protection.name} is evaluated but not built "
                f"into Verilog for memories that are written; protect {' and '.join(READ_ONLY)}, "
                "or nothing"
            )


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
        """The words ``words`` of a memory, which lie in ``bank``."""
        cells = faulty.cells
        return cls(cells.keep[words], cells.flip[words], faulty.keys[bank], faulty.faults.errs)

    @property
    def transient(self) -> bool:
        return self.errs < ALWAYS

    @property
    def failing(self) -> bool:
        """Whether any cell fails."""
        return bool((1 - self.keep | self.flip).any())


class Errors(Component):
    """What is read from a memory with failing cells.

    Members: ``address``: word that is being read; ``enable``: it is read into a register at the
    next edge (``registered``), otherwise it is there at once; ``access``: number of the access
    whose ``data`` is there now; ``seen``: what is read instead.

    Parameters: cells; registered: the memory's read port has a register.
    """

    def __init__(self, *, cells: WordErrors, registered: bool) -> None:
        self._cells, self._registered = cells, registered
        words, bits = cells.keep.shape
        super().__init__(
            {
                "address": In(index(words)),
                "enable": In(1),
                "access": In(COUNT),
                "data": In(bits),
                "seen": Out(bits),
            }
        )

    @property
    def cells(self) -> WordErrors:
        return self._cells

    @property
    def registered(self) -> bool:
        return self._registered

    def elaborate(self, platform):
        m = Module()
        cells = self._cells
        masks = {"lost": 1 - cells.keep, "flip": cells.flip}
        columns = {name: np.flatnonzero(mask.any(axis=0)) for name, mask in masks.items()}
        table = np.concatenate([masks[name][:, at] for name, at in columns.items()], axis=1)
        read = self._lookup(m, bits_to_ints(table), table.shape[1])
        erring = self._erring(m, sorted(set(np.concatenate(list(columns.values())).tolist())))
        applied, at = {}, 0
        for name, bits in columns.items():
            mask: list[Value] = [Const(0)] * len(self.data)
            for bit in bits.tolist():
                mask[bit] = read[at] & erring[bit]
                at += 1
            applied[name] = named(m, name, Cat(*mask))
        # Whole words at once, so that what is read remains one signal.
        m.d.comb += self.seen.eq(read_cells(self.data, ~applied["lost"], applied["flip"]))
        return m

    def _lookup(self, m: Module, words: Sequence[int], width: int) -> Value:
        """The masks of the word whose data is there now."""
        if len(words) == 1:
            return Const(words[0], width)
        m.submodules.masks = memory = Memory(shape=unsigned(width), depth=len(words), init=words)
        port = memory.read_port(domain="sync" if self._registered else "comb")
        m.d.comb += port.addr.eq(self.address)
        if self._registered:
            m.d.comb += port.en.eq(self.enable)
        return port.data

    def _erring(self, m: Module, bits: Sequence[int]) -> dict[int, Value]:
        """Whether failing cells at ``bits`` err in this access; see ``lowvoltage.transient``."""
        if not self._cells.transient:
            return {bit: Const(1) for bit in bits}
        numbers: dict[int, Value] = {}
        count = named(m, "count", self.access * GOLDEN, COUNT)
        for lane in sorted({bit // 4 for bit in bits}):
            offset = self._cells.key ^ (lane * LANE & 0xFFFFFFFF)
            x: Value = named(m, f"start_{lane}", count + offset, COUNT)
            for n, shift in enumerate(SHIFTS):
                x = named(m, f"shifted_{n}_{lane}", x ^ (x >> shift), COUNT)
                if n < len(MULTIPLIERS):
                    x = named(m, f"scaled_{n}_{lane}", x * MULTIPLIERS[n], COUNT)
            numbers[lane] = x
        return {bit: numbers[bit // 4].word_select(bit % 4, 8) < self._cells.errs for bit in bits}


def add_errors(
    m: Module,
    name: str,
    cells: WordErrors,
    data: Value,
    access: Value,
    address: Value | None = None,
    enable: Value | None = None,
) -> Value:
    """``data`` of a word as it is read; ``m`` gets a submodule ``name`` where cells fail.

    access: of ``access_number``. address: word being read, None for the only one. enable: of a
    read port with a register.
    """
    if not cells.failing:
        return data
    m.submodules[name] = errors = Errors(cells=cells, registered=enable is not None)
    m.d.comb += [errors.data.eq(data), errors.access.eq(access)]
    if address is not None:
        m.d.comb += errors.address.eq(address)
    if enable is not None:
        m.d.comb += errors.enable.eq(enable)
    return errors.seen


def access_number(m: Module, faulty: MemoryFaults, read: Value, *, registered: bool) -> Value:
    """Number, counted from reset, of the access whose data is there; ``read``: one takes place.

    registered: what is read in this cycle is there in the next one. A constant where errors do
    not depend on it.
    """
    if not faulty.transient:
        return Const(0, COUNT)
    start = (1 << COUNT.width) - 1 if registered else 0
    count = Signal(COUNT, name=f"{faulty.memory.role}_reads", init=start)
    with m.If(read):
        m.d.sync += count.eq(count + 1)
    return count
