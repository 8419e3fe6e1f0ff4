"""The runs of a verification: their pauses and refusals, and the proof that these disturb.

Every run is solved by the cycle model before it is simulated, disturbed and undisturbed, so that
a disturbance that would change nothing is known for what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.accelerator import CycleReport, Pipeline, simulate
from hwsim.rtl.vectors import Selection

_RESET_IMAGES = 2
_FOREVER = 1 << 40
_MOST_FRAMES = 64
"""Frames that a refusal may take to reach the input."""

_ATTEMPTS = 8


@dataclass(frozen=True)
class Run:
    """One planned run: images, schedules and prediction.

    images: their numbers, one for each frame. gaps, stalls: one entry for each beat, as
    ``simulate`` takes them. idle_ready, last_use: see ``bench``. unmet: what its disturbance was
    to change and does not. abort_cycles: cycles of a first attempt that a reset cuts short.
    watch: compare what every FIFO passes on, too.
    """

    name: str
    images: tuple[int, ...]
    gaps: np.ndarray
    stalls: np.ndarray
    model: CycleReport
    idle_ready: str
    last_use: str
    unmet: tuple[str, ...] = ()
    abort_cycles: int = 0
    watch: bool = False


@dataclass(frozen=True)
class RunPlan:
    """All runs, and what there is to be said about them."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...]


def dates(report: CycleReport) -> tuple[tuple[int, ...], ...]:
    """The dates of a run: first and last input and output beat of each frame."""
    return (
        report.frame_first_input,
        report.frame_last_input,
        report.frame_first_output,
        report.frame_last_output,
    )


def plan_runs(
    pipeline: Pipeline, selection: Selection, gap: float, stall: float, seed: int
) -> RunPlan:
    """The runs of a verification with these images (docs/verification.md).

    gap, stall: share of input beats that are held back and of output beats that are refused in
    the random runs; 0 asks for none.
    """
    rng = np.random.default_rng(seed)
    notes = []
    vectors = tuple(range(selection.vectors))
    everything = tuple(range(len(selection.images)))
    runs = [_calm(pipeline, "back_to_back", everything, "high", "right")]
    if gap or stall:
        runs.append(_random(pipeline, "gaps_and_stalls", vectors, (gap, stall), rng))
        for asked, what in ((gap, "gaps of the input"), (stall, "stalls of the output")):
            if not asked:
                notes.append(f"gaps_and_stalls: without {what}, as asked")
    else:
        notes.append("gaps_and_stalls: left out, as both probabilities are 0")
    runs.append(_random(pipeline, "after_reset", vectors[:_RESET_IMAGES], (gap, stall), rng, True))
    refused, note = _long_refusal(pipeline, everything)
    runs += [refused, _long_gaps(pipeline, everything)]
    notes += [note] if note else []
    runs.append(_calm(pipeline, "every_tensor", selection.watched, "high", "early", watch=True))
    return RunPlan(tuple(runs), tuple(notes))


def _calm(
    pipeline: Pipeline,
    name: str,
    images: tuple[int, ...],
    idle_ready: str,
    last_use: str,
    watch: bool = False,
) -> Run:
    """A run without pauses and refusals."""
    gaps, stalls = _no_waits(pipeline, len(images))
    model = simulate(pipeline, len(images))
    return Run(name, images, gaps, stalls, model, idle_ready, last_use, watch=watch)


