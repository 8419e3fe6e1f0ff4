"""The timing contract as a graph of events, one frame of it, that repeats every frame.

An *arc* (u, v, weight, frames) says that event v happens ``weight`` cycles or more after event u
of so many frames before. These are all arcs between the events of ``chains.py``, for questions
about the long run (``depths.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.accelerator.chains import NONE, Chain, pipeline_chains
from hwsim.accelerator.pipeline import Pipeline


@dataclass(frozen=True, eq=False)
class Events:
    """All events of a frame, numbered, and the arcs between them that do not pass a FIFO.

    arcs: int64 [4, arcs]: tails, heads, weights, frames. entries, exits: of each FIFO, the events
    by which its beats enter (``latency`` cycles later) and leave, int64 [beats] each. order: all
    events, such that no arc within a frame goes back, but for those from FIFOs that are full.
    """

    arcs: np.ndarray
    entries: tuple[np.ndarray, ...]
    exits: tuple[np.ndarray, ...]
    latency: tuple[int, ...]
    order: np.ndarray


def frame_events(pipeline: Pipeline) -> Events:
    """The events of a frame of ``pipeline``, whatever the depths of its FIFOs."""
    chains = pipeline_chains(pipeline)
    sizes = np.array([chain.pixels * chain.steps for chain in chains])
    bases = np.cumsum(sizes) - sizes
    arcs: list[np.ndarray] = []
    order: list[np.ndarray] = []
    entries: dict[int, np.ndarray] = {}
    exits: dict[int, np.ndarray] = {}
    latency: dict[int, int] = {}
    for c, (chain, base) in enumerate(zip(chains, bases, strict=True)):
        events = base + np.arange(sizes[c])
        emits = np.tile(chain.emits, chain.pixels)
        emits[: chain.emits_from * chain.steps] = False
        exits |= dict.fromkeys(chain.reads, events)
        entries |= dict.fromkeys(chain.fills, events[emits])
        latency |= dict.fromkeys(chain.fills, chain.latency)
        since = np.roll(np.tile(chain.since, chain.pixels), -1)
        arcs.append(np.stack([events, np.roll(events, -1), since, events == events[-1]]))
        waits = _partner_arcs(chain, chains[c + chain.partner], base, bases[c + chain.partner])
        arcs.append(waits)
        if chain.partner < 0:
            # Steps come right after the last beat that they, or steps before them, wait for.
            last = np.zeros(len(events), np.int64)
            last[waits[1] - base] = waits[0] - bases[c - 1] + 1
            order[-1] = np.insert(order[-1], np.maximum.accumulate(last), events)
        else:
            order.append(events)
    fifos = range(len(pipeline.fifos))
    return Events(
        np.concatenate(arcs, axis=1),
        tuple(entries[i] for i in fifos),
        tuple(exits[i] for i in fifos),
        tuple(latency[i] for i in fifos),
        np.concatenate(order),
    )


def _partner_arcs(chain: Chain, partner: Chain, base: int, partner_base: int) -> np.ndarray:
    """Arcs from the partner to a chain whose events begin at ``base``, int64 [4, arcs].

    Rows: tails, heads, weights, frames.
    """
    waiting = np.flatnonzero(chain.offset != NONE)
    numbers = (chain.waits[:, np.newaxis] + chain.offset[waiting]).ravel()
    heads = (np.arange(chain.pixels)[:, np.newaxis] * chain.steps + waiting).ravel()
    frames, done = np.divmod(numbers, partner.done)
    if partner.done_from > 0:
        done = (done + 1) * partner.steps - 1
    weights = np.full(len(heads), chain.weight)
    return np.stack([partner_base + done, base + heads, weights, -frames])
