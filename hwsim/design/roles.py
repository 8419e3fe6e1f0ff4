"""The role (purpose) and the style (material) of memories: one record for each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


@dataclass(frozen=True, kw_only=True)
class RoleRecord:
    """All that hwsim knows about a role.

    name: name of a memory, with ``{owner}`` for the stage, or for the link of a FIFO.
    holds: content of its words, for people.
    written: the memory is written at run time; the network gives the words of all other memories.
    protectable: its words can have check bits. Registers have none.
    colour: colour in drawings, a number of the report's palette.
    """

    name: str
    holds: str
    written: bool
    protectable: bool
    colour: int


class Role(StrEnum):
    """Purpose of a memory of the accelerator."""

    WEIGHT = "weight"
    WINDOW = "window"
    CONSTANTS = "constants"
    TABLE = "table"
    FIFO = "fifo"
    ACCUMULATOR = "accumulator"

    @property
    def record(self) -> RoleRecord:
        match self:
            case Role.WEIGHT:
                return _WEIGHT
            case Role.WINDOW:
                return _WINDOW
            case Role.CONSTANTS:
                return _CONSTANTS
            case Role.TABLE:
                return _TABLE
            case Role.FIFO:
                return _FIFO
            case Role.ACCUMULATOR:
                return _ACCUMULATOR
            case _:
                assert_never(self)

    def memory(self, owner: str) -> str:
        """Name of the memory with this role, for a stage or for a FIFO's link."""
        return self.record.name.format(owner=owner)


_WEIGHT = RoleRecord(
    name="{owner}.weight", holds="weights and taps", written=False, protectable=True, colour=0
)
_WINDOW = RoleRecord(
    name="{owner}.window", holds="rows of input", written=True, protectable=True, colour=1
)
_CONSTANTS = RoleRecord(
    name="{owner}.requantize",
    holds="multipliers and biases of requantizers",
    written=False,
    protectable=True,
    colour=4,
)
_TABLE = RoleRecord(
    name="{owner}.table", holds="lookup tables", written=False, protectable=True, colour=7
)
_FIFO = RoleRecord(
    name="fifo.{owner}", holds="beats between stages", written=True, protectable=True, colour=2
)
_ACCUMULATOR = RoleRecord(
    name="{owner}.accumulator", holds="partial sums", written=True, protectable=False, colour=3
)

PROTECTABLE = tuple(role for role in Role if role.record.protectable)
"""Roles of the memories that check bits can protect."""

STORES = tuple(role for role in Role if not role.record.written)
"""Roles of the memories that are only read: what they hold is known."""


class Style(StrEnum):
    """Material of a memory."""

    MEMORY = "memory"
    """Arrays with a read and a write port."""
    CONSTANT = "constant"
    """The fabric: no cells that could fail."""
    REGISTERS = "registers"
