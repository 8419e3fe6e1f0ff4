"""A chip's circuit: an accelerator with persistent faults, in a form that an executor can run.

Read-only stores are read the same in every frame, so their faults are other weights, taps,
multipliers, biases and tables. Faults of FIFOs and windows are edits of the tensors that pass
through them: a link with faulty memories is a tensor of its own, which an identity op yields for
the one reader. Registers overflow, and accumulators err, as those of the RTL.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

import numpy as np

from hwsim.accelerator import Fifo, Pipeline, Stage
from hwsim.accelerator.fields import decode_constants, decode_tables, decode_weights, weight_places
from hwsim.accelerator.kinds import Accumulator
from hwsim.accelerator.requantize import requantize_store
from hwsim.design.fields import ONES
from hwsim.design.roles import Role
from hwsim.errors import NetworkError
from hwsim.execute.circuit import Circuit, Edit, Register
from hwsim.faults.design import DesignFaults, MemoryFaults
from hwsim.faults.rings import fifo_ring, window_ring
from hwsim.network import (
    INPUT,
    Alphabet,
    Flatten,
    Lookup,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
    Weighted,
)


def faulty_circuit(faults: DesignFaults) -> Circuit | None:
    """The circuit of the accelerator: the network's tensors by their names, and links.

    None where errors come and go, where writes to accumulators fail, where weights are in no
    alphabet, and where faulty constants or weights need more bits than a network may have:
    ``FaultyExecutor`` evaluates these, too.
    """
    if any(_changing(memory) for memory in faults.memories.values()):
        return None
    try:
        return _Builder(faults).circuit()
    except NetworkError:
        return None


def _changing(memory: MemoryFaults) -> bool:
    """Whether no edit of a tensor and no register of a circuit is what the memory does.

    A register of a circuit errs where it is read back, not in what it ends up with.
    """
    by_role = memory.on_write and memory.memory.role is Role.ACCUMULATOR
    return memory.transient or memory.lasting or by_role


def faulty_network(faults: DesignFaults) -> Network | None:
    """The network that the accelerator computes, or None.

    None where there is no circuit, where memories that are written have faults, and where an
    accumulator or a requantizer of the accelerator could overflow.
    """
    circuit = faulty_circuit(faults)
    return circuit.network if circuit is not None and circuit.plain else None


def weighted_op(faults: DesignFaults, stage: Stage) -> Op:
    """The op of ``stage`` with its weights as read; NetworkError if no alphabet has them."""
    op = stage.weighted
    weight, tap = decode_weights(stage, faults.stored(stage.name, Role.WEIGHT))
    read: dict[str, Any] = {"weight": weight, "alphabet": _alphabet(op, weight)}
    return replace(op, **read if tap is None else {**read, "tap": tap})


def requantizer(faults: DesignFaults, stage: Stage) -> Requantize:
    """The requantizer of ``stage`` with its constants as read."""
    op = stage.requantizer
    multiplier, bias = decode_constants(stage, faults.stored(stage.name, Role.CONSTANTS))
    return replace(op, multiplier=multiplier, bias=bias)


def table(faults: DesignFaults, stage: Stage) -> Lookup:
    """The lookup of ``stage`` with a table for each channel, that of its lane, as read."""
    return replace(stage.table, table=decode_tables(stage, faults.stored(stage.name, Role.TABLE)))


def _alphabet(op: Weighted, weight: np.ndarray) -> Alphabet:
    """The op's own alphabet, or the narrowest one of integers, that holds ``weight``."""
    zero = isinstance(op, MuxConv2d)
    for name in (op.alphabet.name, *(f"int{bits}" for bits in range(2, 9))):
        if (alphabet := Alphabet(name)).contains(weight, zero=zero):
            return alphabet
    raise NetworkError("no alphabet has all weights", op=op.name)


