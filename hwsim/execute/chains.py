"""Ops of a network that are computed together, so that values between them stay in registers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.execute.circuit import Circuit
from hwsim.execute.layout import fits_32, storage_for
from hwsim.execute.terms import TERMS
from hwsim.network import INPUT, Add, Op, Requantize


@dataclass(frozen=True)
class Chain:
    """Ops of one step: ``last(first(head) + inner(other))``; all except ``head`` are optional.

    head: any op; other ops follow only a head that is in TERMS or has a register. first,
    inner, last: the requantizers; a Requantize at the head is its own ``first``. add, other: the
    addition and the name of the tensor that is added.
    """

    head: Op
    first: Requantize | None = None
    add: Add | None = None
    other: str = ""
    inner: Requantize | None = None
    last: Requantize | None = None

    @property
    def ops(self) -> list[Op]:
        """The ops of the chain, the one that yields the result last."""
        ops = (self.head, self.inner, self.first, self.add, self.last)
        return list(dict.fromkeys(op for op in ops if op is not None))

    @property
    def output(self) -> str:
        return self.ops[-1].name


def make_chains(circuit: Circuit, *, fuse: bool) -> list[Chain]:
    """Chains in an order in which they can run; every op of the network is in exactly one."""
    network = circuit.network
    chains: list[Chain] = []
    taken: set[str] = set()
    # Real sums first: they gain most, and a requantizer on a shortcut is then left to them.
    for op in sorted(network.ops, key=lambda op: isinstance(op, Requantize)):
        if op.name not in taken:
            chain = _grow(circuit, op, taken) if fuse else _alone(op)
            chains.append(chain)
            taken.update(link.name for link in chain.ops)
    position = {op.name: n for n, op in enumerate(network.ops)}
    return sorted(chains, key=lambda chain: position[chain.output])


def _alone(op: Op) -> Chain:
    return Chain(op, first=op if isinstance(op, Requantize) else None)


def _grow(circuit: Circuit, head: Op, taken: set[str]) -> Chain:
    chain = _alone(head)
    if type(head) not in TERMS and head.name not in circuit.registers:
        return chain
    types = circuit.types
    tensor = head.name
    reader = circuit.only_reader(tensor)
    if chain.first is None and isinstance(reader, Requantize):
        chain = Chain(head, reader)
        tensor = reader.name
        reader = circuit.only_reader(tensor)
    if not isinstance(reader, Add) or reader.name in taken or len(set(reader.inputs)) == 1:
        return chain
    first = chain.first
    narrow = first is None or circuit.is_narrow(first)
    other, inner = _other(circuit, reader, tensor, taken)
    types_in = [types[name] for name in (reader.name, tensor, other)]
    narrow = narrow and all(fits_32(t.lo, t.hi) for t in types_in)
    if not narrow or storage_for(types[other].lo, types[other].hi) is not np.int8:
        return chain
    last = circuit.only_reader(reader.name)
    if not isinstance(last, Requantize) or not circuit.is_narrow(last):
        last = None
    return Chain(head, first, reader, other, inner, last)


def _other(
    circuit: Circuit, add: Add, tensor: str, taken: set[str]
) -> tuple[str, Requantize | None]:
    """The tensor to add to ``tensor``, and the requantizer to apply to it on the way.

    A requantizer is included if its input is in memory in any case.
    """
    other = add.inputs[1] if add.inputs[0] == tensor else add.inputs[0]
    if other == INPUT:
        return other, None
    op = circuit.network[other]
    if not isinstance(op, Requantize) or other in taken or circuit.only_reader(other) is None:
        return other, None
    source = op.inputs[0]
    t = circuit.types[source]
    stored = source == INPUT or circuit.only_reader(source) is None
    if stored and circuit.is_narrow(op) and storage_for(t.lo, t.hi) is np.int8:
        return source, op
    return other, None
