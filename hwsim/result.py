"""The schema of ``result.json``: every figure of an experiment, with its unit in the key.

Fractions are 0..1. ``docs/result.md`` explains each key. Unknown keys are errors, so that a
figure cannot be added without being described here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hwsim.errors import StorageError

Share = float
"""A fraction, 0..1."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Accuracy(_Section):
    """Shares of test images classified correctly.

    float: the dense float twin (null without one). quantized: the training model with its
    fake-quantized values. integer: the exported integers, run by the executor. golden: the same
    integers, run by torch. rtl: the emitted Verilog, on ``verification.images`` images.
    agreement: share of test images on which quantized and integer give the same answer.
    """

    float: Share | None
    quantized: Share
    integer: Share
    golden: Share
    rtl: Share | None = None
    agreement: Share
    test_images: int


class NetworkSize(_Section):
    """What the integer network holds; ``weight_bits`` counts taps and weight codes."""

    name: str
    ops: int
    weights: int
    weight_bits: int
    macs: int


class Accelerator(_Section):
    """Cycle figures that the model predicts for back-to-back frames."""

    clock_mhz: float
    frames: int
    first_output_cycles: int
    frame_interval_cycles: int
    frame_latency_cycles: int
    ideal_interval_cycles: int
    frames_per_second: float
    frame_latency_us: float


class StageCycles(_Section):
    """What one stage did in the simulated frames; null lanes for stages without weights."""

    name: str
    kind: str
    pe: int
    simd: int
    weights: str | None
    latency_cycles: int
    ideal_interval_cycles: int
    busy_cycles: int
    starved_cycles: int
    blocked_cycles: int


class FifoFigures(_Section):
    """One FIFO; ``high_water_beats`` is the most it held in the simulated frames."""

    name: str
    producer: str
    consumer: str
    bits: int
    depth_beats: int
    high_water_beats: int


class Memory(_Section):
    """One memory of the accelerator; reads and writes are words a frame."""

    name: str
    role: str
    layer: str
    style: str
    words: int
    bits: int
    banks: int
    reads: int
    writes: int


class Energy(_Section):
    """Energy of one frame; ``by_kind``, ``by_stage`` and, over both its levels,
    ``by_stage_and_kind`` sum up to ``total_pj`` each.

    node_nm, voltage_v: of the table's memories. power_mw: at ``frame_interval_cycles``.
    """

    table: str
    node_nm: float
    voltage_v: float
    total_pj: float
    power_mw: float
    by_kind: dict[str, float]
    by_stage: dict[str, float]
    by_stage_and_kind: dict[str, dict[str, float]]


class CycleFigure(_Section):
    """One cycle figure of one simulation of the Verilog, in cycles."""

    test: str
    figure: str
    predicted: int
    measured: int


class Verification(_Section):
    """What the simulation of the emitted Verilog found; every comparison is exact.

    correct: how many of ``images`` the Verilog classified as labelled (null without labels).
    failures: one line for each difference. figures: each as predicted and as measured.
    """

    passed: bool
    simulator: str
    tests: int
    images: int
    outputs_equal: bool
    cycles_equal: bool
    cycles_simulated: int
    correct: int | None
    failures: list[str]
    figures: list[CycleFigure]


class Files(_Section):
    """Paths, relative to the folder that holds ``result.json``."""

    network: str
    verilog: str
    report: str


class StageTime(_Section):
    """How long a stage of the experiment took when it was last done."""

    name: str
    seconds: float


class Result(_Section):
    """One finished experiment."""

    format: int = 1
    hwsim_version: str
    experiment: str
    seed: int
    config: dict[str, Any]
    config_sha256: str
    network_sha256: str
    verilog_sha256: str
    tools: dict[str, str]
    accuracy: Accuracy
    network: NetworkSize
    accelerator: Accelerator
    stages: list[StageCycles]
    fifos: list[FifoFigures]
    memories: list[Memory]
    energy: Energy | None = None
    verilog_lines: int
    verification: Verification
    files: Files
    times: list[StageTime]


def load_result(path: Path | str) -> Result:
    """Read ``result.json``; raises StorageError when it is missing or is no result."""
    path = Path(path)
    try:
        return Result.model_validate_json(path.read_text(encoding="utf-8"), strict=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise StorageError(f"{path}: is not a result of hwsim run") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where = f" ({key}: {first['msg']})" if key else ""
        raise StorageError(f"{path}: is not a result of this version of hwsim{where}") from None