class _Builder:
    def __init__(self, faults: DesignFaults) -> None:
        self.faults = faults
        self.pipeline: Pipeline = faults.pipeline
        self.network = self.pipeline.network
        self.ops: list[Op] = []
        self.edits: dict[str, tuple[Edit, ...]] = {}
        self.registers: dict[str, Register] = {}
        self.sum_bits: dict[str, int] = {}

    def circuit(self) -> Circuit:
        stages = {s.op.name: s for s in self.pipeline.stages if s.op is not None}
        owners = {op.name: s for s in self.pipeline.stages for op in s.ops}
        for op in self.network.ops:
            made = op
            if op.name in stages:
                made = self._head(stages[op.name])
            if isinstance(op, Requantize):
                made = self._requantizer(owners[op.name], made)
            elif isinstance(op, Lookup) and self.faults.of(owners[op.name].name, Role.TABLE):
                made = replace(table(self.faults, owners[op.name]), inputs=made.inputs)
            self.ops.append(made)
        self._link(self.pipeline.fifos[-1], self.network.output)
        return Circuit(
            replace(self.network, ops=self._used()),
            {name: t for name, t in self.network.types.items() if name != INPUT},
            self.edits,
            self.registers,
            self.sum_bits,
        )

    def _head(self, stage: Stage) -> Op:
        """What a stage begins with, reading what its FIFOs and its window pass on."""
        op = stage.op
        assert op is not None
        window = self.faults.of(stage.name, Role.WINDOW)
        if self.faults.of(stage.name, Role.WEIGHT) is not None:
            op = weighted_op(self.faults, stage)
        accumulator = self.faults.of(stage.name, Role.ACCUMULATOR)
        if accumulator is not None or (op is not stage.op and not self._fits(op)):
            self.registers[op.name] = _register(stage, accumulator)
        links = zip(self.pipeline.inputs_of(stage.name), op.inputs, strict=True)
        inputs = [
            self._link(fifo, name, (window_ring(window, stage),) if window and n == 0 else ())
            for n, (fifo, name) in enumerate(links)
        ]
        return replace(op, inputs=tuple(inputs))

    def _fits(self, op: Op) -> bool:
        """Whether the stage's registers hold all that ``op`` can yield."""
        types = self.network.types
        inner, outer = op.infer([types[name] for name in op.inputs]), types[op.name]
        return outer.lo <= inner.lo and inner.hi <= outer.hi

    def _requantizer(self, stage: Stage, made: Op) -> Op:
        """The requantizer of a stage, which is ``made`` where it is all of it."""
        if self.faults.of(stage.name, Role.CONSTANTS) is not None:
            made = replace(requantizer(self.faults, stage), inputs=made.inputs)
        store = requantize_store(stage)
        assert isinstance(made, Requantize)
        lo, hi = made.sum_range(stage.accumulator)
        limit = 1 << (store.sum_bits - 1)
        if not (-limit <= lo and hi < limit):
            self.sum_bits[made.name] = store.sum_bits
        return made

    # -- links -------------------------------------------------------------------------------------

    def _link(self, fifo: Fifo, tensor: str, behind: tuple[Edit, ...] = ()) -> str:
        """Name of what a reader of ``fifo`` gets of ``tensor``; behind: memories of its own."""
        edits = (*self._memories(fifo), *behind)
        if not edits:
            return tensor
        source = tensor
        while source != INPUT and isinstance(flatten := self.network[source], Flatten):
            source = flatten.inputs[0]
        link = self._new(fifo.name)
        t = fifo.stream.type
        self.ops.append(_identity(link, source, t))
        self.edits[link] = edits
        if not fifo.stream.flat:
            return link
        self.ops.append(Flatten(self._new(f"{fifo.name}_flat"), (link,)))
        return self.ops[-1].name

    def _memories(self, fifo: Fifo) -> tuple[Edit, ...]:
        """Faulty memories between the op that yields a tensor and the exit of ``fifo``."""
        found: list[Edit] = []
        stage = next((s for s in self.pipeline.stages if s.name == fifo.producer), None)
        if stage is not None and stage.op is None:
            (before,) = self.pipeline.inputs_of(stage.name)
            found += self._memories(before)
            window = self.faults.of(stage.name, Role.WINDOW)
            if window is not None:
                found.append(window_ring(window, stage))
        own = self.faults.fifo(fifo.name)
        if own is not None:
            found.append(fifo_ring(own, fifo))
        return tuple(found)

    def _new(self, name: str) -> str:
        taken = {op.name for op in (*self.network.ops, *self.ops)} | {INPUT}
        while name in taken:
            name += "_"
        return name

    def _used(self) -> tuple[Op, ...]:
        """The ops without the Flattens whose readers have links of their own now."""
        ops = self.ops
        while True:
            read = {name for op in ops for name in op.inputs} | {ops[-1].name}
            kept = [op for op in ops if op.name in read]
            if len(kept) == len(ops):
                return tuple(ops)
            ops = kept


def _identity(name: str, source: str, t: TensorType) -> Requantize:
    one, none = np.ones(t.channels, np.int64), np.zeros(t.channels, np.int64)
    return Requantize(name, (source,), one, none, 0, t.lo, t.hi)


def _register(stage: Stage, faulty: MemoryFaults | None) -> Register:
    """The accumulators of a stage; without faults, what overflows in them."""
    y = stage.accumulator
    keep, flip = np.full(y.channels, ONES), np.zeros(y.channels, np.int64)
    if faulty is not None:
        channel = np.arange(y.channels)
        word, lane = np.divmod(channel, stage.output.lanes)
        if stage.kind.accumulator is Accumulator.GROUP:
            word, lane = np.zeros_like(channel), channel % stage.fold.pe
        keep, flip = faulty.masks.keep[word, lane], faulty.masks.flip[word, lane]
    return Register(y, _steps(stage), keep, flip)


def _steps(stage: Stage) -> np.ndarray:
    """In which step of the stage each term of its op is taken: int64 [outputs, terms]."""
    match stage.kind.accumulator:
        case Accumulator.NONE:
            weight = stage.weighted.weight
            return np.zeros((len(weight), weight[0].size), np.int64)
        case Accumulator.GROUP:
            weight, place = stage.weighted.weight, weight_places(stage)
            step = np.empty(weight.size, np.int64)
            word = np.broadcast_to(np.arange(len(place)).reshape(-1, 1, 1, 1), place.shape)
            step[place[place >= 0]] = (word % stage.timing.steps)[place >= 0]
            return step.reshape(len(weight), -1)
        case Accumulator.FRAME:
            x = stage.inputs[0].type
            return np.broadcast_to(np.arange(x.height * x.width), (x.channels, x.height * x.width))
        case _:
            assert_never(stage.kind.accumulator)
