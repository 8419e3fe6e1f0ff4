"""A whole campaign: curves of one or more protections, their energy, and where errors hurt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwsim.accelerator import Prices
from hwsim.faults.costs import MemoryEnergy, memory_energy
from hwsim.lowvoltage.map import FaultMap
from hwsim.network import network_hash
from hwsim.progress import Progress
from hwsim.studies.curve import CurvePoint, VoltageCurve, measure_curve
from hwsim.studies.result import (
    CellMap,
    Difference,
    FaultsResult,
    MemorySupply,
    Method,
    PartLoss,
    PerMemory,
    SensitivityMap,
    Supply,
    VoltageRow,
)
from hwsim.studies.sensitivity import Sensitivity, bit_sensitivity, layer_sensitivity
from hwsim.studies.statistics import Bound, StopRule, paired_difference, share_of_images
from hwsim.studies.study import ChipRecords, Study
from hwsim.studies.voltages import halves, judge_voltages, search_voltages
from hwsim.version import __version__


@dataclass(frozen=True)
class CampaignPlan:
    """The measurements of every study.

    voltages: relative to vmin. rule: number of chips. loss: acceptable loss of the clean accuracy.
    goal: share of the chips that must lose no more than ``loss``; None: the mean must lose no more.
    refine: see ``measure_curve``. seed: seed of the first chip. sensitivity: whether to measure
    where errors hurt, for the first study, at the voltage next below its lowest. per_memory:
    whether to search a voltage for each memory of the first study.

    Raises StatisticsError unless loss and goal lie between 0 and 1.
    """

    voltages: tuple[float, ...]
    rule: StopRule = StopRule()
    loss: float = 0.01
    goal: float | None = None
    refine: int = 0
    seed: int = 0
    sensitivity: bool = False
    per_memory: bool = False

    def __post_init__(self) -> None:
        self.bound(1.0)

    def bound(self, clean: float) -> Bound:
        """The bound for chips, if the accuracy without faults is ``clean``."""
        return Bound(clean, self.loss, self.goal)


@dataclass(frozen=True)
class Names:
    """Names of the inputs in the result. map, map_reads: files, if studies have a map; map_shape:
    shape of the map's cells, as it was given.
    """

    technology: str
    data: str
    energy_table: str
    map: str = ""
    map_reads: str | None = None
    map_shape: str | None = None


def measure_faults(
    studies: Sequence[Study],
    plan: CampaignPlan,
    prices: Prices,
    clock_mhz: float,
    names: Names,
    records: ChipRecords,
    progress: Progress,
) -> FaultsResult:
    """All figures of ``faults.json``.

    studies: studies of one network and one set of images, which differ in protection. prices,
    clock_mhz: for energy at nominal voltage. records: chips that were counted before.
    """
    first = studies[0]
    curves = [
        measure_curve(
            study,
            plan.voltages,
            plan.rule,
            loss=plan.loss,
            goal=plan.goal,
            seed=plan.seed,
            refine=plan.refine,
            records=records,
            progress=progress,
        )
        for study in studies
    ]
    costs = [
        memory_energy(study.pipeline, study.technology, study.protections, prices, clock_mhz)
        for study in studies
    ]
    methods = [
        _method(study, curve, cost)
        for study, curve, cost in zip(studies, curves, costs, strict=True)
    ]
    places = _places(first, curves[0], plan, records, progress) if plan.sensitivity else None
    supplies = None
    if plan.per_memory:
        supplies = _per_memory(first, curves[0], costs[0], plan, records, progress)
    clean = share_of_images(first.clean, first.images)
    return FaultsResult(
        **dict(methods[0]),
        hwsim_version=__version__,
        seed=plan.seed,
        network=first.pipeline.network.name,
        network_sha256=network_hash(first.pipeline.network),
        data=names.data,
        images=first.images,
        technology=names.technology,
        technology_description=first.technology.description,
        nominal_voltage_rel=first.technology.nominal_rel,
        spatial=vars(first.clusters),
        map=None if first.map is None else _map(first, first.map, names),
        memories=list(first.protections),
        memory_bits=costs[0].cells,
        within=plan.loss,
        yield_goal=plan.goal,
        looks=len(plan.rule.looks),
        chips_needed=plan.bound(clean.mean).chips(len(plan.rule.looks)),
        chips_most=plan.rule.most,
        accuracy_clean=clean.mean,
        accuracy_clean_low=clean.low,
        accuracy_clean_high=clean.high,
        energy_table=names.energy_table,
        memory_energy_pj=costs[0].bare_pj,
        memory_energy_share=costs[0].share,
        others=methods[1:],
        differences=_differences(methods),
        sensitivity=places,
        per_memory=supplies,
    )


def _map(study: Study, used: FaultMap, names: Names) -> CellMap:
    rows, columns = used.cells.shape
    taken = sum(used.room(*shape) for shape in study.shapes.values())
    return CellMap(
        file=names.map,
        holds=used.holds,
        reads=names.map_reads,
        shape=names.map_shape,
        interleave=used.interleave,
        rows=rows,
        columns=columns,
        repetitions=taken / used.cells.size,
    )


def _places(
    study: Study, curve: VoltageCurve, plan: CampaignPlan, records: ChipRecords, progress: Progress
) -> SensitivityMap:
    """At the highest measured voltage that is too low; where none is, at the lowest one."""
    at = curve.next_lower or curve.lowest
    layers, bits = (
        measure(
            study,
            at.bit_error_rate,
            plan.rule,
            seed=plan.seed,
            records=records,
            progress=progress,
        )
        for measure in (layer_sensitivity, bit_sensitivity)
    )
    return SensitivityMap(
        voltage_rel=at.voltage_rel,
        bit_error_rate=study.failing(at.bit_error_rate),
        memories=_part_losses(layers),
        bits=_part_losses(bits),
    )


def _per_memory(
    study: Study,
    curve: VoltageCurve,
    energy: MemoryEnergy,
    plan: CampaignPlan,
    records: ChipRecords,
    progress: Progress,
) -> PerMemory:
    """Chosen among the voltages of the curve; judged on chips and images that had no say."""
    searched, judged = halves(study)
    found = search_voltages(
        searched,
        # The voltage of a memory without accesses saves nothing: it stays at vmin.
        {name: pj for name, pj in energy.accesses.items() if pj > 0},
        [point.voltage_rel for point in curve.points if point.voltage_rel < 1],
        chips=plan.rule.least,
        loss=plan.loss,
        seed=plan.seed,
        records=records,
        progress=progress,
    )
    own = {**dict.fromkeys(energy.accesses, 1.0), **found.best.voltages}
    single = next(iter(found.uniform.voltages.values()))

    bound = plan.bound(judged.clean / judged.images)

    def supply(voltages: Mapping[str, float]) -> Supply:
        seed = plan.seed + plan.rule.least
        point = judge_voltages(
            judged, voltages, plan.rule, bound, seed=seed, records=records, progress=progress
        )
        return Supply(
            **_seen(point, bound),
            energy_rel_vmin=energy.rel_vmin(voltages),
            energy_rel_nominal=energy.rel_nominal(voltages),
            energy_saved_vs_vmin=1 - energy.rel_vmin(voltages),
            energy_saved_vs_nominal=1 - energy.rel_nominal(voltages),
            accelerator_energy_saved_vs_nominal=1 - energy.accelerator_rel(voltages),
        )

    return PerMemory(
        search_chips=plan.rule.least,
        search_images=searched.images,
        images=judged.images,
        accuracy_clean=judged.clean / judged.images,
        memories=[
            MemorySupply(
                name=name,
                energy_pj=energy.accesses[name],
                voltage_rel=voltage,
                bit_error_rate=study.failing(study.technology.probability(voltage)),
            )
            for name, voltage in own.items()
        ],
        own=supply(own),
        single_voltage_rel=single,
        single=supply(dict.fromkeys(own, single)),
    )


def _method(study: Study, curve: VoltageCurve, energy: MemoryEnergy) -> Method:
    """The figures of one protection."""
    lowest, below = curve.lowest.voltage_rel, curve.next_lower
    return Method(
        protection=study.protection.name,
        curve=[_row(study, point, curve.bound, energy) for point in curve.points],
        lowest_voltage_rel=lowest,
        next_lower_voltage_rel=None if below is None else below.voltage_rel,
        undecided_voltages_rel=[point.voltage_rel for point in curve.open],
        energy_saved_vs_vmin=1 - energy.rel_vmin(lowest),
        energy_saved_vs_nominal=1 - energy.rel_nominal(lowest),
        accelerator_energy_saved_vs_nominal=1 - energy.accelerator_rel(lowest),
        check_bits_share=energy.check_cells / energy.cells,
        gates_share=energy.gates_pj / energy.bare_pj,
    )


def _seen(point: CurvePoint, bound: Bound) -> dict[str, Any]:
    """What is told of chips wherever they are."""
    mean, share = point.accuracy, point.share(bound)
    return {
        "chips": mean.count,
        "accuracy_mean": mean.mean,
        "accuracy_low": mean.low,
        "accuracy_high": mean.high,
        "accuracy_worst": min(point.accuracies),
        "yield": share.mean,
        "yield_low": share.low,
        "yield_high": share.high,
        "kept": point.kept(bound),
    }


def _row(study: Study, point: CurvePoint, bound: Bound, energy: MemoryEnergy) -> VoltageRow:
    return VoltageRow(
        **_seen(point, bound),
        voltage_rel=point.voltage_rel,
        bit_error_rate=study.failing(point.bit_error_rate),
        accuracies=list(point.accuracies),
        energy_rel_vmin=energy.rel_vmin(point.voltage_rel),
        energy_rel_nominal=energy.rel_nominal(point.voltage_rel),
    )


def _differences(methods: Sequence[Method]) -> list[Difference]:
    """Every method against the first, at the voltages at which both have faults."""
    first = {row.voltage_rel: row for row in methods[0].curve if row.bit_error_rate}
    found = []
    for other in methods[1:]:
        for row in other.curve:
            if (base := first.get(row.voltage_rel)) is None:
                continue
            count = min(row.chips, base.chips)
            gap = paired_difference(row.accuracies[:count], base.accuracies[:count])
            found.append(
                Difference(
                    protection=other.protection,
                    voltage_rel=row.voltage_rel,
                    chips=count,
                    mean=gap.mean,
                    low=gap.low,
                    high=gap.high,
                )
            )
    return found


def _part_losses(found: Sequence[Sensitivity]) -> list[PartLoss]:
    """Sensitivities as rows."""
    return [
        PartLoss(
            name=part.name,
            cells=part.cells,
            chips=part.drop.count,
            loss_mean=part.drop.mean,
            loss_low=part.drop.low,
            loss_high=part.drop.high,
        )
        for part in found
    ]