def _no_waits(pipeline: Pipeline, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A gap of 0 for each input beat, a stall of 0 for each output beat."""
    beats = pipeline.input.frame_beats, pipeline.output.frame_beats
    return np.zeros(frames * beats[0], np.int64), np.zeros(frames * beats[1], np.int64)


def without_effect(
    pipeline: Pipeline, gaps: np.ndarray | None, stalls: np.ndarray | None, model: CycleReport
) -> tuple[str, ...]:
    """Which of the disturbances that ``model`` was solved with change no date.

    None stands for a disturbance that is not asked for.
    """
    found = []
    if gaps is not None and dates(model) == dates(simulate(pipeline, model.frames, None, stalls)):
        found.append("the gaps of the input change no date")
    if stalls is not None and dates(model) == dates(simulate(pipeline, model.frames, gaps, None)):
        found.append("the stalls of the output change no date")
    return tuple(found)


def _held_back(rng: np.random.Generator, share: float, beats: int, budget: int) -> np.ndarray:
    """Cycles for which each beat is held back: ``share`` of them, at least one, for 1 and more.

    Lengths are spread evenly over their orders of magnitude, and so that all of them together
    take about ``budget`` cycles at most.
    """
    held = rng.random(beats) < share
    held[rng.integers(beats)] = True
    longest = max(budget, 2)
    while longest > 2 and held.sum() * (longest - 1) / np.log(longest) > budget:
        longest //= 2
    lengths = np.exp(rng.uniform(0, np.log(longest + 1), beats)).astype(np.int64)
    return np.where(held, np.maximum(lengths, 1), 0)


def _random(
    pipeline: Pipeline,
    name: str,
    images: tuple[int, ...],
    shares: tuple[float, float],
    rng: np.random.Generator,
    abort: bool = False,
) -> Run:
    """Gaps and stalls at random; with ``abort``, a first attempt that a reset cuts short."""
    frames = len(images)
    budget = simulate(pipeline, frames).total_cycles
    beats = frames * pipeline.input.frame_beats, frames * pipeline.output.frame_beats
    for attempt in range(_ATTEMPTS):
        # Back-pressure may swallow short gaps: then longer ones are drawn.
        gaps, stalls = (
            _held_back(rng, share, count, budget << attempt) if share else None
            for share, count in zip(shares, beats, strict=True)
        )
        model = simulate(pipeline, frames, gaps, stalls)
        unmet = without_effect(pipeline, gaps, stalls, model)
        if not unmet:
            break
    none = _no_waits(pipeline, frames)
    return Run(
        name,
        images,
        none[0] if gaps is None else gaps,
        none[1] if stalls is None else stalls,
        model,
        "high" if abort else "alternating",
        "right",
        unmet,
        int(rng.integers(1, model.frame_last_output[0] + 1)) if abort else 0,
    )


def _cycled(images: Sequence[int], frames: int) -> tuple[int, ...]:
    return tuple(images[n % len(images)] for n in range(frames))


def _long_refusal(pipeline: Pipeline, images: tuple[int, ...]) -> tuple[Run, str | None]:
    """The first output beat is refused until the input is blocked, every later one once.

    Returns the run and a note when no refusal of ``_MOST_FRAMES`` frames reaches the input.
    """
    frames, blocked = 2, _refused_forever(pipeline, 2)
    while not _held_up(blocked) and frames < _MOST_FRAMES:
        frames *= 2
        blocked = _refused_forever(pipeline, frames)
    reached = _held_up(blocked)
    if reached:
        held = next(n for n, date in enumerate(blocked.frame_last_input) if date >= _FOREVER)
        frames = max(held + 1, 2)
        blocked = _refused_forever(pipeline, frames)
    calm = simulate(pipeline, frames)
    settled = max(date for row in dates(blocked) for date in row if date < _FOREVER)
    _, stalls = _no_waits(pipeline, frames)
    stalls[:] = 1
    stalls[0] = settled + calm.frame_interval_cycles + calm.frame_latency_cycles
    model = simulate(pipeline, frames, None, stalls)
    unmet = without_effect(pipeline, None, stalls, model)
    if reached and model.frame_last_input == calm.frame_last_input:
        unmet += ("the refusal of the output does not hold up the input",)
    gaps, _ = _no_waits(pipeline, frames)
    chosen = _cycled(images, frames)
    run = Run("long_refusal", chosen, gaps, stalls, model, "low", "low", unmet)
    note = f"long_refusal: the FIFOs hold {frames} frames, so that the input is never held up"
    return run, None if reached else note


def _refused_forever(pipeline: Pipeline, frames: int) -> CycleReport:
    """Figures when the first output beat is not taken before cycle ``_FOREVER``."""
    _, stalls = _no_waits(pipeline, frames)
    stalls[0] = _FOREVER
    return simulate(pipeline, frames, None, stalls)


def _held_up(report: CycleReport) -> bool:
    return report.frame_last_input[-1] >= _FOREVER


def _long_gaps(pipeline: Pipeline, images: tuple[int, ...]) -> Run:
    """The input pauses in the middle of a frame, and between frames until every stage is idle."""
    frames = 2
    calm = simulate(pipeline, frames)
    gaps, stalls = _no_waits(pipeline, frames)
    beats = pipeline.input.frame_beats
    gaps[beats // 2] = calm.frame_latency_cycles
    gaps[beats] = calm.frame_latency_cycles + calm.frame_interval_cycles
    stalls[:] = 1
    model = simulate(pipeline, frames, gaps, stalls)
    unmet = without_effect(pipeline, gaps, stalls, model)
    only = simulate(pipeline, frames, None, stalls)
    fed = [
        stage.name
        for stage, before in zip(model.stages, only.stages, strict=True)
        if stage.starved_cycles <= before.starved_cycles
    ]
    unmet += tuple(f"the gaps of the input do not starve stage {name}" for name in fed)
    chosen = _cycled(images, frames)
    return Run("long_gaps", chosen, gaps, stalls, model, "alternating", "missing", unmet)
