"""The faults of a whole design on one chip, and what it computes with them."""

from hwsim.faults.circuit import faulty_network
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.evaluate import FaultyExecutor

__all__ = ["DesignFaults", "FaultyExecutor", "design_faults", "faulty_network"]
