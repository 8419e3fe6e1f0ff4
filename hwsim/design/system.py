"""Several designs on one chip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.design.design import CycleCount, Design
from hwsim.design.fields import Fields
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation


@dataclass(frozen=True)
class SystemCycles:
    """Cycles of each part. Parts work side by side, so the slowest part sets the pace."""

    parts: Mapping[str, CycleCount]

    @property
    def frame_interval_cycles(self) -> int:
        return max(part.frame_interval_cycles for part in self.parts.values())


@dataclass(frozen=True, eq=False)
class System(Design):
    """Designs by name, as ``{"accelerator": ..., "learner": ...}``.

    Names of parts, memories and layers have the design's name and a dot in front.
    """

    kind = "system"
    designs: Mapping[str, Design]

    def memories(self) -> tuple[MemoryInfo, ...]:
        return tuple(
            replace(
                memory,
                name=f"{name}.{memory.name}",
                layer=f"{name}.{memory.layer}",
                instances=tuple(f"{name}.{path}" for path in memory.instances),
            )
            for name, design in self.designs.items()
            for memory in design.memories()
        )

    def fields(self, memory: MemoryInfo) -> Fields:
        design, own = self._own(memory)
        return design.fields(own)

    def stored(self, memory: MemoryInfo) -> np.ndarray | None:
        design, own = self._own(memory)
        return design.stored(own)

    def _own(self, memory: MemoryInfo) -> tuple[Design, MemoryInfo]:
        """The design that owns a memory, and the memory under its name in this design."""
        name, _, rest = memory.name.partition(".")
        design = self.designs[name]
        return design, next(own for own in design.memories() if own.name == rest)

    def operations(self) -> dict[str, Counter[Operation]]:
        return {
            f"{name}.{part}": count
            for name, design in self.designs.items()
            for part, count in design.operations().items()
        }

    def cycles(self, workload: Mapping[str, Any]) -> SystemCycles:
        """workload: the workload of each part, by name."""
        return SystemCycles(
            {name: self.designs[name].cycles(work) for name, work in workload.items()}
        )

    def to_plain(self) -> dict[str, Any]:
        designs = {name: design.to_plain() for name, design in self.designs.items()}
        return {"kind": self.kind, "designs": designs}
