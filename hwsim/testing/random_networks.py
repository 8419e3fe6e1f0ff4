"""Random valid networks that reach every op, alphabet, width, stride, pad and shape.

One integer seed decides a network and its images, so a failing example is one number::

    network = random_network(7, Limits(channels=4, size=6))
    x = random_input(network, 7, images=3)

With hypothesis, draw the seed: ``@given(seed=st.integers(0, 2**32 - 1))``.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    Lookup,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)

ALPHABETS = (
    "binary",
    "ternary",
    *(f"int{n}" for n in range(2, 9)),
    *(f"pow2_{n}" for n in range(2, 5)),
)


@dataclass(frozen=True)
class Limits:
    """Bounds of a random network.

    channels: most channels of a tensor before Flatten. size: most rows and columns. blocks: most
    blocks (a convolution with its requantizer, a pool, or a residual). bits: most bits of an
    activation. mappable: only convolutions the accelerator maps (dense and depthwise).
    """

    channels: int = 6
    size: int = 8
    blocks: int = 3
    bits: int = 8
    mappable: bool = True


def random_network(seed: int | np.random.Generator, limits: Limits | None = None) -> Network:
    """A valid network within ``limits``; equal seeds give equal networks."""
    return _Builder(np.random.default_rng(seed), limits or Limits()).build()


def random_input(network: Network, seed: int | np.random.Generator, images: int = 2) -> np.ndarray:
    """Images [images, channels, height, width] over the whole input range, extremes favoured."""
    rng = np.random.default_rng(seed)
    t = network.input
    x = rng.integers(t.lo, t.hi + 1, (images, *t.shape))
    extreme = rng.choice([t.lo, t.hi], x.shape)
    return np.where(rng.random((images, 1, 1, 1)) < 0.25, extreme, x)


class _Builder:
    """Appends random ops to a growing network; ``self.at`` names the newest tensor."""

    def __init__(self, rng: np.random.Generator, limits: Limits):
        self.rng = rng
        self.limits = limits
        self.ops: list[Op] = []
        self.types: dict[str, TensorType] = {}
        self.at = INPUT

    def build(self) -> Network:
        flat = self.chance(0.2)
        height = 1 if flat else self.integer(1, self.limits.size)
        shape = self.integer(1, self.limits.channels), height, self.integer(1, self.limits.size)
        bits = self.integer(1, self.limits.bits)
        signed = self.chance(0.3)
        self.types[INPUT] = source = TensorType(*shape, bits, signed)
        for _ in range(self.integer(1, self.limits.blocks)):
            kind = self.rng.choice(BLOCKS, p=BLOCK_ODDS)
            getattr(self, f"block_{kind}")()
        if self.chance(0.7):
            self.head()
        if not self.ops:
            self.block_mux()
        return Network("random", source, tuple(self.ops))

    # -- draws ---------------------------------------------------------------------------------

    def integer(self, lo: int, hi: int) -> int:
        return int(self.rng.integers(lo, hi + 1))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def weights(self, shape: tuple[int, ...], *, zero: bool) -> tuple[np.ndarray, Alphabet]:
        """Weights from a random alphabet; with ``zero``, some slices are pruned."""
        alphabet = Alphabet(str(self.rng.choice(ALPHABETS)))
        weight = self.rng.choice(np.array(alphabet.values), shape)
        if zero and self.chance(0.4):
            weight = np.where(self.rng.random(shape) < 0.3, 0, weight)
        return weight, alphabet

    def geometry(
        self, x: TensorType, stride: tuple[int, int] | None = None
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Kernel, stride and pad that fit ``x``; a one-row tensor gets a 1xk kernel."""
        k = int(self.rng.choice([1, 3, 5], p=[0.25, 0.5, 0.25]))
        kernel = (1 if x.height == 1 else k, k)
        if self.chance(0.1):
            kernel = (kernel[1], kernel[0]) if x.height > 1 else kernel
        steps = [int(s) for s in self.rng.choice([1, 2], 2, p=[0.7, 0.3])]
        stride = stride or ((steps[0], steps[0]) if self.chance(0.8) else (steps[0], steps[1]))
        pad = (kernel[0] // 2, kernel[1] // 2)
        if self.chance(0.4):
            pad = (self.integer(0, kernel[0] - 1), self.integer(0, kernel[1] - 1))
        fits = x.height + 2 * pad[0] >= kernel[0] and x.width + 2 * pad[1] >= kernel[1]
        return kernel, stride, pad if fits else (kernel[0] - 1, kernel[1] - 1)

    # -- growing -------------------------------------------------------------------------------

    def add(self, kind: type[Op], *inputs: str, **values: object) -> str:
        """Append an op that reads ``inputs`` (by default the newest tensor)."""
        name = f"{kind.__name__.lower()}{len(self.ops)}"
        inputs = inputs or (self.at,)
        op = kind(name, inputs, **values)  # type: ignore[arg-type]
        self.types[name] = op.infer([self.types[key] for key in inputs])
        self.ops.append(op)
        self.at = name
        return name

    def try_add(self, kind: type[Op], **values: object) -> None:
        """As ``add``; when the input is too wide for the op, requantize first."""
        try:
            self.add(kind, **values)
        except NetworkError:
            self.requantize()
            self.add(kind, **values)

    def requantize(self, bits: int | None = None) -> None:
        """A requantizer that spreads the newest tensor over 1..8 bits, signed or not."""
        x = self.types[self.at]
        bits = bits or self.integer(1, self.limits.bits)
        signed = self.chance(0.4)
        lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        if self.chance(0.2) and bits > 2:
            lo, hi = lo + 1, hi - 1
        shift = self.integer(0, 20)
        step = 1 << shift
        gain = (1 << bits) * step / (x.hi - x.lo + 1)
        multiplier = np.rint(gain * self.rng.uniform(0.5, 8, x.channels)).astype(np.int64)
        multiplier *= self.rng.choice([-1, 1], x.channels, p=[0.3, 0.7])
        spread = step << max(bits - 1, 0)
        bias = step // 2 + self.rng.integers(-spread, spread + 1, x.channels)
        self.add(Requantize, multiplier=multiplier, bias=bias, shift=shift, lo=lo, hi=hi)

    def lookup(self, bits: int) -> None:
        """A table of entries of ``bits``, signed or not, for all channels or one for each."""
        x = self.types[self.at]
        lo = -(1 << (bits - 1)) if self.chance(0.4) else 0
        tables = x.channels if self.chance(0.3) else 1
        table = self.rng.integers(lo, lo + (1 << bits), (tables, 1 << x.bits))
        self.add(Lookup, table=table, lo=x.lo)

    def mux(
        self,
        outputs: int,
        geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    ) -> None:
        kernel, stride, pad = geometry
        shape = outputs, self.types[self.at].channels
        weight, alphabet = self.weights(shape, zero=True)
        tap = self.rng.integers(0, kernel[0] * kernel[1], shape)
        self.try_add(
            MuxConv2d, tap=tap, weight=weight, kernel=kernel, stride=stride, pad=pad,
            alphabet=alphabet,
        )  # fmt: skip

    # -- blocks --------------------------------------------------------------------------------

    def block_mux(self) -> None:
        self.mux(self.integer(1, self.limits.channels), self.geometry(self.types[self.at]))
        if self.chance(0.9):
            self.requantize()
            if self.chance(0.2):
                self.lookup(self.integer(1, self.limits.bits))

    def block_conv(self) -> None:
        x = self.types[self.at]
        kernel, stride, pad = self.geometry(x)
        divisors = [g for g in range(1, x.channels + 1) if x.channels % g == 0]
        choices = [1, x.channels] if self.limits.mappable else divisors
        groups = int(self.rng.choice(choices))
        outputs = self.integer(1, self.limits.channels)
        if groups > 1:
            most = 1 if self.limits.mappable else max(1, self.limits.channels // groups)
            outputs = groups * self.integer(1, most)
        weight, alphabet = self.weights((outputs, x.channels // groups, *kernel), zero=False)
        self.try_add(
            Conv2d, weight=weight, stride=stride, pad=pad, groups=groups, alphabet=alphabet
        )
        if self.chance(0.9):
            self.requantize()

    def block_pool(self) -> None:
        x = self.types[self.at]
        kernel = tuple(self.integer(1, min(3, side)) for side in (x.height, x.width))
        stride = kernel if self.chance(0.6) else (self.integer(1, 2), self.integer(1, 2))
        if self.chance(0.5):
            self.add(MaxPool2d, kernel=kernel, stride=stride)
        else:
            self.try_add(AvgPool2d, kernel=kernel, stride=stride)
            self.requantize()

    def block_requantize(self) -> None:
        self.requantize()

    def block_lookup(self) -> None:
        """A lookup of what is there, or of what a requantizer makes of it."""
        if self.types[self.at].bits > 8 or self.chance(0.5):
            self.requantize()
        self.lookup(self.integer(1, 16))

    def block_residual(self) -> None:
        """Fork, one or two convolutions, a plain or strided 1x1 shortcut, join."""
        if self.types[self.at].bits > 8:
            self.requantize()
        fork = self.at
        x = self.types[fork]
        strided = self.chance(0.4)
        side = 2 if strided and self.chance(0.7) else 1
        outputs = self.integer(1, self.limits.channels) if strided else x.channels
        kernel = (1 if x.height == 1 else 3, 3)
        pad = (kernel[0] // 2, 1)
        self.mux(outputs, (kernel, (side, side), pad))
        if self.chance(0.5):
            self.requantize()
            self.mux(outputs, (kernel, (1, 1), pad))
        if self.chance(0.7):
            self.requantize()
            if self.chance(0.2):
                self.lookup(self.integer(1, self.limits.bits))
        body, shortcut = self.at, fork
        if strided:
            self.at = fork
            self.mux(outputs, ((1, 1), (side, side), (0, 0)))
            if self.chance(0.7):
                self.requantize()
            shortcut = self.at
        ends = (body, shortcut) if self.chance(0.7) else (shortcut, body)
        self.add(Add, *ends)
        self.requantize()

    def head(self) -> None:
        """Reduce to a vector, then perhaps a Linear layer and ArgMax."""
        kinds: tuple[type[Op], ...] = (GlobalMaxPool, GlobalAvgPool, Flatten)
        self.try_add(kinds[self.rng.choice(len(kinds))])
        if self.chance(0.5):
            self.requantize()
            if self.chance(0.2):
                self.lookup(self.integer(1, self.limits.bits))
        if self.chance(0.7):
            inputs = self.types[self.at].channels
            outputs = self.integer(1, self.limits.channels)
            weight, alphabet = self.weights((outputs, inputs), zero=False)
            self.try_add(Linear, weight=weight, alphabet=alphabet)
        if self.chance(0.5):
            self.add(ArgMax)


BLOCKS = ("mux", "conv", "pool", "residual", "requantize", "lookup")
BLOCK_ODDS = (0.3, 0.2, 0.15, 0.2, 0.05, 0.1)
"""Odds of each kind of block."""
