"""Settings for fast training on this machine: number formats, and memory that is kept."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]

_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions that multiply bf16; without them, torch converts each value to float32 and back."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP = (1 << 31) - 1
_LARGEST_BLOCK = 32 << 20
"""Up to here glibc raises its threshold for memory maps by itself."""


def cpu_flags() -> frozenset[str]:
    """Instruction sets that the CPU has, as Linux names them; none where it cannot be known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def best_precision(device: torch.device) -> Precision:
    """bf16 where ``device`` has instructions for it, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if cpu_flags() & _CPU_FLAGS else "fp32"


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for a while.

    A training step frees and takes blocks of many megabytes. glibc hands them back to the system
    whenever the end of its heap is free, and each page is then cleared and mapped anew: up to
    a third of a step. Which order of blocks leads to that is chance; that of frozen positions did.
    Elsewhere than with glibc nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(_TRIM_THRESHOLD, _KEEP)
    mallopt(_MMAP_THRESHOLD, _KEEP)
    try:
        yield
    finally:
        # As glibc sets them by itself once blocks of that size have been freed.
        mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
