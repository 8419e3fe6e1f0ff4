"""The machine of a training, as far as it decides how floating point sums are rounded."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import torch

from hwsim.config.training import TrainingConfig
from hwsim.models.train import training_device


def training_machine(config: TrainingConfig) -> dict[str, Any]:
    """Device, processor, its vector instructions, threads and BLAS, as in ``result.Machine``.

    The same seed gives the same weights where all of these, and torch's version, are the same:
    libraries choose their kernels, and so the order of their sums, by them.
    """
    device = training_device(config.device)
    return {
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "cpu": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": config.threads or torch.get_num_threads(),
        "blas": _blas(),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+?)\s*$", text, re.M)
    return found[1] if found else platform.processor() or platform.machine() or "unknown"


def _blas() -> str:
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"
