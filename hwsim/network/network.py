"""``Network``: a verified graph of integer ops with one input and one output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hwsim.errors import NetworkError
from hwsim.names import LINE_RULE, OP_RULE, is_line, is_op_name, printable
from hwsim.network.ops import Op
from hwsim.network.types import TensorType

INPUT = "input"
"""Name of the network's input tensor."""


@dataclass(frozen=True, eq=False)
class Network:
    """Ops in topological order; the last op yields the output.

    name: one line of text (``hwsim.names``). input: type of the input tensor, called ``input``.
    notes: plain JSON values that carry provenance or real scales, never used in arithmetic.
    Construction verifies the network and infers every type; raises NetworkError.
    """

    name: str
    input: TensorType
    ops: tuple[Op, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        verify(self)

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """Type of every tensor by name, in topological order, the input first."""
        types = {INPUT: self.input}
        for op in self.ops:
            try:
                types[op.name] = op.infer([types[name] for name in op.inputs])
            except NetworkError as error:
                raise error if error.op else NetworkError(str(error), op=op.name) from None
        return types

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.ops[-1].name

    @property
    def output_type(self) -> TensorType:
        return self.types[self.output]

    def consumers(self, tensor: str) -> list[Op]:
        """Ops that read ``tensor``, in order."""
        return [op for op in self.ops if tensor in op.inputs]

    def __getitem__(self, name: str) -> Op:
        for op in self.ops:
            if op.name == name:
                return op
        raise KeyError(name)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)


def _shown(name: object) -> str:
    return f"'{printable(name)}'" if isinstance(name, str) else type(name).__name__


def verify(network: Network) -> None:
    """Check structure and types; raises NetworkError naming the op and the rule it breaks."""
    if not is_line(network.name):
        raise NetworkError(f"a network's name must be {LINE_RULE}, not {_shown(network.name)}")
    if not network.ops:
        raise NetworkError("a network needs at least one op")
    seen = {INPUT}
    used: set[str] = set()
    for op in network.ops:
        if not is_op_name(op.name):
            raise NetworkError(f"op names must be {OP_RULE}, not {_shown(op.name)}")
        if op.name in seen:
            raise NetworkError("name is used twice", op=op.name)
        if len(op.inputs) != op.arity:
            raise NetworkError(f"takes {op.arity} input(s), not {len(op.inputs)}", op=op.name)
        for name in op.inputs:
            if name not in seen:
                raise NetworkError(f"reads '{name}', which no earlier op yields", op=op.name)
        used.update(op.inputs)
        seen.add(op.name)
    for op in network.ops[:-1]:
        if op.name not in used:
            raise NetworkError(
                "its result is never read (only the last op is the output)", op=op.name
            )
    if INPUT not in used:
        raise NetworkError("no op reads the input")
    _ = network.types
