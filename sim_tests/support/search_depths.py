"""The smallest FIFO depths once more: every depth is tried in the exact cycle model, from reset.

Slow; the package's own search keeps the dates of the long run instead.
"""

from __future__ import annotations

import numpy as np

from hwsim.accelerator.cycles import DeadlockError, simulate
from hwsim.accelerator.pipeline import Pipeline
from hwsim.accelerator.stage import Fifo
from hwsim.accelerator.timing import SHALLOW_FIFO
from hwsim.config.accelerator import MOST_FIFO_BEATS
from hwsim.errors import MappingError

PROBE_FRAMES = 4
"""Frames of one try; the second half of them must come at the interval."""


def smallest_depths(pipeline: Pipeline, interval_cycles: int | None = None) -> dict[str, int]:
    """Depth of each FIFO by name, such that none can be reduced alone.

    The pipeline runs without deadlock and reaches the interval that it has with ample FIFOs, or
    ``interval_cycles`` if that is longer. Reducing any one FIFO, even by one, would lose
    throughput or deadlock. The depths in ``pipeline`` do not matter. Raises MappingError when
    frames cannot come as fast as ``interval_cycles`` asks.
    """
    frames = PROBE_FRAMES
    while True:
        search = _Search(pipeline, interval_cycles, frames)
        depths = search.run()
        # A loss so slight that the FIFOs hide it for a while shows in a longer run.
        if _Search(pipeline, search.interval, 4 * frames).holds(depths):
            return depths
        frames *= 2


class _Search:
    """One search with tries of ``frames`` frames."""

    def __init__(self, pipeline: Pipeline, interval: int | None, frames: int) -> None:
        self.pipeline, self.frames = pipeline, frames
        self.ample = {
            f.name: min(3 * f.stream.frame_beats + 64, MOST_FIFO_BEATS) for f in pipeline.fifos
        }
        self.latency = {stage.name: stage.timing.latency for stage in pipeline.stages}
        self.interval = interval or 0

    def run(self) -> dict[str, int]:
        ideal = self._best_interval()
        if self.interval and self.interval < ideal:
            raise MappingError(
                f"frames cannot come every {self.interval} cycles: this folding needs {ideal}"
            )
        self.interval = max(self.interval, ideal)
        depths = self._start()
        # Large FIFOs first: they have most to give.
        order = sorted(self.pipeline.fifos, key=lambda f: -depths[f.name] * f.stream.bits)
        changed = True
        while changed:
            before = dict(depths)
            self._reduce(order, depths)
            # A FIFO that became shallow also became faster, which may free others.
            changed = any(depths[n] <= SHALLOW_FIFO < before[n] for n in depths)
        return depths

    def _reduce(self, fifos: list[Fifo], depths: dict[str, int]) -> None:
        """Reduce ``fifos`` in ``depths``: all to their least if that holds, else by halves."""
        least = {fifo.name: self._least(fifo) for fifo in fifos}
        if all(depths[name] == least[name] for name in least):
            return
        if self.holds({**depths, **least}):
            depths.update(least)
        elif len(fifos) == 1:
            depths[fifos[0].name] = self._smallest(fifos[0], depths)
        else:
            self._reduce(fifos[: len(fifos) // 2], depths)
            self._reduce(fifos[len(fifos) // 2 :], depths)

    def _best_interval(self) -> int:
        """Interval with ample FIFOs; the longest one where frames come in a longer pattern."""
        report = simulate(self.pipeline.with_depths(self.ample), 4 * self.frames)
        return int(np.diff(report.frame_last_output)[2 * self.frames :].max())

    def holds(self, depths: dict[str, int]) -> bool:
        """Whether frames come at the interval, or faster, with these depths."""
        try:
            report = simulate(self.pipeline.with_depths(depths), self.frames)
        except DeadlockError:
            return False
        gaps = np.diff(report.frame_last_output)[(self.frames - 1) // 2 :]
        return bool((gaps <= self.interval).all())

    def _start(self) -> dict[str, int]:
        """Depths that hold: what ample FIFOs ever use when frames come evenly."""
        beats = self.pipeline.input.frame_beats
        offers = np.arange(beats + 1) * self.interval // beats
        gaps = np.maximum(np.diff(offers) - 1, 0)
        report = simulate(self.pipeline.with_depths(self.ample), self.frames, np.roll(gaps, 1))
        depths = {}
        for fifo, seen in zip(self.pipeline.fifos, report.fifos, strict=True):
            # A slot is taken when the step starts, `latency` cycles before it is filled.
            spare = self.latency.get(fifo.producer, 0) + 2
            depths[fifo.name] = min(seen.high_water + spare, self.ample[fifo.name])
        while not self.holds(depths):
            depths = {name: min(2 * d, self.ample[name]) for name, d in depths.items()}
        return depths

    def _least(self, fifo: Fifo) -> int:
        """A slot is busy for at least the way from its step to its reader and back again."""
        latency = self.latency.get(fifo.producer, 0)
        return max(1, -(-fifo.stream.frame_beats * (latency + 2) // self.interval))

    def _smallest(self, fifo: Fifo, depths: dict[str, int]) -> int:
        """Smallest depth of ``fifo`` that holds with the other ``depths``.

        Its own depth does, its least depth does not.
        """
        low, high = self._least(fifo) + 1, depths[fifo.name]
        if low <= SHALLOW_FIFO < high:
            # Shallow FIFOs are faster by a cycle, so 32 may hold where 33 does not.
            if self.holds({**depths, fifo.name: SHALLOW_FIFO}):
                high = SHALLOW_FIFO
            else:
                low = SHALLOW_FIFO + 1
        # The start is often close, so widen the steps down from there, then bisect.
        step = 1
        while low < high:
            middle = max(high - step, (low + high) // 2)
            if self.holds({**depths, fifo.name: middle}):
                high = middle
                step *= 4
            else:
                low = middle + 1
        return high
