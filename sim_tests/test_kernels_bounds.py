"""Kernels stay within their arrays: compiled once more, with bounds checks, which are slow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = (
    *("test_accelerator_cycles", "test_accelerator_depths", "test_accelerator_names"),
    *("test_accelerator_ring", "test_execute_executor", "test_network_conformance"),
    *("test_report_timeline", "test_faults_evaluate", "test_lowvoltage_chip"),
    *("test_lowvoltage_fresh", "test_lowvoltage_inject", "test_lowvoltage_transient"),
)
"""Tests that together call every kernel, on random networks, chips and traffic."""

PLANTED = """
import numpy as np
from hwsim.jit import njit

def past_the_end(x):
    return x[len(x)]

try:
    njit(past_the_end)(np.zeros(3, np.int64))
except IndexError:
    print("caught")
"""


def checked(*words: str) -> subprocess.CompletedProcess[str]:
    """Python with bounds checks in every kernel; they are part of what names the cache."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    return subprocess.run(
        [sys.executable, *words], env=environment, cwd=HERE.parent, capture_output=True, text=True
    )


def test_an_index_past_the_end_is_caught(tmp_path: Path) -> None:
    script = tmp_path / "planted.py"
    script.write_text(PLANTED, encoding="utf-8")
    done = checked(str(script))
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr


@pytest.mark.slow
def test_no_kernel_leaves_its_arrays() -> None:
    files = [str(HERE / f"{name}.py") for name in FILES]
    done = checked("-m", "pytest", "-q", "-x", "-m", "not slow and not cosim", *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
