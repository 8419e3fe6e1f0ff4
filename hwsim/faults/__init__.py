"""Memories at low supply voltage: which cells fail, and what the voltage saves."""

from hwsim.faults.chip import Chip, ChipError, FaultList, Spatial
from hwsim.faults.technology import (
    ExponentialLaw,
    FaultModel,
    MemoryTechnology,
    Point,
    ProbitLaw,
    TableLaw,
    VoltageError,
    load_technology,
)

__all__ = [
    "Chip",
    "ChipError",
    "ExponentialLaw",
    "FaultList",
    "FaultModel",
    "MemoryTechnology",
    "Point",
    "ProbitLaw",
    "Spatial",
    "TableLaw",
    "VoltageError",
    "load_technology",
]
