"""The cocotb tests of an emitted accelerator; ``hwsim.rtl.verify`` prepares and starts them.

The folder in the environment variable HWSIM_COSIM holds ``job.json`` (widths, runs, what the
cycle model predicts) and ``<run>.npz`` (stimulus, expected beats). A test passes when every
output bit and every cycle figure is equal. Each leaves what it measured in ``<run>.json``, and,
where every FIFO was watched, the beats that each one passed on in ``<run>.trace.json``: always
in ``every_tensor``, in other runs when they failed, to find the first wrong value.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, First, Timer, ValueChange

PERIOD_NS = 10
_DRAIN_CYCLES = 200

FOLDER = Path(os.environ["HWSIM_COSIM"])
JOB: dict[str, Any] = json.loads((FOLDER / "job.json").read_text(encoding="utf-8"))


def _value(handle: Any) -> int:
    return int(handle.value)


def _fields(handle: Any, bits: int, count: int) -> list[int]:
    value = _value(handle)
    return [value >> (n * bits) & ((1 << bits) - 1) for n in range(count)]


def _count_frame() -> None:
    """One byte per finished frame, for whoever shows progress."""
    with (FOLDER / "frames").open("ab") as file:
        file.write(b".")


class Run:
    """One run of the bench: stimulus in, figures and output beats out."""

    def __init__(self, dut: Any, name: str, frames: int | None = None) -> None:
        self.dut, self.name = dut, name
        with np.load(FOLDER / f"{name}.npz") as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.job = JOB["runs"][name]
        self.frames = frames or self.job["frames"]
        self.dates: dict[str, list[int]] = {}
        self.taken: list[int] = []

    def _chunk(self, key: str, n: int) -> int:
        """Chunk ``n`` of a stimulus, 0 past its end."""
        rows = self.arrays[key]
        return int.from_bytes(rows[n].tobytes(), "little") if n < len(rows) else 0

    def _supply(self, n: int) -> None:
        self.dut.feed.value = self._chunk("feed", n)
        self.dut.gaps.value = self._chunk("gaps", n)

    async def reset(self, last_use: int | None = None) -> None:
        """Reset; ``last_use``: another use of ``i__last`` than the run's."""
        dut = self.dut
        dut.rst.value = 1
        dut.idle_ready.value = self.job["idle_ready"]
        dut.last_use.value = self.job["last_use"] if last_use is None else last_use
        dut.frames.value = self.frames
        self._supply(0)
        dut.stalls.value = self._chunk("stalls", 0)
        for _ in range(2):
            await FallingEdge(dut.clk)
        dut.rst.value = 0

    async def _changed(self, handle: Any) -> int:
        """The next value of ``handle``, half a cycle after the clock edge that changed it.

        By then everything has settled, and what is written now is there at the next edge.
        """
        await ValueChange(handle)
        await FallingEdge(self.dut.clk)
        return _value(handle)

    async def _source(self) -> None:
        while True:
            self._supply(await self._changed(self.dut.feed_count))

    async def _sink(self) -> None:
        dut = self.dut
        while True:
            dut.stalls.value = self._chunk("stalls", await self._changed(dut.taken_count))
            self.taken += _fields(dut.taken, JOB["output_bits"], JOB["taken_beats"])

    async def _dates(self, side: str) -> None:
        """Note the dates of every frame on one side, ``input`` or ``output``."""
        dut = self.dut
        first, last = getattr(dut, f"first_{side}"), getattr(dut, f"last_{side}")
        frames = getattr(dut, f"{side}_frames")
        firsts, lasts = self.dates[f"first_{side}"], self.dates[f"last_{side}"]
        while True:
            await self._changed(frames)
            if side == "output":
                _count_frame()
            firsts.append(_value(first))
            lasts.append(_value(last))

    async def run(self, limit: int) -> dict[str, Any]:
        """Run until the last output beat, at most ``limit`` cycles; returns the figures."""
        dut = self.dut
        await self.reset()
        for side in ("input", "output"):
            self.dates[f"first_{side}"], self.dates[f"last_{side}"] = [], []
        tasks = [cocotb.start_soon(task) for task in (self._source(), self._sink())]
        tasks += [cocotb.start_soon(self._dates(side)) for side in ("input", "output")]
        await First(ValueChange(dut.done), Timer(limit * PERIOD_NS, "ns"))
        await FallingEdge(dut.clk)
        beats = _value(dut.beats)
        rest = beats % JOB["taken_beats"]
        if rest:
            newest = _fields(dut.taken, JOB["output_bits"], JOB["taken_beats"])
            self.taken += newest[len(newest) - rest :]
        measured = {
            "finished": bool(_value(dut.done)),
            "cycles": _value(dut.last_output) + 1 if _value(dut.done) else _value(dut.cycle),
            **self.dates,
            "busy": _fields(dut.busy, 32, len(JOB["stages"])),
            "blocked": _fields(dut.blocked, 32, len(JOB["stages"])),
            "high_water": _fields(dut.high_water, JOB["level_bits"], len(JOB["fifos"])),
        }
        # Input that no output needs may still be on its way in.
        while measured["finished"] and len(self.dates["last_input"]) < self.frames and limit > 0:
            await Timer(_DRAIN_CYCLES * PERIOD_NS, "ns")
            limit -= _DRAIN_CYCLES
        await Timer(_DRAIN_CYCLES * PERIOD_NS, "ns")
        for task in tasks:
            task.cancel()
        at_end = ("refused", "extra", "unstable", "wrong_last", "misaligned", "misaligned_at")
        measured |= {name: _value(getattr(dut, name)) for name in at_end}
        return measured | {"output": [f"{b:x}" for b in self.taken]}

    async def watch(self, limit: int) -> dict[str, list[int]]:
        """Run while every FIFO is watched; returns the beats that each one passed on."""
        await self.reset()
        tasks = [cocotb.start_soon(task) for task in (self._source(), self._sink())]
        watched = []
        for name in JOB["fifos"]:
            fifo = getattr(self.dut.accelerator, f"fifo_{name}")
            watched.append((fifo.o__valid, fifo.o__ready, fifo.o__payload, name))
        passed: dict[str, list[int]] = {name: [] for name in JOB["fifos"]}
        missing = self.frames * sum(JOB["fifo_beats"])
        for _ in range(limit):
            # What is settled now is what the next edge takes.
            await FallingEdge(self.dut.clk)
            for valid, ready, payload, name in watched:
                if valid.value and ready.value:
                    passed[name].append(_value(payload))
                    missing -= 1
            if missing == 0:
                break
        for task in tasks:
            task.cancel()
        return passed


