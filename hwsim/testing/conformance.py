"""The conformance class: every op, in its corner cases, in every world that evaluates networks.

A *world* is a function (network, images) -> every tensor by name. It passes when each tensor
equals, with ``==``, what the rule of docs/ir.md says, written here once more for single values in
plain Python integers. To test a world, derive from ``Conformance``::

    class TestExecutor(Conformance):
        def tensors(self, network, x):
            return Executor(network).tensors(x)

To add an op, add its row to ``ROWS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import MappingError
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
from hwsim.testing.cases import Cases, assert_same
from hwsim.testing.random_networks import ALPHABETS, random_input

Pixel = Callable[[int, int, int], int]
"""Value of a tensor at (channel, row, column), 0 outside."""


@dataclass(frozen=True)
class Row:
    """One op: ``value(op, inputs, c, y, x)`` is its rule, ``cases`` are networks around it."""

    value: Callable[..., int]
    cases: Callable[[], Iterator[tuple[str, Network]]]


class Conformance(Cases):
    """Derive from it, define ``tensors``, and every row becomes a test of that world."""

    argument = "network"
    images = 4
    """Images of each case."""
    ops: tuple[type[Op], ...] = ()
    """The ops whose rows are asked for; all of them where none is named."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor of ``network``, integers [images, channels, height, width]."""
        raise NotImplementedError

    def accepts(self, network: Network) -> bool:
        """False for a network that this world must refuse with a MappingError."""
        return True

    def cases(self) -> Iterator[tuple[str, Network]]:
        for op in self.ops or ROWS:
            for label, network in ROWS[op].cases():
                yield f"{op.__name__}-{label}", network

    def test_op(self, network: Network) -> None:
        x = random_input(network, 1, self.images)
        if not self.accepts(network):
            try:
                self.tensors(network, x)
            except MappingError:
                return
            raise AssertionError("a network that must be refused was accepted")
        got = self.tensors(network, x)
        assert set(got) == set(network.types)
        for name, expected in by_the_rules(network, x).items():
            assert_same(name, got[name], expected)


