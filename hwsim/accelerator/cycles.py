"""Exact cycle counts of a pipeline: the figures that its RTL shows, without simulating it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.accelerator import _solver as k
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.accelerator.pipeline import Pipeline

FOREVER = 1 << 62
SPARE_DATES = 256
"""Dates of writes and reads kept beyond what a FIFO's depth asks for; its level is followed once
so many beats have passed."""


class DeadlockError(HwsimError):
    """The pipeline stops for good with these FIFO depths; names the FIFOs that are full."""


@dataclass(frozen=True)
class StageCycles:
    """What one stage did in the ``total_cycles`` of a run.

    busy: a step started; blocked: data was there but no room in an output FIFO; starved: the
    rest. accepted: beats taken in.
    """

    name: str
    busy_cycles: int
    starved_cycles: int
    blocked_cycles: int


@dataclass(frozen=True)
class FifoCycles:
    """Highest number of beats that one FIFO held at once, and beats that passed through it."""

    name: str
    depth: int
    high_water: int
    beats: int


@dataclass(frozen=True)
class CycleReport:
    """Figures of one run; cycle 0 is the first in which the source may offer a beat.

    Dates per frame: transfer of its first and last input beat and of its first and last output
    beat. total_cycles: up to and including the last transfer.
    """

    frames: int
    frame_first_input: tuple[int, ...]
    frame_last_input: tuple[int, ...]
    frame_first_output: tuple[int, ...]
    frame_last_output: tuple[int, ...]
    stages: tuple[StageCycles, ...]
    fifos: tuple[FifoCycles, ...]

    @property
    def total_cycles(self) -> int:
        return self.frame_last_output[-1] + 1

    @property
    def first_output_cycles(self) -> int:
        """Cycles until the first output beat has left."""
        return self.frame_first_output[0] + 1

    @property
    def frame_latency_cycles(self) -> int:
        """Cycles from the first input beat of frame 0 to its last output beat, both included."""
        return self.frame_last_output[0] - self.frame_first_input[0] + 1

    @property
    def frame_interval_cycles(self) -> int:
        """Cycles between the last outputs of the last two frames (0 with a single frame)."""
        if self.frames < 2:
            return 0
        return self.frame_last_output[-1] - self.frame_last_output[-2]


def _cyclic(values: Sequence[int] | np.ndarray | None) -> np.ndarray:
    array = np.zeros(1, np.int64) if values is None else np.asarray(values, np.int64).ravel()
    if not array.size or array.min() < 0:
        raise ValueError("gaps and stalls must be non-empty lists of cycles >= 0")
    return array


def _ring(entries: int) -> int:
    """The power of two that holds ``entries``, so that positions wrap by masking."""
    return 1 << (entries - 1).bit_length()


def _tables(pipeline: Pipeline) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stage table, FIFO table (constants filled in, state zero) and store of the solver."""
    index = {fifo.name: i for i, fifo in enumerate(pipeline.fifos)}
    stages = np.zeros((len(pipeline.stages), k.STAGE_COLUMNS), np.int64)
    fifos = np.zeros((len(pipeline.fifos), k.FIFO_COLUMNS), np.int64)
    lists: list[int] = []
    ring_beats = [fifo.depth for fifo in pipeline.fifos]
    done_sizes: list[int] = []
    for row, stage in zip(stages, pipeline.stages, strict=True):
        t = stage.timing
        inputs = [index[fifo.name] for fifo in pipeline.inputs_of(stage.name)]
        outputs = [index[fifo.name] for fifo in pipeline.outputs_of(stage.name)]
        done_size = 1
        if not t.streaming:
            # Between the first row still needed and the row being written there are never more
            # than the ring and the rows that one output row frees.
            advance = max(t.row_advance(p) for p in range(t.out_rows))
            ahead = t.row_slots + advance + t.kernel[0] + 1
            ring_beats[inputs[0]] = max(ring_beats[inputs[0]], ahead * t.cols * t.beats)
            done_size = _ring((-(-ahead // t.rows) + 1) * t.out_rows * t.out_cols)
        row[: k.STAGE_CONSTANTS] = (
            t.rows,
            t.cols,
            t.beats,
            t.out_rows,
            t.out_cols,
            *t.stride,
            *t.pad,
            *t.kernel,
            t.row_slots,
            t.release,
            t.groups,
            t.steps,
            t.emit_last_pixel,
            t.emit_last_step,
            t.latency,
            len(lists),
            sum(done_sizes),
            done_size - 1,
            inputs[0],
            inputs[1] if len(inputs) > 1 else -1,
            len(lists) + len(t.need),
            len(outputs),
        )
        lists += [*t.need, *outputs]
        done_sizes.append(done_size)
    stages[:, k.DONE_AT] += len(lists)
    at = len(lists) + sum(done_sizes)
    place = {stage.name: i for i, stage in enumerate(pipeline.stages)}
    outside = len(pipeline.stages)
    for row, fifo, kept in zip(fifos, pipeline.fifos, ring_beats, strict=True):
        beats = fifo.stream.frame_beats
        size = _ring(max(kept, 2 * beats, fifo.depth + beats) + SPARE_DATES)
        ends = place.get(fifo.producer, outside), place.get(fifo.consumer, outside)
        row[: k.FIFO_CONSTANTS] = (
            fifo.depth, fifo.latency, beats, at, at + size, size - 1, *ends
        )  # fmt: skip
        at += 2 * size
    store = np.zeros(at, np.int64)
    store[: len(lists)] = lists
    return stages, fifos, store


def simulate(
    pipeline: Pipeline,
    frames: int = 3,
    gaps: Sequence[int] | np.ndarray | None = None,
    stalls: Sequence[int] | np.ndarray | None = None,
) -> CycleReport:
    """Run ``frames`` frames back to back.

    gaps[j]: idle cycles of the source between input beats j-1 and j (before the first beat for
    j = 0); stalls[t]: cycles for which the sink refuses output beat t, counted from the cycle in
    which it is offered. Both repeat cyclically; None means none. What the sink's ready does while
    nothing is offered changes no date. Raises DeadlockError when the FIFO depths stop the pipeline,
    ValueError for fewer than 1 frame or negative gaps.
    """
    if frames < 1:
        raise ValueError(f"frames must be >= 1, not {frames}")
    lookback = _lookback(pipeline) if _cyclic(gaps).size == _cyclic(stalls).size == 1 else 0
    state, fifo_state, dates, _ = run_solver(pipeline, frames, gaps, stalls, lookback)
    solved = len(dates)
    repeated_blocked = state[:, k.BLOCKED_THEN] - state[:, k.BLOCKED_BEFORE]
    end = int(dates[-1, 3])
    if state[:, k.R_TIME].max() > end or state[:, k.W_TIME].max() > end:
        # Input that no output needs is still being worked off after the last output: count
        # again, up to there.
        state, fifo_state, _, _ = run_solver(pipeline, solved, gaps, stalls, until=end)
    # All further frames are like the last one that was solved, `shift` cycles after each other.
    more, shift = frames - solved, fifo_state[0, k.SHIFT]
    dates = np.concatenate([dates, dates[-1] + shift * np.arange(1, more + 1)[:, np.newaxis]])
    total = int(dates[-1, 3]) + 1
    report = []
    for stage, s, again in zip(pipeline.stages, state, repeated_blocked, strict=True):
        busy = int(s[k.BUSY]) + more * stage.timing.frame_steps
        blocked = int(s[k.BLOCKED] + more * again)
        report.append(StageCycles(stage.name, busy, total - busy - blocked, blocked))
    high = [
        FifoCycles(fifo.name, fifo.depth, int(s[k.HIGH]), frames * fifo.stream.frame_beats)
        for fifo, s in zip(pipeline.fifos, fifo_state, strict=True)
    ]
    first_in, last_in, first_out, last_out = (tuple(column.tolist()) for column in dates.T)
    return CycleReport(frames, first_in, last_in, first_out, last_out, tuple(report), tuple(high))


def _lookback(pipeline: Pipeline) -> int:
    """Frames before its own that a date may depend on, at most: through FIFOs and rings."""
    through_fifos = max(fifo.depth // fifo.stream.frame_beats for fifo in pipeline.fifos)
    through_rings = max(s.timing.row_slots // s.timing.rows for s in pipeline.stages)
    return 2 + max(through_fifos, through_rings)


def run_solver(
    pipeline: Pipeline,
    frames: int,
    gaps: Sequence[int] | np.ndarray | None,
    stalls: Sequence[int] | np.ndarray | None,
    lookback: int = 0,
    until: int = FOREVER,
    window: tuple[int, int, int] = (0, 0, 1),
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stage state, FIFO state and dates of the frames as the solver leaves them, and its trace.

    With a ``lookback`` the solver stops early, once it has proved that the other frames repeat.

    The trace is [stages, bins, (busy, blocked)] in cycles. window: its first cycle, the one after
    its last, and the cycles of a bin; the last bin may be shorter. Raises DeadlockError.
    """
    stages, fifos, store = _tables(pipeline)
    bins = -(-(window[1] - window[0]) // window[2])
    trace = np.zeros((len(stages), bins, k.TRACE_COLUMNS), np.int64)
    complete, dates = k.solve(
        stages,
        fifos,
        store,
        0,
        len(pipeline.fifos) - 1,
        frames,
        until,
        pipeline.input.frame_beats,
        pipeline.output.frame_beats,
        _cyclic(gaps),
        _cyclic(stalls),
        lookback,
        np.array(window, np.int64),
        trace,
    )
    if not complete:
        full = [
            f"{fifo.name} (depth {fifo.depth})"
            for fifo, s in zip(pipeline.fifos, fifos, strict=True)
            if s[k.PUSHED] - s[k.POPPED] == fifo.depth
        ]
        raise DeadlockError(f"deadlock: full are {', '.join(full)}; make them deeper")
    return stages, fifos, dates, trace
