"""Memories at low supply voltage: which cells fail, and what the voltage saves."""

from hwsim.faults.chip import Chip, ChipError, FaultList, FaultSource, Spatial
from hwsim.faults.circuit import faulty_network
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.faults.map import FaultMap, load_map
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
    "DesignFaults",
    "ExponentialLaw",
    "FaultList",
    "FaultMap",
    "FaultModel",
    "FaultSource",
    "FaultyExecutor",
    "MemoryTechnology",
    "Point",
    "ProbitLaw",
    "Spatial",
    "TableLaw",
    "VoltageError",
    "design_faults",
    "faulty_network",
    "load_map",
    "load_technology",
]
