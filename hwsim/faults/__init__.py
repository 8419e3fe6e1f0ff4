"""The faults of a whole design on one chip, and the answers that it gives with these faults.

Several evaluators compute the same answers, each for its own purpose; all are compared with ``==``:

- The **definition** is ``FaultyExecutor(faults, path="steps")``. It walks through every stage step
  by step, and reads every memory in each access as the hardware does.
- ``FaultyExecutor`` with the other paths (``hwsim.faults.evaluate``) is for speed. ``stages``
  serves errors that come and go. ``circuit`` serves errors that always occur: read-only stores
  become other weights and constants (``circuit``), FIFOs and windows edit tensors (``rings``).
- ``hwsim.models.faulty_golden.FaultyGolden`` is the check. It is written apart, in PyTorch, and
  finds out anew where and when each value is read.
- ``hwsim.rtl.faults`` is the hardware itself, with masks beside each memory. ``hwsim verify``
  compares it with ``FaultyExecutor``.

All evaluators take the failing cells from ``DesignFaults``, and ``hwsim.cells`` says how they read.
"""

from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.faults.faulty_circuit import faulty_network

__all__ = ["DesignFaults", "FaultyExecutor", "design_faults", "faulty_network"]
