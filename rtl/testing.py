"""Run an accelerator in Amaranth's simulator and measure what the cycle model predicts.

The harness offers beats with given gaps, takes them with given stalls, watches every tensor
through the stages' probes, and returns the same figures as ``hwsim.accelerator.simulate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.sim import Simulator

from hwsim.accelerator import (
    CycleReport,
    FifoCycles,
    Pipeline,
    StageCycles,
    Stream,
    build_pipeline,
    is_depthwise,
    simulate,
)
from hwsim.faults import DesignFaults
from hwsim.network import INPUT, Conv2d, Flatten, Network
from hwsim.rtl.accelerator import LEVEL_BITS, Accelerator
from hwsim.testing import Answers, Conformance, FaultConformance, assert_same, random_folding


def to_beats(stream: Stream, images: np.ndarray) -> list[int]:
    """Beats of ``images`` [frames, channels, height, width], frame after frame."""
    bits, beats = stream.type.bits, []
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, stream.type.channels)
    for pixel in pixels:
        for first in range(0, len(pixel), stream.lanes):
            beat = 0
            for lane, value in enumerate(pixel[first : first + stream.lanes]):
                beat |= (int(value) & ((1 << bits) - 1)) << (lane * bits)
            beats.append(beat)
    return beats


def from_lanes(stream: Stream, lanes: Sequence[Sequence[int]]) -> np.ndarray:
    """[frames, channels, height, width] from the lane values of whole frames of beats."""
    t = stream.type
    array = np.array(lanes, np.int64).reshape(-1, t.height, t.width, stream.beats * stream.lanes)
    return array[..., : t.channels].transpose(0, 3, 1, 2)


def split(stream: Stream, beat: int) -> list[int]:
    """Lane values of a beat."""
    t = stream.type
    values = [beat >> (n * t.bits) & ((1 << t.bits) - 1) for n in range(stream.lanes)]
    return [v - (1 << t.bits) if t.signed and v >> (t.bits - 1) else v for v in values]


SETTLE = 60
"""Cycles without any step after which nothing more will happen: longer than any datapath."""


@dataclass(frozen=True)
class Run:
    """What one simulation showed: figures, every tensor, and the output."""

    report: CycleReport
    tensors: dict[str, np.ndarray]
    output: np.ndarray


def run(
    pipeline: Pipeline,
    images: np.ndarray,
    gaps: Sequence[int] = (0,),
    stalls: Sequence[int] = (0,),
    limit: int = 200_000,
    faults: DesignFaults | None = None,
) -> Run:
    """Simulate ``images`` [frames, channels, height, width]; fails after ``limit`` cycles.

    faults: of the pipeline's memories, for a fault-injection build.

    Figures count up to the last output; the run goes on until the stages are idle, so that
    tensors of which no output needs every pixel are complete as well.
    """
    dut = Accelerator(pipeline=pipeline, faults=faults)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    frames = len(images)
    feed = to_beats(pipeline.input, images)
    out_beats, in_beats = pipeline.output.frame_beats, pipeline.input.frame_beats
    probes = [
        (tensor, strobe, lanes)
        for stage in dut.stages.values()
        for tensor, (strobe, lanes) in stage.probes.items()
    ]
    flat = [signal for _, strobe, lanes in probes for signal in (strobe, *lanes)]
    seen: dict[str, list[list[int]]] = {tensor: [] for tensor, _, _ in probes}
    went_in: list[int] = []
    came_out: list[int] = []
    results: list[list[int]] = []
    busy, blocked = np.zeros((2, len(pipeline.stages)), np.int64)
    high = np.zeros(len(pipeline.fifos), np.int64)
    passed = np.zeros(len(pipeline.fifos), np.int64)

    async def bench(ctx):  # type: ignore[no-untyped-def]
        nonlocal busy, blocked
        wait, stall = gaps[0], stalls[0]
        active = 0
        for cycle in range(limit):
            offers = len(went_in) < len(feed) and wait == 0
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.i.payload, feed[len(went_in)] if offers else 0)
            ctx.set(dut.i__last, len(went_in) % in_beats == in_beats - 1)
            # While nothing is offered ready is arbitrary: it must not matter. A beat is refused
            # for ``stall`` cycles from the one in which it is offered.
            offered = ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, stall == 0 if offered else cycle % 3 > 0)
            sample = await ctx.tick().sample(
                dut.i.ready,
                dut.o.valid,
                dut.o.payload,
                dut.o__last,
                dut.i__misaligned,
                dut.busy,
                dut.blocked,
                dut.levels,
                *flat,
            )
            (
                _,
                _,
                ready,
                valid,
                payload,
                is_last,
                is_misaligned,
                is_busy,
                is_blocked,
                levels,
                *values,
            ) = sample
            finished = len(came_out) == frames * out_beats
            at = 0
            for tensor, _, lanes in probes:
                if values[at]:
                    seen[tensor].append(values[at + 1 : at + 1 + len(lanes)])
                at += 1 + len(lanes)
            if not finished:
                busy += [is_busy >> n & 1 for n in range(len(busy))]
                blocked += [is_blocked >> n & 1 for n in range(len(busy))]
                for n in range(len(high)):
                    high[n] = max(high[n], levels >> (n * LEVEL_BITS) & ((1 << LEVEL_BITS) - 1))
            if offers and ready:
                went_in.append(cycle)
                wait = gaps[len(went_in) % len(gaps)]
            elif wait:
                wait -= 1
            assert valid == offered
            assert not is_misaligned
            if valid:
                assert is_last == (len(came_out) % out_beats == out_beats - 1)
            if valid and stall == 0:
                came_out.append(cycle)
                results.append(split(pipeline.output, payload))
                stall = stalls[len(came_out) % len(stalls)]
            elif valid:
                stall -= 1
            if is_busy or (offers and ready):
                active = cycle
            if finished and len(went_in) == len(feed) and cycle > active + SETTLE:
                return
        raise AssertionError(f"{len(came_out)} of {frames * out_beats} beats in {limit} cycles")

    simulator.add_testbench(bench)
    simulator.run()
    total = came_out[-1] + 1
    report = CycleReport(
        frames,
        tuple(went_in[::in_beats]),
        tuple(went_in[in_beats - 1 :: in_beats]),
        tuple(came_out[::out_beats]),
        tuple(came_out[out_beats - 1 :: out_beats]),
        tuple(
            StageCycles(stage.name, int(b), total - int(b) - int(k), int(k))
            for stage, b, k in zip(pipeline.stages, busy, blocked, strict=True)
        ),
        tuple(
            FifoCycles(fifo.name, fifo.depth, int(h), int(p))
            for fifo, h, p in zip(pipeline.fifos, high, passed, strict=True)
        ),
    )
    streams = {tensor: stage.output for stage in pipeline.stages for tensor in stage.tensors}
    tensors = {tensor: from_lanes(streams[tensor], lanes) for tensor, lanes in seen.items()}
    return Run(report, tensors, from_lanes(pipeline.output, results))


def check(
    network: Network,
    expected: dict[str, np.ndarray],
    got: Run,
    model: CycleReport,
    output: np.ndarray | None = None,
) -> None:
    """Every tensor and every cycle figure equal; Flatten has no stage and yields no tensor.

    output: what leaves the accelerator, where that is not the last tensor.
    """
    for op in network.ops:
        if not isinstance(op, Flatten):
            want = expected[op.name]
            shown = got.tensors[op.name].reshape(len(got.tensors[op.name]), *want.shape[1:])
            assert np.array_equal(shown, want), op.name
    want = expected[network.output] if output is None else output
    assert np.array_equal(got.output.reshape(want.shape), want)
    assert figures(got.report) == figures(model)


def figures(report: CycleReport) -> dict[str, object]:
    """All figures of a run that hardware shows."""
    return {
        "first_input": report.frame_first_input,
        "last_input": report.frame_last_input,
        "first_output": report.frame_first_output,
        "last_output": report.frame_last_output,
        "stages": report.stages,
        "high_water": {fifo.name: fifo.high_water for fifo in report.fifos},
    }


class AmaranthConformance(Conformance):
    """The accelerator in Amaranth's simulator, with random folding; cycles are compared, too."""

    images = 2

    def accepts(self, network: Network) -> bool:
        return all(op.groups == 1 or is_depthwise(op) for op in network if isinstance(op, Conv2d))

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        rng = np.random.default_rng(len(network.ops) + network.input.size)
        pipeline = build_pipeline(network, random_folding(network, rng), 40)
        got = run(pipeline, x)
        assert figures(got.report) == figures(simulate(pipeline, len(x)))
        tensors = {INPUT: x}
        for op in network:
            shape = (len(x), *network.types[op.name].shape)
            # Flatten has no stage: it only says in which order a vector's values count.
            source = tensors[op.inputs[0]] if isinstance(op, Flatten) else got.tensors[op.name]
            tensors[op.name] = source.reshape(shape)
        output = tensors[network.output]
        assert_same("output", got.output.reshape(output.shape), output)
        return tensors


class AmaranthFaultConformance(FaultConformance):
    """Fault-injection builds in Amaranth's simulator; cycles are compared, too."""

    first_frame = 0

    def accepts(self, faults: DesignFaults) -> bool:
        """Check bits need an encoder where memories are written; there is none in hardware."""
        return not any(
            memory.protected and memory.memory.writes for memory in faults.memories.values()
        )

    def answers(self, faults: DesignFaults, x: np.ndarray, first_frame: int) -> Answers:
        pipeline = faults.pipeline
        got = run(pipeline, x, faults=faults)
        assert figures(got.report) == figures(simulate(pipeline, len(x)))
        types = pipeline.network.types
        shapes = {name: (len(x), *types[name].shape) for name in got.tensors}
        tensors = {name: value.reshape(shapes[name]) for name, value in got.tensors.items()}
        return Answers(tensors, got.output.reshape(shapes[pipeline.network.output]))