def by_the_rules(network: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of ``network``, value by value."""
    tensors: dict[str, np.ndarray] = {INPUT: np.asarray(x)}
    for op in network:
        t = network.types[op.name]
        result = np.zeros((len(x), *t.shape), np.int64)
        for n in range(len(x)):
            inputs = [_pixel(tensors[name][n]) for name in op.inputs]
            types = [network.types[name] for name in op.inputs]
            for c, p, q in np.ndindex(*t.shape):
                value = ROWS[type(op)].value(op, inputs, types, c, p, q)
                assert t.lo <= value <= t.hi, f"{op.name} leaves its type {t}"
                result[n, c, p, q] = value
        tensors[op.name] = result
    return tensors


def _pixel(tensor: np.ndarray) -> Pixel:
    values = tensor.tolist()
    rows, columns = tensor.shape[1:]

    def at(c: int, y: int, x: int) -> int:
        return values[c][y][x] if 0 <= y < rows and 0 <= x < columns else 0

    return at


# -- rules -----------------------------------------------------------------------------------------


def _mux(op: MuxConv2d, inputs: list[Pixel], types: Any, o: int, p: int, q: int) -> int:
    total = 0
    for i in range(types[0].channels):
        dy, dx = divmod(int(op.tap[o, i]), op.kernel[1])
        y, x = op.stride[0] * p + dy - op.pad[0], op.stride[1] * q + dx - op.pad[1]
        total += int(op.weight[o, i]) * inputs[0](i, y, x)
    return total


def _conv(op: Conv2d, inputs: list[Pixel], types: Any, o: int, p: int, q: int) -> int:
    outputs, per_group, kh, kw = op.weight.shape
    group = o // (outputs // op.groups)
    return sum(
        int(op.weight[o, i, dy, dx])
        * inputs[0](
            group * per_group + i,
            op.stride[0] * p + dy - op.pad[0],
            op.stride[1] * q + dx - op.pad[1],
        )
        for i, dy, dx in np.ndindex(per_group, kh, kw)
    )


def _linear(op: Linear, inputs: list[Pixel], types: Any, o: int, p: int, q: int) -> int:
    return sum(int(w) * inputs[0](n, 0, 0) for n, w in enumerate(op.weight[o]))


def _add(op: Add, inputs: list[Pixel], types: Any, c: int, p: int, q: int) -> int:
    return inputs[0](c, p, q) + inputs[1](c, p, q)


def _window(op: Any, inputs: list[Pixel], c: int, p: int, q: int) -> list[int]:
    return [
        inputs[0](c, op.stride[0] * p + dy, op.stride[1] * q + dx)
        for dy, dx in np.ndindex(*op.kernel)
    ]


def _channel(inputs: list[Pixel], types: Any, c: int) -> list[int]:
    return [inputs[0](c, y, x) for y, x in np.ndindex(types[0].height, types[0].width)]


def _flatten(op: Flatten, inputs: list[Pixel], types: Any, c: int, p: int, q: int) -> int:
    pixel, x = divmod(c, types[0].width)
    channel, y = divmod(pixel, types[0].height)
    return inputs[0](channel, y, x)


def _argmax(op: ArgMax, inputs: list[Pixel], types: Any, c: int, p: int, q: int) -> int:
    values = [inputs[0](n, 0, 0) for n in range(types[0].channels)]
    return values.index(max(values))


def _requantize(op: Requantize, inputs: list[Pixel], types: Any, c: int, p: int, q: int) -> int:
    total = inputs[0](c, p, q) * int(op.multiplier[c]) + int(op.bias[c])
    return max(op.lo, min(op.hi, total // 2**op.shift))


def _lookup(op: Lookup, inputs: list[Pixel], types: Any, c: int, p: int, q: int) -> int:
    lowest = -(2 ** (types[0].bits - 1)) if types[0].signed else 0
    table = op.table.tolist()
    return table[c % len(table)][inputs[0](c, p, q) - lowest]


# -- cases -----------------------------------------------------------------------------------------


def _net(source: TensorType, *ops: Op) -> Network:
    return Network("case", source, ops)


def _weights(rng: np.random.Generator, alphabet: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice(np.array(Alphabet(alphabet).values), shape)


def _mux_cases() -> Iterator[tuple[str, Network]]:
    rng = np.random.default_rng(0)

    def case(
        source: TensorType, outputs: int, alphabet: str, kernel: Any, stride: Any, pad: Any,
        pruned: float = 0.0,
    ) -> Network:  # fmt: skip
        shape = outputs, source.channels
        tap = rng.integers(0, kernel[0] * kernel[1], shape)
        weight = np.where(rng.random(shape) < pruned, 0, _weights(rng, alphabet, shape))
        if pruned:
            weight[0] = 0
        a = Alphabet(alphabet)
        return _net(source, MuxConv2d("y", (INPUT,), tap, weight, kernel, stride, pad, a))

    for alphabet in ALPHABETS:
        source = TensorType(3, 4, 5, 4)
        yield alphabet, case(source, 4, alphabet, (3, 3), (1, 1), (1, 1), 0.3)
    for bits in range(1, 9):
        for signed in (False, True):
            source = TensorType(9, 2, 3, bits, signed)
            label = f"{'s' if signed else 'u'}{bits}"
            yield label, case(source, 2, "binary", (3, 3), (1, 1), (1, 1))
    yield "int8-s8", case(TensorType(11, 3, 3, 8, True), 3, "int8", (3, 3), (1, 1), (1, 1))
    yield "many-inputs", case(TensorType(40, 2, 2, 8), 2, "pow2_4", (1, 1), (1, 1), (0, 0))
    yield "5x5-stride-2", case(TensorType(2, 7, 6, 3), 3, "int4", (5, 5), (2, 2), (2, 2))
    yield "1x1-stride-2", case(TensorType(4, 5, 5, 4), 3, "ternary", (1, 1), (2, 2), (0, 0))
    yield "1-D", case(TensorType(3, 1, 9, 5, True), 4, "binary", (1, 5), (1, 2), (0, 2))
    yield "3x1-wide-pad", case(TensorType(2, 4, 3, 4), 2, "binary", (3, 1), (1, 1), (2, 0))
    yield "no-pad", case(TensorType(2, 5, 4, 4), 2, "binary", (3, 3), (1, 1), (0, 0))
    yield "stride-2x1", case(TensorType(2, 6, 6, 4), 2, "binary", (3, 3), (2, 1), (1, 1))
    yield "stride-3", case(TensorType(2, 8, 8, 4), 2, "binary", (3, 3), (3, 3), (1, 1))
    yield "even-kernel", case(TensorType(2, 5, 5, 4), 2, "binary", (2, 2), (1, 1), (1, 1))
    yield "one-output-pixel", case(TensorType(2, 3, 3, 4), 2, "binary", (3, 3), (1, 1), (0, 0))
    yield "all-pruned", case(TensorType(2, 3, 3, 4), 2, "binary", (3, 3), (1, 1), (1, 1), 1.0)


def _conv_cases() -> Iterator[tuple[str, Network]]:
    rng = np.random.default_rng(1)

    def case(
        source: TensorType, shape: tuple[int, ...], alphabet: str = "int8", stride: Any = (1, 1),
        pad: Any = (1, 1), groups: int = 1,
    ) -> Network:  # fmt: skip
        weight = _weights(rng, alphabet, shape)
        op = Conv2d("y", (INPUT,), weight, stride, pad, groups, Alphabet(alphabet))
        return _net(source, op)

    for alphabet in ALPHABETS:
        yield alphabet, case(TensorType(3, 3, 4, 5), (2, 3, 3, 3), alphabet)
    yield "depthwise", case(TensorType(4, 5, 4, 4), (4, 1, 3, 3), groups=4)
    yield (
        "depthwise-stride-2",
        case(TensorType(3, 5, 5, 4), (3, 1, 5, 5), "int3", (2, 2), (2, 2), 3),
    )
    yield "groups", case(TensorType(4, 3, 3, 4), (6, 2, 3, 3), groups=2)
    yield "depth-multiplier", case(TensorType(2, 3, 3, 4), (4, 1, 3, 3), groups=2)
    yield "1-D", case(TensorType(2, 1, 7, 8, True), (3, 2, 1, 3), pad=(0, 1))
    yield "1x1", case(TensorType(5, 2, 2, 8), (3, 5, 1, 1), pad=(0, 0))
    yield "stride-1x2", case(TensorType(2, 4, 6, 4), (2, 2, 3, 3), "int2", (1, 2))


def _linear_cases() -> Iterator[tuple[str, Network]]:
    rng = np.random.default_rng(2)
    for alphabet in ("binary", "int8", "pow2_3"):
        weight = _weights(rng, alphabet, (5, 13))
        op = Linear("y", (INPUT,), weight, Alphabet(alphabet))
        yield alphabet, _net(TensorType(13, 1, 1, 8, True), op)
    yield "one", _net(TensorType(1, 1, 1, 1), Linear("y", (INPUT,), np.array([[-128]])))


def _add_cases() -> Iterator[tuple[str, Network]]:
    source = TensorType(2, 3, 4, 4)
    yield "itself", _net(source, Add("y", (INPUT, INPUT)))
    wide = Requantize("a", (INPUT,), np.array([-900, 700]), np.array([5, -5]), 1, -5000, 5000)
    yield "other-width", _net(source, wide, Add("y", (INPUT, "a")))
    yield "other-order", _net(source, wide, Add("y", ("a", INPUT)))
    weight = np.array([[1, -1], [-1, -1]])
    conv = MuxConv2d("a", (INPUT,), np.array([[0, 4], [8, 2]]), weight, (3, 3), pad=(1, 1))
    yield "residual", _net(source, conv, Add("y", ("a", INPUT)))


def _pool_cases(op: type[MaxPool2d] | type[AvgPool2d]) -> Iterator[tuple[str, Network]]:
    yield "2x2", _net(TensorType(2, 4, 4, 4), op("y", (INPUT,), (2, 2), (2, 2)))
    yield "floor", _net(TensorType(2, 5, 7, 8), op("y", (INPUT,), (2, 3), (2, 2)))
    yield "overlap", _net(TensorType(1, 5, 5, 3, True), op("y", (INPUT,), (3, 3), (1, 2)))
    yield "1-D", _net(TensorType(3, 1, 6, 8, True), op("y", (INPUT,), (1, 2), (1, 2)))
    yield "gaps", _net(TensorType(1, 5, 5, 2), op("y", (INPUT,), (1, 1), (2, 2)))


def _global_cases(op: type[GlobalMaxPool] | type[GlobalAvgPool]) -> Iterator[tuple[str, Network]]:
    yield "unsigned", _net(TensorType(3, 3, 5, 4), op("y", (INPUT,)))
    yield "signed", _net(TensorType(3, 4, 2, 8, True), op("y", (INPUT,)))
    yield "one-pixel", _net(TensorType(3, 1, 1, 8), op("y", (INPUT,)))


def _flatten_cases() -> Iterator[tuple[str, Network]]:
    yield "image", _net(TensorType(3, 2, 4, 5, True), Flatten("y", (INPUT,)))
    yield "vector", _net(TensorType(6, 1, 1, 3), Flatten("y", (INPUT,)))


def _argmax_cases() -> Iterator[tuple[str, Network]]:
    yield "ties", _net(TensorType(6, 1, 1, 1), ArgMax("y", (INPUT,)))
    yield "signed", _net(TensorType(10, 1, 1, 7, True), ArgMax("y", (INPUT,)))
    yield "one", _net(TensorType(1, 1, 1, 4), ArgMax("y", (INPUT,)))


def _requantize_cases() -> Iterator[tuple[str, Network]]:
    def case(source: TensorType, m: int, b: int, shift: int, lo: int, hi: int) -> Network:
        multiplier = np.array([m, -m, 0])
        bias = np.array([b, -b, b])
        return _net(source, Requantize("y", (INPUT,), multiplier, bias, shift, lo, hi))

    source = TensorType(3, 2, 3, 8, True)
    yield "relu", case(source, 77, 512, 10, 0, 15)
    yield "signed", case(source, 77, 512, 10, -8, 7)
    yield "one-bit", case(source, 3, 1, 5, 0, 1)
    yield "sign-bit", case(source, 3, 1, 5, -1, 0)
    yield "no-shift", case(source, 1, -3, 0, -300, 300)
    yield "constant", case(source, 5, 0, 2, 9, 9)
    yield "narrow-clamp", case(source, 5, 0, 2, -3, 11)
    yield "32-bit-shift", case(source, 1 << 23, 1 << 22, 31, -128, 127)
    yield "wide-sum", case(source, 1 << 40, 1 << 39, 42, -128, 127)
    yield "longest-shift", case(source, (1 << 54) - 1, 0, 62, -128, 127)
    yield "32-bit-unsigned", case(source, 1 << 25, 0, 0, 0, (1 << 32) - 1)
    yield "32-bit-signed", case(source, 1 << 24, 0, 0, -(1 << 31), (1 << 31) - 1)
    yield "minus-one", case(source, 3, 1, 5, -1, -1)
    yield "lowest", case(source, 3, 1, 5, -(1 << 31), -(1 << 31))
    one_bit = case(source, 3, 1, 5, -1, -1).ops[0]
    reader = Conv2d("z", ("y",), np.array([[[[1]], [[-1]], [[1]]]]))
    yield "minus-one-read", _net(source, one_bit, reader, MaxPool2d("p", ("z",), (2, 2), (1, 1)))
    same = np.array([-8, -8, -8])
    yield "negative-powers", _net(source, Requantize("y", (INPUT,), same, same, 3, -300, 300))


def _lookup_cases() -> Iterator[tuple[str, Network]]:
    rng = np.random.default_rng(3)

    def look_up(name: str, x: str, t: TensorType, tables: int, lo: int, hi: int) -> Lookup:
        return Lookup(name, (x,), rng.integers(lo, hi + 1, (tables, 1 << t.bits)), t.lo)

    for bits in range(1, 9):
        for signed in (False, True):
            source = TensorType(3, 2, 3, bits, signed)
            label = f"{'s' if signed else 'u'}{bits}"
            yield label, _net(source, look_up("y", INPUT, source, 1, -7, 5))
    source = TensorType(5, 3, 4, 4, True)
    yield "by-channel", _net(source, look_up("y", INPUT, source, 5, 0, 255))
    yield (
        "one-channel",
        _net(TensorType(1, 3, 3, 2), look_up("y", INPUT, TensorType(1, 3, 3, 2), 1, 0, 3)),
    )
    yield "widest-entries", _net(source, look_up("y", INPUT, source, 1, -(1 << 15), (1 << 15) - 1))
    yield "minus-one", _net(source, look_up("y", INPUT, source, 1, -1, -1))
    yield (
        "twice",
        _net(source, look_up("a", INPUT, source, 1, -8, 7), look_up("y", "a", source, 1, 0, 9)),
    )
    # Zeros around the image are added behind the table, whatever it has for 0.
    conv = Conv2d("z", ("y",), np.ones((2, 5, 3, 3), np.int64), pad=(1, 1))
    yield "read-with-pad", _net(source, look_up("y", INPUT, source, 1, 3, 9), conv)
    half, zero = np.full(5, 3), np.full(5, -2)
    rider = Requantize("q", (INPUT,), half, zero, 1, -4, 3)
    narrow = TensorType(5, 3, 4, 3, True)
    yield "rides", _net(source, rider, look_up("y", "q", narrow, 1, -9, 9))
    yield "rides-by-channel", _net(source, rider, look_up("y", "q", narrow, 5, -9, 9))
    both = look_up("y", "q", narrow, 1, 0, 9), Add("z", ("y", "q"))
    yield "requantizer-read-twice", _net(source, rider, *both)
    weight = rng.integers(-2, 3, (5, 5, 3, 3))
    sums = Conv2d("c", (INPUT,), weight, pad=(1, 1)), replace(rider, inputs=("c",))
    yield "behind-a-sum", _net(source, *sums, look_up("y", "q", narrow, 5, -9, 9))
    pool = MaxPool2d("m", (INPUT,), (2, 2), (1, 1))
    yield "behind-a-pool", _net(source, pool, look_up("y", "m", source, 1, -9, 9))
    flat = Flatten("f", (INPUT,))
    yield "flattened", _net(source, flat, look_up("y", "f", source, 1, -9, 9))
    yield "flattened-by-value", _net(source, flat, look_up("y", "f", source, 60, -9, 9))


ROWS: dict[type[Op], Row] = {
    MuxConv2d: Row(_mux, _mux_cases),
    Conv2d: Row(_conv, _conv_cases),
    Linear: Row(_linear, _linear_cases),
    Add: Row(_add, _add_cases),
    MaxPool2d: Row(
        lambda op, inputs, types, c, p, q: max(_window(op, inputs, c, p, q)),
        lambda: _pool_cases(MaxPool2d),
    ),
    AvgPool2d: Row(
        lambda op, inputs, types, c, p, q: sum(_window(op, inputs, c, p, q)),
        lambda: _pool_cases(AvgPool2d),
    ),
    GlobalMaxPool: Row(
        lambda op, inputs, types, c, p, q: max(_channel(inputs, types, c)),
        lambda: _global_cases(GlobalMaxPool),
    ),
    GlobalAvgPool: Row(
        lambda op, inputs, types, c, p, q: sum(_channel(inputs, types, c)),
        lambda: _global_cases(GlobalAvgPool),
    ),
    Flatten: Row(_flatten, _flatten_cases),
    ArgMax: Row(_argmax, _argmax_cases),
    Requantize: Row(_requantize, _requantize_cases),
    Lookup: Row(_lookup, _lookup_cases),
}
"""One row per op."""
