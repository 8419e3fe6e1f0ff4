"""Memories at low supply voltage: cells that fail, bits that they read, energy that is saved."""

from hwsim.lowvoltage.chip import Chip, ChipError, FaultList, FaultSource, Spatial
from hwsim.lowvoltage.map import FaultMap, load_map
from hwsim.lowvoltage.technology import (
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
    "FaultMap",
    "FaultModel",
    "FaultSource",
    "MemoryTechnology",
    "Point",
    "ProbitLaw",
    "Spatial",
    "TableLaw",
    "VoltageError",
    "load_map",
    "load_technology",
]
