"""A network as a list of steps: which ops are fused, where tensors lie, what each kernel gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwsim.execute import kernels
from hwsim.execute.chains import Chain, make_chains
from hwsim.execute.circuit import Change, Circuit
from hwsim.execute.layout import Layout, fits_32, storage_for
from hwsim.execute.terms import TERMS, make_held_sum, make_sum, window
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    Flatten,
    GlobalMaxPool,
    Lookup,
    MaxPool2d,
    Op,
    Requantize,
)

Buffers = dict[str, np.ndarray]
"""Flat buffer of each tensor by name."""


@dataclass(frozen=True)
class Step:
    """Writes the tensor ``output`` from the tensors ``inputs``."""

    inputs: tuple[str, ...]
    output: str
    run: Callable[[Buffers], None]


@dataclass(frozen=True)
class ExecutionPlan:
    """Steps in order, and the layout of every tensor that is written, the input's first.

    changes: of tensors by name, to be made once they are written.
    """

    steps: tuple[Step, ...]
    layouts: dict[str, Layout]
    changes: dict[str, tuple[Change, ...]]

    def allocate(self) -> Buffers:
        """Buffers for one block of images; tensors share one when their lives do not overlap.

        Only tensors of one layout share: the zeros around them are written once, here.
        """
        last = {name: n for n, step in enumerate(self.steps) for name in step.inputs}
        spare: dict[Layout, list[np.ndarray]] = {}
        buffers = {INPUT: self.layouts[INPUT].allocate()}
        for n, step in enumerate(self.steps):
            layout = self.layouts[step.output]
            free = spare.get(layout)
            buffers[step.output] = free.pop() if free else layout.allocate()
            for name in set(step.inputs):
                if last[name] == n and name != INPUT:
                    spare.setdefault(self.layouts[name], []).append(buffers[name])
        return buffers


def make_plan(circuit: Circuit, *, fuse: bool) -> ExecutionPlan:
    """The plan for ``circuit``.

    fuse: a sum takes the requantizers and the addition behind it along (see Chain), so that what
    lies between never reaches memory; without it every tensor of the network is written.
    """
    chains = make_chains(circuit, fuse=fuse)
    written = [INPUT, *(chain.output for chain in chains)]
    layouts = {name: _layout(circuit, name) for name in written}
    changes = {
        name: tuple(edit.bind(layouts[name]) for edit in edits)
        for name, edits in circuit.edits.items()
    }
    return ExecutionPlan(
        tuple(_step(circuit, chain, layouts) for chain in chains), layouts, changes
    )


def _layout(circuit: Circuit, name: str) -> Layout:
    readers = circuit.network.consumers(name)
    pads = [getattr(op, "pad", (0, 0)) for op in readers] or [(0, 0)]
    strides = [getattr(op, "stride", (1, 1))[1] for op in readers] or [1]
    t = circuit.types[name]
    pad = max(y for y, _ in pads), max(x for _, x in pads)
    return Layout(t, storage_for(t.lo, t.hi), pad, max(strides))


# -- steps -----------------------------------------------------------------------------------------


def _step(circuit: Circuit, chain: Chain, layouts: dict[str, Layout]) -> Step:
    op = chain.head
    if type(op) in TERMS or op.name in circuit.registers:
        return _sum_step(circuit, chain, layouts)
    names = (*op.inputs, op.name)
    run = _MAKE[type(op)](op, *(layouts[name] for name in names))
    return Step(op.inputs, op.name, lambda buffers: run(*(buffers[name] for name in names)))


def _sum_step(circuit: Circuit, chain: Chain, layouts: dict[str, Layout]) -> Step:
    """A sum and the ops fused behind it."""
    head, other, output = chain.head, chain.other, chain.output
    (source,) = head.inputs
    x, y = layouts[source], layouts[output]
    z = layouts[other] if other else y
    summed = x.type if isinstance(head, Requantize) else circuit.types[head.name]
    register = circuit.registers.get(head.name)
    call = make_held_sum(head, x, register) if register else make_sum(head, x, summed.lo, summed.hi)
    form = kernels.ADD if chain.add else kernels.NARROW
    narrow = circuit.is_narrow(chain.first) if chain.first else fits_32(summed.lo, summed.hi)
    if not chain.add and not narrow:
        form = kernels.WIDE
    requantizers = chain.first, chain.inner, chain.last
    scale, limits = _scales(circuit, requantizers, y.type.channels, form)
    size, step = y.type.shape, _strides(head, x)
    at = (y.first, y.channel, y.row), (z.first, z.channel, z.row)

    def run(buffers: Buffers) -> None:
        call.kernel(
            buffers[source], call.first, call.offset, call.weight, call.start, size, step,
            form, scale, limits, buffers[other] if other else _NOTHING, buffers[output], at,
        )  # fmt: skip

    return Step((source, other) if other else (source,), output, run)


_NOTHING = np.zeros(0, np.int8)


def _strides(op: Op, x: Layout) -> tuple[int, int]:
    """Elements from one output row, and column, of ``op`` to the next."""
    vertical, horizontal = getattr(op, "stride", (1, 1))
    return vertical * x.row, horizontal * kernels.LANES


def _scales(
    circuit: Circuit, requantizers: tuple[Requantize | None, ...], channels: int, form: int
) -> tuple[np.ndarray, np.ndarray]:
    """Arguments ``scale`` and ``limits`` of kernels._finish; what is absent changes nothing."""
    bits = 64 if form == kernels.WIDE else 32
    scale = np.zeros((channels, len(requantizers), 2), np.int64)
    limits = np.zeros((len(requantizers), 4), np.int64)
    for n, op in enumerate(requantizers):
        if op is None:
            scale[:, n, 0] = 1
            limits[n] = 0, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, 0
        else:
            scale[:, n, 0], scale[:, n, 1] = op.multiplier, op.bias
            up = bits - circuit.sum_bits.get(op.name, bits)
            # All bits from the last on are copies of the sign, so a longer shift changes nothing.
            limits[n] = min(op.shift + up, bits - 1), op.lo, op.hi, up
    return scale, limits


def _maximum(op: Op, x: Layout, y: Layout) -> Callable[..., None]:
    offset = window(op, x)[0][0].astype(np.uintp)
    size, step, at = y.type.shape, _strides(op, x), (y.first, y.channel, y.row)
    return lambda a, out: kernels.maximum(a, offset, size, step, x.channel, out, at)


def _add(op: Op, x0: Layout, x1: Layout, y: Layout) -> Callable[..., None]:
    def run(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        np.add(x0.inside(a), x1.inside(b), out=y.inside(out), dtype=y.dtype, casting="unsafe")

    return run


def _flatten(op: Op, x: Layout, y: Layout) -> Callable[..., None]:
    def run(a: np.ndarray, out: np.ndarray) -> None:
        y.inside(out)[:] = x.inside(a).reshape(y.type.channels, 1, 1, -1)

    return run


def _argmax(op: Op, x: Layout, y: Layout) -> Callable[..., None]:
    def run(a: np.ndarray, out: np.ndarray) -> None:
        y.inside(out)[0] = x.inside(a).argmax(axis=0)

    return run


def _lookup(op: Lookup, x: Layout, y: Layout) -> Callable[..., None]:
    table, size = op.table.astype(y.dtype), y.type.shape
    at = (x.first, x.channel, x.row), (y.first, y.channel, y.row)
    return lambda a, out: kernels.look_up(a, table, op.lo, size, out, at)


_MAKE: dict[type[Op], Callable[..., Callable[..., None]]] = {
    MaxPool2d: _maximum,
    GlobalMaxPool: _maximum,
    Add: _add,
    Flatten: _flatten,
    ArgMax: _argmax,
    Lookup: _lookup,
}
"""Ops that do not sum."""
