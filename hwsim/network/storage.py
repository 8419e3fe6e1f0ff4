"""``.hwnet`` files: one JSON header and the weight arrays in a safetensors container.

The header travels as the safetensors metadata entry ``hwsim``; arrays are named
``<op>.<field>``. ``content_hash`` covers header and arrays, so an edited file is noticed.
Loading parses data only and never executes anything.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from hwsim.errors import NetworkError, StorageError
from hwsim.files import whole_file
from hwsim.network.network import Network
from hwsim.network.ops import OP_TYPES
from hwsim.network.types import Alphabet, TensorType

SPEC_VERSION = 1
_KEY = "hwsim"


def _header(network: Network) -> dict[str, Any]:
    t = network.input
    return {
        "spec_version": SPEC_VERSION,
        "name": network.name,
        "input": {
            "channels": t.channels,
            "height": t.height,
            "width": t.width,
            "bits": t.bits,
            "signed": t.signed,
        },
        "ops": [
            {"kind": op.kind, "name": op.name, "inputs": list(op.inputs), **op.attributes()}
            for op in network.ops
        ],
        "notes": dict(network.notes),
    }


def _arrays(network: Network) -> dict[str, np.ndarray]:
    """Every array in the narrowest signed type that holds it."""
    out = {}
    for op in network.ops:
        for key in op.arrays:
            array = getattr(op, key)
            for dtype in (np.int8, np.int16, np.int32, np.int64):
                info = np.iinfo(dtype)
                if not array.size or (array.min() >= info.min and array.max() <= info.max):
                    break
            out[f"{op.name}.{key}"] = array.astype(dtype)
    return out


def _digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype} {list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def network_hash(network: Network) -> str:
    """SHA-256 (hex) of everything that decides the network's arithmetic; notes do not count."""
    return _digest({**_header(network), "notes": {}, "name": ""}, _arrays(network))


def save(network: Network, path: Path | str) -> None:
    """Write ``network`` to ``path`` in one step: the file is whole or is not there."""
    path = Path(path)
    header, arrays = _header(network), _arrays(network)
    header["content_hash"] = _digest(header, arrays)
    blob = st_save(arrays, metadata={_KEY: json.dumps(header)})
    with whole_file(path) as file:
        file.write(blob)


def load(path: Path | str) -> Network:
    """Read and verify a network; raises StorageError (file) or NetworkError (content)."""
    path = Path(path)
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        length = int.from_bytes(blob[:8], "little")
        metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
        header = json.loads(metadata[_KEY])
        arrays = st_load(blob)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        raise StorageError(f"{path}: is not a .hwnet file, or is truncated") from None
    if not isinstance(header, dict):
        raise StorageError(f"{path}: is not a .hwnet file, or is truncated")
    if header.get("spec_version") != SPEC_VERSION:
        raise StorageError(
            f"{path}: spec_version must be {SPEC_VERSION}, not {header.get('spec_version')!r}"
        )
    stated = header.pop("content_hash", None)
    if stated != _digest(header, arrays):
        raise StorageError(f"{path}: content does not match its hash; the file was edited")
    try:
        return _network(header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"{path}: header is malformed ({error})") from None
    except NetworkError as error:
        raise StorageError(f"{path}: {error}") from None


def _network(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    left = dict(arrays)
    ops = []
    for key, kind in (("name", str), ("notes", dict), ("ops", list)):
        if not isinstance(header[key], kind):
            raise TypeError(f"{key} must be a {kind.__name__}")
    for entry in header["ops"]:
        entry = dict(entry)
        op_kind = entry.pop("kind")
        if op_kind not in OP_TYPES or op_kind.startswith("_"):
            raise NetworkError(f"unknown kind of op '{op_kind}'", op=entry.get("name"))
        op_type = OP_TYPES[op_kind]
        for key in op_type.arrays:
            entry[key] = left.pop(f"{entry['name']}.{key}")
        if "alphabet" in entry:
            entry["alphabet"] = Alphabet(entry["alphabet"])
        ops.append(op_type(**entry))
    if left:
        raise NetworkError(f"array '{min(left)}' belongs to no op")
    return Network(header["name"], TensorType(**header["input"]), tuple(ops), header["notes"])
