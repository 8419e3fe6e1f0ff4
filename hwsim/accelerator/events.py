"""The timing contract as a graph of events, one frame of it, that repeats every frame.

An *event* is a beat that a ring, the sink or the source takes or gives, or the start of a step.
An *arc* (u, v, weight, frames) says that v happens ``weight`` cycles or more after u of so many
frames before. Steps that can wait for nothing but the step before are left out; the arc across
them is longer. This is the contract of ``timing.py`` once more, laid out flat, for questions
about the long run (``depths.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.accelerator.pipeline import Pipeline
from hwsim.accelerator.stage import Stage
from hwsim.accelerator.timing import Timing

NONE = -1


@dataclass(frozen=True, eq=False)
class Events:
    """All events of a frame, numbered, and the arcs between them.

    Events of one *chain* follow each other in order: the steps of a stage, the beats that its
    ring accepts, those of the source, those of the sink. Integers int64, [events] each:

    chain: which chain an event belongs to. after: the event of the chain that follows it (the
    first one of the next frame follows the last one), at least ``after_weight`` cycles later.
    pops, emits: number of the beat that the event takes out of each FIFO that its chain reads,
    or enters into each one that its chain fills; NONE where it does neither.

    first: [events + 1]; arcs ``first[u]`` to ``first[u + 1]`` of ``to``, ``weight`` and
    ``frames`` start at event u.

    Chains read the FIFOs ``reads[chain]`` (NONE: no second one) and fill ``fills[fill_at[chain] :
    fill_at[chain + 1]]``. FIFO f is entered by events ``entries[entry_at[f] + beat]``, ``latency``
    cycles after them, and left by events ``exit_at[f] + beat``.

    order: all events, such that no arc within a frame goes back, but for those from FIFOs that
    are full.
    """

    chain: np.ndarray
    after: np.ndarray
    after_weight: np.ndarray
    pops: np.ndarray
    emits: np.ndarray
    first: np.ndarray
    to: np.ndarray
    weight: np.ndarray
    frames: np.ndarray
    reads: np.ndarray
    fill_at: np.ndarray
    fills: np.ndarray
    entries: np.ndarray
    entry_at: np.ndarray
    exit_at: np.ndarray
    latency: np.ndarray
    order: np.ndarray

    @property
    def wraps(self) -> np.ndarray:
        """1 where the event after is one of the next frame, bool [events]."""
        return self.after <= np.arange(len(self.after))


def frame_events(pipeline: Pipeline) -> Events:
    """The events of a frame of ``pipeline``, whatever the depths of its FIFOs."""
    return _Builder(pipeline).events()


class _Builder:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.index = {fifo.name: i for i, fifo in enumerate(pipeline.fifos)}
        self.count = 0
        self.parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("chain", "after", "after_weight", "pops", "emits")
        }
        none = np.zeros(0, np.int64)
        self.arcs: list[tuple[np.ndarray, np.ndarray, int, np.ndarray]] = [(none, none, 0, none)]
        self.reads: list[tuple[int, int]] = []
        self.fills: list[list[int]] = []
        fifos = len(pipeline.fifos)
        self.entries: list[np.ndarray] = [none] * fifos
        self.order: list[np.ndarray] = []
        self.exit_at = np.zeros(fifos, np.int64)
        self.latency = np.zeros(fifos, np.int64)

    def events(self) -> Events:
        p = self.pipeline
        beats, last = p.input.frame_beats, len(p.fifos) - 1
        self._chain(np.ones(beats, np.int64), fills=[0], emits=np.arange(beats))
        self.order.append(np.arange(self.count))
        for stage in p.stages:
            self._stage(stage)
        beats = p.output.frame_beats
        sink = self._chain(np.ones(beats, np.int64), reads=[last], pops=np.arange(beats))
        self.order.append(np.arange(sink, self.count))
        parts = {name: np.concatenate(arrays) for name, arrays in self.parts.items()}
        tails, heads, weights, frames = (
            np.concatenate([np.broadcast_to(arc[i], arc[0].shape) for arc in self.arcs])
            for i in range(4)
        )
        order = np.argsort(tails, kind="stable")
        sizes = np.array([len(entries) for entries in self.entries])
        counts = np.array([len(fills) for fills in self.fills])
        return Events(
            **parts,
            first=np.searchsorted(tails[order], np.arange(self.count + 1)),
            to=heads[order].astype(np.int64),
            weight=weights[order].astype(np.int64),
            frames=frames[order].astype(np.int64),
            reads=np.array(self.reads, np.int64),
            fill_at=np.concatenate(([0], np.cumsum(counts))),
            fills=np.array([f for fills in self.fills for f in fills], np.int64),
            entries=np.concatenate(self.entries),
            entry_at=np.cumsum(sizes) - sizes,
            exit_at=self.exit_at,
            latency=self.latency,
            order=np.concatenate(self.order),
        )

    def _chain(
        self,
        since: np.ndarray,
        reads: list[int] | None = None,
        pops: np.ndarray | None = None,
        fills: list[int] | None = None,
        emits: np.ndarray | None = None,
        latency: int = 0,
    ) -> int:
        """Add a chain whose events come at least ``since`` after the one before; its first one."""
        base, size = self.count, len(since)
        reads, fills = reads or [], fills or []
        none = np.full(size, NONE)
        pops = none if pops is None else pops
        emits = none if emits is None else emits
        self.parts["chain"].append(np.full(size, len(self.reads)))
        self.parts["after"].append(base + (np.arange(size) + 1) % size)
        self.parts["after_weight"].append(np.roll(since, -1))
        self.parts["pops"].append(pops)
        self.parts["emits"].append(emits)
        for fifo in reads:
            self.exit_at[fifo] = base
        for fifo in fills:
            self.entries[fifo] = base + np.flatnonzero(emits >= 0)
            self.latency[fifo] = latency
        self.reads.append((*reads, *[NONE] * (2 - len(reads))))  # type: ignore[arg-type]
        self.fills.append(fills)
        self.count += size
        return base

    def _stage(self, stage: Stage) -> None:
        t = stage.timing
        reads = [self.index[fifo.name] for fifo in self.pipeline.inputs_of(stage.name)]
        fills = [self.index[fifo.name] for fifo in self.pipeline.outputs_of(stage.name)]
        accept = 0
        if not t.streaming:
            ones = np.ones(t.input_beats, np.int64)
            accept = self._chain(ones, reads=reads, pops=np.arange(t.input_beats))
        group, n, since = _pixel_steps(t)
        pixels = t.out_rows * t.out_cols
        emitting = (n == t.steps - 1) | (not t.emit_last_step)
        emits = np.tile(emitting, pixels)
        if t.emit_last_pixel:
            emits[: -len(n)] = False
        steps = self._chain(
            np.tile(since, pixels),
            reads=reads if t.streaming else [],
            pops=np.arange(pixels * len(n)) if t.streaming else None,
            fills=fills,
            emits=np.where(emits, np.cumsum(emits) - 1, NONE),
            latency=t.latency,
        )
        if t.streaming:
            self.order.append(np.arange(steps, self.count))
            return
        # A step of the first group waits for a beat; the others find the window complete.
        waiting = np.flatnonzero(group == 0)
        heads = steps + np.arange(pixels)[:, np.newaxis] * len(n) + waiting
        tails = accept + _window_ends(t)[:, np.newaxis] + np.array(t.need)[n[waiting]]
        self._arcs(tails.ravel(), heads.ravel(), 1, np.zeros(tails.size, np.int64))
        # Steps come right after the last beat that they, or steps before them, wait for.
        last = np.zeros(self.count - steps, np.int64)
        last[heads.ravel() - steps] = tails.ravel() - accept + 1
        place = np.maximum.accumulate(last)
        self.order.append(np.insert(np.arange(accept, steps), place, np.arange(steps, self.count)))
        # The first beat of a pixel waits until the window has left its slot.
        freed, frames = _freeing_pixels(t)
        tails = steps + freed * len(n) + len(n) - 1
        heads = accept + np.arange(t.rows * t.cols) * t.beats
        self._arcs(tails, heads, t.release, frames)

    def _arcs(self, tails: np.ndarray, heads: np.ndarray, weight: int, frames: np.ndarray) -> None:
        self.arcs.append((tails, heads, weight, frames))  # type: ignore[arg-type]


def _pixel_steps(t: Timing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group, step within it, and cycles since the step before, of the steps of a pixel.

    In all groups but the first one, only steps that emit can wait.
    """
    group, n = np.divmod(np.arange(t.groups * t.steps), t.steps)
    kept = (group == 0) | (n == t.steps - 1) | (not t.emit_last_step)
    at = np.flatnonzero(kept)
    return group[at], n[at], np.diff(at, prepend=-1)


def _window_ends(t: Timing) -> np.ndarray:
    """First beat of the last pixel that each window needs, int64 [output pixels]."""
    rows = np.array([t.last_row(p) for p in range(t.out_rows)])
    cols = np.array([t.last_col(q) for q in range(t.out_cols)])
    return ((rows[:, np.newaxis] * t.cols + cols) * t.beats).ravel()


def _freeing_pixels(t: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Output pixel that frees the slot of each input pixel, and how many frames before."""
    frames, old = np.divmod(np.arange(t.rows) - t.row_slots, t.rows)
    firsts = np.array([t.first_row(p) for p in range(t.out_rows)])
    row = np.searchsorted(firsts, old, side="right") - 1
    column = np.minimum((np.arange(t.cols) + t.pad[1]) // t.stride[1], t.out_cols - 1)
    pixel = row[:, np.newaxis] * t.out_cols + column
    return pixel.ravel(), np.repeat(-frames, t.cols)
