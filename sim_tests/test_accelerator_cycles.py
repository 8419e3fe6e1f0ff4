"""The cycle model against a simulator that plays the timing contract tick by tick."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tick_model import play

from hwsim.accelerator import (
    CycleReport,
    DeadlockError,
    Pipeline,
    _solver,
    build_pipeline,
    chains,
    cycles,
    simulate,
)
from hwsim.testing import Limits, random_folding, random_network

SEEDS = st.integers(0, 2**32 - 1)


def random_pipeline(rng: np.random.Generator, limits: Limits | None = None) -> Pipeline:
    """Any network, folding and FIFO depths, shallow ones (which may deadlock) included."""
    network = random_network(rng, limits or Limits(channels=6, size=7, blocks=4))
    pipeline = build_pipeline(network, random_folding(network, rng))
    choice = [1, 2, 3, 4, 7, 16, 40] if rng.random() < 0.7 else [60, 200]
    return pipeline.with_depths({f.name: int(rng.choice(choice)) for f in pipeline.fifos})


def random_waits(rng: np.random.Generator, most: int) -> list[int]:
    if rng.random() < 0.4:
        return [0]
    length = int(rng.integers(1, 20))
    return [int(v) for v in rng.integers(0, most, length) * (rng.random(length) < 0.5)]


@settings(max_examples=250)
@given(SEEDS)
def test_every_figure_equals_the_tick_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = random_pipeline(rng)
    frames = int(rng.integers(1, 5))
    gaps, stalls = random_waits(rng, 6), random_waits(rng, 9)
    expected = play(pipeline, frames, gaps, stalls)
    if expected is None:
        with pytest.raises(DeadlockError):
            simulate(pipeline, frames, gaps, stalls)
    else:
        assert simulate(pipeline, frames, gaps, stalls) == expected


@settings(max_examples=150)
@given(SEEDS)
def test_frames_that_must_repeat_are_like_frames_that_were_solved(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pipeline = random_pipeline(rng)
    frames = int(rng.integers(2, 60))
    waits = [[int(rng.integers(0, 3))] for _ in range(2)]
    # A schedule of two equal pauses says the same, but is not taken as one that repeats.
    try:
        expected = simulate(pipeline, frames, *(2 * wait for wait in waits))
    except DeadlockError:
        with pytest.raises(DeadlockError):
            simulate(pipeline, frames, *waits)
    else:
        assert simulate(pipeline, frames, *waits) == expected


def test_many_frames_cost_no_more_than_a_few() -> None:
    pipeline = random_pipeline(np.random.default_rng(1), Limits(channels=4, size=5, blocks=2))
    pipeline = pipeline.with_depths({fifo.name: 4 for fifo in pipeline.fifos})
    few, many = (simulate(pipeline, frames) for frames in (100, 100_000))
    assert many.frame_last_output[:100] == few.frame_last_output
    assert many.frame_interval_cycles == few.frame_interval_cycles


# Each a constant of the contract, off by one in the text of the solver or of its chains.
PLANTED = {
    "a slot is free": (_solver, "(old & fifo[POP_MASK])] + 1", "(old & fifo[POP_MASK])] + 2"),
    "a beat is offered": (
        _solver,
        "+ fifo[FIFO_LATENCY]",
        "+ fifo[FIFO_LATENCY] + 1",
    ),
    "the datapath's latency": (
        _solver,
        "date + fifo[FILL_LATENCY]",
        "date - 1 + fifo[FILL_LATENCY]",
    ),
    "the next step": (chains, "np.diff(at, prepend=-1)", "np.diff(at, prepend=-1) + 1"),
    "the next beat": (chains, "np.ones(t.beats, np.int64)", "np.full(t.beats, 2)"),
    "a step after its beat": (chains, "weight=1", "weight=0"),
    "a beat after the last step on its slot": (chains, "=t.release", "=t.release - 1"),
    "rows in the ring": (chains, "- t.row_slots,", "- t.row_slots + 1,"),
    "columns left behind": (
        chains,
        "np.arange(t.cols) + t.pad[1]",
        "np.arange(t.cols) + t.pad[1] + 1",
    ),
    "rows of a window": (chains, "t.last_row(p)", "min(t.rows - 1, t.last_row(p) + 1)"),
    "columns of a window": (chains, "t.last_col(q)", "max(0, t.last_col(q) - 1)"),
    "the next beat of a port": (chains, "np.ones(beats, np.int64)", "np.full(beats, 2)"),
    "pauses in their order": (_solver, "(frame * steps + step) %", "(frame * steps + step + 1) %"),
    "a sink that refuses what is not offered": (
        _solver,
        "ready += lists[pauses_at + (frame * steps + step) % pauses]",
        "ready = max(ready, time + since + lists[pauses_at + (frame * steps + step) % pauses])",
    ),
}


@pytest.fixture
def small_runs() -> list[tuple[Pipeline, int, list[int], list[int], CycleReport]]:
    """Pipelines small enough for the solver without a compiler, with their true figures."""
    runs = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        pipeline = random_pipeline(rng, Limits(channels=4, size=5, blocks=2))
        gaps, stalls = random_waits(rng, 4), random_waits(rng, 4)
        report = play(pipeline, 3, gaps, stalls)
        if report is not None:
            runs.append((pipeline, 3, gaps, stalls, report))
    return runs


def module_from(text: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module from another source text, put into ``folder`` and not compiled."""
    file = folder / f"{name}.py"
    file.write_text(text.replace("from hwsim.jit import njit", "njit = lambda f: f"))
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_off_by_one_is_caught(
    name: str,
    small_runs: list[tuple[Pipeline, int, list[int], list[int], CycleReport]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    where, old, new = PLANTED[name]
    figures = []
    for stem in ("true", "planted"):
        for module in (_solver, chains):
            text = Path(module.__file__ or "").read_text()
            if module is where and stem == "planted":
                assert text.count(old) >= 1
                text = text.replace(old, new)
            used = module_from(
                text, f"{stem}_{module.__name__.rpartition('.')[2]}", tmp_path, monkeypatch
            )
            if module is _solver:
                monkeypatch.setattr(cycles, "k", used)
            else:
                monkeypatch.setattr(cycles, "pipeline_chains", used.pipeline_chains)
        figures.append([outcome(*run[:-1]) for run in small_runs])
    expected = [run[-1] for run in small_runs]
    assert figures[0] == expected
    assert figures[1] != expected


def outcome(*run: object) -> CycleReport | None:
    """Figures of a run, None for a deadlock or a solver that goes astray."""
    try:
        return simulate(*run)  # type: ignore[arg-type]
    except (DeadlockError, IndexError):
        return None
