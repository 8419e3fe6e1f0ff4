"""Multiply-accumulate stages: the multiplexer array, and its dense and depthwise relatives."""

from __future__ import annotations

from operator import add

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component

from hwsim.accelerator.timing import WEIGHT_READ
from hwsim.accelerator.weights import WeightStore, weight_store
from hwsim.design.roles import Role, Style
from hwsim.network import MuxConv2d
from hwsim.network.codes import WeightCode
from hwsim.rtl.memory import DesignMemory
from hwsim.rtl.stage import StageComponent
from hwsim.rtl.util import Pipe, element, named
from hwsim.rtl.window import window_taps


def multiply(x: Value, code: Value, encoding: WeightCode) -> Value:
    """``x`` times the weight that ``code`` stands for."""
    if encoding.kind == "int":
        return x * code.as_signed()
    size = x
    if encoding.exponent_bits:
        size = x << code[1 : 1 + encoding.exponent_bits]
    product = Mux(code[0], -size, size)
    return Mux(code[encoding.bits - 1], 0, product) if encoding.zero else product


def multiply_constant(x: Value, weight: int) -> Value:
    """``x`` times a weight that is fixed in the fabric: wiring and at most a negation."""
    if weight == 0:
        return Const(0)
    size = abs(weight)
    if size & (size - 1) == 0:
        shifted = x << (size.bit_length() - 1) if size > 1 else x
        return -shifted if weight < 0 else shifted
    return x * Const(weight)


class _Weights:
    """Where a step's taps and weights come from: on-chip memory, or constants in the fabric."""

    def __init__(
        self, m: Module, store: WeightStore, memory: DesignMemory, pipe: Pipe, key: str
    ) -> None:
        """``key`` names the step counter that is the address; words come at ``pipe``'s depth."""
        self.store = store
        self.fixed = memory.info.style is Style.CONSTANT and memory.info.words == 1
        if self.fixed:
            return
        # Block memories are slow to answer: what follows starts at a register.
        self.word = Signal(store.bits, name="weight_word", reset_less=True)
        m.d.sync += self.word.eq(memory.look_up(m, pipe, key, "start", pipe.latency - 1))

    def _slot(self, o: int, i: int) -> Value:
        at = (o * self.store.weight.shape[2] + i) * self.store.slot_bits
        return self.word[at : at + self.store.slot_bits]

    def select(self, taps: list[Value], o: int, i: int) -> Value:
        """The tap that output lane ``o`` reads of input lane ``i``: the multiplexer."""
        if len(taps) == 1:
            return taps[0]
        if self.fixed:
            assert self.store.tap is not None
            return taps[int(self.store.tap[0, o, i])]
        return Array(taps)[self._slot(o, i)[: self.store.tap_bits]]

    def product(self, x: Value, o: int, i: int, position: int) -> Value:
        """``x`` times the weight of (output lane, input lane, kernel position)."""
        if self.fixed:
            return multiply_constant(x, int(self.store.weight[0, o, i, position]))
        code = self.store.code
        at = self.store.tap_bits + position * code.bits
        return multiply(x, self._slot(o, i)[at : at + code.bits], code)


class MacStage(StageComponent):
    """``MuxConv2d``, ``Conv2d`` and ``Linear``: pe x simd products a cycle, summed per lane.

    For each output pixel and each group of ``pe`` outputs it walks the groups of ``simd`` inputs.
    """

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        stage = self._stage
        store = weight_store(stage)
        assert store is not None
        if stage.timing.streaming:
            beats = [self.i0.payload]
            for n in range(WEIGHT_READ):
                beats = pipe.register(beats, f"x{n}")
        else:
            beats = window_taps(m, control, self.i0.payload, pipe, self.memory(Role.WINDOW))
        weights = _Weights(m, store, self.memory(Role.WEIGHT), pipe, "address")
        taps = [self.lanes(beat) for beat in beats]
        mux = isinstance(stage.op, MuxConv2d)
        products = []
        for o in range(stage.fold.pe):
            for i in range(stage.inputs[0].lanes):
                lane = [tap[i] for tap in taps]
                if mux:
                    products.append(weights.product(weights.select(lane, o, i), o, i, 0))
                else:
                    products += [weights.product(x, o, i, t) for t, x in enumerate(lane)]
        held = pipe.register(products, "product")
        terms = len(held) // stage.fold.pe
        trees = [held[o * terms : (o + 1) * terms] for o in range(stage.fold.pe)]
        sums = pipe.reduce(trees, add, "sum")
        if stage.timing.steps == 1:
            return sums
        shape, cells = element(stage.accumulator), self.memory(Role.ACCUMULATOR)
        accumulators = [
            Signal(shape, name=f"accumulator_{o}", init=value)
            for o, value in enumerate(cells.at_reset(0, len(sums), shape))
        ]
        # The first step of a group ignores what is there.
        memory = cells.place(m, ends=pipe["start"] & ~pipe["first"])
        seen = memory.registers(accumulators, 0)
        values = [
            Mux(pipe["first"], 0, back) + value for back, value in zip(seen, sums, strict=True)
        ]
        written = memory.written(accumulators, values, 0, pipe["start"])
        for held_sum, value in zip(accumulators, written, strict=True):
            with m.If(pipe["start"]):
                m.d.sync += held_sum.eq(value)
        pipe.advance()
        return accumulators


class DepthwiseStage(StageComponent):
    """Depthwise ``Conv2d``: every lane sums the window of its own channel."""

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        stage = self._stage
        store = weight_store(stage)
        assert store is not None
        beats = window_taps(m, control, self.i0.payload, pipe, self.memory(Role.WINDOW))
        taps = [self.lanes(beat) for beat in beats]
        weights = _Weights(m, store, self.memory(Role.WEIGHT), pipe, "n")
        lanes = stage.inputs[0].lanes
        products = [
            weights.product(tap[lane], lane, 0, t)
            for lane in range(lanes)
            for t, tap in enumerate(taps)
        ]
        held = pipe.register(products, "product")
        terms = len(taps)
        trees = [held[lane * terms : (lane + 1) * terms] for lane in range(lanes)]
        return [named(m, f"total_{n}", v) for n, v in enumerate(pipe.reduce(trees, add, "sum"))]
