"""The contract of any hardware that hwsim describes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from hwsim.design.fields import Fields
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation


class CycleCount(Protocol):
    """The figures that all reports of cycles have.

    frame_interval_cycles: cycles from the end of one unit of work (a frame, an example) to the end
    of the next, when they come evenly; memories leak during this time.
    """

    @property
    def frame_interval_cycles(self) -> int: ...


class Design(ABC):
    """Hardware: its memories, their contents, its operations and its cycles.

    Faults, energy, reports and files use only these methods. So they treat an accelerator, a
    learner and a chip of both alike. kind: name of the architecture in files.
    """

    kind: ClassVar[str]

    @abstractmethod
    def memories(self) -> tuple[MemoryInfo, ...]:
        """Every memory, in an order that does not change."""

    @abstractmethod
    def fields(self, memory: MemoryInfo) -> Fields:
        """The numbers that lie in the words of ``memory``, one of ``memories()``."""

    @abstractmethod
    def stored(self, memory: MemoryInfo) -> np.ndarray | None:
        """The contents of ``memory``: int64 [words, fields], unsigned.

        None for a memory that is written at run time.
        """

    def image(self, memory: MemoryInfo) -> list[int] | None:
        """The contents of ``memory`` as whole words, bit 0 lowest; None as in ``stored``."""
        stored = self.stored(memory)
        return None if stored is None else self.fields(memory).words(stored)

    @abstractmethod
    def operations(self) -> Mapping[str, Counter[Operation]]:
        """Operations of a unit of work by part, in the order of the design."""

    @abstractmethod
    def cycles(self, workload: Any) -> CycleCount:
        """Exact cycles of a workload, which every architecture defines (frames, commands)."""

    @abstractmethod
    def to_plain(self) -> dict[str, Any]:
        """Plain JSON values from which the design is restored; ``kind`` is one of them."""


def verify_design(design: Design) -> None:
    """Raise AssertionError if a design contradicts itself: an error of the code that made it.

    Looks at the names and sizes of memories, as every mapping does at its end. ``verify_images``
    looks at operations and at the contents of memories, too.
    """
    memories = design.memories()
    names = [memory.name for memory in memories]
    assert len(set(names)) == len(names), f"two memories are called {_first_twice(names)}"
    for memory in memories:
        assert min(memory.words, memory.bits) >= 1, f"{memory.name}: has no cells"
        assert memory.words % memory.banks == 0, f"{memory.name}: its banks differ"
        assert min(memory.reads, memory.writes) >= 0, f"{memory.name}: accesses below 0"
        assert memory.layer, f"{memory.name}: belongs to no part"


def verify_images(design: Design) -> None:
    """``verify_design``; and that fields and images of all memories have the memories' sizes."""
    verify_design(design)
    for part, count in design.operations().items():
        assert all(n > 0 for n in count.values()), f"{part}: operations that are not done"
    for memory in design.memories():
        fields, image = design.fields(memory), design.image(memory)
        assert fields.bits == memory.bits, f"{memory.name}: fields of {fields.bits} bits"
        assert fields.real.shape == (memory.words, len(fields.width)), f"{memory.name}: fields"
        assert len(fields.width) % fields.lanes == 0, f"{memory.name}: lanes"
        if image is not None:
            assert memory.writes == 0, f"{memory.name}: is written, and has an image"
            assert len(image) == memory.words, f"{memory.name}: {len(image)} words in its image"
            assert max(image) >> memory.bits == 0, f"{memory.name}: words of its image are wider"


def _first_twice(names: list[str]) -> str:
    return next(name for n, name in enumerate(names) if name in names[:n])
