"""Files of weights and of training states, which are read without executing anything in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from hwsim.errors import StorageError
from hwsim.files import read_bytes, whole_file
from hwsim.names import printable

_FORMAT = 2
_BROKEN = (
    OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What torch and zipfile say of files that are no checkpoints."""
_LARGEST = 2 << 30
"""Bytes of a checkpoint."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` with the format's version; the file is whole or is the previous one."""
    blob = io.BytesIO()
    torch.save({**state, "format": _FORMAT}, blob)
    with whole_file(path) as file:
        file.write(blob.getbuffer())


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it; raises StorageError."""
    try:
        blob = io.BytesIO(read_bytes(path, _LARGEST))
        with zipfile.ZipFile(blob) as archive:
            # torch.load would unpack whatever the members say they hold.
            packed = sum(member.file_size for member in archive.infolist())
        if packed > _LARGEST:
            raise ValueError(f"unpacks to {packed} bytes, at most {_LARGEST} are allowed")
        blob.seek(0)
        state = torch.load(blob, map_location=device, weights_only=True)
    except _BROKEN as error:
        reason = printable((str(error) or type(error).__name__).splitlines()[0], 120)
        raise StorageError(
            f"{path}: is not a checkpoint, or is truncated; delete it to start over ({reason})"
        ) from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise StorageError(f"{path}: is not a checkpoint of this version; delete it to start over")
    return state
