"""The activity of every stage over time, in bins, from the exact cycle model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.accelerator.cycles import CycleReport, run_solver, simulate
from hwsim.accelerator.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Timeline:
    """Activity of every stage in the cycles ``first_cycle`` .. ``last_cycle`` of one run.

    busy, starved, blocked: [stages, bins] cycles, with the meaning of ``StageCycles``; the three
    add up to ``bin_cycles`` in every bin, in the last one to what is left of the span.
    frame_first_input, frame_last_output: those dates of every frame of the run.
    """

    names: tuple[str, ...]
    first_cycle: int
    last_cycle: int
    bin_cycles: int
    busy: np.ndarray
    starved: np.ndarray
    blocked: np.ndarray
    frame_first_input: tuple[int, ...]
    frame_last_output: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """Length of the span."""
        return self.last_cycle - self.first_cycle + 1


def timeline(
    pipeline: Pipeline,
    frames: int = 1,
    bins: int = 200,
    first_cycle: int = 0,
    last_cycle: int | None = None,
    gaps: Sequence[int] | np.ndarray | None = None,
    stalls: Sequence[int] | np.ndarray | None = None,
) -> Timeline:
    """Trace a run of ``frames`` frames from ``first_cycle`` to ``last_cycle`` in at most ``bins``.

    last_cycle: None for the last of the run, with which the sums are those of ``simulate``.
    frames, gaps and stalls as for ``simulate``. Raises DeadlockError as ``simulate`` does,
    ValueError for an empty span or less than one bin.
    """
    report = simulate(pipeline, frames, gaps, stalls)
    end = report.total_cycles if last_cycle is None else last_cycle + 1
    if not 0 <= first_cycle < end <= report.total_cycles:
        raise ValueError(
            f"span {first_cycle}..{end - 1} must lie in cycles 0..{report.total_cycles - 1}"
        )
    if bins < 1:
        raise ValueError(f"bins must be >= 1, not {bins}")
    width = -(-(end - first_cycle) // bins)
    edges = np.append(np.arange(first_cycle, end, width), end)
    run = run_solver(pipeline, frames, gaps, stalls, edges=edges)
    busy, blocked = np.diff(run.trace[run.steps], axis=1).transpose(2, 0, 1)
    return Timeline(
        tuple(stage.name for stage in pipeline.stages),
        first_cycle,
        end - 1,
        width,
        busy,
        np.diff(edges) - busy - blocked,
        blocked,
        report.frame_first_input,
        report.frame_last_output,
    )


MAX_FRAMES = 64
"""Frames after which ``steady_timeline`` takes what it has, once the FIFOs can be full."""


def steady_timeline(pipeline: Pipeline, bins: int = 200) -> Timeline:
    """One frame interval of the full pipeline: frames before and after it fill every stage.

    The span runs from the cycle after one frame's last output to the next frame's last output.
    Raises DeadlockError as ``simulate`` does.
    """
    # The source may run ahead until it has filled every FIFO.
    held = sum(-(-fifo.depth // fifo.stream.frame_beats) for fifo in pipeline.fifos)
    frames, most = 4, MAX_FRAMES + 2 * held
    while True:
        report = simulate(pipeline, frames)
        steady = _steady_frame(report)
        last = steady or frames // 2
        first = report.frame_last_output[last - 1] + 1
        if steady is not None or frames >= most:
            lines = timeline(pipeline, frames, bins, first, report.frame_last_output[last])
            if frames >= most or _holds_a_frame(pipeline, lines):
                return lines
        frames *= 2


def _holds_a_frame(pipeline: Pipeline, lines: Timeline) -> bool:
    """Whether every stage does the work of one frame: ends may come evenly by chance before."""
    steps = [stage.timing.frame_steps for stage in pipeline.stages]
    return bool(lines.busy.sum(axis=1).tolist() == steps)


def _steady_frame(report: CycleReport) -> int | None:
    """A frame that leaves as the one before it, while others follow as they did; None: none yet.

    That is: the same time after its predecessor's last output, and with the source, which still
    has frames to give, the same time ahead.
    """
    came, went = np.array(report.frame_first_input), np.array(report.frame_last_output)
    ahead = np.searchsorted(came, went, side="right")  # frames begun by each last output
    for m in range(report.frames - 1, 1, -1):
        a, b, c = ahead[m - 2 : m + 1]
        if c < report.frames and c - b == b - a == 1:
            steps = np.diff(went[m - 2 : m + 1]), np.diff(came[a : c + 1])
            if len({int(step) for pair in steps for step in pair}) == 1:
                return m
    return None