def _first_wrong(beats: list[int], expected: np.ndarray, mask: np.ndarray) -> int | None:
    """Index of the first beat that is missing or not as expected."""
    for n, want in enumerate(expected):
        care = int.from_bytes(mask[n % len(mask)].tobytes(), "little")
        if n == len(beats) or (beats[n] ^ int.from_bytes(want.tobytes(), "little")) & care:
            return n
    return None


async def _check(dut: Any, name: str) -> None:
    """Run ``name`` as the job says and compare everything with ``==``."""
    job = JOB["runs"][name]
    Clock(dut.clk, PERIOD_NS, unit="ns").start(start_high=False)
    run = Run(dut, name)
    if job["abort_cycles"]:
        await run.reset(JOB["early"])
        await Timer(job["abort_cycles"] * PERIOD_NS, "ns")
    measured = await run.run(job["limit"])
    (FOLDER / f"{name}.json").write_text(json.dumps(measured), encoding="utf-8")
    wrong = _first_wrong(run.taken, run.arrays["expected"], run.arrays["mask"])
    if wrong is not None or job["watch"]:
        frames = run.frames if wrong is None else wrong // JOB["output_beats"] + 1
        passed = await Run(dut, name, frames).watch(job["limit"])
        trace = {fifo: [f"{beat:x}" for beat in beats] for fifo, beats in passed.items()}
        (FOLDER / f"{name}.trace.json").write_text(json.dumps(trace), encoding="utf-8")
    assert wrong is None, f"output beat {wrong} is wrong"
    if job["watch"]:
        for fifo, beats in passed.items():
            expected, mask = run.arrays[f"expected {fifo}"], run.arrays[f"mask {fifo}"]
            wrong = _first_wrong(beats, expected, mask)
            assert wrong is None, f"beat {wrong} of FIFO {fifo} is wrong"
    for figure, predicted in job["predicted"].items():
        assert measured[figure] == predicted, f"{figure}: {predicted} predicted"


@cocotb.test()
async def back_to_back(dut: Any) -> None:
    """Frames without a break, the output always taken at once."""
    await _check(dut, "back_to_back")


@cocotb.test(skip="gaps_and_stalls" not in JOB["runs"])
async def gaps_and_stalls(dut: Any) -> None:
    """Input beats that are held back and output beats that are refused at random."""
    await _check(dut, "gaps_and_stalls")


@cocotb.test()
async def after_reset(dut: Any) -> None:
    """A reset in the middle of a frame leaves nothing behind."""
    await _check(dut, "after_reset")


@cocotb.test()
async def long_refusal(dut: Any) -> None:
    """The output refuses until everything is full, and is ready only after valid."""
    await _check(dut, "long_refusal")


@cocotb.test()
async def long_gaps(dut: Any) -> None:
    """The input pauses until everything is empty; the output's ready toggles."""
    await _check(dut, "long_gaps")


@cocotb.test()
async def every_tensor(dut: Any) -> None:
    """What every stage passes on, not the output alone, is as in the network."""
    await _check(dut, "every_tensor")
