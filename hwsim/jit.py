"""``njit``: the one place that decides how hwsim's kernels are compiled and cached.

Numba's own disk cache does not notice when a function that a kernel calls, or a constant it
reads, changes in another file. Here a kernel's cache folder is named by a hash of its module and
of all that its module imports of the package, so an edit there starts a fresh folder, and an edit
elsewhere compiles nothing. The cache holds pickles, so it is used only in a folder that belongs to
the user and that nobody else may write to; without such a folder (or without file locks) kernels
are compiled anew in each process.

``HWSIM_CACHE_DIR`` moves the cache; an empty value turns it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numba.core.config
from numba.core.caching import FunctionCache

from hwsim.sources import closure_hash

try:
    import fcntl
except ImportError:  # no POSIX locks on this system, hence no cache
    fcntl = None  # type: ignore[assignment]

_config: Any = numba.core.config

_UNUSED_SECONDS = 30 * 24 * 3600
"""A folder of the cache is deleted when it was not used for this long."""


def njit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` on first use: releases the GIL, no fast math, cached when possible.

    Compiled kernels do not check bounds and integers wrap silently, so callers check ranges.
    Parallelism is by threads over kernels, never inside one.
    """
    folder = kernel_folder(Path(function.__code__.co_filename))
    kernel: Any = numba.njit(nogil=True)(function)
    if folder is None or _config.DISABLE_JIT:
        return kernel
    previous, _config.CACHE_DIR = _config.CACHE_DIR, str(folder)
    try:
        kernel._cache = _LockedCache(function)
    finally:
        _config.CACHE_DIR = previous
    return kernel


class _LockedCache(FunctionCache):
    """Numba's cache of one function, with a lock between processes.

    Without it, two processes that compile different signatures at once can give one file name to
    both, and a later process would load the wrong machine code.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with self._lock():
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        with self._lock():
            super().save_overload(sig, data)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        folder = Path(self.cache_path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@cache
def kernel_folder(file: Path) -> Path | None:
    """Folder for the machine code of the kernels in ``file``; None when there is no safe place."""
    return cache_folder(f"{_settings()} {closure_hash(file)}") if fcntl is not None else None


def cache_folder(content: str) -> Path | None:
    """The user's private folder for what is made from ``content`` alone, made when it is missing.

    It is deleted when nobody asked for it for a month. None when there is no place that only the
    user may write to, or when ``HWSIM_CACHE_DIR`` is empty.
    """
    root = os.environ.get("HWSIM_CACHE_DIR")
    if root == "":
        return None
    base = Path(root) if root else _user_cache() / "hwsim"
    folder = base / hashlib.sha256(content.encode()).hexdigest()[:24]
    try:
        fresh = not folder.exists()
        base.parent.mkdir(parents=True, exist_ok=True)
        base.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        owned = all(_private(path) for path in (base, folder))
        if not owned or not os.access(folder, os.W_OK):
            return None
        os.utime(folder)
        if fresh:
            _delete_unused(base)
    except OSError:
        return None
    return folder


def _user_cache() -> Path:
    stated = os.environ.get("XDG_CACHE_HOME")
    return Path(stated) if stated else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111


def _private(folder: Path) -> bool:
    """True when the folder is the user's own and only the user may write to it."""
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


@cache
def _settings() -> str:
    """All that decides machine code besides the sources; numba checks the CPU itself."""
    named = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name != "NUMBA_NUM_THREADS"
    }
    return f"numba {numba.__version__} {sorted(named.items())}"


def _delete_unused(base: Path) -> None:
    """Remove the folders that were not used for a month."""
    oldest = time.time() - _UNUSED_SECONDS
    for folder in base.iterdir():
        name = folder.name
        if len(name) == 24 and set(name) <= set("0123456789abcdef") and folder.is_dir():
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)
