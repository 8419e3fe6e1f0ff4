"""Pooling stages: windows, and whole images."""

from __future__ import annotations

from operator import add

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import Component

from hwsim.design.roles import Role
from hwsim.network import GlobalMaxPool, MaxPool2d
from hwsim.rtl.stage import StageComponent
from hwsim.rtl.util import Pipe, element
from hwsim.rtl.window import window_taps


def larger(a: Value, b: Value) -> Value:
    """The larger of two values."""
    return Mux(b > a, b, a)


class PoolStage(StageComponent):
    """``MaxPool2d`` and ``AvgPool2d`` (a sum): one window of ``lanes`` channels a cycle."""

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        beats = window_taps(m, control, self.i0.payload, pipe, self.memory(Role.WINDOW))
        taps = [self.lanes(beat) for beat in beats]
        trees = list(zip(*taps, strict=True))
        combine = larger if isinstance(self._stage.op, MaxPool2d) else add
        return pipe.reduce(trees, combine, "pooled")


class GlobalPoolStage(StageComponent):
    """``GlobalMaxPool`` and ``GlobalAvgPool`` (a sum): one beat a cycle.

    The results leave with the frame's last pixel.

    The running results of the channel groups move through a ring of registers, so that each one
    is at its end when the next beat of its channels arrives.
    """

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        stage = self._stage
        (beat,) = pipe.register([self.i0.payload], "x")
        shape, cells = element(stage.accumulator), self.memory(Role.ACCUMULATOR)
        lanes, words = self.lanes(beat), stage.inputs[0].beats
        # The first beat is of word 0, which is at the end.
        reset = [cells.at_reset(words - 1 - n, len(lanes), shape) for n in range(words)]
        rings = [
            [Signal(shape, name=f"running_{lane}_{n}", init=reset[n][lane]) for n in range(words)]
            for lane in range(len(lanes))
        ]
        memory = cells.place(m, ends=pipe["start"] & ~pipe["first_pixel"])
        ends = [ring[-1] for ring in rings]
        seen = memory.registers(ends, pipe["n"])
        values = []
        for x, back in zip(lanes, seen, strict=True):
            largest = isinstance(stage.op, GlobalMaxPool)
            following = larger(back, x) if largest else back + x
            values.append(Mux(pipe["first_pixel"], x, following))
        written = memory.written(ends, values, pipe["n"], pipe["start"])
        results = []
        for value, ring in zip(written, rings, strict=True):
            with m.If(pipe["start"]):
                m.d.sync += ring[0].eq(value)
                for held, previous in zip(ring[1:], ring[:-1], strict=True):
                    m.d.sync += held.eq(previous)
            results.append(ring[0])
        pipe.advance()
        return results
