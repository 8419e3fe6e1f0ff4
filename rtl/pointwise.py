"""Stages that handle each beat by itself: add, requantize, lookup, fork; argmax over a frame."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Component

from hwsim.rtl.stage import StageComponent
from hwsim.rtl.util import Pipe, index, named


class AddStage(StageComponent):
    """``Add``: one beat of each input a cycle."""

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        pairs = zip(self.lanes(self.i0.payload), self.lanes(self.i1.payload, 1), strict=True)
        return pipe.register([a + b for a, b in pairs], "total")


class PassStage(StageComponent):
    """A lone ``Requantize`` or ``Lookup``, or a fork: beats pass through one register."""

    def control_bits(self, control: Component) -> dict[str, Value]:
        bits = super().control_bits(control)
        bits["beat"] = control.pixel * self._stage.inputs[0].beats + control.n
        return bits

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        (beat,) = pipe.register([self.i0.payload], "x")
        return self.lanes(beat)


class ArgMaxStage(StageComponent):
    """``ArgMax``: one beat a cycle, the index of the largest value with the frame's last beat.

    Of equal values the one with the lowest index wins, whatever the order of arrival.
    """

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        x = self._stage.inputs[0]
        channels = x.type.channels
        pixels = x.type.height * x.type.width
        shape = index(channels * pixels)
        candidates = []
        for lane, value in enumerate(self.lanes(self.i0.payload)):
            # Vector index is (channel, row, column), as Flatten orders it.
            channel = control.n * x.lanes + lane
            position = named(m, f"index_{lane}", channel * pixels + control.pixel, shape)
            real = named(m, f"real_{lane}", channel < channels)
            candidates += [value, position, real]
        held = pipe.register(candidates, "candidate")
        triples = [tuple(held[n : n + 3]) for n in range(0, len(held), 3)]
        best = self._tree(m, pipe, triples)
        record = [
            Signal(v.shape(), name=f"best_{n}")
            for n, v in zip(("value", "index"), best, strict=False)
        ]
        held_best = (record[0], record[1], Const(1))
        with m.If(
            pipe["start"] & (_better(best, held_best) | (pipe["first_pixel"] & pipe["first"]))
        ):
            m.d.sync += [record[0].eq(best[0]), record[1].eq(best[1])]
        pipe.advance()
        return [record[1]]

    def _tree(self, m: Module, pipe: Pipe, triples: list[tuple[Value, ...]]) -> tuple[Value, ...]:
        from hwsim.accelerator.timing import TREE_LEVELS_PER_REGISTER

        level = 0
        while len(triples) > 1:
            level += 1
            paired = []
            for n, (a, b) in enumerate(zip(triples[::2], triples[1::2], strict=False)):
                better = named(m, f"better_{level}_{n}", _better(b, a))
                paired.append(
                    tuple(
                        named(m, f"kept_{level}_{n}_{k}", Mux(better, vb, va))
                        for k, (va, vb) in enumerate(zip(a, b, strict=True))
                    )
                )
            triples = paired + triples[len(paired) * 2 :]
            if level % TREE_LEVELS_PER_REGISTER == 0 or len(triples) == 1:
                flat = pipe.register([v for triple in triples for v in triple], f"kept_r{level}")
                triples = [tuple(flat[n : n + 3]) for n in range(0, len(flat), 3)]
        return triples[0]


def _better(b: tuple[Value, ...], a: tuple[Value, ...]) -> Value:
    """Whether candidate ``b`` = (value, index, real) beats ``a``."""
    return b[2] & (~a[2] | (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1])))
