"""The faults of a design as plain values: enough to find the same failing cells again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from hwsim.accelerator import Pipeline
from hwsim.config.loader import validate_config
from hwsim.errors import StorageError
from hwsim.faults.chip import Chip, ChipError, FaultSource, Spatial
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.ecc import parse_protection
from hwsim.faults.map import FaultMap
from hwsim.faults.technology import MemoryTechnology


def describe_faults(faults: DesignFaults) -> dict[str, Any]:
    """What ``restore_faults`` needs besides the pipeline and arrays, as plain JSON values.

    Of each memory that may fail: its bit error rate, its protection and how many of its cells
    fail. Raises ChipError unless the faults are those of a ``Chip`` or a ``FaultMap``.
    """
    source = faults.chip
    if isinstance(source, Chip):
        cells: dict[str, Any] = {"seed": source.seed, "spatial": asdict(source.spatial)}
    elif isinstance(source, FaultMap):
        keys = ("holds", "offset", "interleave", "repeat")
        cells = {"map": {key: getattr(source, key) for key in keys}}
    else:
        raise ChipError(
            f"only the faults of a Chip or a FaultMap can be written down, not of {source!r}"
        )
    return {
        "technology": source.technology.model_dump(mode="json"),
        **cells,
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


def fault_arrays(faults: DesignFaults) -> dict[str, np.ndarray]:
    """The arrays of a map, ``cells`` and perhaps ``reads``; none of a chip."""
    source = faults.chip
    if not isinstance(source, FaultMap):
        return {}
    return {"cells": source.cells, **({} if source.reads is None else {"reads": source.reads})}


def restore_faults(
    pipeline: Pipeline, described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> DesignFaults:
    """The faults that ``describe_faults`` and ``fault_arrays`` gave.

    Raises StorageError when they are others.
    """
    technology = validate_config(described["technology"], MemoryTechnology)
    source: FaultSource
    if "map" in described:
        source = FaultMap(
            technology, arrays["cells"], reads=arrays.get("reads"), **described["map"]
        )
    else:
        source = Chip(technology, described["seed"], Spatial(**described["spatial"]))
    memories = described["memories"]
    faults = design_faults(
        pipeline,
        source,
        {name: memory["bit_error_rate"] for name, memory in memories.items()},
        tuple(memories),
        {name: parse_protection(memory["protection"]) for name, memory in memories.items()},
    )
    if describe_faults(faults) != described:
        raise StorageError("the chip has other failing cells than are written down")
    return faults
