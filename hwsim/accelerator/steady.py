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
        self.interval = 0
        events = self._events = frame_events(pipeline)
        self._depths = [fifo.depth for fifo in pipeline.fifos]
        # All arcs by their tails: those of the events, those into each FIFO, those back out of it.
        tails = [events.arcs[0], *events.entries, *events.exits]
        joined = np.concatenate(tails)
        order = np.argsort(joined, kind="stable")
        count = len(events.order)
        self._first = np.searchsorted(joined[order], np.arange(count + 1))
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self._fixed, *fifos = np.split(places, np.cumsum([len(part) for part in tails])[:-1])
        self._into, self._back = fifos[: len(self.index)], fifos[len(self.index) :]
        # Behind them is room for the arcs out of one FIFO.
        self._arcs = np.zeros((len(order) + max(map(len, events.exits)), 2), np.int64)
        self._queue = np.full(QUEUE, k.NONE, np.int32)
        self._looked, self._look = np.full(count, -1), 0

    def begin(self, interval: int, depths: Mapping[str, int]) -> bool:
        """Find the earliest dates with all FIFOs at ``depths``, input offered evenly.

        False if frames cannot come every ``interval`` cycles.
        """
        events, beats = self._events, self.pipeline.input.frame_beats
        self.interval = interval
        # Small numbers are faster; no date is later than a few frames for each stage.
        small = interval * (len(self.pipeline.stages) + 8) < 1 << 28
        number = np.int32 if small else np.int64
        self._work = np.full((len(events.order), k.WORK_COLUMNS), k.IDLE, number)
        self._work[:, k.RAISE] = 0
        self._lists = np.zeros((k.LISTS, len(events.order)), number)
        self._arcs = self._arcs.astype(number)
        _, heads, weights, frames = events.arcs
        self._put(self._fixed, heads, weights - interval * frames)
        for name, i in self.index.items():
            self._set(i, depths[name])
        self._work[:, k.DATE] = 0
        self._work[:beats, k.DATE] = np.arange(beats) * interval // beats
        possible, self._look = k.settle_all(
            events.order, self._first, self._arcs, self._work, self._lists, self._looked, self._look
        )
        return bool(possible)

    def reduce(self, name: str, depth: int) -> bool:
        """Make a FIFO smaller if frames still come at the interval; else False, and no change."""
        i = self.index[name]
        before, exits, back = self._depths[i], self._events.exits[i], self._back[i]
        self._set(i, depth)
        # The arcs that need not hold yet stand aside; arcs to themselves are in their place.
        self._arcs[self._first[-1] :][: len(exits)] = self._arcs[back]
        self._put(back, exits, 0)
        possible, self._look = k.settle(
            exits,
            self._first,
            self._arcs,
            self._work,
            self._lists,
            self._queue,
            self._looked,
            self._look,
        )
        self._set(i, depth if possible else before)
        return bool(possible)

    def latency(self, name: str) -> int:
        """Cycles from the start of a step until its beat enters a FIFO."""
        return self._events.latency[self.index[name]]

    def depth(self, name: str) -> int:
        return self._depths[self.index[name]]

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
        i = self.index[name]
        exits = self._work[self._events.exits[i], k.DATE]
        entered = self._work[self._events.entries[i], k.DATE] + delay
        # Exits before each date: those of whole intervals, and those of the last one.
        frames, since = np.divmod(entered - exits[0], self.interval)
        gone = np.searchsorted(exits - exits[0], since, side)
        beats = len(exits)
        return int((np.arange(1, beats + 1) - frames * beats - gone).max())

    def _set(self, i: int, depth: int) -> None:
        """Give a FIFO its depth, and with that its arcs."""
        self._depths[i] = depth
        entries, exits = self._events.entries[i], self._events.exits[i]
        self._put(self._into[i], exits, self._events.latency[i] + fifo_latency(depth))
        # The slot that becomes free is that of a beat `depth` later.
        frames, beats = np.divmod(np.arange(len(exits)) + depth, len(exits))
        self._put(self._back[i], entries[beats], 1 - self.interval * frames)

    def _put(self, places: np.ndarray, heads: np.ndarray, weights: np.ndarray | int) -> None:
        """Arcs at these places. Those that go back so far that they never matter stay in range."""
        self._arcs[places, 0] = heads
        self._arcs[places, 1] = np.maximum(weights, np.iinfo(self._arcs.dtype).min // 2)
