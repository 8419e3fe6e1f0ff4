"""Every summing op as a list of (offset, weight) terms, and the kernel that suits the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.cells import failing_cells
from hwsim.execute import kernels
from hwsim.execute.circuit import Register
from hwsim.execute.layout import Layout, storage_for
from hwsim.network import (
    AvgPool2d,
    Conv2d,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MuxConv2d,
    Op,
    Requantize,
)

Terms = tuple[np.ndarray, np.ndarray]
"""Offsets into the input's buffer and weights, both int64 [outputs, terms]."""


def _mux(op: MuxConv2d, x: Layout) -> Terms:
    dy, dx = np.divmod(op.tap, op.kernel[1])
    return x.offset(np.arange(op.weight.shape[1]), dy, dx, op.pad), op.weight


def _conv(op: Conv2d, x: Layout) -> Terms:
    outputs, per_group = op.weight.shape[:2]
    o, i, dy, dx = np.indices(op.weight.shape)
    channel = o // (outputs // op.groups) * per_group + i
    offset = x.offset(channel, dy, dx, op.pad)
    return offset.reshape(outputs, -1), op.weight.reshape(outputs, -1)


def _linear(op: Linear, x: Layout) -> Terms:
    offset = x.offset(np.arange(op.weight.shape[1]), 0, 0)
    return np.broadcast_to(offset, op.weight.shape), op.weight


def window(op: Op, x: Layout) -> Terms:
    """All pixels of a window, of a whole channel, or the one pixel, each with weight 1."""
    size = getattr(op, "kernel", (1, 1))
    if isinstance(op, (GlobalAvgPool, GlobalMaxPool)):
        size = (x.type.height, x.type.width)
    channel, dy, dx = np.indices((x.type.channels, *size))
    offset = x.offset(channel, dy, dx).reshape(x.type.channels, -1)
    return offset, np.ones_like(offset)


TERMS: dict[type[Op], Callable[..., Terms]] = {
    MuxConv2d: _mux,
    Conv2d: _conv,
    Linear: _linear,
    AvgPool2d: window,
    GlobalAvgPool: window,
    Requantize: window,
}
"""Ops that sum; a Requantize that stands alone reads its input as a sum of one term."""


@dataclass(frozen=True)
class Sum:
    """A summing kernel and its first arguments; see ``kernels.weighted_sum``."""

    kernel: Callable[..., None]
    first: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    start: np.ndarray


def make_sum(op: Op, x: Layout, lo: int, hi: int) -> Sum:
    """The sum ``op`` over a tensor laid out as ``x``, whose results are ``lo..hi``.

    Terms of weight 0 are dropped. The accumulator is the narrowest type that holds the results
    and is wider than an element, so that eight elements at a time can be widened into it.
    """
    offset, weight = TERMS[type(op)](op, x)
    keep = weight != 0
    first = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    accumulator = storage_for(min(lo, x.type.lo), max(hi, x.type.hi))
    accumulator = max(accumulator, _WIDER[x.dtype], key=_itemsize)
    offset = offset[keep].astype(np.uintp)
    if x.dtype is np.int8 and np.isin(weight, (-1, 0, 1)).all() and _sums_fit(x, 1, np.int8):
        negative = (weight < 0).sum(axis=1).astype(accumulator)
        masks = np.where(weight < 0, -1, 0)[keep].astype(np.int8)
        return Sum(kernels.signed_sum, first, offset, masks, negative)
    largest = int(np.abs(weight).max(initial=0))
    narrow = x.dtype is np.int8 and _sums_fit(x, largest, np.int16)
    weights = weight[keep].astype(np.int16 if narrow else accumulator)
    return Sum(kernels.weighted_sum, first, offset, weights, np.zeros(len(weight), accumulator))


def make_held_sum(op: Op, x: Layout, register: Register) -> Sum:
    """The sum, or the maximum, ``op`` in ``register`` over a tensor laid out as ``x``."""
    offset, weight = TERMS.get(type(op), window)(op, x)
    steps = int(register.step.max()) + 1
    outputs = np.arange(len(weight))[:, np.newaxis]
    order = np.argsort(register.step, axis=1, kind="stable")
    offset, weight, step = (each[outputs, order] for each in (offset, weight, register.step))
    keep = weight != 0
    first = np.zeros(len(weight) * steps + 1, np.int64)
    np.add.at(first[1:], (outputs * steps + step)[keep], 1)
    first = np.cumsum(first)
    t, masks = register.type, (register.keep, register.flip)
    maximum = isinstance(op, GlobalMaxPool)
    accumulator: Any = max(storage_for(t.lo, t.hi), np.int32, key=_itemsize)
    start: np.ndarray = np.full(len(weight), t.lo if maximum else 0, accumulator)
    changed = failing_cells(register.keep, register.flip) != 0
    held = (steps, maximum, *masks, changed, 64 - t.bits, t.signed)
    return Sum(
        lambda *arguments: kernels.held_sum(held, *arguments),
        first,
        offset[keep].astype(np.uintp),
        weight[keep].astype(accumulator),
        start,
    )


_WIDER: dict[Any, Any] = {
    np.int8: np.int16,
    np.int16: np.int32,
    np.int32: np.int32,
    np.int64: np.int64,
}
"""Narrowest accumulator for elements of a type."""


def _itemsize(dtype: Any) -> int:
    return np.dtype(dtype).itemsize


def _sums_fit(x: Layout, weight: int, dtype: Any) -> bool:
    """True when a group of x or ~x times weights up to ``weight`` fits ``dtype``."""
    largest = kernels.GROUP * weight * max(-x.type.lo, x.type.hi + 1)
    return largest <= -int(np.iinfo(dtype).min)
