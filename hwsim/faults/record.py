"""The faults of a design as plain values: enough to find the same failing cells again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hwsim.accelerator import Pipeline
from hwsim.config.loader import validate_config
from hwsim.errors import StorageError
from hwsim.faults.chip import Chip, ChipError, Spatial
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.ecc import parse_protection
from hwsim.faults.technology import MemoryTechnology


def describe_faults(faults: DesignFaults) -> dict[str, Any]:
    """What ``restore_faults`` needs besides the pipeline, as plain JSON values.

    Of each memory that may fail: its bit error rate, its protection and how many of its cells
    fail. Raises ChipError unless the faults are those of a ``Chip``: others are not numbers.
    """
    chip = faults.chip
    if not isinstance(chip, Chip):
        raise ChipError(f"only the faults of a Chip can be written down, not of {chip!r}")
    return {
        "technology": chip.technology.model_dump(mode="json"),
        "seed": chip.seed,
        "spatial": asdict(chip.spatial),
        "memories": {
            name: {
                "bit_error_rate": rate,
                "protection": faults.protections[name].name,
                "failing_cells": len(faults.memories[name].faults)
                if name in faults.memories
                else 0,
            }
            for name, rate in faults.probability.items()
        },
    }


def restore_faults(pipeline: Pipeline, described: Mapping[str, Any]) -> DesignFaults:
    """The faults that ``describe_faults`` described; raises StorageError when they are others."""
    technology = validate_config(described["technology"], MemoryTechnology)
    chip = Chip(technology, described["seed"], Spatial(**described["spatial"]))
    memories = described["memories"]
    faults = design_faults(
        pipeline,
        chip,
        {name: memory["bit_error_rate"] for name, memory in memories.items()},
        tuple(memories),
        {name: parse_protection(memory["protection"]) for name, memory in memories.items()},
    )
    if describe_faults(faults) != described:
        raise StorageError("the chip has other failing cells than are written down")
    return faults
