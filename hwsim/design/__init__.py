"""The contract of hardware: all that evaluation, faults, energy, reports and files may ask."""

from hwsim.design.design import CycleCount, Design, verify_design, verify_images
from hwsim.design.fields import Fields
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation
from hwsim.design.roles import PROTECTABLE, STORES, Role, Style
from hwsim.design.system import System

__all__ = [
    "PROTECTABLE",
    "STORES",
    "CycleCount",
    "Design",
    "Fields",
    "MemoryInfo",
    "Operation",
    "Role",
    "Style",
    "System",
    "verify_design",
    "verify_images",
]
