"""Directed images for a verification: extremes, saturated requantizers, ties of ArgMax.

Pictures rarely show what happens at the edges: two classes that are exactly equal, a value just
beyond a requantizer's range. Here images are made and searched that do, and what was found, and
what was not, is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.accelerator import Pipeline
from hwsim.execute import Executor
from hwsim.faults import DesignFaults, FaultyExecutor
from hwsim.network import (
    INPUT,
    ArgMax,
    Conv2d,
    Flatten,
    Linear,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    Weighted,
)

_WATCH_LEAST, _WATCH_MOST = 2, 8
_WATCH_COST = 4_000_000
"""FIFO values that may be looked at in the run that watches every FIFO."""

_LOOKED_AT = 64
"""Test vectors whose edges are counted before directed images are chosen."""

_EXTREMES = 4
_ROUND = 256
"""Images that one round of the search for ties evaluates, about."""

_ROUNDS = 64
_SEARCH_PRODUCTS = 3_000_000_000


@dataclass(frozen=True)
class Selection:
    """Images of a verification.

    images: [images, channels, height, width], test vectors first, then directed ones. vectors:
    how many are test vectors. watched: numbers of those that run while every FIFO is watched.
    """

    images: np.ndarray
    vectors: int
    watched: tuple[int, ...]

    def name(self, number: int) -> str:
        """How messages call an image."""
        return f"image {number}" if number < self.vectors else f"directed image {number}"


@dataclass(frozen=True)
class Coverage:
    """Edges that the images of a verification show, as counts of images.

    ties: images in which the two best values of ArgMax are equal; None without ArgMax. saturated:
    by requantizer, watched images with values below its range and above it (of a fault-injection
    build: at its ends). not_seen: edges that no image shows; cannot_occur: edges that no input
    of the op's type can show.
    """

    ties: int | None
    saturated: Mapping[str, tuple[int, int]]
    not_seen: tuple[str, ...]
    cannot_occur: tuple[str, ...]


def choose_images(pipeline: Pipeline, faults: DesignFaults | None, x: np.ndarray) -> Selection:
    """``x`` (test vectors, [images, channels, height, width]) and directed images beside them."""
    network = pipeline.network
    rng = np.random.default_rng(0)
    made = _candidates(network, rng)
    known = x[:_LOOKED_AT]
    tensors = Executor(network).tensors(np.concatenate([known, made]))
    edges = _edges(network, tensors)
    if any(isinstance(op, ArgMax) for op in network.ops):
        name = next(op.name for op in network.ops if isinstance(op, ArgMax))
        if faults is not None or not edges.get((name, "tie"), np.ones(1, np.bool_)).any():
            found = _search_tie(pipeline, faults, np.concatenate([known, made]), rng)
            if found is not None:
                made = np.concatenate([made, found[np.newaxis]])
                edges = {
                    edge: np.append(seen, edge == (name, "tie")) for edge, seen in edges.items()
                }
    most = _WATCH_COST // (pipeline.ideal_interval * len(pipeline.fifos))
    watched = _greedy(edges, len(known), min(max(most, _WATCH_LEAST), _WATCH_MOST))
    tie = [
        np.flatnonzero(seen[len(known) :])[:1] for edge, seen in edges.items() if edge[1] == "tie"
    ]
    kept = {*range(_EXTREMES), *(int(n) for first in tie for n in first)}
    kept |= {n - len(known) for n in watched if n >= len(known)}
    directed = sorted(kept)
    place = {n + len(known): len(x) + k for k, n in enumerate(directed)}
    return Selection(
        np.concatenate([x, made[directed]]),
        len(x),
        tuple(place.get(n, n) for n in watched),
    )


def coverage(
    pipeline: Pipeline,
    selection: Selection,
    links: Mapping[str, np.ndarray],
    watched: Mapping[str, np.ndarray],
    faulty: bool,
) -> Coverage:
    """What ``selection`` shows.

    links, watched: what each FIFO is to pass on, by its name, of all images and of the watched
    ones.
    """
    network = pipeline.network
    by_tensor = {fifo.stream.tensor: fifo.name for fifo in pipeline.fifos}
    used = selection.images[list(selection.watched)]
    edges = _edges(network, Executor(network).tensors(used))
    ties: int | None = None
    saturated, not_seen = {}, []
    for op in network.ops:
        if isinstance(op, ArgMax):
            values = links[by_tensor[op.inputs[0]]]
            ties = int(_tied(values.reshape(len(values), -1)).sum())
            if ties == 0 and _possible(network, op, "tie"):
                not_seen.append(f"{op.name}: a tie")
        if isinstance(op, Requantize):
            counts = []
            for end, value in (("below", op.lo), ("above", op.hi)):
                seen = edges.get((op.name, end), np.zeros(1, np.bool_))
                if faulty and op.name in by_tensor:
                    seen = (watched[by_tensor[op.name]] == value).any(axis=(1, 2, 3))
                counts.append(int(seen.sum()))
                if counts[-1] == 0 and _possible(network, op, end):
                    not_seen.append(f"{op.name}: {end} its range")
            saturated[op.name] = counts[0], counts[1]
    never = [
        f"{op.name}: {'a tie' if end == 'tie' else f'{end} its range'}"
        for op in network.ops
        for end in _ends(op)
        if not _possible(network, op, end)
    ]
    return Coverage(ties, saturated, tuple(not_seen), tuple(never))


def _ends(op: Op) -> tuple[str, ...]:
    if isinstance(op, ArgMax):
        return ("tie",)
    return ("below", "above") if isinstance(op, Requantize) else ()


def _possible(network: Network, op: Op, end: str) -> bool:
    """False when no value of the type of the op's input can show this edge."""
    x = network.types[op.inputs[0]]
    if isinstance(op, ArgMax):
        return x.channels > 1
    assert isinstance(op, Requantize)
    ends = np.array([x.lo, x.hi]).reshape(2, 1, 1, 1) * np.ones((1, x.channels, 1, 1), np.int64)
    y = _before_clamp(op, ends)
    return bool((y < op.lo).any() if end == "below" else (y > op.hi).any())


