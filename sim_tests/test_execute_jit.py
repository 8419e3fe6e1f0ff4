"""The cache of compiled kernels: keyed by sources, private, optional."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwsim import jit, sources

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hwsim import outer
from hwsim.jit import kernel_folder
kernel = outer.outer
print(kernel(1), sum(kernel.stats.cache_hits.values()), kernel_folder(Path(outer.__file__)))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with hwsim's jit.py: ``outer`` calls ``inner``; nobody imports ``aside``."""
    folder = tmp_path / "hwsim"
    folder.mkdir()
    for module in (jit, sources):
        shutil.copy(str(module.__file__), folder)
    (folder / "__init__.py").write_text("")
    (folder / "inner.py").write_text(
        "from hwsim.jit import njit\n\n@njit\ndef inner(x):\n    return x + 100\n"
    )
    (folder / "aside.py").write_text("x = 1\n")
    (folder / "outer.py").write_text(
        "from hwsim.jit import njit\nfrom hwsim.inner import inner\n\n"
        "@njit\ndef outer(x):\n    return inner(x) + 1\n"
    )
    return folder


def run(package: Path, cache: str) -> list[str]:
    """Value of outer(1), cache hits, cache folder, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(package.parent)],
        env={**os.environ, "HWSIM_CACHE_DIR": cache, "NUMBA_NUM_THREADS": "1"},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_second_process_finds_the_code_and_an_edit_elsewhere_is_noticed(
    package: Path, tmp_path: Path
) -> None:
    cache = str(tmp_path / "cache")
    value, hits, folder = run(package, cache)
    assert (value, hits) == ("102", "0")
    assert Path(folder).parent == tmp_path / "cache"
    assert run(package, cache) == ["102", "1", folder]
    (package / "aside.py").write_text("x = 2\n")
    assert run(package, cache) == ["102", "1", folder]
    inner = package / "inner.py"
    inner.write_text(inner.read_text().replace("100", "200"))
    value, hits, other = run(package, cache)
    assert (value, hits) == ("202", "0")
    assert other != folder


def test_an_empty_setting_turns_the_cache_off(package: Path) -> None:
    assert run(package, "") == ["102", "0", "None"]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the cache is for this test."""
    monkeypatch.setenv("HWSIM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_folder_is_private(fresh: Path) -> None:
    folder = jit.cache_folder("a thing")
    assert folder is not None
    assert fresh.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_not_used(fresh: Path) -> None:
    fresh.mkdir()
    fresh.chmod(0o777)
    assert jit.cache_folder("a thing") is None


def test_a_file_in_its_place_is_no_error(fresh: Path) -> None:
    fresh.write_text("")
    assert jit.cache_folder("a thing") is None


def test_only_caches_unused_for_a_month_are_deleted(fresh: Path) -> None:
    old, recent, other = fresh / ("a" * 24), fresh / ("b" * 24), fresh / "notes"
    for folder in (old, recent, other):
        folder.mkdir(parents=True, mode=0o700)
    fresh.chmod(0o700)
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    folder = jit.cache_folder("a thing")
    assert set(fresh.iterdir()) == {recent, other, folder}


def test_each_content_has_a_folder_of_its_own(fresh: Path) -> None:
    assert jit.cache_folder("one") != jit.cache_folder("two")
    assert jit.cache_folder("one") == jit.cache_folder("one")


def test_numba_settings_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    settings, folder = jit._settings.__wrapped__, jit.kernel_folder.__wrapped__
    monkeypatch.setattr(jit, "_settings", settings)
    file = Path(sources.__file__)
    before = folder(file)
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert folder(file) != before
