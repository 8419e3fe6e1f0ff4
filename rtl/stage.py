"""Base of all stages: ports, output FIFO handshake, requantizer and lookup at a stage's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Module, Mux, Value, signed, unsigned
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out

from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.stage import Stage
from hwsim.accelerator.tables import table_store
from hwsim.design.roles import Role
from hwsim.rtl.control import StreamControl, WindowControl
from hwsim.rtl.fifo import credit_signature
from hwsim.rtl.memory import DesignMemory
from hwsim.rtl.util import Pipe, element, lanes_of, named
from hwsim.rtl.window import window_control_bits


class StageComponent(Component):
    """One stage of the pipeline.

    Members: ``i0`` (and ``i1``): input streams of whole beats; ``o0``, ``o1``...: one credit
    port per output FIFO, which all carry the same beats; ``busy``: a step starts in this cycle;
    ``blocked``: a step has its data but an output FIFO is full.

    ``probes``, filled at elaboration, holds for each tensor of the stage a strobe and the lane
    values of a beat, for tests to watch.

    A beat enters the output FIFOs ``stage.timing.latency`` cycles after its step's start; the
    component checks at elaboration that its datapath has just that many registers.

    Parameters: stage; outputs: output FIFOs, at least one; memories: of the design, by name.
    """

    def __init__(self, *, stage: Stage, outputs: int, memories: Mapping[str, DesignMemory]) -> None:
        if type(outputs) is not int or outputs < 1:
            raise ValueError(f"outputs must be an integer >= 1, not {outputs!r}")
        self._stage, self._outputs, self._memories = stage, outputs, memories
        members = {
            f"i{n}": In(stream.Signature(unsigned(x.bits))) for n, x in enumerate(stage.inputs)
        }
        for n in range(outputs):
            members[f"o{n}"] = Out(credit_signature(stage.output.bits))
        super().__init__({**members, "busy": Out(1), "blocked": Out(1)})

    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def outputs(self) -> int:
        return self._outputs

    @property
    def memories(self) -> Mapping[str, DesignMemory]:
        return self._memories

    def memory(self, role: Role) -> DesignMemory:
        """The stage's memory of that role."""
        return self._memories[role.memory(self._stage.name)]

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        """Values of the op for the step in flight; advances ``pipe``."""
        raise NotImplementedError

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stage = self._stage
        inputs = [getattr(self, f"i{n}") for n in range(len(stage.inputs))]
        outputs = [getattr(self, f"o{n}") for n in range(self._outputs)]
        if stage.timing.streaming:
            control = StreamControl(timing=stage.timing)
        else:
            control = WindowControl(timing=stage.timing)
        m.submodules.control = control
        valid = Cat(*(i.valid for i in inputs)).all()
        m.d.comb += [
            control.valid.eq(valid),
            control.room.eq(Cat(*(o.room for o in outputs)).all()),
            self.busy.eq(control.start),
            self.blocked.eq(control.blocked),
        ]
        for i in inputs:
            m.d.comb += i.ready.eq(control.ready & valid)
        pipe = Pipe(m, **self.control_bits(control))
        values = self.datapath(m, control, pipe)
        self.probes = {}
        head = None if stage.op in (stage.requantize, stage.lookup) else stage.op
        name = "x" if head is None else head.name
        shape = element(stage.accumulator)
        values = [named(m, f"{name}_{n}", v, shape) for n, v in enumerate(values)]
        if head is not None:
            self.probes[head.name] = (pipe["emit"], values)
        if stage.requantize is not None:
            values = requantize(m, stage, values, pipe, self.memory(Role.CONSTANTS))
            self.probes[stage.requantize.name] = (pipe["emit"], values)
        if stage.lookup is not None:
            values = look_up(m, stage, values, pipe, self.memory(Role.TABLE))
            self.probes[stage.lookup.name] = (pipe["emit"], values)
        if pipe.latency != stage.timing.latency:
            raise AssertionError(
                f"stage {stage.name}: datapath has {pipe.latency} registers, "
                f"its timing says {stage.timing.latency}"
            )
        shape = element(stage.output.type)
        data = Cat(*(named(m, f"o_{n}", v, shape) for n, v in enumerate(values)))
        for o in outputs:
            m.d.comb += [
                o.reserve.eq(control.emit),
                o.write.eq(pipe["emit"]),
                o.data.eq(data),
            ]
        return m

    def control_bits(self, control: Component) -> dict[str, Value]:
        """Control signals that travel with the data."""
        names = ("start", "emit", "first", "last", "n", "group", "address", "first_pixel", "pixel")
        bits: dict[str, Value] = {name: getattr(control, name) for name in names}
        return bits | (window_control_bits(control) if isinstance(control, WindowControl) else {})

    def lanes(self, beat: Value, n: int = 0) -> list[Value]:
        """Lanes of a beat of input ``n``."""
        x = self._stage.inputs[n]
        return lanes_of(beat, x.lanes, element(x.type))


def requantize(
    m: Module, stage: Stage, values: Sequence[Value], pipe: Pipe, memory: DesignMemory
) -> list[Value]:
    """``clamp((x * multiplier + bias) >> shift, lo, hi)`` on each lane.

    memory: of the constants. Those of the beat's channels are read while the last register before
    the requantizer is filled. Two cycles, three when there is a multiplication.
    """
    store, op = requantize_store(stage), stage.requantizer
    word = memory.look_up(m, pipe, store.index, "emit", pipe.latency)
    multipliers, biases = [], []
    for n in range(stage.output.lanes):
        at = n * (store.multiplier_bits + store.bias_bits)
        part = word[at : at + store.multiplier_bits + store.bias_bits]
        if store.multiplier_bits:
            multipliers.append(part[: store.multiplier_bits].as_signed())
        biases.append(part[store.multiplier_bits :].as_signed())
    total = signed(store.sum_bits)
    if store.multiplier_bits:
        products = [
            named(m, f"scaled_{n}", x * k, total)
            for n, (x, k) in enumerate(zip(values, multipliers, strict=True))
        ]
        held = pipe.register([*products, *biases], "scaled_r")
        values, biases = held[: len(products)], held[len(products) :]
    sums = [
        named(m, f"sum_{n}", x + b, total)
        for n, (x, b) in enumerate(zip(values, biases, strict=True))
    ]
    out = []
    for n, x in enumerate(pipe.register([x >> op.shift for x in sums], "shifted")):
        low = Mux(x < op.lo, op.lo, x)
        out.append(named(m, f"clamped_{n}", Mux(x > op.hi, op.hi, low)))
    return pipe.register(out, f"{op.name}_r")


def look_up(
    m: Module, stage: Stage, values: Sequence[Value], pipe: Pipe, memory: DesignMemory
) -> list[Value]:
    """The table's entry for each lane, one register on; memory: of the tables."""
    store, x, y = table_store(stage), stage.requantized, stage.output.type
    beat = [pipe[store.index]] if store.index else []
    addresses = []
    for n, value in enumerate(values):
        index = named(m, f"entry_{n}", value, element(x))
        # The lowest value of a signed type is entry 0.
        bits = Cat(index[:-1], ~index[-1]) if x.signed else index
        addresses.append(Cat(bits, *beat))
    words = memory.look_up_parts(m, pipe, addresses, "emit")
    return [word.as_signed() if y.signed else word for word in words]
