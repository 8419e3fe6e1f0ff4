"""What the accelerator is built like, which energy table counts, and how it is verified."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hwsim.config.loader import StrictModel

WeightStyle = Literal["memory", "constant"]
"""Taps and weights in on-chip memory, or in the fabric (the multiplexer becomes wiring)."""

MOST_FIFO_BEATS = 65535
"""Depth of the deepest FIFO: its level takes 16 bits of the accelerator's port ``levels``."""

Lanes = Annotated[int, Field(ge=1, le=4096)]
Beats = Annotated[int, Field(ge=1, le=MOST_FIFO_BEATS)]
Probability = Annotated[float, Field(ge=0, le=0.9)]


class FoldingConfig(StrictModel):
    """Parallelism of one op: ``pe`` output lanes x ``simd`` input lanes."""

    pe: Lanes = 1
    simd: Lanes = 1
    weights: WeightStyle | None = None
    """``null``: the accelerator's default."""


class AcceleratorConfig(StrictModel):
    """Clock, folding and FIFOs of the pipeline.

    clock_mhz: turns cycles into time and leakage power into energy.
    frame_interval_cycles: every op not named in ``folding`` gets the fewest lanes that keep the
    interval between frames at or below this; ``null`` gives those ops one lane.
    folding: op name -> lanes, taken as they are.
    fifo_depth: ``auto`` (the smallest that costs no throughput) or beats for every FIFO;
    fifo_depths: name of a FIFO, as ``hwsim simulate`` lists them -> beats, for single FIFOs.
    Both are 1..65535.
    """

    clock_mhz: Annotated[float, Field(gt=0, le=2000)] = 100.0
    frame_interval_cycles: Annotated[int, Field(ge=1)] | None = None
    folding: dict[str, FoldingConfig] = {}
    weights: WeightStyle = "memory"
    fifo_depth: Literal["auto"] | Beats = "auto"
    fifo_depths: dict[str, Beats] = {}


class EnergyConfig(StrictModel):
    """What energy is counted with.

    table: name of a table in ``configs/energy``, or the path of a YAML file. voltage_v: supply of
    logic and memories; ``null`` takes every entry of the table at the voltage it was given for.
    """

    table: Annotated[str, Field(min_length=1)] = "cmos_45nm"
    voltage_v: Annotated[float, Field(gt=0, le=10)] | None = None


class VerificationConfig(StrictModel):
    """Simulation of the emitted Verilog.

    images: test images that go through it. gap_probability: share of the input beats that are
    held back; stall_probability: share of the output beats that are refused, in the random runs.
    Both are drawn from ``seed``.
    """

    images: Annotated[int, Field(ge=1, le=100_000)] = 16
    simulator: Literal["verilator", "icarus"] = "verilator"
    gap_probability: Probability = 0.25
    stall_probability: Probability = 0.25
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
