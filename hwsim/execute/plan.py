"""A network as a list of steps: which ops are fused, where tensors lie, what each kernel gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwsim.execute import kernels
from hwsim.execute.layout import Layout, storage_for
from hwsim.execute.terms import TERMS, make_sum, window
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    Flatten,
    GlobalMaxPool,
    MaxPool2d,
    Network,
    Op,
    Requantize,
    TensorType,
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
class Plan:
    """Steps in order, and the layout of every tensor that is written, the input's first."""

    steps: tuple[Step, ...]
    layouts: dict[str, Layout]

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


def make_plan(network: Network, *, fuse: bool) -> Plan:
    """Plan for ``network``.

    fuse: a sum takes the requantizers and one addition behind it along, so that tensors between
    them never reach memory; without it every tensor of the network is written.
    """
    chains = _chains(network, fuse)
    written = [INPUT, *(chain[-1].name for chain in chains)]
    layouts = {name: _layout(network, name) for name in written}
    return Plan(tuple(_step(network, chain, layouts) for chain in chains), layouts)


def _layout(network: Network, name: str) -> Layout:
    readers = network.consumers(name)
    pads = [getattr(op, "pad", (0, 0)) for op in readers] or [(0, 0)]
    strides = [getattr(op, "stride", (1, 1))[1] for op in readers] or [1]
    t = network.types[name]
    pad = max(y for y, _ in pads), max(x for _, x in pads)
    return Layout(t, storage_for(t.lo, t.hi), pad, max(strides))


# -- fusion ----------------------------------------------------------------------------------------


def _chains(network: Network, fuse: bool) -> list[list[Op]]:
    """The ops of each step, steps in the order of their last ops."""
    chains: list[list[Op]] = []
    taken: set[str] = set()
    for op in network.ops:
        if op.name in taken:
            continue
        chain = [op]
        while fuse and (follower := _follower(network, chain)) and follower.name not in taken:
            chain.append(follower)
            taken.add(follower.name)
        chains.append(chain)
    position = {op.name: n for n, op in enumerate(network.ops)}
    return sorted(chains, key=lambda chain: position[chain[-1].name])


def _follower(network: Network, chain: list[Op]) -> Op | None:
    """The op that can be fused behind ``chain``, or None."""
    tensor = chain[-1].name
    readers = network.consumers(tensor)
    if type(chain[0]) not in TERMS or len(readers) != 1:
        return None
    (op,) = readers
    if isinstance(op, Requantize):
        return op
    if isinstance(op, Add) and not any(isinstance(link, Add) for link in chain):
        t = network.types[_other(op, tensor)]
        if op.inputs.count(tensor) == 1 and storage_for(t.lo, t.hi) is np.int8:
            return op
    return None


def _other(op: Add, tensor: str) -> str:
    """The input of ``op`` that is not ``tensor``."""
    return op.inputs[1] if op.inputs[0] == tensor else op.inputs[0]


# -- steps -----------------------------------------------------------------------------------------


def _step(network: Network, chain: list[Op], layouts: dict[str, Layout]) -> Step:
    op, output = chain[0], chain[-1].name
    if type(op) in TERMS:
        return _sum_step(network, chain, layouts)
    ins = [layouts[name] for name in op.inputs]
    run = _MAKE[type(op)](op, *ins, layouts[output])
    return Step(op.inputs, output, lambda buffers: run(*(buffers[n] for n in (*op.inputs, output))))


def _sum_step(network: Network, chain: list[Op], layouts: dict[str, Layout]) -> Step:
    """A sum with the ops fused behind it; a Requantize in front belongs to the latter."""
    head = chain[0]
    source, output = head.inputs[0], chain[-1].name
    x, y = layouts[source], layouts[output]
    alone = isinstance(head, Requantize)
    links, summed = (chain, x.type) if alone else (chain[1:], network.types[head.name])
    names = [link.inputs for link in links if isinstance(link, Add)]
    others = [name for pair in names for name in pair if name in layouts]
    inner = [summed, *(network.types[link.name] for link in links)]
    program, scale = _program(links, inner)
    z = layouts[others[0]] if others else y
    call = make_sum(head, x, summed.lo, summed.hi)
    size, step = y.type.shape, _strides(head, x)
    at = (y.first, y.channel, y.row), (z.first, z.channel, z.row)

    def run(buffers: Buffers) -> None:
        other = buffers[others[0]] if others else _NOTHING
        call.kernel(
            buffers[source], call.first, call.offset, call.weight, call.start,
            size, step, program, scale, other, buffers[output], at,
        )  # fmt: skip

    return Step((source, *others), output, run)


_NOTHING = np.zeros(0, np.int8)


def _strides(op: Op, x: Layout) -> tuple[int, int]:
    """Elements from one output row, and column, of ``op`` to the next."""
    vertical, horizontal = getattr(op, "stride", (1, 1))
    return vertical * x.row, horizontal * kernels.LANES


def _program(links: list[Op], types: list[TensorType]) -> tuple[np.ndarray, np.ndarray]:
    """Arguments ``program`` and ``scale`` of kernels._finish; types[n] is the input of links[n]."""
    wide = any(storage_for(t.lo, t.hi) is np.int64 for t in types)
    program, scale = [], []
    for op, t in zip(links, types, strict=False):
        if not isinstance(op, Requantize):
            program.append((kernels.ADD, 0, 0, 0))
            continue
        scale.append((op.multiplier, op.bias))
        narrow = not wide and storage_for(*op.sum_range(t)) is not np.int64
        if narrow:  # all bits above the 31st are copies of the sign
            program.append((kernels.REQUANTIZE_32, min(op.shift, 31), op.lo, op.hi))
        else:
            program.append((kernels.REQUANTIZE_64, op.shift, op.lo, op.hi))
    channels = types[0].channels
    return (
        np.array(program, np.int64 if wide else np.int32).reshape(-1, 4),
        np.array(scale, np.int64).reshape(-1, 2, channels),
    )


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


_MAKE: dict[type[Op], Callable[..., Callable[..., None]]] = {
    MaxPool2d: _maximum,
    GlobalMaxPool: _maximum,
    Add: _add,
    Flatten: _flatten,
    ArgMax: _argmax,
}
"""Ops that do not sum."""
