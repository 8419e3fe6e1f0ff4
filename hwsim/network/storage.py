"""``.hwnet`` files: one JSON header and the weight arrays in a safetensors container.

The header travels as the safetensors metadata entry ``hwsim``; arrays are named
``<op>.<field>``. ``content_hash`` covers header and arrays, so an edited file is detected.
Loading parses data only and never executes anything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict
from safetensors.numpy import save as st_save

from hwsim.errors import NetworkError, StorageError
from hwsim.files import Document, Sha256, Version1, parse_json, whole_file
from hwsim.names import Line, OpName, printable
from hwsim.network.container import read_container
from hwsim.network.network import Network
from hwsim.network.ops import OP_TYPES
from hwsim.network.types import Alphabet, TensorType

SPEC_VERSION = 1
_KEY = "hwsim"


class InputRecord(Document):
    """See ``TensorType``."""

    channels: int
    height: int
    width: int
    bits: int
    signed: bool


class OpRecord(Document):
    """An op; its other fields are checked by its class."""

    model_config = ConfigDict(extra="allow")

    kind: str
    name: OpName
    inputs: list[OpName]


class Header(Document):
    """The header of a network."""

    spec_version: Version1
    name: Line
    input: InputRecord
    ops: list[OpRecord]
    notes: dict[str, Any]
    content_hash: Sha256


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
    """Write ``network`` to ``path`` in one step: the file is whole, or it does not exist."""
    path = Path(path)
    header, arrays = _header(network), _arrays(network)
    header["content_hash"] = _digest(header, arrays)
    blob = st_save(arrays, metadata={_KEY: json.dumps(header)})
    with whole_file(path) as file:
        file.write(blob)


def load(path: Path | str) -> Network:
    """Read and verify a network; raises StorageError."""
    path = Path(path)
    text, arrays = read_container(path, _KEY)
    header = parse_json(text, Header, path)
    if header.content_hash != _digest(header.model_dump(exclude={"content_hash"}), arrays):
        raise StorageError(f"{path}: content does not match its hash; the file was edited")
    try:
        return _network(header, arrays)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{path}: header is malformed ({error})") from None
    except NetworkError as error:
        raise StorageError(f"{path}: {error}") from None


def _network(header: Header, arrays: dict[str, np.ndarray]) -> Network:
    left = dict(arrays)
    ops = []
    for n, record in enumerate(header.ops):
        place = f"ops[{n}]"
        kind = OP_TYPES.get(record.kind)
        if kind is None:
            raise NetworkError(f"unknown kind of op '{printable(record.kind)}'", op=record.name)
        values = dict(record)
        del values["kind"]
        known = {field.name for field in fields(kind)} - set(kind.arrays)
        if strange := values.keys() - known:
            raise ValueError(f"{place}: unknown key '{printable(min(strange))}'")
        for key in kind.arrays:
            name = f"{record.name}.{key}"
            if name not in left:
                raise ValueError(f"there is no array '{name}'")
            values[key] = left.pop(name)
        if "alphabet" in values:
            values["alphabet"] = Alphabet(values["alphabet"])
        ops.append(kind(**values))
    if left:
        raise NetworkError(f"array '{printable(min(left))}' belongs to no op")
    return Network(header.name, TensorType(**dict(header.input)), tuple(ops), header.notes)
