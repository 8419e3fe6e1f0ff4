"""The schema of ``result.json``: every figure of an experiment, with its unit in the key.

Fractions are 0..1. ``docs/result.md`` explains each key. Unknown keys are errors, so that a
figure cannot be added without being described here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from hwsim.accelerator.plain import PipelineRecord
from hwsim.costs import Basis, Ledger, LedgerRecord
from hwsim.design.roles import Role, Style
from hwsim.files import (
    Count,
    Document,
    Format,
    RelativePath,
    Sha256,
    Share,
    Version2,
    parse_json,
    read_json,
)
from hwsim.names import Line

EnergyKind = Role | Literal["logic", "leakage"]
"""What takes energy."""


class Accuracy(Document):
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
    test_images: Count


class Training(Document):
    """How the network was trained: number format of convolutions, and epochs."""

    precision: Literal["fp32", "bf16"]
    epochs: Count


class Machine(Document):
    """What the training ran on: the same seed gives the same weights where all this is the same.

    device: ``cpu``, or the GPU's name. cpu_capability: vector instructions that torch uses, as
    ``AVX2``. threads: of the training. blas: library that torch was built with.
    """

    device: Line
    cpu: Line
    cpu_capability: Line
    threads: Count
    blas: Line


Confusion = list[list[Count]]
"""``confusion[label][answer]``: test images of class ``label`` that the integers answer so."""


class NetworkSize(Document):
    """What the integer network holds; ``weight_bits`` counts taps and weight codes."""

    name: Line
    ops: Count
    weights: Count
    weight_bits: Count
    macs: Count


class Cycles(Document):
    """Cycle figures that the model predicts for back-to-back frames."""

    clock_mhz: Annotated[float, Field(gt=0)]
    frames: Annotated[int, Field(ge=1, le=10_000)]
    first_output_cycles: Count
    frame_interval_cycles: Count
    frame_latency_cycles: Count
    ideal_interval_cycles: Count
    frames_per_second: float
    frame_latency_us: float


class StageCycles(Document):
    """What one stage did in the simulated frames; null lanes for stages without weights."""

    name: Line
    kind: Line
    pe: Count
    simd: Count
    weights: str | None
    latency_cycles: Count
    ideal_interval_cycles: Count
    busy_cycles: Count
    starved_cycles: Count
    blocked_cycles: Count


class FifoFigures(Document):
    """One FIFO; ``high_water_beats`` is the most it held in the simulated frames."""

    name: Line
    producer: Line
    consumer: Line
    bits: Count
    depth_beats: Count
    high_water_beats: Count


class Memory(Document):
    """One memory of the accelerator; reads and writes are words a frame."""

    name: Line
    role: Role
    layer: Line
    style: Style
    words: Count
    bits: Count
    banks: Count
    reads: Count
    writes: Count

    @property
    def cells(self) -> int:
        """Bits that are stored; what is wired into the fabric stores none."""
        return 0 if self.style is Style.CONSTANT else self.words * self.bits


class CycleFigure(Document):
    """One cycle figure of one simulation of the Verilog, in cycles."""

    test: Line
    figure: Line
    predicted: Count
    measured: Count


class EnergyTerms(Document):
    """For which technology and supply the energies of a ledger are, and the mean power.

    node_nm, voltage_v: of the table's memories. power_mw: at ``frame_interval_cycles``.
    """

    table: Line
    node_nm: float
    voltage_v: float
    power_mw: float


class Verification(Document):
    """What the simulation of the emitted Verilog found; every comparison is exact.

    correct: how many of ``images`` the Verilog classified as labelled (null without labels).
    directed: images that were made to show edges, beside them. disturbed: all gaps and stalls that
    were asked for changed dates. not_seen: edges (ties of ArgMax, ends of requantizers) that no
    image showed. notes: what was left out, and why.
    failures: one line for each difference. figures: each as predicted and as measured.
    """

    passed: bool
    simulator: Line
    tests: Count
    images: Annotated[int, Field(ge=1)]
    directed: Count = 0
    outputs_equal: bool
    cycles_equal: bool
    disturbed: bool = True
    not_seen: list[str] = []
    notes: list[str] = []
    cycles_simulated: Count
    correct: Count | None
    failures: list[str]
    figures: list[CycleFigure]


class Files(Document):
    """Paths, relative to the folder that holds ``result.json``."""

    network: RelativePath
    verilog: RelativePath
    report: RelativePath


class StageTime(Document):
    """How long a stage of the experiment took when it was last done."""

    name: Line
    seconds: float


def _configuration(values: dict[str, Any]) -> dict[str, Any]:
    verification = values.get("verification")
    if not isinstance(verification, dict) or type(verification.get("seed")) is not int:
        raise ValueError("must be the configuration of an experiment, with verification.seed")
    return values


class AcceleratorTarget(Document):
    """The network as a pipelined accelerator: what the models say of it, and its Verilog.

    design: what restores the pipeline from the network. ledger: energy of a frame by stage and
    kind (``energy_pj``), cells by stage and role (``memory_bits``).
    """

    kind: Literal["accelerator"]
    name: Line
    design: PipelineRecord
    cycles: Cycles
    stages: list[StageCycles]
    fifos: list[FifoFigures]
    memories: list[Memory]
    energy: EnergyTerms
    ledger: LedgerRecord
    verilog_lines: Count
    verilog_sha256: Sha256
    verification: Verification

    @cached_property
    def costs(self) -> Ledger:
        """``ledger`` with its sums."""
        return self.ledger.ledger()


_CONFIGURED = Basis(kind="assumed", source="set by the configuration")
_COUNTED = Basis(kind="exact", source="counted in the network")
_IMAGES = Basis(kind="measured", source="all test images; accuracy.rtl: the verified images")
_MODEL = Basis(kind="exact", source="the cycle model, which the Verilog is compared with by ==")
_CLOCK = Basis(
    kind="assumed", source="exact cycles at a clock that the configuration sets (hwsim synth)"
)
_ENERGY = Basis(
    kind="model",
    source="the energies of the ledger",
    error="not compared with silicon",
)
_MEMORIES = Basis(kind="exact", source="the memory list, which the Verilog is built from")
BASES = {
    "format": Basis(kind="exact", source="the version of this schema"),
    "seed": _CONFIGURED,
    "config": _CONFIGURED,
    "accuracy": _IMAGES,
    "accuracy.test_images": Basis(kind="exact", source="counted in the data set"),
    "confusion": _IMAGES,
    "training": Basis(kind="measured", source="the training"),
    "machine": Basis(kind="measured", source="asked of the machine and of torch"),
    "network": _COUNTED,
    "times": Basis(kind="measured", source="the clock of the machine that did the stage"),
    "targets.design": _CONFIGURED,
    "targets.cycles": _MODEL,
    "targets.cycles.clock_mhz": _CONFIGURED,
    "targets.cycles.frames_per_second": _CLOCK,
    "targets.cycles.frame_latency_us": _CLOCK,
    "targets.stages": _MODEL,
    "targets.fifos": _MODEL,
    "targets.memories": _MEMORIES,
    "targets.energy": _ENERGY,
    "targets.ledger.entries": Basis(kind="exact", source="each quantity: targets.ledger.bases"),
    "targets.verilog_lines": Basis(kind="exact", source="counted in the Verilog"),
    "targets.verification": Basis(kind="measured", source="simulation of the Verilog"),
}
"""On what the numbers under a key rest; of several keys that fit, the longest counts."""


class Result(Document):
    """One finished experiment, and each target that its network was built for.

    bases: on what the numbers under each key rest; ``BASES``.
    """

    current: ClassVar = Format("format", 2, "run the experiment again (hwsim run)")

    format: Version2 = 2
    hwsim_version: Line
    experiment: Line
    seed: Count
    config: Annotated[dict[str, Any], AfterValidator(_configuration)]
    config_sha256: Sha256
    network_sha256: Sha256
    tools: dict[str, str]
    machine: Machine
    accuracy: Accuracy
    confusion: Confusion
    training: Training
    network: NetworkSize
    targets: Annotated[list[AcceleratorTarget], Field(min_length=1)]
    files: Files
    times: list[StageTime]
    bases: dict[Line, Basis] = BASES

    @property
    def accelerator(self) -> AcceleratorTarget:
        """The first target that is an accelerator."""
        return next(target for target in self.targets if target.kind == "accelerator")


def basis_of(key: str, bases: Mapping[str, Basis] = BASES) -> Basis:
    """On what the number under a dotted ``key`` (without places in lists) rests.

    Raises KeyError for a key that no basis is for.
    """
    found = [known for known in bases if f"{key}.".startswith(f"{known}.")]
    if not found:
        raise KeyError(key)
    return bases[max(found, key=len)]


class Reported(Document):
    """Base of what single stages report to ``state.json``; a stage may add figures of its own."""

    model_config = ConfigDict(extra="allow")


class Trained(Reported):
    """``float``, ``quantized``: as in ``Accuracy``; the others as in ``Training``."""

    float: Share | None
    quantized: Share
    precision: Literal["fp32", "bf16"]
    epochs: Count
    machine: Machine


class Exported(Reported):
    """As in ``NetworkSize``."""

    name: Line
    network_sha256: Sha256
    ops: Count
    weights: Count
    weight_bits: Count
    macs: Count


class Evaluated(Reported):
    """As in ``Accuracy``."""

    integer: Share
    golden: Share
    agreement: Share
    test_images: Count
    confusion: Confusion


class Energy(Document):
    """Energy of one frame; ``by_kind``, ``by_stage`` and, over both its levels,
    ``by_stage_and_kind`` sum up to ``total_pj`` each.

    node_nm, voltage_v: of the table's memories. power_mw: at ``frame_interval_cycles``.
    """

    table: Line
    node_nm: float
    voltage_v: float
    total_pj: float
    power_mw: float
    by_kind: dict[EnergyKind, float]
    by_stage: dict[Line, float]
    by_stage_and_kind: dict[Line, dict[EnergyKind, float]]


class Simulated(Reported):
    """What ``hwsim simulate --json`` says; see ``AcceleratorTarget``."""

    design: PipelineRecord
    ledger: LedgerRecord

    accelerator: Cycles
    stages: list[StageCycles]
    fifos: list[FifoFigures]
    memories: list[Memory]
    energy: Energy


class Generated(Reported):
    """Lines of the Verilog and its hash."""

    lines: Count
    sha256: Sha256


def accelerator_target(
    simulated: Mapping[str, Any], generated: Mapping[str, Any], verification: Mapping[str, Any]
) -> dict[str, Any]:
    """An ``AcceleratorTarget`` as plain values, of the figures that its three stages reported.

    simulated, generated, verification: as in ``Simulated``, ``Generated`` and ``Verification``.
    """
    return {
        "kind": "accelerator",
        "name": "accelerator",
        "cycles": simulated["accelerator"],
        **{key: simulated[key] for key in ("design", "stages", "fifos", "memories", "ledger")},
        "energy": {key: simulated["energy"][key] for key in EnergyTerms.model_fields},
        "verilog_lines": generated["lines"],
        "verilog_sha256": generated["sha256"],
        "verification": verification,
    }


def load_result(path: Path | str) -> Result:
    """Read ``result.json``; raises StorageError naming file and key."""
    return read_json(path, Result)


def check_result(document: dict[str, Any], source: Path | str) -> Result:
    """What stages reported as a result; raises StorageError naming ``source`` and key."""
    return parse_json(json.dumps(document), Result, source)
