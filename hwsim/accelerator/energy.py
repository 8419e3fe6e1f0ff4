"""Energy of a frame: operations and memory accesses, counted exactly, times a table's figures.

A model with stated sources, not silicon: pipeline registers, controllers, clock tree, input and
output pads are outside it, and operands are not data-dependent (docs/cost-tables.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwsim.config.energy_table import EnergyTable, OperationEntry
from hwsim.costs import Basis, Entry, Ledger
from hwsim.design.design import Design
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation
from hwsim.design.roles import Role, Style

KINDS = ("logic", *Role, "leakage")

SMALL_ARRAY_EXPONENT = 0.78
"""Access energy of an array with fewer words than the smallest point, by words ratio."""


QUANTITY = "energy_pj"
"""Name of energy in a ledger."""


@dataclass(frozen=True)
class EnergyReport:
    """Energy of one frame: ``ledger`` has QUANTITY by stage and kind (one of KINDS).

    A FIFO belongs to the stage that fills it, the first FIFO to ``source``. frame_us: time from one
    frame to the next, over which memories leak.
    """

    ledger: Ledger
    frame_us: float

    @property
    def total_pj(self) -> float:
        return self.ledger.total(QUANTITY)

    @property
    def power_mw(self) -> float:
        """Mean power at one frame every ``frame_us``."""
        return self.total_pj * 1e-3 / self.frame_us

    @property
    def by_kind(self) -> dict[str, float]:
        """pJ of each of KINDS."""
        return self.ledger.by_kind(QUANTITY, KINDS)

    @property
    def by_stage_and_kind(self) -> dict[str, dict[str, float]]:
        """pJ of each of KINDS by stage, in order."""
        return self.ledger.by_part_and_kind(QUANTITY, KINDS)

    @property
    def by_stage(self) -> dict[str, float]:
        """pJ by stage, in order."""
        return self.ledger.by_part(QUANTITY)


@dataclass(frozen=True)
class MemoryPrice:
    """pJ per word read and written, and mW of leakage, of one array."""

    read_pj: float
    write_pj: float
    leakage_mw: float


@dataclass(frozen=True)
class Prices:
    """A table's figures for any width and size, at ``voltage_v`` (None: each entry at its own).

    Dynamic energy is proportional to the square of the voltage, leakage to the voltage.
    """

    table: EnergyTable
    voltage_v: float | None = None

    def operation(self, operation: Operation) -> float:
        """pJ of one operation. Negations and comparisons are priced as additions."""
        if operation.kind == "multiply":
            return self._multiply(operation.bits, operation.other)
        if operation.kind == "select":
            return self._per_bit([self.table.select], operation.bits)
        return self._per_bit(self.table.add, operation.bits)

    def register_write(self, bits: int) -> float:
        """pJ of writing ``bits`` flip-flops."""
        return self._per_bit([self.table.register_write], bits)

    def memory(self, words: int, bits: int) -> MemoryPrice:
        """Prices of one array.

        Between the points: linear in log(words) and in bits. Words wider than the widest point
        are split over arrays side by side; fewer words or bits than the smallest point scale by
        ``(words ratio) ** 0.78`` and ``0.3 + 0.7 * bits ratio``. Leakage scales with cells.
        """
        side_by_side = -(-bits // self._widths[-1])
        width = bits / side_by_side
        words_in, bits_in = max(words, self._depths[0]), max(width, self._widths[0])
        shrink = (words / words_in) ** SMALL_ARRAY_EXPONENT * (0.3 + 0.7 * width / bits_in)
        cells = words / words_in * (width / bits_in)
        read, write, leakage = (float(v) for v in self._grid(words_in, bits_in))
        entry = self.table.sram
        return MemoryPrice(
            side_by_side * shrink * read * self._dynamic(entry.voltage_v),
            side_by_side * shrink * write * self._dynamic(entry.voltage_v),
            side_by_side * cells * leakage * self._ratio(entry.voltage_v),
        )

    @cached_property
    def _depths(self) -> list[int]:
        return sorted({p.words for p in self.table.sram.points})

    @cached_property
    def _widths(self) -> list[int]:
        return sorted({p.bits for p in self.table.sram.points})

    @cached_property
    def _points(self) -> np.ndarray:
        """[depths, widths, (read, write, leakage)]."""
        points = sorted(self.table.sram.points, key=lambda p: (p.words, p.bits))
        values = [(p.read_pj, p.write_pj, p.leakage_mw) for p in points]
        return np.array(values).reshape(len(self._depths), len(self._widths), 3)

    def _grid(self, words: float, bits: float) -> np.ndarray:
        """Read, write, leakage within the grid; past the deepest point, on along the last piece."""
        i = min(max(bisect_right(self._depths, words) - 1, 0), len(self._depths) - 2)
        j = min(max(bisect_right(self._widths, bits) - 1, 0), len(self._widths) - 2)
        low, high = self._depths[i : i + 2]
        # Energy and leakage follow powers of the size, so logs are interpolated.
        u = np.log(words / low) / np.log(high / low)
        v = (bits - self._widths[j]) / (self._widths[j + 1] - self._widths[j])
        rows = np.exp((1 - u) * np.log(self._points[i]) + u * np.log(self._points[i + 1]))
        return (1 - v) * rows[j] + v * rows[j + 1]

    def _ratio(self, voltage_v: float) -> float:
        return 1.0 if self.voltage_v is None else self.voltage_v / voltage_v

    def _dynamic(self, voltage_v: float) -> float:
        return self._ratio(voltage_v) ** 2

    def _per_bit(self, entries: Sequence[OperationEntry], bits: float) -> float:
        """pJ at ``bits``: energy per bit is interpolated and constant outside the entries."""
        per_bit = [e.pj / e.bits * self._dynamic(e.voltage_v) for e in entries]
        return float(bits * np.interp(bits, [e.bits for e in entries], per_bit))

    def _multiply(self, a: int, b: int) -> float:
        """pJ of an ``a`` x ``b`` bit product: energy per bit product, as in ``_per_bit``."""
        entries = self.table.multiply
        per_cell = [e.pj / e.bits**2 * self._dynamic(e.voltage_v) for e in entries]
        return float(a * b * np.interp((a * b) ** 0.5, [e.bits for e in entries], per_cell))


def estimate_energy(
    design: Design,
    table: EnergyTable,
    interval_cycles: int,
    clock_mhz: float,
    voltage_v: float | None = None,
) -> EnergyReport:
    """Energy of one of many frames that follow each other every ``interval_cycles``.

    interval_cycles: ``CycleReport.frame_interval_cycles`` (for a single frame its latency).
    voltage_v: supply of logic and memories; None takes every table entry at its own voltage.
    """
    if interval_cycles < 1 or clock_mhz <= 0:
        raise ValueError("interval_cycles must be >= 1 and clock_mhz > 0")
    prices = Prices(table, voltage_v)
    frame_us = interval_cycles / clock_mhz
    entries = []
    memories, operations = design.memories(), design.operations()
    for memory in memories:
        if memory.layer not in operations:
            entries += _memory(memory, prices, frame_us)
    for part, count in operations.items():
        pj = sum(n * prices.operation(operation) for operation, n in count.items())
        entries.append(_entry(part, "logic", pj))
        for memory in memories:
            if memory.layer == part:
                entries += _memory(memory, prices, frame_us)
    return EnergyReport(Ledger(tuple(entries), {QUANTITY: energy_basis(table)}), frame_us)


def access_pj(memory: MemoryInfo, prices: Prices) -> float:
    """pJ of a frame's accesses to ``memory``; 0 for constants in the fabric, which are logic."""
    if memory.style is Style.CONSTANT:
        return 0.0
    if memory.style is Style.REGISTERS:
        return memory.writes * prices.register_write(memory.bits)
    price = prices.memory(memory.bank_words, memory.bits)
    return memory.reads * price.read_pj + memory.writes * price.write_pj


def energy_basis(table: EnergyTable) -> Basis:
    """The basis of energies that come from ``table``."""
    return Basis(
        kind="model",
        source=f"counted operations and accesses x table ({table.description})",
        error="not compared with silicon",
    )


def _entry(part: str, kind: str, pj: float) -> Entry:
    return Entry(part=part, kind=kind, quantity=QUANTITY, value=pj)


def _memory(memory: MemoryInfo, prices: Prices, frame_us: float) -> list[Entry]:
    """Accesses and leakage of one memory; constants in the fabric count as logic instead."""
    if memory.style is Style.CONSTANT:
        return []
    entries = [_entry(memory.layer, memory.role, access_pj(memory, prices))]
    if memory.style is Style.MEMORY:
        leakage_mw = memory.banks * prices.memory(memory.bank_words, memory.bits).leakage_mw
        # mW x us = nJ
        entries.append(_entry(memory.layer, "leakage", leakage_mw * frame_us * 1e3))
    return entries
