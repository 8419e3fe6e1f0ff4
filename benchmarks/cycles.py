"""Cycle model against Verilator: the same designs and frames, equal dates, seconds of each.

Verilator runs the emitted Verilog in the barest C++ harness there is (no cocotb, no waveforms,
compiled with -O3): one eval per clock edge, input always offered, output always taken. Both sides
report CPU time; building and compiling is left out on both.

    python benchmarks/cycles.py [--frames 2000] [--designs small middle] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import Pipeline, auto_fold, build_pipeline, simulate, smallest_depths
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)
from hwsim.rtl import tools
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.verilog import to_verilog

DESIGNS = {
    # name: (channels of each stage, residual blocks in each, rows and columns, interval)
    "small": ((8, 16), 1, 8, 256),
    "middle": ((16, 32), 2, 16, 4096),
    "resnet20": ((16, 32, 64), 3, 32, 16384),
}

# Verilator writes a double underscore as ___05F.
HARNESS = """
#include "Vaccelerator.h"
#include "verilated.h"
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>
int main(int argc, char** argv) {
    const long in_beats = atol(argv[1]), out_beats = atol(argv[2]);
    VerilatedContext context;
    Vaccelerator dut{&context};
    std::vector<long> dates;
    unsigned long noise = 88172645463325252UL;
    dut.clk = 0; dut.rst = 0; dut.i___05Fvalid = 0; dut.o___05Fready = 1; dut.eval();
    const clock_t begin = clock();
    long sent = 0, cycle = 0;
    while ((long)dates.size() < out_beats) {
        dut.i___05Fvalid = sent < in_beats;
        dut.i___05Fpayload = noise & MASK;
        dut.eval();
        if (dut.i___05Fvalid && dut.i___05Fready) {
            sent++;
            noise ^= noise << 13; noise ^= noise >> 7; noise ^= noise << 17;
        }
        if (dut.o___05Fvalid) dates.push_back(cycle);
        dut.clk = 1; dut.eval();
        dut.clk = 0; dut.eval();
        cycle++;
    }
    printf("%.9f\\n", double(clock() - begin) / CLOCKS_PER_SEC);
    for (long date : dates) printf("%ld\\n", date);
    return 0;
}
"""


def residual_network(channels: tuple[int, ...], blocks: int, size: int) -> Network:
    """Binary multiplexer network of the shape of a ResNet; weights are random."""
    rng = np.random.default_rng(0)
    ops: list[Op] = []

    def quantized(op: Op, outputs: int) -> str:
        name = f"{op.name}_q"
        ops.append(op)
        ops.append(Requantize(name, (op.name,), np.full(outputs, 9), np.full(outputs, 8), 6, 0, 15))
        return name

    def mux(name: str, source: str, inputs: int, outputs: int, stride: int, k: int) -> str:
        tap = rng.integers(0, k * k, (outputs, inputs))
        weight = rng.choice([-1, 1], tap.shape)
        op = MuxConv2d(name, (source,), tap, weight, (k, k), (stride, stride), (k // 2, k // 2))
        return quantized(op, outputs)

    stem = rng.integers(-8, 8, (channels[0], 3, 3, 3))
    stem_op = Conv2d("stem", ("input",), stem, pad=(1, 1), alphabet=Alphabet("int4"))
    x, inputs = quantized(stem_op, channels[0]), channels[0]
    for stage, outputs in enumerate(channels):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            name = f"s{stage}b{block}"
            body = mux(f"{name}a", x, inputs, outputs, stride, 3)
            body = mux(f"{name}b", body, outputs, outputs, 1, 3)
            side = mux(f"{name}s", x, inputs, outputs, stride, 1) if stride > 1 else x
            x, inputs = quantized(Add(f"{name}add", (body, side)), outputs), outputs
    ops.append(GlobalAvgPool("pool", (x,)))
    ops.append(Linear("fc", ("pool",), rng.integers(-8, 8, (10, inputs)), Alphabet("int4")))
    ops.append(ArgMax("answer", ("fc",)))
    return Network("residual", TensorType(3, size, size, 8), tuple(ops))


def design(name: str) -> Pipeline:
    channels, blocks, size, interval = DESIGNS[name]
    network = residual_network(channels, blocks, size)
    pipeline = build_pipeline(network, auto_fold(network, interval))
    return pipeline.with_depths(smallest_depths(pipeline))


def verilate(pipeline: Pipeline, folder: Path) -> Path:
    """Build the harness around the Verilog of ``pipeline``; its executable."""
    if pipeline.input.bits > 64:
        raise SystemExit("the harness takes input beats of at most 64 bits")
    (folder / "accelerator.v").write_text(
        to_verilog(Accelerator(pipeline=pipeline), "accelerator"), encoding="utf-8"
    )
    mask = f"{(1 << pipeline.input.bits) - 1}UL"
    (folder / "main.cpp").write_text(HARNESS.replace("MASK", mask), encoding="utf-8")
    command = [
        tools.verilator(),
        "--cc",
        "--exe",
        "--top-module",
        "accelerator",
        "-O3",
        "-Wno-lint",
    ]
    command += ["--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Mdir", folder / "obj"]
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*command, "accelerator.v", "main.cpp"], cwd=folder, **quiet)
    options = [f"{key}={value}" for key, value in tools.compiler(folder).items()]
    options += ["OPT_FAST=-O3", "OPT_SLOW=-O1", "OPT_GLOBAL=-O3", "CFG_CXXFLAGS_PCH_I=-include"]
    make = ["make", "-C", folder / "obj", "-f", "Vaccelerator.mk", "Vaccelerator", *options]
    subprocess.run(make, **quiet)
    return folder / "obj" / "Vaccelerator"


def measure(name: str, frames: int, repeats: int = 5) -> dict[str, Any]:
    pipeline = design(name)
    inputs, outputs = (s.frame_beats * frames for s in (pipeline.input, pipeline.output))
    with tempfile.TemporaryDirectory() as folder:
        program = verilate(pipeline, Path(folder))
        done = subprocess.run(
            [program, str(inputs), str(outputs)],
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    seconds, *dates = done.stdout.split()
    simulate(pipeline, 1)
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        report = simulate(pipeline, frames)
        best = min(best, time.process_time() - begin)
    last = dates[pipeline.output.frame_beats - 1 :: pipeline.output.frame_beats]
    return {
        "design": name,
        "stages": len(pipeline.stages),
        "frames": frames,
        "cycles": report.total_cycles,
        "dates_equal": [int(date) for date in last] == list(report.frame_last_output),
        "verilator_seconds": float(seconds),
        "model_seconds": best,
        "ratio": float(seconds) / best,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=["small", "middle"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = [measure(name, args.frames) for name in args.designs]
    if args.json:
        print(json.dumps(results, indent=2))
        return
    for r in results:
        print(
            f"{r['design']}: {r['stages']} stages, {r['frames']} frames, {r['cycles']} cycles, "
            f"dates equal: {r['dates_equal']}; Verilator {r['verilator_seconds']:.3f} s, "
            f"model {r['model_seconds'] * 1e3:.2f} ms, ratio {r['ratio']:.0f}"
        )
    if not all(r["dates_equal"] for r in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
