"""JSON files: each has a schema, and what does not fit it is one line with file and key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hwsim.errors import StorageError
from hwsim.files.paths import read_bytes
from hwsim.schema import Key, dotted, explain

LIMIT = 64 << 20
"""Bytes of a JSON file."""

INTEGERS = -(1 << 63), (1 << 63) - 1
"""What an integer in a file may be: what NumPy and the kernels hold."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, 0..1."""

Count = Annotated[int, Field(ge=0)]
"""How many of something."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A hash in hexadecimal."""


def _version(wanted: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if number != wanted:
            raise ValueError(f"must be {wanted}, not {number}")
        return number

    return check


Version1 = Annotated[int, AfterValidator(_version(1))]
Version2 = Annotated[int, AfterValidator(_version(2))]
"""For schemas: the version of a format. (A literal would also take ``true`` and ``1.0``.)"""


class Format(NamedTuple):
    """The version that a schema reads, under which key, and what helps where it is an earlier."""

    key: str
    version: int
    advice: str


class Document(BaseModel):
    """Base of the schemas of JSON files, and of their parts: unknown keys are errors.

    current: of files that had other formats before; those are refused in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    current: ClassVar[Format | None] = None


Schema = TypeVar("Schema", bound=BaseModel)


def read_json(path: Path | str, schema: type[Schema], *, limit: int = LIMIT) -> Schema:
    """A JSON file as a ``schema``; raises StorageError naming file, key and what is allowed."""
    return parse_json(read_bytes(path, limit), schema, path)


def parse_json(text: bytes | str, schema: type[Schema], file: Path | str) -> Schema:
    """The same of the ``text`` of a file.

    Types are strict (no 1.0 and no true for 1). Keys that are given twice, numbers that are not
    finite and integers beyond 64 bits are errors wherever they stand.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        data = json.loads(text, object_pairs_hook=_mapping, parse_int=_integer)
    except _Twice as error:
        raise StorageError(f"{file}: {error}") from None
    except UnicodeDecodeError:
        raise StorageError(f"{file}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise StorageError(f"{file}:{error.lineno}: is not JSON ({error.msg})") from None
    except RecursionError:
        raise StorageError(f"{file}: is nested too deeply") from None
    if not isinstance(data, dict):
        raise StorageError(f"{file}: must hold a mapping")
    _check_numbers(data, file)
    current = getattr(schema, "current", None)
    if current is not None:
        found = data.get(current.key)
        if type(found) is int and found < current.version:
            raise StorageError(
                f"{file}: {current.key} {found} is of an earlier version of hwsim; {current.advice}"
            )
    try:
        return schema.model_validate_json(text, strict=True)
    except ValidationError as error:
        key, message = explain(error.errors(), schema, data)
        where = f"{file}: {dotted(key)}" if key else f"{file}"
        raise StorageError(f"{where}: {message}") from None


class _Twice(Exception):
    """A key that stands twice in one mapping."""


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(f"key {twice!r} is given twice")
    return found


def _integer(text: str) -> int:
    # Python refuses to read more than some thousand digits; the sign tells nothing more here.
    return int(text) if len(text) <= 20 else 1 << 64


def _check_numbers(data: Any, file: Path | str) -> None:
    left: list[tuple[Key, Any]] = [((), data)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [((*key, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            left += [((*key, n), item) for n, item in enumerate(value)]
        elif type(value) is int and not INTEGERS[0] <= value <= INTEGERS[1]:
            raise StorageError(f"{file}: {dotted(key)}: must be an integer of at most 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise StorageError(f"{file}: {dotted(key)}: must be a finite number")
