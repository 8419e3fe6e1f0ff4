"""Hashes of the things on which a result depends."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def path_hash(path: Path) -> str | None:
    """SHA-256 (hex) of a file, or of names and contents in a folder; None where nothing is."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        return None
    digest = hashlib.sha256()
    for item in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{item.relative_to(path).as_posix()} {path_hash(item)}\n".encode())
    return digest.hexdigest()


def value_hash(value: Any) -> str:
    """SHA-256 (hex) of a plain JSON value; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
