"""Small networks at the edges of what is legal, where ``random_networks`` draws what is usual.

Images of one pixel, row or channel; kernels larger than the image; strides larger than the kernel;
tensors of 1, 31 and 32 bits; shifts up to 62; constants; sums of a tensor with itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import NetworkError
from hwsim.network import (
    INPUT,
    Add,
    Alphabet,
    ArgMax,
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)
from hwsim.testing.random_networks import ALPHABETS


def extreme_network(seed: int) -> Network:
    """The first network that ``seed`` leads to; ops that break a rule are left out."""
    rng = np.random.default_rng(seed)
    while True:
        drawn = _draw(rng)
        if drawn is not None:
            return drawn


def _draw(rng: np.random.Generator) -> Network | None:
    source = TensorType(
        int(rng.choice([1, 1, 2, 3, 5])),
        int(rng.choice([1, 1, 2, 3, 5])),
        int(rng.choice([1, 1, 2, 4])),
        int(rng.choice([1, 2, 7, 8, 16, 31, 32])),
        bool(rng.random() < 0.4),
    )
    ops: list[Op] = []
    types = {INPUT: source}
    for n in range(int(rng.integers(1, 5))):
        at = list(types)[-1] if rng.random() < 0.8 else str(rng.choice(list(types)))
        try:
            op = _op(rng, f"n{n}", at, types)
            types[op.name] = op.infer([types[name] for name in op.inputs])
        except NetworkError:
            continue
        ops.append(op)
    while ops:
        used = {name for op in ops for name in op.inputs} | {ops[-1].name}
        kept = [op for op in ops if op.name in used]
        if len(kept) == len(ops):
            return Network("extreme", source, tuple(ops))
        ops = kept
    return None


def _op(rng: np.random.Generator, name: str, at: str, types: dict[str, TensorType]) -> Op:
    x, inputs = types[at], (at,)

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    kernel, stride, outputs = pair(1, 5), pair(1, 6), int(rng.integers(1, 5))
    pad = int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1]))
    alphabet = Alphabet(str(rng.choice(ALPHABETS)))

    def weights(*shape: int) -> np.ndarray:
        return rng.choice(np.array(alphabet.values), shape)

    def mux() -> Op:
        shape = outputs, x.channels
        tap = rng.integers(0, kernel[0] * kernel[1], shape)
        weight = weights(*shape) * (rng.random(shape) < 0.8)
        return MuxConv2d(name, inputs, tap, weight, kernel, stride, pad, alphabet)

    def add() -> Op:
        alike = [other for other, t in types.items() if t.shape == x.shape]
        return Add(name, (at, str(rng.choice(alike))))

    depthwise = weights(x.channels, 1, *kernel)
    makers: list[Callable[[], Op]] = [
        mux,
        add,
        lambda: Conv2d(
            name, inputs, weights(outputs, x.channels, *kernel), stride, pad, 1, alphabet
        ),
        lambda: Conv2d(name, inputs, depthwise, stride, pad, x.channels, alphabet),
        lambda: MaxPool2d(name, inputs, kernel, stride),
        lambda: AvgPool2d(name, inputs, kernel, stride),
        lambda: Add(name, (at, at)),
        lambda: _requantize(rng, name, at, x.channels),
        lambda: _requantize(rng, name, at, x.channels),
        lambda: Flatten(name, inputs),
        lambda: GlobalMaxPool(name, inputs),
        lambda: GlobalAvgPool(name, inputs),
        lambda: ArgMax(name, inputs),
        lambda: Linear(name, inputs, weights(outputs, x.channels), alphabet),
    ]
    return makers[int(rng.integers(len(makers)))]()


def _requantize(rng: np.random.Generator, name: str, at: str, channels: int) -> Requantize:
    most, far = 1 << int(rng.integers(0, 25)), 1 << int(rng.integers(0, 51))
    multiplier = rng.integers(-most, most + 1, channels)
    if rng.random() < 0.2:
        multiplier = np.ones(channels, np.int64)
    bits = int(rng.choice([1, 2, 8, 31, 32]))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if rng.random() < 0.5 else (0, 2**bits - 1)
    if rng.random() < 0.2:
        low = high = int(rng.integers(low, high + 1))
    shift = int(rng.choice([0, 1, 20, 31, 32, 61, 62]))
    return Requantize(name, (at,), multiplier, rng.integers(-far, far, channels), shift, low, high)
