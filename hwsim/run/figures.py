"""The accelerator's figures as plain JSON values, with units in the keys."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Any

from hwsim.accelerator import CycleReport, Pipeline, memory_list, simulate
from hwsim.accelerator.energy import estimate_energy
from hwsim.config.accelerator import EnergyConfig
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config
from hwsim.costs import Basis, Entry, Ledger, LedgerRecord

FRAMES = 8
"""Frames that are simulated back to back; more, if they do not come evenly by then."""
_MOST_FRAMES = 1024


def energy_table(config: EnergyConfig) -> EnergyTable:
    """The table that ``config`` names; raises ConfigError."""
    return load_config(config.table, EnergyTable, "energy")


def _steady(report: CycleReport) -> bool:
    """Whether the later half of the frames came evenly."""
    last = report.frame_last_output[report.frames // 2 - 1 :]
    return len({b - a for a, b in pairwise(last)}) == 1


def simulate_figures(
    pipeline: Pipeline, clock_mhz: float, energy: EnergyConfig, frames: int | None = None
) -> dict[str, Any]:
    """Cycles, stages, FIFOs, memories and energy of ``pipeline`` for ``frames`` >= 2 frames.

    frames: ``None`` for as many as it takes until they come evenly.
    """
    table = energy_table(energy)
    report = simulate(pipeline, frames or FRAMES)
    while frames is None and not _steady(report) and report.frames < _MOST_FRAMES:
        report = simulate(pipeline, 2 * report.frames)
    cycles = {
        "first_output_cycles": report.first_output_cycles,
        "frame_interval_cycles": report.frame_interval_cycles,
        "frame_latency_cycles": report.frame_latency_cycles,
    }
    stages = [
        {
            "name": stage.name,
            "kind": stage.kind.name,
            "pe": stage.pe,
            "simd": stage.inputs[0].lanes,
            "weights": stage.weights,
            "latency_cycles": stage.timing.latency,
            "ideal_interval_cycles": stage.timing.ideal_interval,
            **{key: value for key, value in asdict(seen).items() if key.endswith("_cycles")},
        }
        for stage, seen in zip(pipeline.stages, report.stages, strict=True)
    ]
    fifos = [
        {
            "name": fifo.name,
            "producer": fifo.producer,
            "consumer": fifo.consumer,
            "bits": fifo.stream.bits,
            "depth_beats": fifo.depth,
            "high_water_beats": seen.high_water,
        }
        for fifo, seen in zip(pipeline.fifos, report.fifos, strict=True)
    ]
    memories = [
        {
            "name": memory.name,
            "role": memory.role,
            "layer": memory.layer,
            "style": memory.style,
            "words": memory.words,
            "bits": memory.bits,
            "banks": memory.banks,
            "reads": memory.reads,
            "writes": memory.writes,
        }
        for memory in memory_list(pipeline)
    ]
    interval = report.frame_interval_cycles
    spent = estimate_energy(pipeline, table, interval, clock_mhz, energy.voltage_v)
    return {
        "design": pipeline.to_plain(),
        "accelerator": {
            "clock_mhz": clock_mhz,
            "frames": report.frames,
            **cycles,
            "ideal_interval_cycles": pipeline.ideal_interval,
            "frames_per_second": clock_mhz * 1e6 / interval,
            "frame_latency_us": report.frame_latency_cycles / clock_mhz,
        },
        "stages": stages,
        "fifos": fifos,
        "memories": memories,
        "energy": {
            "table": energy.table,
            "node_nm": table.sram.node_nm,
            "voltage_v": energy.voltage_v or table.sram.voltage_v,
            "total_pj": spent.total_pj,
            "power_mw": spent.power_mw,
            "by_kind": spent.by_kind,
            "by_stage": spent.by_stage,
            "by_stage_and_kind": spent.by_stage_and_kind,
        },
        "ledger": _ledger(spent.ledger, pipeline),
    }


def _ledger(energy: Ledger, pipeline: Pipeline) -> dict[str, Any]:
    """Energy of a frame and cells of memories, as a ``LedgerRecord``."""
    entries = tuple(
        Entry(part=memory.layer, kind=memory.role, quantity="memory_bits", value=memory.size_bits)
        for memory in memory_list(pipeline)
        if memory.style != "constant"
    )
    cells = Basis(kind="exact", source="the memory list, which the Verilog is built from")
    ledger = energy + Ledger(entries, {"memory_bits": cells})
    record = LedgerRecord(entries=list(ledger.entries), bases=dict(ledger.bases))
    return record.model_dump(mode="json")
