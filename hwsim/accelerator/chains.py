"""The timing contract as chains of events, of which every frame has the same.

An *event* is a beat that a ring, the sink or the source takes or gives, or the start of a step.
Events of one chain follow each other in order: those of the source, the beats that a stage's ring
accepts, the steps of a stage, those of the sink. Steps that can wait for nothing but the step
before are left out; the way across them is longer. This is the contract of ``timing.py`` laid out
flat, for those who solve it (``cycles.py``, ``events.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hwsim.accelerator.timing import Timing

if TYPE_CHECKING:
    from hwsim.accelerator.pipeline import Pipeline

NONE = -1


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain: ``pixels`` times ``steps`` events in a frame.

    reads: FIFOs out of which each event takes a beat. fills: FIFOs that a beat enters ``latency``
    cycles after an event that emits. since: [steps] cycles since the event before, at least.
    emits: bool [steps], in the pixels from ``emits_from`` on.

    The ring of a stage and its steps wait for each other, ``weight`` cycles or more: a step for
    event ``waits[pixel] + offset[step]`` of the ring, the ring for the last event of so many
    pixels of the steps. Both count from the frame's first; negative are those of frames before.
    waits: [pixels]. offset: [steps], NONE where an event does not wait. partner: number of the
    other chain less that of this one, 0 without one. kept: how many events (pixels, of the steps)
    back the partner may ask for, at most.
    """

    pixels: int
    since: np.ndarray
    emits: np.ndarray
    waits: np.ndarray
    offset: np.ndarray
    reads: tuple[int, ...] = ()
    fills: tuple[int, ...] = ()
    latency: int = 0
    emits_from: int = 0
    partner: int = 0
    weight: int = 0
    kept: int = 0

    @property
    def steps(self) -> int:
        return len(self.since)

    @property
    def done(self) -> int:
        """Events of a frame, or pixels of the steps behind a ring: those that others wait for."""
        return self.pixels * (self.steps - self.done_from)

    @property
    def done_from(self) -> int:
        """First step of a pixel for whose events others wait to be done: all, or the last one."""
        return 0 if self.reads else self.steps - 1


def pipeline_chains(pipeline: Pipeline) -> list[Chain]:
    """All chains: the source, of each stage the ring (where it has one) and the steps, the sink."""
    index = {fifo.name: i for i, fifo in enumerate(pipeline.fifos)}
    chains = [replace(_port(pipeline.input.frame_beats, emits=True), fills=(0,))]
    for stage in pipeline.stages:
        reads = tuple(index[fifo.name] for fifo in pipeline.inputs_of(stage.name))
        fills = tuple(index[fifo.name] for fifo in pipeline.outputs_of(stage.name))
        *ring, steps = _stage(stage.timing)
        chains += [replace(chain, reads=reads) for chain in ring]
        chains.append(replace(steps, reads=() if ring else reads, fills=fills))
    last = (len(pipeline.fifos) - 1,)
    return [*chains, replace(_port(pipeline.output.frame_beats, emits=False), reads=last)]


def _port(beats: int, *, emits: bool) -> Chain:
    """The source or the sink."""
    none = np.full(beats, NONE)
    return Chain(1, np.ones(beats, np.int64), np.full(beats, emits), np.zeros(1, np.int64), none)


@lru_cache(maxsize=4096)
def _stage(t: Timing) -> tuple[Chain, ...]:
    """Chains of a stage but for their FIFOs: its ring, if it has one, and its steps."""
    group, n = np.divmod(np.arange(t.groups * t.steps), t.steps)
    emits = (n == t.steps - 1) | (not t.emit_last_step)
    # In all groups but the first one, only steps that emit can wait.
    at = np.flatnonzero((group == 0) | emits)
    pixels = t.out_rows * t.out_cols
    steps = Chain(
        pixels,
        since=np.diff(at, prepend=-1),
        emits=emits[at],
        waits=np.zeros(pixels, np.int64),
        offset=np.full(len(at), NONE),
        latency=t.latency,
        emits_from=pixels - 1 if t.emit_last_pixel else 0,
    )
    if t.streaming:
        return (steps,)
    # Between the first row still needed and the row being written there are never more than the
    # ring and the rows that one output row frees.
    ahead = t.row_slots + max(t.row_advance(p) for p in range(t.out_rows)) + t.kernel[0] + 1
    ring = Chain(
        t.rows * t.cols,
        since=np.ones(t.beats, np.int64),
        emits=np.zeros(t.beats, np.bool_),
        waits=_freeing_pixels(t),
        # The first beat of a pixel waits until the window has left its slot.
        offset=np.where(np.arange(t.beats) == 0, 0, NONE),
        partner=1,
        weight=t.release,
        kept=ahead * t.cols * t.beats,
    )
    # A step of the first group waits for a beat; the others find the window complete.
    need = np.where(group == 0, np.array(t.need)[n], NONE)[at]
    kept = (-(-ahead // t.rows) + 1) * pixels
    waits = _window_ends(t)
    return ring, replace(steps, waits=waits, offset=need, partner=-1, weight=1, kept=kept)


def _window_ends(t: Timing) -> np.ndarray:
    """First beat of the last pixel that each window needs, int64 [output pixels]."""
    rows = np.array([t.last_row(p) for p in range(t.out_rows)])
    cols = np.array([t.last_col(q) for q in range(t.out_cols)])
    return ((rows[:, np.newaxis] * t.cols + cols) * t.beats).ravel()


def _freeing_pixels(t: Timing) -> np.ndarray:
    """Output pixel that frees the slot of each input pixel, int64 [input pixels]."""
    frames, old = np.divmod(np.arange(t.rows) - t.row_slots, t.rows)
    firsts = np.array([t.first_row(p) for p in range(t.out_rows)])
    row = np.searchsorted(firsts, old, side="right") - 1 + frames * t.out_rows
    column = np.minimum((np.arange(t.cols) + t.pad[1]) // t.stride[1], t.out_cols - 1)
    return (row[:, np.newaxis] * t.out_cols + column).ravel()
