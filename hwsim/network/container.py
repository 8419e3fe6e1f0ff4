"""The container of ``.hwnet`` files: safetensors with integer arrays and one text.

Eight bytes give the length of a JSON header (little endian). The header gives type, shape and place
of each array in the bytes that follow; the arrays must cover these bytes completely. All sizes are
checked before an array is made, and arrays take no more memory than the file has bytes. (https://github.com/huggingface/safetensors#format)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field

from hwsim.errors import StorageError
from hwsim.files import Count, Document, parse_json, read_bytes
from hwsim.names import printable

LIMIT = 256 << 20
"""Bytes of a file."""
_HEADER = 16 << 20
"""Bytes of its header."""
_TYPES = {f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)}


class _Entry(Document):
    """Place of an array. data_offsets: its first byte, and the byte behind its last one."""

    dtype: str
    shape: Annotated[list[Count], Field(max_length=8)]
    data_offsets: tuple[Count, Count]


class _Header(Document):
    """Arrays by name, and texts."""

    model_config = ConfigDict(extra="allow")

    texts: Annotated[dict[str, str], Field(alias="__metadata__")]
    __pydantic_extra__: dict[str, _Entry]

    @property
    def arrays(self) -> dict[str, _Entry]:
        return self.__pydantic_extra__ or {}


def read_container(path: Path, key: str) -> tuple[str, dict[str, np.ndarray]]:
    """The text that the file keeps under ``key``, and its arrays by name; raises StorageError."""
    blob = read_bytes(path, LIMIT)
    length = int.from_bytes(blob[:8], "little")
    start = 8 + length
    try:
        if length > _HEADER or start > len(blob):
            raise StorageError("")
        header = parse_json(blob[8:start], _Header, path)
        text = header.texts[key]
    except (StorageError, KeyError):
        raise StorageError(f"{path}: is not a .hwnet file, or is truncated") from None
    arrays, behind = {}, 0
    for name, entry in sorted(header.arrays.items(), key=lambda item: item[1].data_offsets):
        place = f"{path}: array '{printable(name)}'"
        if entry.dtype not in _TYPES:
            shown = printable(entry.dtype, 20)
            raise StorageError(f"{place}: must hold integers of 8 to 64 bits, signed, not {shown}")
        dtype, (first, end) = _TYPES[entry.dtype], entry.data_offsets
        if first != behind or end - first != math.prod(entry.shape) * dtype.itemsize:
            raise StorageError(f"{place}: its bytes are not those of its shape {entry.shape}")
        if start + end > len(blob):
            raise StorageError(f"{path}: is not a .hwnet file, or is truncated")
        arrays[name] = np.frombuffer(blob[start + first : start + end], dtype).reshape(entry.shape)
        behind = end
    if start + behind != len(blob):
        raise StorageError(f"{path}: has {len(blob) - start - behind} bytes too many")
    return text, arrays
