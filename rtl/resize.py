"""Change the number of lanes of a stream."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib.wiring import Component

from hwsim.design.roles import Role
from hwsim.rtl.stage import StageComponent
from hwsim.rtl.util import Pipe, choose, named


class ResizeStage(StageComponent):
    """Collects a pixel's beats of one width and hands them out in another.

    Two pixels fit, so that one is collected while the other is handed out.
    """

    def datapath(self, m: Module, control: Component, pipe: Pipe) -> list[Value]:
        x, y = self._stage.inputs[0], self._stage.output
        bits = x.type.bits
        accept = named(m, "accept", control.valid & control.ready)
        cells = self.memory(Role.WINDOW)
        memory = cells.place(m, ends=control.start)
        pixels = []
        for slot in range(2):
            beats: list[Value] = []
            for beat in range(x.beats):
                word = slot * x.beats + beat
                (reset,) = cells.at_reset(word, 1, unsigned(x.bits))
                name = f"pixel_{slot}_{beat}"
                held = Signal(x.bits, name=name, init=reset, reset_less=cells.write_errors is None)
                here = accept & (control.w_slot == slot) & (control.w_beat == beat)
                (value,) = memory.written([held], [self.i0.payload], word, here)
                with m.If(here):
                    m.d.sync += held.eq(value)
                beats += memory.registers([held], word)
            # Room for the lanes of the last beat that lie past the last channel.
            pixels.append(Cat(*beats, Const(0, y.bits)))
        pixel = Signal(len(pixels[0]), name="pixel_out")
        m.d.comb += pixel.eq(Array(pixels)[control.r_slot])
        beats = [pixel[n * y.bits : (n + 1) * y.bits] for n in range(y.beats)]
        chosen = Signal(y.bits, name="beat")
        m.d.comb += chosen.eq(choose(beats, control.n))
        (beat,) = pipe.register([chosen], "beat_r")
        return [beat[n * bits : (n + 1) * bits] for n in range(y.lanes)]
