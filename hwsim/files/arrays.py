"""``.npz`` and ``.npy`` files: what they will take is known before anything is unpacked.

An ``.npz`` is a zip file of ``.npy`` files. Its directory tells the size of each member, and the
header of each member the type and shape; both are compared with each other and with what the
caller expects, and only then the values are read. Objects are never unpickled.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from hwsim.errors import StorageError
from hwsim.names import printable

_HEADER = 4096
"""Bytes of the text that says type and shape; longer ones are no plain arrays."""
_DIRECTORY = 1 << 20
"""Bytes that a file may have beside the values of its arrays."""
_MEMBERS = 64
_SMALL, _RATIO = 64 << 20, 200
"""Bytes that every archive may unpack to; larger ones to so many times their own size.

Measured data does not shrink like that, an archive that was made to fill the memory does.
"""

_TYPE = rb"'[<>|=]?[a-zA-Z]\d{1,4}'"
_SHAPE = rb"\((?:\d{1,18}(?:, ?\d{1,18}){0,31},?)?\)"
_PAIR = re.compile(
    rb"'(descr|fortran_order|shape)': ?(" + _TYPE + rb"|True|False|" + _SHAPE + rb")"
)
_LITERAL = re.compile(rb"\{(?:" + _PAIR.pattern + rb",? ?){3}\}\s*")

_BROKEN = (
    OSError,
    struct.error,
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Python's readers raise for files that are not what they seem."""


@dataclass(frozen=True)
class ArraySpec:
    """What an array may be.

    kinds: of its type, as in NumPy: ``b`` boolean, ``i`` and ``u`` integers, ``f`` floats. shape:
    length of each axis, None for any; None alone for any number of axes. optional: may be missing.
    """

    kinds: str = "iu"
    shape: tuple[int | None, ...] | None = None
    optional: bool = False


def read_arrays(
    path: Path | str, expected: Mapping[str, ArraySpec], *, limit: int, others: bool = False
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file by name, all of them ``expected``.

    limit: bytes that they may take together. others: the file may hold more, which is passed over.
    Raises StorageError naming file and array.
    """
    path = Path(path)
    with _opened(path, limit) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _members(path, archive, expected, limit, others)
        except _BROKEN as error:
            raise StorageError(
                f"{path}: is not an .npz file, or is damaged ({_reason(error)})"
            ) from None


def read_array(path: Path | str, expected: ArraySpec, *, limit: int) -> np.ndarray:
    """The array of an ``.npy`` file; raises StorageError."""
    path = Path(path)
    with _opened(path, limit) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            return _read(file, size, expected, f"{path}", limit)
        except _BROKEN as error:
            raise StorageError(
                f"{path}: is not an .npy file of one plain array, or is damaged ({_reason(error)})"
            ) from None


def _reason(error: Exception) -> str:
    return printable(str(error), 120)


def _opened(path: Path, limit: int) -> BinaryIO:
    try:
        # Opening a pipe would wait for its writer.
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{path}: is not a file")
        if found.st_size > limit + _DIRECTORY:
            raise StorageError(
                f"{path}: has {found.st_size} bytes; arrays of at most {limit} are allowed"
            )
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{path}: cannot be read ({reason})") from None


def _members(
    path: Path,
    archive: zipfile.ZipFile,
    expected: Mapping[str, ArraySpec],
    limit: int,
    others: bool,
) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > _MEMBERS:
        raise StorageError(f"{path}: holds {len(members)} arrays, at most {_MEMBERS} are allowed")
    known = {f"{name}.npy": name for name in expected}
    if others:
        members = [member for member in members if member.filename in known]
    for n, member in enumerate(members):
        name = member.filename
        if name not in known or name in (earlier.filename for earlier in members[:n]):
            wanted = ", ".join(expected)
            raise StorageError(f"{path}: holds '{printable(name)}'; expected once each: {wanted}")
    names = [known[member.filename] for member in members]
    missing = [name for name, spec in expected.items() if name not in names and not spec.optional]
    if missing:
        raise StorageError(f"{path}: lacks the array '{missing[0]}'")
    total = sum(member.file_size for member in members)
    if total > limit + _DIRECTORY:
        raise StorageError(f"{path}: unpacks to {total} bytes, at most {limit} are allowed")
    packed = sum(member.compress_size for member in members)
    if total > max(_SMALL, _RATIO * packed):
        raise StorageError(f"{path}: unpacks to {total} bytes, over {_RATIO} times its size")
    arrays = {}
    # All headers before all values: nothing is unpacked of a file that is refused.
    for unpack in (False, True):
        for name, member in zip(names, members, strict=True):
            with archive.open(member) as file:
                found = _read(
                    file, member.file_size, expected[name], f"{path}: {name}", limit, unpack
                )
            arrays[name] = found
    return arrays


def _read(
    file: IO[bytes],
    size: int,
    expected: ArraySpec,
    place: str,
    limit: int,
    unpack: bool = True,
) -> np.ndarray:
    """The array of ``size`` bytes with its header; an empty one unless ``unpack``."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("it does not begin as an .npy file does")
    told = file.read(2 if magic[6] == 1 else 4)
    length = int.from_bytes(told, "little")
    if length > _HEADER:
        raise ValueError(f"its header has {length} bytes")
    shape, by_column, dtype = _header(file.read(length))
    _check(expected, shape, dtype, place)
    held = math.prod(shape) * dtype.itemsize
    if held > limit:
        raise StorageError(f"{place}: takes {held} bytes, at most {limit} are allowed")
    if len(magic) + len(told) + length + held != size:
        raise ValueError(f"{size} bytes do not hold {list(shape)} of {dtype}")
    if not unpack:
        return np.empty(0)
    values = bytearray(file.read(held))
    if len(values) != held or file.read(1):
        raise EOFError("it ends too early, or too late")
    array = np.frombuffer(values, dtype)
    return array.reshape(shape[::-1]).T if by_column else array.reshape(shape)


def _header(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first index runs fastest, and type; raises ValueError.

    The text is a Python literal, of which this reads only what plain arrays have.
    """
    if _LITERAL.fullmatch(text) is None:
        raise ValueError("its header is not that of a plain array")
    values = dict(_PAIR.findall(text))
    if len(values) != 3:
        raise ValueError("its header lacks type, order or shape")
    shape = tuple(int(length) for length in re.findall(rb"\d+", values[b"shape"]))
    dtype = np.dtype(values[b"descr"].decode().strip("'"))
    return shape, values[b"fortran_order"] == b"True", dtype


def _check(expected: ArraySpec, shape: tuple[int, ...], dtype: np.dtype, place: str) -> None:
    if dtype.kind not in expected.kinds:
        raise StorageError(f"{place}: must hold {_called(expected.kinds)}, not {dtype}")
    wanted = expected.shape
    fits = wanted is None or (
        len(shape) == len(wanted)
        and all(want in (None, got) for want, got in zip(wanted, shape, strict=True))
    )
    if not fits:
        told = ", ".join("any" if length is None else str(length) for length in wanted or ())
        raise StorageError(f"{place}: must be [{told}], not {list(shape)}")


def _called(kinds: str) -> str:
    words = {"b": "booleans", "i": "integers", "u": "integers", "f": "floats"}
    return " or ".join(dict.fromkeys(words[kind] for kind in kinds))
