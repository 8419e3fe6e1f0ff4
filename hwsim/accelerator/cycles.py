"""Exact cycle counts of a pipeline: the figures that its RTL shows, without simulating it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.accelerator import _solver as k
from hwsim.accelerator.chains import pipeline_chains
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.accelerator.pipeline import Pipeline

FOREVER = 1 << 62


class DeadlockError(HwsimError):
    """The pipeline stops for ever with these FIFO depths; the text names the full FIFOs."""


@dataclass(frozen=True)
class StageCycles:
    """Cycles of one stage in the ``total_cycles`` of a run.

    busy: a step started; blocked: data was there, but no room in an output FIFO; starved: all other
    cycles. accepted: beats taken in.
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


def _tables(
    pipeline: Pipeline, gaps: np.ndarray, stalls: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Chain table and FIFO table (constants filled in, state zero), lists and rings."""
    chains = pipeline_chains(pipeline)
    table = np.zeros((len(chains), k.CHAIN_COLUMNS), np.int64)
    fifos = np.zeros((len(pipeline.fifos), k.FIFO_COLUMNS), np.int64)
    fifos[:, k.DEPTH] = [fifo.depth for fifo in pipeline.fifos]
    fifos[:, k.FRAME_BEATS] = [fifo.stream.frame_beats for fifo in pipeline.fifos]
    fifos[:, k.FIFO_LATENCY] = [fifo.latency for fifo in pipeline.fifos]
    # Levels are followed once a frame, and compared with the frame before.
    kept = [fifo.depth + 2 * fifo.stream.frame_beats for fifo in pipeline.fifos]
    place = 0
    for c, (row, chain) in enumerate(zip(table, chains, strict=True)):
        reads, fills = list(chain.reads), list(chain.fills)
        done = _ring(max([1, chain.kept, *(kept[f] for f in reads)]))
        emitted = _ring(max([1, *(kept[f] for f in fills)]))
        row[[k.DONE_AT, k.DONE_MASK]] = place, done - 1
        row[[k.EMITTED_AT, k.EMITTED_MASK]] = place + done, emitted - 1
        fifos[np.ix_(reads, [k.POP_AT, k.POP_MASK])] = place, done - 1
        fifos[np.ix_(fills, [k.PUSH_AT, k.PUSH_MASK])] = place + done, emitted - 1
        fifos[reads, k.POPS], fifos[fills, k.PUSHES] = 2 * c, 2 * c + 1
        fifos[fills, k.FILL_LATENCY] = chain.latency
        place += done + emitted
    table[0, k.BOUND], table[1:-1, k.BOUND], table[-1, k.BOUND] = 0, -1, 2
    table[:, k.TIME] = -1
    lists: list[np.ndarray] = []
    at = 0
    for c, (row, chain) in enumerate(zip(table, chains, strict=True)):
        partner = table[c + chain.partner]
        row[k.PARTNER : k.PARTNER_MASK + 1] = (
            2 * (c + chain.partner), partner[k.DONE_AT], partner[k.DONE_MASK]
        )  # fmt: skip
        row[k.PARTNER_FRAME] = chains[c + chain.partner].done
        row[[k.PIXELS, k.STEPS, k.EMITS_FROM, k.DONE_FROM, k.WEIGHT]] = (
            chain.pixels, chain.steps, chain.emits_from, chain.done_from, chain.weight
        )  # fmt: skip
        pauses = gaps if c == 0 else stalls if c == len(chains) - 1 else gaps[:0]
        parts: tuple[Sequence[int] | np.ndarray, ...] = (
            chain.since, chain.offset, chain.emits, chain.waits,
            chain.reads, chain.fills, pauses,
        )  # fmt: skip
        for column, part in enumerate(parts, k.SINCE_AT):
            row[column] = at
            lists.append(np.asarray(part, np.int64))
            at += len(part)
        row[k.PAUSES_END] = at
    return table, fifos, np.concatenate(lists), np.zeros(place, np.int64)


def simulate(
    pipeline: Pipeline,
    frames: int = 3,
    gaps: Sequence[int] | np.ndarray | None = None,
    stalls: Sequence[int] | np.ndarray | None = None,
) -> CycleReport:
    """Run ``frames`` frames back to back.

    gaps[j]: idle cycles of the source between input beats j-1 and j (before the first beat for j =
    0); stalls[t]: cycles for which the sink refuses output beat t, counted from the cycle in which
    it is offered. Both repeat cyclically; None means no gaps, or no stalls. The sink's ready
    changes no date while nothing is offered. Raises DeadlockError if the FIFO depths stop the
    pipeline, ValueError for fewer than 1 frame or negative gaps.
    """
    if frames < 1:
        raise ValueError(f"frames must be >= 1, not {frames}")
    lookback = _lookback(pipeline) if _cyclic(gaps).size == _cyclic(stalls).size == 1 else 0
    run = run_solver(pipeline, frames, gaps, stalls, lookback)
    dates = run.bounds
    solved, end = len(dates), int(dates[-1, 3])
    busy, blocked = run.chains[:, k.BUSY], run.chains[:, k.BLOCKED]
    repeated = run.chains[:, k.BLOCKED_THEN] - run.chains[:, k.BLOCKED_BEFORE]
    if run.chains[:, k.TIME].max() > end:
        # Input that no output needs is still being worked off after the last output: count
        # again, up to there.
        run = run_solver(pipeline, solved, gaps, stalls, until=end, edges=[end + 1])
        busy, blocked = run.trace[:, 0, k.TRACE_BUSY], run.trace[:, 0, k.TRACE_BLOCKED]
    # All further frames are like the last one that was solved, `shift` cycles after each other.
    more, shift = frames - solved, run.fifos[0, k.SHIFT]
    dates = np.concatenate([dates, dates[-1] + shift * np.arange(1, more + 1)[:, np.newaxis]])
    total = int(dates[-1, 3]) + 1
    report = []
    for stage, i in zip(pipeline.stages, run.steps, strict=True):
        works = int(busy[i]) + more * stage.timing.frame_steps
        waits = int(blocked[i] + more * repeated[i])
        report.append(StageCycles(stage.name, works, total - works - waits, waits))
    high = [
        FifoCycles(fifo.name, fifo.depth, int(s[k.HIGH]), frames * fifo.stream.frame_beats)
        for fifo, s in zip(pipeline.fifos, run.fifos, strict=True)
    ]
    first_in, last_in, first_out, last_out = (tuple(column.tolist()) for column in dates.T)
    return CycleReport(frames, first_in, last_in, first_out, last_out, tuple(report), tuple(high))


def _lookback(pipeline: Pipeline) -> int:
    """Frames before its own that a date may depend on, at most: through FIFOs and rings."""
    through_fifos = max(fifo.depth // fifo.stream.frame_beats for fifo in pipeline.fifos)
    through_rings = max(s.timing.row_slots // s.timing.rows for s in pipeline.stages)
    return 2 + max(through_fifos, through_rings)


def _enough(lookback: int, fifos: np.ndarray, counts: np.ndarray) -> int:
    """How many frames have to be solved, once the rest must repeat; else FOREVER.

    Every date is the maximum of dates at most ``lookback`` frames earlier plus constants, the
    same in each frame. So when all dates of ``lookback`` frames are those of the frames before,
    shifted alike, then so are all that follow. The frames already begun are still solved.
    """
    beats, seen, repeated = fifos[:, [k.FRAME_BEATS, k.SEEN, k.REPEATED]].T
    shifts = fifos[:, k.SHIFT]
    first = (-(-(seen - repeated) // beats)).max()
    if repeated.min() == 0 or shifts.min() < shifts.max() or first + lookback > min(seen // beats):
        return FOREVER
    begun = (-(-counts[fifos[:, k.PUSHES]] // beats)).max()
    return int(begun) + 2


@dataclass(frozen=True, eq=False)
class SolverRun:
    """What the solver leaves: the state of all chains and FIFOs, and its trace.

    steps: of each stage, the chain of its steps. bounds: dates of each solved frame's first and
    last input and output beat, [frames, 4]. trace: busy and blocked cycles of each chain before
    each of the edges asked for, [chains, edges, 2].
    """

    chains: np.ndarray
    fifos: np.ndarray
    steps: list[int]
    bounds: np.ndarray
    trace: np.ndarray


def run_solver(
    pipeline: Pipeline,
    frames: int,
    gaps: Sequence[int] | np.ndarray | None,
    stalls: Sequence[int] | np.ndarray | None,
    lookback: int = 0,
    until: int = FOREVER,
    edges: Sequence[int] | np.ndarray = (),
) -> SolverRun:
    """Solve so many frames; with a ``lookback``, until the others are proved to repeat.

    until: last cycle that counts for FIFO levels. edges: cycles, ascending, at which the trace is
    taken. Raises DeadlockError.
    """
    chains, fifos, lists, dates = _tables(pipeline, _cyclic(gaps), _cyclic(stalls))
    ascending = np.array(edges, np.int64)
    trace = np.zeros((len(chains), len(ascending), k.TRACE_COLUMNS), np.int64)
    bounds = np.zeros((frames, 4), np.int64)
    counts = np.zeros(2 * len(chains), np.int64)
    stuck = np.tile(np.array([0, -1], np.int64), (len(chains), 1))
    solved = frames
    while True:
        # Looks for repetition become rarer, so that they stay cheap.
        pause = int(9 * chains[-1, k.FRAME] // 8) + 1
        pause = pause if lookback and pause < solved else FOREVER
        k.solve(
            chains, fifos, counts, stuck, lists, dates,
            solved, pause, until, ascending, trace, bounds,
        )  # fmt: skip
        for fifo in fifos:
            k.follow(fifo, until, counts, dates)
        if chains[-1, k.FRAME] < pause:
            break
        enough = _enough(lookback, fifos, counts)
        if enough < solved:
            solved, lookback = enough, 0
    if chains[-1, k.FRAME] < solved:
        inside = counts[fifos[:, k.PUSHES]] - counts[fifos[:, k.POPS]]
        full = [
            f"{fifo.name} (depth {fifo.depth})"
            for fifo, level in zip(pipeline.fifos, inside, strict=True)
            if level == fifo.depth
        ]
        raise DeadlockError(f"deadlock: these FIFOs are full: {', '.join(full)}; make them deeper")
    # A chain that ended before an edge has done by then all that it ever did.
    ended = np.arange(len(ascending)) >= chains[:, k.EDGE, np.newaxis]
    trace = np.where(ended[:, :, np.newaxis], chains[:, np.newaxis, [k.BUSY, k.BLOCKED]], trace)
    steps = [c for c in range(1, len(chains) - 1) if chains[c, k.PARTNER] <= 2 * c]
    return SolverRun(chains, fifos, steps, bounds[:solved], trace)
