"""Hashes of what a result depends on."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable
from functools import cache
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


def code_hash(modules: Iterable[str]) -> str:
    """SHA-256 (hex) of the code of modules and whole packages (without their subpackages).

    Comments and layout do not count in Python files; every other file of a package counts.
    """
    return value_hash([_module_hash(name) for name in sorted(modules)])


@cache
def _module_hash(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return value_hash([name, _file_code(origin)])
    files = sorted(path for path in origin.parent.iterdir() if path.is_file())
    return value_hash([name, [[path.name, _file_code(path)] for path in files]])


def _file_code(path: Path) -> str | None:
    return ast.dump(ast.parse(path.read_bytes())) if path.suffix == ".py" else path_hash(path)
