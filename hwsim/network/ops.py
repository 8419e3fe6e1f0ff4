"""The ops of the integer network: their fields, their rules, the type that each yields.

An op names its input tensors; the tensor it yields carries the op's own name. ``infer`` checks
the op against its input types and returns the output type, whose width follows from the actual
weights, so accumulators cannot overflow (docs/arithmetic.md). The *meaning* of each op is
``hwsim.network.reference``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from hwsim.errors import NetworkError
from hwsim.network.tabulate import MOST_INDEX_BITS
from hwsim.network.types import MAX_BITS, Alphabet, TensorType, bits_for

OP_TYPES: dict[str, type[Op]] = {}
"""Every op that a network can have, by its name in files."""

MOST_ENTRY_BITS = 16
"""Widest entry of a lookup table."""


@dataclass(frozen=True, eq=False)
class Op(ABC):
    """One node: ``name`` is unique in its network, ``inputs`` are names of earlier tensors.

    A class that is only a base of several ops says so: ``class Base(Op, abstract=True)``.
    """

    name: str
    inputs: tuple[str, ...]

    arity: ClassVar[int] = 1
    arrays: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that hold NumPy arrays."""

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        if not abstract:
            OP_TYPES[cls.__name__] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        for key in self.arrays:
            array = np.ascontiguousarray(np.asarray(getattr(self, key)))
            if array.size and not np.issubdtype(array.dtype, np.integer):
                raise NetworkError(f"{key} must hold integers, not {array.dtype}", op=self.name)
            if array.size and array.max() > np.iinfo(np.int64).max:
                raise NetworkError(f"{key} must fit 64 bits, signed", op=self.name)
            array = array.astype(np.int64)
            array.setflags(write=False)
            object.__setattr__(self, key, array)

    @property
    def kind(self) -> str:
        return type(self).__name__

    def attributes(self) -> dict[str, Any]:
        """The fields that are neither name, inputs nor arrays, as plain JSON values."""
        out: dict[str, Any] = {}
        for item in fields(self):
            if item.name not in ("name", "inputs", *self.arrays):
                value = getattr(self, item.name)
                value = value.name if isinstance(value, Alphabet) else value
                out[item.name] = list(value) if isinstance(value, tuple) else value
        return out

    @property
    @abstractmethod
    def words(self) -> str:
        """The op in a few words, for people: ``multiplexer conv 3×3 / 2, binary``."""

    @abstractmethod
    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Output type for these input types; raises NetworkError naming the broken rule."""

    def fail(self, message: str) -> NetworkError:
        return NetworkError(message, op=self.name)

    def _pair(self, key: str, lowest: int) -> None:
        value = getattr(self, key)
        pair = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        if len(pair) != 2 or any(type(v) is not int or v < lowest for v in pair):
            raise self.fail(f"{key} must be two integers >= {lowest}, not {value!r}")
        object.__setattr__(self, key, pair)


def sum_ranges(weight: np.ndarray, x: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """Ends [outputs] of every partial sum of ``weight[o] . x``: weight is [outputs, terms].

    Summing the negative and the positive extremes of each term apart bounds the sums in any
    order of accumulation, so one width serves reference, executor and RTL.
    """
    a, b = weight * x.lo, weight * x.hi
    lo = np.minimum(np.minimum(a, b), 0).sum(axis=1)
    hi = np.maximum(np.maximum(a, b), 0).sum(axis=1)
    return lo, hi


def _accumulator(weight: np.ndarray, x: TensorType) -> tuple[int, int]:
    lo, hi = sum_ranges(weight, x)
    return int(lo.min()), int(hi.max())


def window_words(kernel: tuple[int, int], stride: tuple[int, int]) -> str:
    """A window in words: ``3×3``, or ``3×3 / 2`` with its stride."""
    size = f"{kernel[0]}×{kernel[1]}"
    if stride == (1, 1):
        return size
    return f"{size} / {stride[0] if stride[0] == stride[1] else f'{stride[0]}×{stride[1]}'}"


def window_size(length: int, kernel: int, stride: int, pad: int) -> int:
    """Output positions along one axis (floor rule); <= 0 when the kernel does not fit."""
    return (length + 2 * pad - kernel) // stride + 1


class Weighted(Op, abstract=True):
    """Shared fields of ops that sum weighted inputs; the subclasses add them as their own.

    weight: [outputs, inputs, ...], integers. alphabet: contains all weights (and a pruned slice of
    a multiplexer convolution has weight 0).
    """

    weight: np.ndarray
    alphabet: Alphabet


@dataclass(frozen=True, eq=False)
class _Windowed(Op, abstract=True):
    """Shared geometry of ops that slide a window; fields are added by the subclasses."""

    def _out_size(
        self,
        x: TensorType,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int] = (0, 0),
    ) -> tuple[int, int]:
        if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
            raise self.fail(f"pad {list(pad)} must be smaller than kernel {list(kernel)}")
        out = (
            window_size(x.height, kernel[0], stride[0], pad[0]),
            window_size(x.width, kernel[1], stride[1], pad[1]),
        )
        if min(out) < 1:
            raise self.fail(
                f"kernel {list(kernel)} with pad {list(pad)} does not fit input "
                f"{x.height}x{x.width}"
            )
        return out


@dataclass(frozen=True, eq=False)
class MuxConv2d(_Windowed, Weighted):
    """Convolution whose k x k slices keep one weight each, so that it is a multiplexer.

    ``acc[o,p,q] = sum_i weight[o,i] * x[i, S*p + dy - pad, S*q + dx - pad]`` with
    ``(dy, dx) = divmod(tap[o,i], kernel[1])``; outside the input x is 0.

    tap: [outputs, inputs], each 0 .. kh*kw-1; weight: [outputs, inputs] from ``alphabet``, or 0
    where the slice is pruned away. kernel, stride, pad: (vertical, horizontal).
    """

    tap: np.ndarray
    weight: np.ndarray
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    alphabet: Alphabet = field(default_factory=lambda: Alphabet("binary"))

    arrays: ClassVar = ("tap", "weight")

    @property
    def words(self) -> str:
        return f"multiplexer conv {window_words(self.kernel, self.stride)}, {self.alphabet.name}"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        self._pair("kernel", 1)
        self._pair("stride", 1)
        self._pair("pad", 0)
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise self.fail(f"weight must be [outputs, inputs], not {list(self.weight.shape)}")
        if self.tap.shape != self.weight.shape:
            raise self.fail(
                f"tap must have the shape of weight {list(self.weight.shape)}, "
                f"not {list(self.tap.shape)}"
            )
        if self.weight.shape[1] != x.channels:
            raise self.fail(
                f"weight is for {self.weight.shape[1]} channels, input has {x.channels}"
            )
        taps = self.kernel[0] * self.kernel[1]
        if self.tap.min() < 0 or self.tap.max() >= taps:
            raise self.fail(f"tap must be 0..{taps - 1}, not {self.tap.min()}..{self.tap.max()}")
        if not self.alphabet.contains(self.weight, zero=True):
            raise self.fail(f"weight has values outside alphabet {self.alphabet.name} and 0")
        out = self._out_size(x, self.kernel, self.stride, self.pad)
        return TensorType.for_range((len(self.weight), *out), *_accumulator(self.weight, x))


@dataclass(frozen=True, eq=False)
class Conv2d(_Windowed, Weighted):
    """Dense (groups 1), grouped or depthwise convolution; zero outside the input.

    weight: [outputs, inputs / groups, kh, kw] from ``alphabet``. stride, pad: (vertical,
    horizontal).
    """

    weight: np.ndarray
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    groups: int = 1
    alphabet: Alphabet = field(default_factory=lambda: Alphabet("int8"))

    arrays: ClassVar = ("weight",)

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weight.shape[2], self.weight.shape[3]

    @property
    def depthwise(self) -> bool:
        """One input and one output channel per group."""
        return self.groups == len(self.weight) and self.weight.shape[1] == 1

    @property
    def words(self) -> str:
        form = "depthwise" if 1 < self.groups == len(self.weight) else "dense"
        return f"{form} conv {window_words(self.kernel, self.stride)}, {self.alphabet.name}"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        self._pair("stride", 1)
        self._pair("pad", 0)
        if self.weight.ndim != 4 or 0 in self.weight.shape:
            raise self.fail(
                f"weight must be [outputs, inputs/groups, kh, kw], not {list(self.weight.shape)}"
            )
        outputs, per_group = self.weight.shape[:2]
        if type(self.groups) is not int or self.groups < 1 or outputs % self.groups:
            raise self.fail(f"groups must divide the {outputs} outputs, not {self.groups!r}")
        if per_group * self.groups != x.channels:
            raise self.fail(
                f"weight is for {per_group * self.groups} channels, input has {x.channels}"
            )
        if not self.alphabet.contains(self.weight):
            raise self.fail(f"weight has values outside alphabet {self.alphabet.name}")
        out = self._out_size(x, self.kernel, self.stride, self.pad)
        flat = self.weight.reshape(outputs, -1)
        return TensorType.for_range((outputs, *out), *_accumulator(flat, x))


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """``acc[o] = sum_n weight[o,n] * x[n]``; weight: [outputs, inputs], x a vector."""

    weight: np.ndarray
    alphabet: Alphabet = field(default_factory=lambda: Alphabet("int8"))

    arrays: ClassVar = ("weight",)

    @property
    def words(self) -> str:
        return f"linear, {self.alphabet.name}"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        if (x.height, x.width) != (1, 1):
            raise self.fail(f"input must be a vector (use Flatten), not {x}")
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise self.fail(f"weight must be [outputs, inputs], not {list(self.weight.shape)}")
        if self.weight.shape[1] != x.channels:
            raise self.fail(f"weight is for {self.weight.shape[1]} inputs, input has {x.channels}")
        if not self.alphabet.contains(self.weight):
            raise self.fail(f"weight has values outside alphabet {self.alphabet.name}")
        return TensorType.for_range((len(self.weight), 1, 1), *_accumulator(self.weight, x))


@dataclass(frozen=True, eq=False)
class Add(Op):
    """Sum of two tensors of equal shape."""

    arity: ClassVar = 2

    @property
    def words(self) -> str:
        return "add"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        a, b = inputs
        if a.shape != b.shape:
            raise self.fail(f"inputs must have one shape, not {a} and {b}")
        return TensorType.for_range(a.shape, a.lo + b.lo, a.hi + b.hi)


@dataclass(frozen=True, eq=False)
class _Pool2d(_Windowed, abstract=True):
    kernel: tuple[int, int]
    stride: tuple[int, int]

    def _pooled(self, x: TensorType) -> tuple[int, int, int]:
        self._pair("kernel", 1)
        self._pair("stride", 1)
        return (x.channels, *self._out_size(x, self.kernel, self.stride))


@dataclass(frozen=True, eq=False)
class MaxPool2d(_Pool2d):
    """Largest value of each window, per channel; no padding."""

    @property
    def words(self) -> str:
        return f"max pool {window_words(self.kernel, self.stride)}"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        return TensorType(*self._pooled(x), x.bits, x.signed)


@dataclass(frozen=True, eq=False)
class AvgPool2d(_Pool2d):
    """*Sum* of each window, per channel; the division belongs to the Requantize after it."""

    @property
    def words(self) -> str:
        return f"sum pool {window_words(self.kernel, self.stride)}"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        n = self.kernel[0] * self.kernel[1]
        return TensorType.for_range(self._pooled(x), n * x.lo, n * x.hi)


@dataclass(frozen=True, eq=False)
class GlobalMaxPool(Op):
    """Largest value of each channel."""

    @property
    def words(self) -> str:
        return "global max pool"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        return TensorType(x.channels, 1, 1, x.bits, x.signed)


@dataclass(frozen=True, eq=False)
class GlobalAvgPool(Op):
    """*Sum* of each channel; the division belongs to the Requantize after it."""

    @property
    def words(self) -> str:
        return "global sum pool"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        n = x.height * x.width
        return TensorType.for_range((x.channels, 1, 1), n * x.lo, n * x.hi)


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """Vector of all values in (channel, row, column) order."""

    @property
    def words(self) -> str:
        return "flatten"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        return TensorType(x.size, 1, 1, x.bits, x.signed)


@dataclass(frozen=True, eq=False)
class ArgMax(Op):
    """Index of the largest value of a vector; of equal values the first one."""

    @property
    def words(self) -> str:
        return "argmax"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        if (x.height, x.width) != (1, 1):
            raise self.fail(f"input must be a vector (use Flatten), not {x}")
        return TensorType.for_range((1, 1, 1), 0, x.channels - 1)


@dataclass(frozen=True, eq=False)
class Requantize(Op):
    """``y = clamp((x * multiplier[c] + bias[c]) >> shift, lo, hi)``, arithmetic shift (floor).

    multiplier, bias: [channels]; shift: 0..62. The rounding constant is folded into ``bias``;
    ReLU is ``lo = 0``. The output type is the narrowest one for ``lo..hi``.
    ``x * multiplier + bias`` must fit 63 bits.
    """

    multiplier: np.ndarray
    bias: np.ndarray
    shift: int
    lo: int
    hi: int

    arrays: ClassVar = ("multiplier", "bias")

    @property
    def words(self) -> str:
        return "requantize"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        for key in self.arrays:
            shape = getattr(self, key).shape
            if shape != (x.channels,):
                raise self.fail(f"{key} must be [{x.channels}], not {list(shape)}")
        if type(self.shift) is not int or not 0 <= self.shift <= 62:
            raise self.fail(f"shift must be 0..62, not {self.shift!r}")
        if type(self.lo) is not int or type(self.hi) is not int or self.lo > self.hi:
            raise self.fail(f"lo must be <= hi, not {self.lo!r} and {self.hi!r}")
        lo, hi = self.sum_range(x)
        if bits_for(lo, hi)[0] > 63:
            raise self.fail(f"x * multiplier + bias spans {lo}..{hi}, more than 63 bits")
        if bits_for(self.lo, self.hi)[0] > MAX_BITS:
            raise self.fail(f"lo..hi = {self.lo}..{self.hi} needs more than {MAX_BITS} bits")
        return TensorType.for_range(x.shape, self.lo, self.hi)

    def sum_range(self, x: TensorType) -> tuple[int, int]:
        """Range of ``x * multiplier + bias`` over all channels."""
        ends = [
            int(m) * v + int(b)
            for m, b in zip(self.multiplier, self.bias, strict=True)
            for v in (x.lo, x.hi)
        ]
        return min(ends), max(ends)


@dataclass(frozen=True, eq=False)
class Lookup(Op):
    """``y = table[t, x - lo]``: any function of one value, as an activation that is not monotone.

    table: [1, entries], one function for all channels, or [channels, entries], one for each. It
    has an entry for each value of x's type, the one for the lowest value, ``lo``, first. The
    type has at most MOST_INDEX_BITS bits, entries fit MOST_ENTRY_BITS. The output type is the
    narrowest one for the entries.
    """

    table: np.ndarray
    lo: int = 0

    arrays: ClassVar = ("table",)

    @property
    def words(self) -> str:
        return "lookup"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        (x,) = inputs
        if x.bits > MOST_INDEX_BITS:
            raise self.fail(f"input must have at most {MOST_INDEX_BITS} bits, not {x.bits}")
        if type(self.lo) is not int or self.lo != x.lo:
            raise self.fail(f"lo must be {x.lo}, the lowest value of {x}, not {self.lo!r}")
        entries = x.hi - x.lo + 1
        allowed = {(1, entries), (x.channels, entries)}
        if self.table.shape not in allowed:
            shapes = " or ".join(str(list(shape)) for shape in sorted(allowed))
            raise self.fail(f"table must be {shapes}, not {list(self.table.shape)}")
        lo, hi = int(self.table.min()), int(self.table.max())
        if bits_for(lo, hi)[0] > MOST_ENTRY_BITS:
            raise self.fail(
                f"table has entries {lo}..{hi}, which need more than {MOST_ENTRY_BITS} bits"
            )
        return TensorType.for_range(x.shape, lo, hi)
