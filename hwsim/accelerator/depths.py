"""The smallest FIFO depths that cost no throughput."""

from __future__ import annotations

import numpy as np

from hwsim.accelerator.cycles import simulate
from hwsim.accelerator.pipeline import Pipeline
from hwsim.accelerator.stage import Fifo
from hwsim.accelerator.steady import SteadyState
from hwsim.accelerator.timing import SHALLOW_FIFO
from hwsim.config.accelerator import MOST_FIFO_BEATS
from hwsim.errors import MappingError

PROBE_FRAMES = 16
"""Frames of the run that measures the interval, if no stage's own work gives it."""


def smallest_depths(pipeline: Pipeline, interval_cycles: int | None = None) -> dict[str, int]:
    """Depth of each FIFO by name, such that none can be reduced alone.

    The pipeline runs without deadlock and reaches the interval that it has with ample FIFOs, or
    ``interval_cycles`` if that is longer. Reducing any one FIFO, even by one beat, would lose
    throughput or deadlock. The depths in ``pipeline`` do not matter. Raises MappingError if frames
    cannot come every ``interval_cycles``.
    """
    ample = {f.name: min(3 * f.stream.frame_beats + 64, MOST_FIFO_BEATS) for f in pipeline.fifos}
    state = SteadyState(pipeline)
    best = pipeline.ideal_interval
    if not state.begin(best, ample):
        best = _interval(pipeline.with_depths(ample))
    if interval_cycles is not None and interval_cycles < best:
        raise MappingError(
            f"frames cannot come every {interval_cycles} cycles: this folding needs {best}"
        )
    best = max(best, interval_cycles or 0)
    while state.interval < best and not state.begin(best, ample):
        best += 1
    for fifo in pipeline.fifos:
        # A slot is taken when the step starts, `latency` cycles before it is filled.
        used = state.high_water(fifo.name) + state.latency(fifo.name) + 2
        possible = state.reduce(fifo.name, min(used, ample[fifo.name]))
        assert possible
    # Large FIFOs first: they have most to give.
    order = sorted(pipeline.fifos, key=lambda f: -state.depth(f.name) * f.stream.bits)
    shallower = True
    while shallower:
        before = {fifo.name: state.depth(fifo.name) for fifo in order}
        for fifo in order:
            _reduce(state, fifo)
        # A FIFO that became shallow also became faster, which may free others.
        shallower = any(state.depth(n) <= SHALLOW_FIFO < before[n] for n in before)
    return {fifo.name: state.depth(fifo.name) for fifo in pipeline.fifos}


def _interval(pipeline: Pipeline) -> int:
    """Cycles between frames in the long run; the most where they come in a longer pattern."""
    report = simulate(pipeline, PROBE_FRAMES)
    return int(np.diff(report.frame_last_output)[PROBE_FRAMES // 2 :].max())


def _least(state: SteadyState, fifo: Fifo) -> int:
    """A slot is busy for at least the way from its step to its reader and back again."""
    return max(1, -(-fifo.stream.frame_beats * (state.latency(fifo.name) + 2) // state.interval))


def _reduce(state: SteadyState, fifo: Fifo) -> None:
    """Make ``fifo`` as small as it can be while the others stay as they are."""
    name, low = fifo.name, _least(state, fifo)
    if low <= SHALLOW_FIFO < state.depth(name):
        # Shallow FIFOs are faster by a cycle, so 32 may hold where 33 does not.
        _descend(state, name, SHALLOW_FIFO + 1)
        if not state.reduce(name, SHALLOW_FIFO):
            return
    _descend(state, name, low)


def _descend(state: SteadyState, name: str, low: int) -> None:
    """Reduce a FIFO to the smallest depth that holds, ``low`` or more.

    The start is often close, so steps are as long as all before together: 1, 1, 2, 4, ...
    """
    state.reduce(name, max(low, min(state.used(name), state.depth(name))))
    start, limit = state.depth(name), MOST_FIFO_BEATS
    while low < (high := state.depth(name)):
        depth = max(low, high - min(limit, max(1, start - high)))
        if not state.reduce(name, depth):
            low, limit = depth + 1, max(1, (high - depth) // 4)
