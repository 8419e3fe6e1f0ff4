"""The schema of ``manifest.json``, and its one reader.

The manifest tells people and their tools what a generated folder holds. hwsim itself takes from
it only what cannot be worked out from the network: the design, faults, and hashes; all
else that it says follows from those, and is never used in the place of the pipeline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hwsim.accelerator.plain import PipelineRecord
from hwsim.errors import StorageError
from hwsim.faults.description import FaultRecord
from hwsim.files import Count, Document, Format, Sha256, Version2, read_json
from hwsim.names import Line, OpName

VERILOG, MANIFEST, NETWORK, VECTORS, CELLS = (
    "accelerator.v",
    "manifest.json",
    "network.hwnet",
    "vectors.npz",
    "cells.npz",
)
FORMAT, FORMAT_VERSION = "hwsim accelerator", 2

Bits = Annotated[int, Field(ge=1)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", max_length=400)]
"""Names that hwsim makes of names of ops: of stages, FIFOs, memories, ports."""


Text = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=1000)]
"""A line of ASCII that hwsim wrote."""


class NetworkEntry(Document):
    """The network beside the manifest. hash: see ``network_hash``."""

    file: Literal["network.hwnet"]
    name: Line
    hash: Sha256


class Port(Document):
    """A port of the top module."""

    name: Identifier
    direction: Literal["input", "output"]
    bits: Bits
    meaning: Text


class StreamEntry(Document):
    """How a tensor travels; see ``Stream``."""

    tensor: OpName
    channels: Bits
    height: Bits
    width: Bits
    bits: Bits
    signed: bool
    lanes: Bits
    beat_bits: Bits
    beats_per_pixel: Bits
    beats_per_frame: Bits


class StageEntry(Document):
    """One stage. timing: see ``Timing``."""

    name: Identifier
    kind: Identifier
    op: Identifier | None
    tensors: list[OpName]
    pe: Bits
    simd: Bits
    weights: Literal["memory", "constant"] | None
    latency_cycles: Count
    busy_cycles_per_frame: Count
    ideal_interval_cycles: Count
    timing: dict[Identifier, bool | int | list[int]]


class FifoEntry(Document):
    """One FIFO; depth in beats."""

    name: Identifier
    producer: Identifier
    consumer: Identifier
    depth: Bits
    bits: Bits
    latency_cycles: Count


class MemoryEntry(Document):
    """One memory; see ``MemoryInfo``."""

    name: Identifier
    role: Identifier
    layer: Identifier
    words: Count
    bits: Count
    style: Identifier
    reads: Count
    writes: Count
    instances: list[Identifier]


class Cycles(Document):
    """What the cycle model says of ``frames`` frames."""

    frames: Annotated[int, Field(ge=1, le=1000)]
    first_output_cycles: Count
    frame_latency_cycles: Count
    frame_interval_cycles: Count
    ideal_interval_cycles: Count


class VectorsEntry(Document):
    """Test vectors: how many, and whether their classes are known."""

    images: Bits
    labels: bool


class FileHashes(Document):
    """SHA-256 of the files beside the manifest, as they were generated."""

    verilog: Annotated[Sha256, Field(alias=VERILOG)]
    network: Annotated[Sha256, Field(alias=NETWORK)]
    vectors: Annotated[Sha256, Field(alias=VECTORS)]
    cells: Annotated[Sha256 | None, Field(alias=CELLS)] = None


class Manifest(Document):
    """Everything about a generated accelerator.

    network: ``network.hwnet`` beside it. design: the pipeline. faults: of a fault-injection
    build. tools: versions of what wrote the Verilog.
    """

    current: ClassVar = Format("format_version", FORMAT_VERSION, "run hwsim generate again")

    format: Literal["hwsim accelerator"]
    format_version: Version2
    hwsim_version: Line
    network: NetworkEntry
    top: Literal["accelerator"]
    ports: list[Port]
    input: StreamEntry
    output: StreamEntry
    design: PipelineRecord
    stages: list[StageEntry]
    fifos: list[FifoEntry]
    memories: list[MemoryEntry]
    cycles: Cycles
    tools: dict[Line, Line]
    faults: FaultRecord | None = None
    vectors: VectorsEntry
    files: FileHashes

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file that was generated, by its name."""
        return self.files.model_dump(by_alias=True, exclude_none=True)


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a generated folder; raises StorageError naming file and key."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise StorageError(f"{folder}: holds no {MANIFEST} of an accelerator; run hwsim generate")
    return read_json(path, Manifest)
