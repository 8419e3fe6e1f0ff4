"""The faults of a whole design on one chip, and what it computes with them.

Several evaluators compute the same, each for a purpose of its own; all are compared with ``==``:

- The **definition** is ``FaultyExecutor(faults, path="steps")``. It walks through every stage step
  by step, and reads every memory in each access as the hardware does.
- ``FaultyExecutor`` with the other paths (``hwsim.faults.evaluate``) is for speed. ``stages``
  serves errors that come and go. ``circuit`` serves errors that always occur: read-only stores
  become other weights and constants (``circuit``), FIFOs and windows edit tensors (``rings``).
- ``hwsim.models.faulty_golden.FaultyGolden`` is the check. It is written apart, in PyTorch, and
  finds out anew where and when each value is read.
- ``hwsim.rtl.faults`` is the hardware itself, with masks beside each memory. ``hwsim verify``
  compares it with ``FaultyExecutor``.

All of them take the failing cells from ``DesignFaults`` and read them as ``hwsim.cells`` says.
"""

from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.faults.faulty_circuit import faulty_network

__all__ = ["DesignFaults", "FaultyExecutor", "design_faults", "faulty_network"]