def _before_clamp(op: Requantize, x: np.ndarray) -> np.ndarray:
    """What the requantizer clamps, of x [images, channels, height, width]."""
    m, b, shift = (np.asarray(v).reshape(-1, 1, 1) for v in (op.multiplier, op.bias, op.shift))
    return (x * m + b) >> shift


def _tied(values: np.ndarray) -> np.ndarray:
    """Which rows of ``values`` [images, classes] hold their largest value more than once."""
    return (values == values.max(axis=1, keepdims=True)).sum(axis=1) > 1


def _edges(
    network: Network, tensors: Mapping[str, np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """Edges that can occur, by (op, end), and which images show each: bool [images]."""
    found = {}
    for op in network.ops:
        for end in _ends(op):
            if not _possible(network, op, end):
                continue
            x = tensors[op.inputs[0]]
            if isinstance(op, ArgMax):
                found[op.name, end] = _tied(x.reshape(len(x), -1))
            elif isinstance(op, Requantize):
                y = _before_clamp(op, x)
                beyond = y < op.lo if end == "below" else y > op.hi
                found[op.name, end] = np.asarray(beyond.reshape(len(x), -1).any(axis=1))
    return found


def _greedy(edges: Mapping[tuple[str, str], np.ndarray], vectors: int, most: int) -> list[int]:
    """Numbers of at most ``most`` images that together show many edges, image 0 among them."""
    chosen = [0]
    left = [seen for seen in edges.values() if seen.any() and not seen[0]]
    while left and len(chosen) < most:
        best = int(np.sum(left, axis=0).argmax())
        chosen.append(best)
        left = [seen for seen in left if not seen[best]]
    for n in range(1, min(vectors, _WATCH_LEAST)):
        if len(chosen) < _WATCH_LEAST and n not in chosen:
            chosen.append(n)
    return sorted(chosen)


def _candidates(network: Network, rng: np.random.Generator) -> np.ndarray:
    """Images of extremes; the first ``_EXTREMES`` are always used."""
    t = network.input
    lo, hi = t.lo, t.hi
    c, y, x = np.indices(t.shape)

    def two(high: np.ndarray) -> np.ndarray:
        return np.where(high, hi, lo)

    flat = np.ones(t.shape, np.bool_)
    made = [two(~flat), two(flat), two((x + y + c) % 2 == 0), two((x + y + c) % 2 == 1)]
    made += [two(c % 2 == n) for n in range(2)] + [two(c == n) for n in range(min(t.channels, 8))]
    made += [two(x % 2 == 0), two(y % 2 == 0), two(x < t.width // 2), two(y < t.height // 2)]
    made += [np.full(t.shape, v) for v in np.linspace(lo, hi, 10).astype(np.int64)[1:-1]]
    made += [two(rng.random(t.shape) < share) for share in (0.05, 0.2, 0.5, 0.5, 0.8, 0.95)]
    made += [rng.integers(lo, hi + 1, t.shape) for _ in range(4)]
    for weight in _first_weights(network):
        for sign in (1, -1):
            made.append(two(sign * _tiled(weight, t.shape) > 0))
    return np.stack(made).astype(np.int64)


def _first_weights(network: Network) -> list[np.ndarray]:
    """Weights [channels, rows, columns] of outputs that read the input; at most 32."""
    found: list[np.ndarray] = []
    shape = network.input.shape
    start = {INPUT}
    for op in network.ops:
        if op.inputs[0] not in start:
            continue
        if isinstance(op, Flatten):
            start.add(op.name)
        elif isinstance(op, Linear):
            found += [row.reshape(shape) for row in op.weight]
        elif isinstance(op, MuxConv2d):
            place = np.arange(op.kernel[0] * op.kernel[1]) == op.tap[..., np.newaxis]
            found += list((place * op.weight[..., np.newaxis]).reshape(*op.tap.shape, *op.kernel))
        elif isinstance(op, Conv2d) and op.groups == 1:
            found += list(op.weight)
    return found[:32]


def _tiled(weight: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """``weight`` [channels, rows, columns] repeated over a map of ``shape``."""
    rows, cols = (-(-shape[n] // weight.shape[n]) for n in (1, 2))
    return np.tile(weight, (1, rows, cols))[:, : shape[1], : shape[2]]


def _search_tie(
    pipeline: Pipeline, faults: DesignFaults | None, pool: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """An image in which the best two values of ArgMax are equal; None when none was found.

    Between two images of different classes the pixels change one by one; where the class
    changes, the values of the two are close. Of a fault-injection build the errors of frame 0
    count.
    """
    network = pipeline.network
    values = _values_of_argmax(pipeline, faults)
    products = sum(
        op.weight.size * network.types[op.name].height * network.types[op.name].width
        for op in network.ops
        if isinstance(op, Weighted)
    )
    rounds = max(2, min(_ROUNDS, _SEARCH_PRODUCTS // (_ROUND * max(products, 1))))
    if faults is not None:
        rounds = min(rounds, 4)
    best = values(pool)
    if (tied := _tied(best)).any():
        return pool[int(tied.argmax())]
    classes = best.argmax(axis=1)
    if len(set(classes.tolist())) < 2:
        return None
    t = network.input
    for _ in range(rounds):
        a = int(rng.integers(len(pool)))
        b = int(rng.choice(np.flatnonzero(classes != classes[a])))
        near = _Border(pool[a], pool[b], rng.permutation(t.size), values)
        for step in (near.coarse, near.fine, near.one_pixel):
            if (found := step()) is not None:
                return found
        for size in (1, 2, 4):
            noise = rng.integers(-size, size + 1, (64, *t.shape)) * (
                rng.random((64, *t.shape)) < 0.1
            )
            found = near.tie_of(np.clip(near.at[np.newaxis] + noise, t.lo, t.hi))
            if found is not None:
                return found
    return None


class _Border:
    """The way from image ``a`` to image ``b``, narrowed down to where the class changes."""

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        order: np.ndarray,
        values: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.a, self.b, self.order, self.values = a, b, order, values
        self.first, self.last = 0, a.size
        self.at = a

    def tie_of(self, images: np.ndarray) -> np.ndarray | None:
        tied = _tied(self.values(images))
        return images[int(tied.argmax())] if tied.any() else None

    def _mixed(self, changed: int) -> np.ndarray:
        image = self.a.ravel().copy()
        image[self.order[:changed]] = self.b.ravel()[self.order[:changed]]
        return image.reshape(self.a.shape)

    def coarse(self) -> np.ndarray | None:
        """Look at up to 64 places of the way; keep the first two between which it changes."""
        places = np.unique(np.linspace(self.first, self.last, 64).astype(np.int64))
        images = np.stack([self._mixed(int(n)) for n in places])
        values = self.values(images)
        tied = _tied(values)
        if tied.any():
            return images[int(tied.argmax())]
        classes = values.argmax(axis=1)
        change = np.flatnonzero(classes[1:] != classes[:-1])
        if len(change):
            self.first, self.last = (int(places[change[0] + n]) for n in (0, 1))
            self.at = images[change[0]]
        return None

    fine = coarse

    def one_pixel(self) -> np.ndarray | None:
        """All values of the pixel with which the class changes."""
        pixel = self.order[self.first]
        low, high = sorted(int(image.ravel()[pixel]) for image in (self.a, self.b))
        steps = np.unique(np.linspace(low, high, 64).astype(np.int64))
        images = np.repeat(self._mixed(self.first)[np.newaxis], len(steps), axis=0)
        images.reshape(len(steps), -1)[:, pixel] = steps
        return self.tie_of(images)


def _values_of_argmax(
    pipeline: Pipeline, faults: DesignFaults | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Function from images to what the network's (first) ArgMax compares: [images, classes]."""
    network = pipeline.network
    at, op = next((n, op) for n, op in enumerate(network.ops) if isinstance(op, ArgMax))
    if faults is not None:
        name = next(f.name for f in pipeline.fifos if f.stream.tensor == op.inputs[0])
        executor = FaultyExecutor(faults)
        # One by one: every image is to meet the errors of frame 0.
        return lambda x: np.concatenate(
            [executor.links(image[np.newaxis])[name].reshape(1, -1) for image in x]
        )
    if at > 0 and network.ops[at - 1].name == op.inputs[0] and at == len(network.ops) - 1:
        shorter = Executor(Network(network.name, network.input, network.ops[:at]))
        return lambda x: shorter.run(x).reshape(len(x), -1)
    whole = Executor(network)
    return lambda x: whole.tensors(x)[op.inputs[0]].reshape(len(x), -1)
