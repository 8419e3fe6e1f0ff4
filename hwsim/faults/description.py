"""The faults of a design as plain values: enough to find the same failing cells again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from hwsim.design import Design
from hwsim.errors import StorageError
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.files import Count, Document, Share
from hwsim.lowvoltage.chip import Chip, ChipError, FaultSource, Spatial
from hwsim.lowvoltage.map import FaultMap
from hwsim.lowvoltage.protection import parse_protection
from hwsim.lowvoltage.technology import MemoryTechnology
from hwsim.names import Line


class MapRecord(Document):
    """How the cells of a ``FaultMap`` are read; they are kept in an array."""

    holds: Literal["fails", "rate", "voltage"]
    offset: Count | dict[Line, Count]
    interleave: Annotated[int, Field(ge=1)]
    repeat: bool


class MemoryRecord(Document):
    """One memory that may fail, and how many of its cells do."""

    bit_error_rate: Share
    protection: Line
    failing_cells: Count


class FaultRecord(Document):
    """The faults of a design: of the chip of a ``seed``, or of a ``map``."""

    technology: MemoryTechnology
    seed: Count | None = None
    spatial: dict[Line, float] | None = None
    map: MapRecord | None = None
    memories: dict[Line, MemoryRecord]

    @model_validator(mode="after")
    def _chip_or_map(self) -> FaultRecord:
        if (self.map is None) == (self.seed is None) or (self.seed is None) != (
            self.spatial is None
        ):
            raise ValueError("must have seed and spatial, or map")
        return self


def describe_faults(faults: DesignFaults) -> dict[str, Any]:
    """The plain JSON values that ``restore_faults`` needs besides the design and the arrays.

    For each memory that may fail: its bit error rate, its protection and the number of its failing
    cells. Raises ChipError unless the faults are those of a ``Chip`` or a ``FaultMap``.
    """
    source = faults.chip
    if isinstance(source, Chip):
        cells: dict[str, Any] = {"seed": source.seed, "spatial": asdict(source.clusters)}
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
    """The arrays of a map, ``cells`` and possibly ``reads``; no arrays for a chip."""
    source = faults.chip
    if not isinstance(source, FaultMap):
        return {}
    return {"cells": source.cells, **({} if source.reads is None else {"reads": source.reads})}


def restore_faults(
    design: Design, record: FaultRecord, arrays: Mapping[str, np.ndarray]
) -> DesignFaults:
    """The faults that ``describe_faults`` and ``fault_arrays`` described.

    Raises StorageError if the restored faults differ, and the errors of its parts.
    """
    source: FaultSource
    if record.map is not None:
        source = FaultMap(
            record.technology, arrays["cells"], reads=arrays.get("reads"), **dict(record.map)
        )
    else:
        source = Chip(record.technology, record.seed or 0, _spatial(record.spatial or {}))
    faults = design_faults(
        design,
        source,
        {name: memory.bit_error_rate for name, memory in record.memories.items()},
        tuple(record.memories),
        {name: parse_protection(memory.protection) for name, memory in record.memories.items()},
    )
    if FaultRecord.model_validate_json(json.dumps(describe_faults(faults))) != record:
        raise StorageError("the chip has other failing cells than are written down")
    return faults


def _spatial(values: Mapping[str, float]) -> Spatial:
    plain = asdict(Spatial())
    for name, value in values.items():
        if name not in plain:
            raise StorageError(f"spatial.{name}: unknown key; allowed: {', '.join(plain)}")
        if type(plain[name]) is int and value != int(value):
            raise StorageError(f"spatial.{name}: must be an integer, not {value}")
    return Spatial(**{name: type(plain[name])(value) for name, value in values.items()})
