"""The cycle model against a simulator that plays the timing contract tick by tick."""

from __future__ import annotations

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


# Each a constant of the contract, off by one in the solver's text.
PLANTED = {
    "a slot is free": ("(k & fifos[fifo, RING_MASK])] + 1", "(k & fifos[fifo, RING_MASK])] + 2"),
    "a beat is offered": ("+ fifos[fifo, FIFO_LATENCY]", "+ fifos[fifo, FIFO_LATENCY] + 1"),
    "the datapath's latency": ("start + stages[i, LATENCY]", "start + stages[i, LATENCY] - 1"),
    "the next step": ("ready = time + 1", "ready = time + 2"),
    "the next beat": ("max(time + 1", "max(time + 2"),
    "a step after its beat": ("(need & mask)] + 1)", "(need & mask)])"),
    "a beat after the last step on its slot": (
        "(pixel & stages[i, DONE_MASK])] + stages[i, RELEASE]",
        "(pixel & stages[i, DONE_MASK])] + stages[i, RELEASE] - 1",
    ),
    "rows in the ring": (
        "stages[i, W_ROW] - stages[i, SLOTS]",
        "stages[i, W_ROW] - stages[i, SLOTS] + 1",
    ),
    "columns left behind": (
        "stages[i, W_COL] + stages[i, PAD_X] + 1",
        "stages[i, W_COL] + stages[i, PAD_X] + 2",
    ),
    "rows of a window": ("stages[i, KERNEL_Y] - 1", "stages[i, KERNEL_Y]"),
    "columns of a window": ("stages[i, KERNEL_X] - 1", "stages[i, KERNEL_X] - 2"),
    "pause of the source": ("last_in + 1 + gaps", "last_in + gaps"),
    "pause of the sink": ("last_out + 1) + stalls", "last_out + 2) + stalls"),
    "a sink that refuses what is not offered": (
        "max(head, last_out + 1) + stalls[popped % len(stalls)]",
        "max(head, last_out + 1 + stalls[popped % len(stalls)])",
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


def solver_from(text: str, file: Path) -> ModuleType:
    """The solver's module from another source text, put into ``file`` and not compiled."""
    file.write_text(text.replace("from hwsim.jit import njit", "njit = lambda f: f"))
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_off_by_one_is_caught(
    name: str,
    small_runs: list[tuple[Pipeline, int, list[int], list[int], CycleReport]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    text = Path(_solver.__file__).read_text()
    old, new = PLANTED[name]
    assert text.count(old) >= 1
    figures = []
    for stem, source in (("true", text), ("planted", text.replace(old, new))):
        monkeypatch.setattr(cycles, "k", solver_from(source, tmp_path / f"{stem}.py"))
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
