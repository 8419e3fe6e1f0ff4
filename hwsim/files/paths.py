"""Paths and bytes: files that are whole or not there, and names that stay in their folder."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import AfterValidator

from hwsim.errors import StorageError
from hwsim.names import printable

_LONGEST = 400
"""Characters of a path inside a folder."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the system in this block that name no file, or a temporary one, name ``path``."""
    try:
        yield
    except OSError as error:
        # Whoever notices that a disk is full has no name at hand.
        name = Path(str(error.filename)).name
        if error.filename is None or name.startswith(f".{path.name[:40]}."):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of ``path`` when the block ends.

    After an error or interruption ``path`` is what it was before, and nothing else is left. Its
    folder must exist. Raises OSError naming ``path``.
    """
    with named(path):
        # Short, so that every name that the folder can hold can be written.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            # mkstemp's files are for their owner alone.
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in one step, as UTF-8: the file is whole, or is what it was before."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON in one step."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there; what a link names stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_bytes(path: Path | str, limit: int) -> bytes:
    """All of a file of at most ``limit`` bytes.

    Raises StorageError for what is missing, larger, or no file (a folder, a pipe, a device).
    """
    path = Path(path)
    try:
        # Opening a pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise StorageError(f"{path}: is not a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise StorageError(f"{path}: has {size} bytes, at most {limit} are allowed")
            return file.read(limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{path}: cannot be read ({reason})") from None


def read_text(path: Path | str, limit: int) -> str:
    """The same as text in UTF-8; a byte-order mark is left out."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise StorageError(f"{path}: is not UTF-8 text") from None


def _relative(name: str) -> str:
    """``name`` where it is a plain path below a folder; raises ValueError."""
    parts = name.split("/")
    if len(name) > _LONGEST or not name.isprintable() or "\\" in name or ":" in name:
        raise ValueError(f"must be a path of printable characters, not '{printable(name)}'")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"must be a path inside the folder, not {name!r}")
    return name


RelativePath = Annotated[str, AfterValidator(_relative)]
"""For schemas: a path below the file's own folder, by its text; ``inside`` looks at links too."""


def inside(folder: Path | str, name: str) -> Path:
    """``folder / name`` for a ``name`` out of a file, which need not be there.

    Raises StorageError where it is not below ``folder``: absolute, with ``..``, or by a link.
    The folder itself may be reached by a link.
    """
    folder = Path(folder)
    try:
        path = folder
        for part in _relative(name).split("/"):
            path = path / part
            if path.is_symlink():
                raise ValueError(f"{name!r} is a link, or below one")
    except ValueError as error:
        raise StorageError(f"{folder}: {error}") from None
    return path
