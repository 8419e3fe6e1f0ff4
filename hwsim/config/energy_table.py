"""Energy tables: what an operation, a memory access and idle memory cost (docs/cost-tables.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from hwsim.config.loader import StrictModel

Bits = Annotated[int, Field(ge=1, le=4096)]
Picojoules = Annotated[float, Field(gt=0)]


class _Entry(StrictModel):
    """Where a figure comes from: process node, supply voltage, source."""

    node_nm: Annotated[int, Field(ge=1, le=1000)]
    voltage_v: Annotated[float, Field(gt=0, le=10)]
    source: Annotated[str, Field(min_length=1)]


class OperationEntry(_Entry):
    """Energy of one operation on operands of ``bits`` bits."""

    bits: Bits
    pj: Picojoules


class SramPoint(StrictModel):
    """One array of ``words`` x ``bits``: energy of a word access, leakage power of the array."""

    words: Annotated[int, Field(ge=1)]
    bits: Bits
    read_pj: Picojoules
    write_pj: Picojoules
    leakage_mw: Annotated[float, Field(gt=0)]


class SramEntry(_Entry):
    """SRAM arrays: ``points`` form a full grid of words and bits."""

    points: tuple[SramPoint, ...]

    @model_validator(mode="after")
    def _full_grid(self) -> SramEntry:
        words, bits = ({getattr(p, key) for p in self.points} for key in ("words", "bits"))
        if min(len(words), len(bits)) < 2:
            raise ValueError("points must have at least two sizes of words and of bits")
        if len({(p.words, p.bits) for p in self.points}) != len(self.points):
            raise ValueError("points must name each size once")
        if len(self.points) != len(words) * len(bits):
            raise ValueError("points must hold every pair of their words and bits")
        return self


class EnergyTable(StrictModel):
    """Energy of one technology.

    add, multiply: at one or more widths, ascending (a multiplication has two operands of the
    width). select: one 2:1 multiplexer, register: one flip-flop written, both per ``bits`` bits.
    """

    description: str
    add: Annotated[tuple[OperationEntry, ...], Field(min_length=1)]
    multiply: Annotated[tuple[OperationEntry, ...], Field(min_length=1)]
    select: OperationEntry
    register_write: OperationEntry
    sram: SramEntry

    @model_validator(mode="after")
    def _ascending(self) -> EnergyTable:
        for key in ("add", "multiply"):
            widths = [entry.bits for entry in getattr(self, key)]
            if widths != sorted(set(widths)):
                raise ValueError(f"{key} must list ascending bits, each once")
        return self
