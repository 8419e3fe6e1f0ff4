"""A network on an accelerator whose memories fail, evaluated on the same images for every chip.

The seed of a chip is its number, so all measurements use the same chips. Each chip is counted once:
``ChipRecords`` keeps the counts in a file, and an interrupted measurement continues from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hwsim.accelerator import Pipeline
from hwsim.design.roles import PROTECTABLE
from hwsim.errors import NetworkError, OutputError, StorageError
from hwsim.execute import Executor
from hwsim.faults.design import (
    DesignFaults,
    design_faults,
    memory_protections,
    memory_shapes,
)
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.files import Count, Document, parse_json, read_bytes
from hwsim.hashes import value_hash
from hwsim.lowvoltage.chip import Chip, FaultSource, Spatial
from hwsim.lowvoltage.map import FaultMap
from hwsim.lowvoltage.protection import NONE, Protection
from hwsim.lowvoltage.technology import MemoryTechnology
from hwsim.names import Line
from hwsim.network import ArgMax, network_hash
from hwsim.sources import code_hash
from hwsim.version import __version__

_LIMIT = 1 << 30
"""Largest number of bytes of a file of records."""


@dataclass(frozen=True, eq=False)
class Study:
    """Images ``x`` [images, channels, height, width] with ``labels`` [images] for ``pipeline``.

    memories: roles or names, which may fail. protection: of all of them that have words to
    protect (see ``design_faults``). spatial: how the chips' failures cluster;
    None: as the technology says. map: measured cells
    of the same technology in place of random chips: chip n is then the map with all memories one
    after another from a cell on that n picks, repeated as often as it takes.

    Raises NetworkError for a network without ArgMax and for images that do not fit, ChipError for
    unknown memories and if no memory has cells.
    """

    pipeline: Pipeline
    technology: MemoryTechnology
    x: np.ndarray
    labels: np.ndarray
    memories: tuple[str, ...] = PROTECTABLE
    protection: Protection = NONE
    spatial: Spatial | None = None
    map: FaultMap | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pipeline.network.ops[-1], ArgMax):
            raise NetworkError("accuracy needs a network that ends in ArgMax")
        if self.labels.shape != (len(self.x),) or not len(self.x):
            raise NetworkError(
                f"labels must be [{len(self.x)}], at least one, not {list(self.labels.shape)}"
            )

    @property
    def images(self) -> int:
        return len(self.x)

    @cached_property
    def protections(self) -> Mapping[str, Protection]:
        """How each memory that may fail is protected, by name."""
        return memory_protections(self.pipeline, self.memories, self.protection)

    @cached_property
    def clean(self) -> int:
        """Right answers without faults."""
        return self._right(Executor(self.pipeline.network).run(self.x))

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Words and their bits, check bits included, of each memory that may fail, by name."""
        return memory_shapes(self.pipeline, self.protections)

    @cached_property
    def clusters(self) -> Spatial:
        """How failures of the chips cluster; a map's do as they do."""
        if self.spatial is None and self.map is None:
            return Spatial.of(self.technology)
        return self.spatial or Spatial()

    def chip(self, seed: int) -> FaultSource:
        """The chip with this seed."""
        if self.map is None:
            return Chip(self.technology, seed, self.spatial)
        return self.map.laid_out(self.shapes, seed)

    def faults(self, seed: int, probability: float | Mapping[str, float]) -> DesignFaults:
        """The faults of a chip at a bit error rate, or at a rate for each memory by name."""
        chip = self.chip(seed)
        return design_faults(
            self.pipeline, chip, probability, self.memories, protection=self.protection
        )

    def failing(self, probability: float) -> float:
        """Share of cells that fail at a bit error rate: that rate, unless a map says otherwise."""
        return probability if self.map is None else self.map.share(probability)

    def right(self, faults: DesignFaults) -> int:
        """Right answers with ``faults``; equal sets of failing cells are evaluated once."""
        if not len(faults):
            return self.clean
        cells = _cells(faults)
        if cells not in self._answered:
            self._answered[cells] = self._right(FaultyExecutor(faults).run(self.x))
        return self._answered[cells]

    @cached_property
    def _answered(self) -> dict[bytes, int]:
        """Right answers by hash of the failing cells."""
        return {}

    def _right(self, answers: np.ndarray) -> int:
        return int((answers[:, 0, 0, 0] == self.labels).sum())

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides how many answers are right on a chip."""
        data = [
            [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
            for array in (self.x, self.labels)
        ]
        return value_hash(
            [
                __version__,
                code_hash(Path(__file__)),
                network_hash(self.pipeline.network),
                self.pipeline.to_plain(),
                self.technology.faults.model_dump(mode="json"),
                vars(self.clusters),
                sorted(self.protections),
                self.protection.name,
                data,
                *([] if self.map is None else [self._map_key(self.map)]),
            ]
        )

    @staticmethod
    def _map_key(used: FaultMap) -> list[object]:
        # Error rates at critical voltages are those of the technology.
        return [used.seed, used.interleave, used.technology.model_dump(mode="json")]


class ChipRecord(Document):
    """One line of ``ChipRecords``. key: of the study and its question; seed: of the chip."""

    key: Line
    seed: Count
    right: Count


def _cells(faults: DesignFaults) -> bytes:
    """Hash of which cells fail, and how."""
    found = hashlib.sha256()
    for name, memory in sorted(faults.memories.items()):
        one = memory.faults
        head = [name, one.words, one.bits, len(one), one.errs, memory.keys, memory.protection.name]
        found.update(json.dumps([*head, one.on_write]).encode())
        for array in (one.word, one.bit, one.reads):
            found.update(array.tobytes())
    return found.digest()


class ChipRecords:
    """Right answers that were counted before: a line of JSON each, or in memory only.

    An incomplete line, which an interruption may leave at the end, is ignored. Raises OutputError
    if the file cannot be read or written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        text = ""
        if path is not None and path.exists():
            try:
                text = read_bytes(path, _LIMIT).decode(errors="replace")
            except StorageError as error:
                raise OutputError(str(error)) from None
        self._right = _parse(text.splitlines())
        self._torn = bool(text) and not text.endswith("\n")

    def __len__(self) -> int:
        return len(self._right)

    def get(self, key: str, seed: int) -> int | None:
        return self._right.get((key, seed))

    def add(self, key: str, seed: int, right: int) -> None:
        """Keep a count; the file has it when this method returns."""
        self._right[key, seed] = right
        if self.path is None:
            return
        line = json.dumps({"key": key, "seed": seed, "right": right}) + "\n"
        if self._torn:
            line, self._torn = "\n" + line, False
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from None


def _parse(lines: Iterable[str]) -> dict[tuple[str, int], int]:
    found = {}
    for line in lines:
        with suppress(StorageError):
            record = parse_json(line, ChipRecord, "")
            found[record.key, record.seed] = record.right
    return found
