"""Frames that come at a given pace for ever: repeating dates, or the proof that none exist.

Frames can come every ``interval`` cycles in the long run exactly if the events of a frame have
dates that keep all arcs when those of the frame before are ``interval`` earlier (F. Baccelli et
al., "Synchronization and Linearity"): such dates are a certificate, a circle of events that wait
for each other longer than that refutes. Deadlock is a circle within a frame. The dates of one
setting of FIFO depths are the start for the next one, so that little is computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from hwsim.accelerator import _steady as k
from hwsim.accelerator.events import frame_events
from hwsim.accelerator.pipeline import Pipeline
from hwsim.accelerator.timing import fifo_latency

QUEUE = 4096
"""Places of the kernel's queue: raises by more cycles share the last one."""


class SteadyState:
    """Dates of a pipeline's events in the long run, kept while its FIFOs become smaller."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.index = {fifo.name: i for i, fifo in enumerate(pipeline.fifos)}
        events = self._events = frame_events(pipeline)
        count = len(events.chain)
        self._table = np.zeros((count + 1, k.EVENT_COLUMNS), np.int64)
        self._table[:count, k.AFTER] = events.after
        self._table[:count, k.CHAIN] = events.chain
        self._table[:count, k.POPS] = events.pops
        self._table[:count, k.EMITS] = events.emits
        self._table[:, k.FIRST_ARC] = events.first
        filled = np.diff(events.fill_at)
        self._links = np.full((len(filled), 3 + filled.max()), k.NONE, np.int64)
        self._links[:, :2], self._links[:, 2] = events.reads, filled
        for links, at, number in zip(self._links, events.fill_at, filled, strict=False):
            links[3 : 3 + number] = events.fills[at : at + number]
        self._fifos = np.zeros((len(pipeline.fifos), k.FIFO_COLUMNS), np.int64)
        self._fifos[:, k.BEATS] = [fifo.stream.frame_beats for fifo in pipeline.fifos]
        self._fifos[:, k.ENTRY_AT], self._fifos[:, k.EXIT_AT] = events.entry_at, events.exit_at
        most = np.diff(events.first).max() + 2 + filled.max() + 1
        self._found = np.zeros((most, 2), np.int64)
        self._queue = np.full(QUEUE, k.NONE, np.int32)
        self._looked, self._look = np.full(count, -1), 0
        self.interval = 0

    def begin(self, interval: int, depths: Mapping[str, int]) -> bool:
        """Find the earliest dates with all FIFOs at ``depths``, input offered evenly.

        False if frames cannot come every ``interval`` cycles.
        """
        events, beats = self._events, self.pipeline.input.frame_beats
        self.interval = interval
        # Small numbers are faster; no date is later than a few frames for each stage.
        small = interval * (len(self.pipeline.stages) + 8) < 1 << 28
        number = np.int32 if small else np.int64
        self._table = self._table.astype(number)
        self._work = np.full((len(events.chain), k.WORK_COLUMNS), k.IDLE, number)
        self._work[:, k.RAISE] = 0
        self._lists = np.zeros((k.LISTS, len(events.chain)), number)
        self._table[:-1, k.AFTER_GAIN] = events.after_weight - interval * events.wraps
        arcs = events.to, events.weight - interval * events.frames
        self._arcs = np.stack(arcs, axis=1).astype(number)
        for name, depth in depths.items():
            self._set(name, depth)
        self._work[:, k.DATE] = 0
        self._work[:beats, k.DATE] = np.arange(beats) * interval // beats
        possible, self._look = k.settle_all(
            events.order, *self._graph(), self._work, self._lists, self._looked, self._look
        )
        return bool(possible)

    def reduce(self, name: str, depth: int) -> bool:
        """Make a FIFO smaller if frames still come at the interval; else False, and no change."""
        i = self.index[name]
        before = self._fifos[i].copy()
        self._set(name, depth)
        self._fifos[i, k.OPEN] = 1
        possible, self._look = k.settle(
            self._exits(i),
            *self._graph(),
            self._work,
            self._lists,
            self._queue,
            self._looked,
            self._look,
        )
        self._fifos[i, k.OPEN] = 0
        if not possible:
            self._fifos[i] = before
        return bool(possible)

    def latency(self, name: str) -> int:
        """Cycles from the start of a step until its beat enters a FIFO."""
        return int(self._events.latency[self.index[name]])

    def depth(self, name: str) -> int:
        return int(self._fifos[self.index[name], k.DEPTH])

    def high_water(self, name: str) -> int:
        """Most beats that a FIFO holds at once."""
        return self._level(name, self.latency(name), "right")

    def used(self, name: str) -> int:
        """Slots that a FIFO needs for the dates as they are, those on the way to it included."""
        return self._level(name, 0, "left")

    def _level(self, name: str, delay: int, side: Literal["left", "right"]) -> int:
        """Most beats of steps ``delay`` cycles ago that have not left the FIFO.

        side: ``right`` when one that leaves in that cycle has.
        """
        i, events = self.index[name], self._events
        at, beats = self._fifos[i, k.ENTRY_AT], self._fifos[i, k.BEATS]
        exits = self._work[self._exits(i), k.DATE]
        entered = self._work[events.entries[at : at + beats], k.DATE] + delay
        # Exits before each date: those of whole intervals, and those of the last one.
        frames, since = np.divmod(entered - exits[0], self.interval)
        gone = np.searchsorted(exits - exits[0], since, side)
        return int((np.arange(1, beats + 1) - frames * beats - gone).max())

    def _exits(self, i: int) -> np.ndarray:
        at, beats = self._fifos[i, k.EXIT_AT], self._fifos[i, k.BEATS]
        return np.arange(at, at + beats)

    def _set(self, name: str, depth: int) -> None:
        i = self.index[name]
        self._fifos[i, k.DEPTH] = depth
        self._fifos[i, k.LATENCY] = self._events.latency[i] + fifo_latency(depth)

    def _graph(self) -> tuple:  # type: ignore[type-arg]
        return (
            self.interval, self._table, self._arcs, self._links, self._fifos, self._events.entries,
            self._found,
        )  # fmt: skip
