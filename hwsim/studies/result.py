"""The schema of ``faults.json``: every figure of ``hwsim faults``.

Shares and accuracies are 0..1, voltages relative to vmin, units in the keys; docs/memories.md
explains each key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from hwsim.errors import StorageError
from hwsim.files import Count, Document, Sha256, Share, Version1, read_json
from hwsim.names import Line

FAULTS = "faults.json"

VoltageRel = Annotated[float, Field(gt=0, le=100)]
"""A voltage relative to vmin."""


class _Section(Document):
    model_config = ConfigDict(serialize_by_alias=True, strict=False)


class _Chips(_Section):
    """Accuracy of chips at one supply voltage.

    accuracy_low, accuracy_high: 95 % interval of the mean; accuracy_worst: of the worst chip.
    yield: share of chips that stay within the bound; yield_low, yield_high: its 95 % interval.
    kept: whether the bound on mean or yield is shown to be kept; null: more chips are needed.
    """

    chips: Count
    accuracy_mean: Share
    accuracy_low: Share
    accuracy_high: Share
    accuracy_worst: Share
    share_good: Annotated[Share, Field(alias="yield")]
    yield_low: Share
    yield_high: Share
    kept: bool | None


class VoltageRow(_Chips):
    """One voltage: accuracy over chips, and energy of the memories.

    bit_error_rate: share of cells that fail. accuracies: chip by chip. energy_rel_*: relative to
    bare memories at vmin, at nominal voltage.
    """

    voltage_rel: VoltageRel
    bit_error_rate: Share
    accuracies: list[Share]
    energy_rel_vmin: float
    energy_rel_nominal: float


class Method(_Section):
    """One protection.

    lowest_voltage_rel: the lowest voltage that, like all higher ones, is shown to keep the bound;
    next_lower_voltage_rel: the measured voltage below, which is not (null: none was measured).
    undecided_voltages_rel: the voltages from there down that the chips leave open.
    energy_saved_*: saved by the memories at the lowest voltage;
    accelerator_energy_saved_vs_nominal: the same as a share of the whole accelerator.
    check_bits_share: check bits per data bit. gates_share: energy of encoders and decoders as a
    share of the bare memories' at nominal voltage.
    """

    protection: Line
    curve: Annotated[list[VoltageRow], Field(min_length=1)]
    lowest_voltage_rel: VoltageRel
    next_lower_voltage_rel: VoltageRel | None
    undecided_voltages_rel: list[VoltageRel]
    energy_saved_vs_vmin: float
    energy_saved_vs_nominal: float
    accelerator_energy_saved_vs_nominal: float
    check_bits_share: float
    gates_share: float

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.lowest_voltage_rel not in [row.voltage_rel for row in self.curve]:
            raise ValueError("lowest_voltage_rel must be a voltage of curve")
        return self

    @property
    def lowest(self) -> VoltageRow:
        """The row of ``lowest_voltage_rel``."""
        return next(r for r in self.curve if r.voltage_rel == self.lowest_voltage_rel)


class Difference(_Section):
    """Accuracy of ``protection`` minus accuracy of the first one, same chips, 95 % interval."""

    protection: Line
    voltage_rel: VoltageRel
    chips: Count
    mean: float
    low: float
    high: float


class PartLoss(_Section):
    """Accuracy that is lost when one part alone fails; mean and 95 % interval over ``chips``."""

    name: Line
    cells: Count
    chips: Count
    loss_mean: float
    loss_low: float
    loss_high: float


class SensitivityMap(_Section):
    """Loss by place of the faults, at one voltage, with the first protection."""

    voltage_rel: VoltageRel
    bit_error_rate: Share
    memories: list[PartLoss]
    bits: list[PartLoss]


class MemorySupply(_Section):
    """The voltage of one memory. energy_pj: of its accesses in a frame, check bits included, at
    nominal voltage; it is what the voltages were chosen by.
    """

    name: Line
    energy_pj: float
    voltage_rel: VoltageRel
    bit_error_rate: Share


class Supply(_Chips):
    """The result of a choice of voltages; keys as in ``VoltageRow`` and ``Method``."""

    energy_rel_vmin: float
    energy_rel_nominal: float
    energy_saved_vs_vmin: float
    energy_saved_vs_nominal: float
    accelerator_energy_saved_vs_nominal: float


class PerMemory(_Section):
    """A voltage for each memory (``own``) and one for all (``single``), with the first protection.

    Both were chosen on the first ``search_images`` images and ``search_chips`` chips, and judged
    on the other ``images`` and the chips that follow. accuracy_clean: on those images, without
    faults.
    """

    search_chips: Count
    search_images: Count
    images: Annotated[int, Field(ge=1)]
    accuracy_clean: Share
    memories: list[MemorySupply]
    own: Supply
    single_voltage_rel: VoltageRel
    single: Supply

    @property
    def shares(self) -> list[tuple[MemorySupply, float]]:
        """Memories with their shares of the energy, the largest first."""
        whole = sum(memory.energy_pj for memory in self.memories) or 1.0
        ordered = sorted(self.memories, key=lambda memory: -memory.energy_pj)
        return [(memory, memory.energy_pj / whole) for memory in ordered]


class CellMap(_Section):
    """A user's map of ``rows`` x ``columns`` cells in place of random chips.

    holds, interleave: as in ``FaultMap``. reads: file of what its failing cells read. shape: of all
    cells, where the file lists those that fail.
    repetitions: cells of the memories relative to those of the map.
    """

    file: str
    holds: str
    reads: str | None = None
    shape: str | None = None
    interleave: int = 1
    rows: Count
    columns: Count
    repetitions: float


class FaultsResult(Method):
    """A measured network: the figures of the first protection, and those of ``others``.

    within, yield_goal: the question: the mean over chips loses at most ``within``, or at least the
    share ``yield_goal`` of the chips does. looks: how often the stop rule looks at the chips;
    chips_most: the largest number of chips; chips_needed: fewer chips show nothing, even if no chip
    loses anything.
    accuracy_clean: without faults; _low, _high: Wilson interval over the images. memory_energy:
    of bare accesses in a frame at nominal voltage, and its share of the accelerator's energy.
    """

    format: Version1 = 1
    hwsim_version: Line
    seed: Count
    network: Line
    network_sha256: Sha256
    data: str
    images: Annotated[int, Field(ge=1)]
    technology: str
    technology_description: str
    nominal_voltage_rel: VoltageRel
    spatial: dict[str, float]
    map: CellMap | None = None
    memories: list[str]
    memory_bits: Count
    within: Share
    yield_goal: Share | None
    looks: Count
    chips_most: Count
    chips_needed: Count
    accuracy_clean: Share
    accuracy_clean_low: Share
    accuracy_clean_high: Share
    energy_table: Line
    memory_energy_pj: float
    memory_energy_share: float
    others: list[Method] = []
    differences: list[Difference] = []
    sensitivity: SensitivityMap | None = None
    per_memory: PerMemory | None = None

    @property
    def methods(self) -> list[Method]:
        """All protections, the first one first."""
        return [self, *self.others]


def load_faults(path: Path | str) -> FaultsResult:
    """Read ``faults.json``; raises StorageError naming file and key."""
    try:
        return read_json(path, FaultsResult)
    except StorageError as error:
        raise StorageError(
            f"{error} (run hwsim faults again if another version wrote it)"
        ) from None
