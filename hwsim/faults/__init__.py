"""Memories at low supply voltage: which cells fail, and what the voltage saves."""

from hwsim.faults.chip import Chip, ChipError, FaultList, Spatial
from hwsim.faults.design import DesignFaults, FaultySource, design_faults
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.faults.network import faulty_network
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
    "FaultModel",
    "FaultyExecutor",
    "FaultySource",
    "MemoryTechnology",
    "Point",
    "ProbitLaw",
    "Spatial",
    "TableLaw",
    "VoltageError",
    "design_faults",
    "faulty_network",
    "load_technology",
]
