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
    """All events of a frame, numbered, and the arcs between them.

    Integers int64, [events] each:

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
    chains = pipeline_chains(pipeline)
    sizes = np.array([chain.pixels * chain.steps for chain in chains])
    bases = np.cumsum(sizes) - sizes
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("chain", "after", "after_weight", "pops", "emits")
    }
    arcs = [np.zeros((4, 0), np.int64)]
    order: list[np.ndarray] = []
    entries: list[np.ndarray] = [np.zeros(0, np.int64)] * len(pipeline.fifos)
    exit_at = np.zeros(len(pipeline.fifos), np.int64)
    latency = np.zeros(len(pipeline.fifos), np.int64)
    for c, (chain, base, size) in enumerate(zip(chains, bases, sizes, strict=True)):
        events = np.arange(size)
        emits = np.tile(chain.emits, chain.pixels) & (events >= chain.emits_from * chain.steps)
        parts["chain"].append(np.full(size, c))
        parts["after"].append(base + (events + 1) % size)
        parts["after_weight"].append(np.roll(np.tile(chain.since, chain.pixels), -1))
        parts["pops"].append(events if chain.reads else np.full(size, NONE))
        parts["emits"].append(np.where(emits, np.cumsum(emits) - 1, NONE))
        for fifo in chain.reads:
            exit_at[fifo] = base
        for fifo in chain.fills:
            entries[fifo] = base + np.flatnonzero(emits)
            latency[fifo] = chain.latency
        waits = _partner_arcs(chain, chains[c + chain.partner], base, bases[c + chain.partner])
        arcs.append(waits)
        if chain.partner < 0:
            # Steps come right after the last beat that they, or steps before them, wait for.
            last = np.zeros(size, np.int64)
            last[waits[1] - base] = waits[0] - bases[c - 1] + 1
            place = np.maximum.accumulate(last)
            order[-1] = np.insert(order[-1], place, base + events)
        else:
            order.append(base + events)
    tails, heads, weights, frames = np.concatenate(arcs, axis=1)
    by_tail = np.argsort(tails, kind="stable")
    counts = np.array([len(each) for each in entries])
    fills = np.array([len(chain.fills) for chain in chains])
    return Events(
        **{name: np.concatenate(arrays) for name, arrays in parts.items()},
        first=np.searchsorted(tails[by_tail], np.arange(sizes.sum() + 1)),
        to=heads[by_tail],
        weight=weights[by_tail],
        frames=frames[by_tail],
        reads=np.array([(*chain.reads, NONE, NONE)[:2] for chain in chains], np.int64),
        fill_at=np.concatenate(([0], np.cumsum(fills))),
        fills=np.array([fifo for chain in chains for fifo in chain.fills], np.int64),
        entries=np.concatenate(entries),
        entry_at=np.cumsum(counts) - counts,
        exit_at=exit_at,
        latency=latency,
        order=np.concatenate(order),
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
