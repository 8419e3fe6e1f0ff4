"""The meaning of every op: slow, obvious NumPy on int64. Everything else is checked against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import NetworkError
from hwsim.network import ops
from hwsim.network.network import INPUT, Network


def check_input(network: Network, x: np.ndarray) -> np.ndarray:
    """Return ``x`` as an integer array [images, channels, height, width] of its own type.

    A single image without the leading axis is accepted and gains this axis. Raises NetworkError if
    shape, type or range is not the network's.
    """
    array = np.asarray(x)
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.ndim != 4 or array.shape[1:] != network.input.shape:
        raise NetworkError(
            f"input must be [images, {', '.join(map(str, network.input.shape))}], "
            f"not {list(array.shape)}"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"input must hold integers, not {array.dtype}")
    if array.size and (array.min() < network.input.lo or array.max() > network.input.hi):
        raise NetworkError(
            f"input values must be {network.input.lo}..{network.input.hi}, "
            f"not {array.min()}..{array.max()}"
        )
    return array


def evaluate(network: Network, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of the network for the images ``x`` [images, channels, height, width].

    Returns name -> int64 [images, channels, height, width], the input included. Raises
    NetworkError if ``x`` has another shape, no integers, or values out of the input range.
    """
    tensors = {INPUT: check_input(network, x).astype(np.int64)}
    for op in network.ops:
        tensors[op.name] = MEANING[type(op)](op, *(tensors[name] for name in op.inputs))
    return tensors


def _window(
    x: np.ndarray, dy: int, dx: int, stride: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Every ``stride``-th pixel of ``x`` [..., H, W] from (dy, dx): [..., *size]."""
    return x[
        ...,
        dy : dy + stride[0] * (size[0] - 1) + 1 : stride[0],
        dx : dx + stride[1] * (size[1] - 1) + 1 : stride[1],
    ]


def _padded(x: np.ndarray, pad: tuple[int, int]) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])))


def _size(x: np.ndarray, op: ops.MuxConv2d | ops.Conv2d | ops._Pool2d) -> tuple[int, int]:
    pad = getattr(op, "pad", (0, 0))
    return (
        ops.window_size(x.shape[2], op.kernel[0], op.stride[0], pad[0]),
        ops.window_size(x.shape[3], op.kernel[1], op.stride[1], pad[1]),
    )


def _mux_conv(op: ops.MuxConv2d, x: np.ndarray) -> np.ndarray:
    size, padded = _size(x, op), _padded(x, op.pad)
    acc = np.zeros((len(x), len(op.weight), *size), np.int64)
    for o, i in np.ndindex(*op.weight.shape):
        dy, dx = divmod(int(op.tap[o, i]), op.kernel[1])
        acc[:, o] += op.weight[o, i] * _window(padded[:, i], dy, dx, op.stride, size)
    return acc


def _conv(op: ops.Conv2d, x: np.ndarray) -> np.ndarray:
    size, padded = _size(x, op), _padded(x, op.pad)
    outputs, per_group = op.weight.shape[:2]
    acc = np.zeros((len(x), outputs, *size), np.int64)
    for o in range(outputs):
        first = o // (outputs // op.groups) * per_group
        for i, dy, dx in np.ndindex(*op.weight.shape[1:]):
            acc[:, o] += op.weight[o, i, dy, dx] * _window(
                padded[:, first + i], dy, dx, op.stride, size
            )
    return acc


def _linear(op: ops.Linear, x: np.ndarray) -> np.ndarray:
    return (x[:, :, 0, 0] @ op.weight.T)[:, :, np.newaxis, np.newaxis]


def _pool(op: ops._Pool2d, x: np.ndarray) -> list[np.ndarray]:
    size = _size(x, op)
    return [_window(x, dy, dx, op.stride, size) for dy, dx in np.ndindex(*op.kernel)]


def _requantize(op: ops.Requantize, x: np.ndarray) -> np.ndarray:
    m, b = op.multiplier[:, np.newaxis, np.newaxis], op.bias[:, np.newaxis, np.newaxis]
    return np.clip((x * m + b) >> op.shift, op.lo, op.hi)


def _lookup(op: ops.Lookup, x: np.ndarray) -> np.ndarray:
    table = np.broadcast_to(op.table, (x.shape[1], op.table.shape[1]))
    return np.stack([table[c, x[:, c] - op.lo] for c in range(x.shape[1])], axis=1)


MEANING: dict[type[ops.Op], Callable[..., np.ndarray]] = {
    ops.MuxConv2d: _mux_conv,
    ops.Conv2d: _conv,
    ops.Linear: _linear,
    ops.Add: lambda op, a, b: a + b,
    ops.MaxPool2d: lambda op, x: np.maximum.reduce(_pool(op, x)),
    ops.AvgPool2d: lambda op, x: np.add.reduce(_pool(op, x)),
    ops.GlobalMaxPool: lambda op, x: x.max(axis=(2, 3), keepdims=True),
    ops.GlobalAvgPool: lambda op, x: x.sum(axis=(2, 3), keepdims=True),
    ops.Flatten: lambda op, x: x.reshape(len(x), -1, 1, 1),
    ops.ArgMax: lambda op, x: x.argmax(axis=1)[:, np.newaxis],
    ops.Requantize: _requantize,
    ops.Lookup: _lookup,
}
"""One entry per op."""
