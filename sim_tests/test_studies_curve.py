"""Curves over chips: what is counted, the lowest voltage, resuming, energy, where errors hurt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.small_study import own_answers, small_pipeline

from hwsim.accelerator import (
    Fold,
    Pipeline,
    Prices,
    build_pipeline,
    estimate_energy,
    memory_list,
    simulate,
)
from hwsim.accelerator.energy import access_pj
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config
from hwsim.design.operation import Operation
from hwsim.design.roles import PROTECTABLE, Role
from hwsim.errors import HwsimError, NetworkError, OutputError
from hwsim.faults.costs import memory_energy
from hwsim.faults.design import DesignFaults, design_faults
from hwsim.faults.evaluate import FaultyExecutor
from hwsim.lowvoltage import Chip, ChipError, FaultMap, Spatial, VoltageError, load_technology
from hwsim.lowvoltage.protection import NONE, Secded, Tmr
from hwsim.studies.curve import CurvePoint, VoltageCurve, measure_curve
from hwsim.studies.sensitivity import bit_sensitivity, layer_sensitivity
from hwsim.studies.statistics import Bound, Estimate, StatisticsError, StopRule
from hwsim.studies.study import ChipRecords, Study

SRAM = load_technology("sram_14nm")
WEIGHTS = ("weight",)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return small_pipeline()


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices(load_config("cmos_45nm", EnergyTable, "energy"))


@pytest.fixture
def study(pipeline: Pipeline) -> Study:
    return Study(pipeline, SRAM, *own_answers(pipeline.network), WEIGHTS)


# -- counting --------------------------------------------------------------------------------------


def test_points_are_what_faulty_executors_answer(study: Study) -> None:
    curve = measure_curve(study, [0.8, 0.85], StopRule.fixed(3), seed=5)
    assert [p.voltage_rel for p in curve.points] == [0.8, 0.85, 1.0]
    assert curve.clean == 1
    for point in curve.points[:2]:
        assert point.bit_error_rate == SRAM.probability(point.voltage_rel)
        for seed, found in zip((5, 6, 7), point.accuracies, strict=True):
            chip = Chip(SRAM, seed)
            faults = design_faults(study.pipeline, chip, point.bit_error_rate, WEIGHTS)
            assert found == FaultyExecutor(faults).accuracy(study.x, study.labels)
    assert curve.points[0].accuracies != (1, 1, 1)
    assert curve.points[-1].accuracies == (1, 1, 1)


def test_memories_that_buffer_pictures_count_too(pipeline: Pipeline) -> None:
    study = Study(pipeline, SRAM, *own_answers(pipeline.network, 8), ("window", "fifo"))
    point = measure_curve(study, [0.8], StopRule.fixed(2)).points[0]
    faults = design_faults(pipeline, Chip(SRAM, 1), SRAM.probability(0.8), ("window", "fifo"))
    assert point.accuracies[1] == FaultyExecutor(faults).accuracy(study.x, study.labels)


def test_chips_without_faults_are_not_evaluated(study: Study, monkeypatch: Any) -> None:
    def never(self: FaultyExecutor, x: np.ndarray) -> np.ndarray:
        raise AssertionError

    monkeypatch.setattr(FaultyExecutor, "run", never)
    curve = measure_curve(study, [0.999, 1.0, SRAM.nominal_rel], StopRule.fixed(2))
    assert [p.accuracies for p in curve.points] == [(1, 1)] * 3


def test_the_same_cells_are_evaluated_once(pipeline: Pipeline, monkeypatch: Any) -> None:
    """At two voltages a chip often fails in the same cells; other cells have other answers."""
    x, labels = own_answers(pipeline.network, 8)
    study, asked = Study(pipeline, SRAM, x, labels, WEIGHTS), 0
    run = FaultyExecutor.run

    def count(self: FaultyExecutor, x: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += 1
        return run(self, x)

    monkeypatch.setattr(FaultyExecutor, "run", count)
    rates = (0.02, 0.021, 0.05)
    found = [[study.right(study.faults(seed, rate)) for rate in rates] for seed in range(6)]
    failing = {cells_of(study.faults(seed, rate)) for seed in range(6) for rate in rates}
    assert asked == len(failing - {frozenset()})
    assert 6 < asked < 18
    fresh = replace(study)
    again = [[fresh.right(fresh.faults(seed, rate)) for seed in range(6)] for rate in rates]
    assert np.array_equal(np.transpose(again), found)
    # What a cell reads, and whether it errs always, makes a difference.
    stuck = SRAM.model_copy(update={"faults": SRAM.faults.model_copy(update={"kind": "stuck"})})
    coming = SRAM.faults.model_copy(update={"persistence": 0.5})
    written = SRAM.faults.model_copy(update={"kind": "write_failure"})
    before = asked
    for other in (stuck, SRAM.model_copy(update={"faults": coming})):
        study.right(replace(study, technology=other).faults(0, 0.05))
    assert asked == before + 2
    # Stores are written once, so cells that take no value are those that are stuck at their own.
    once = SRAM.model_copy(
        update={"faults": written.model_copy(update={"ones": stuck.faults.ones})}
    )
    study.right(replace(study, technology=once).faults(0, 0.05))
    assert asked == before + 2


def cells_of(faults: DesignFaults) -> frozenset[tuple[str, int, int]]:
    return frozenset(cells(faults))


@dataclass
class Told:
    """A study whose chips get right what ``shares`` says of the bit error rate and the seed."""

    shares: Callable[[float, int], float]
    technology: Any = SRAM
    protection: Any = NONE
    key: str = "told"
    images: int = 1000
    clean: int = 1000
    asked: int = 0
    most: int = 1 << 30

    def faults(self, seed: int, probability: float) -> tuple[float, int]:
        return probability, seed

    def right(self, faults: tuple[float, int]) -> int:
        if self.asked == self.most:
            raise KeyboardInterrupt
        self.asked += 1
        return round(1000 * self.shares(*faults)) if faults[0] else self.clean


def threshold(rate: float, seed: int) -> float:
    """No loss down to 0.9 of vmin, half of the images below."""
    return 1.0 if rate <= SRAM.probability(0.9) else 0.5


def point(voltage: float, *parts: tuple[int, float]) -> CurvePoint:
    """Of so many chips of an accuracy each."""
    values = [accuracy for chips, accuracy in parts for _ in range(chips)]
    return CurvePoint(voltage, 0.1 if voltage < 1 else 0.0, tuple(values), looks=5)


GOOD, BAD, SOME = (600, 1.0), (600, 0.5), (5, 0.0)


@pytest.mark.parametrize(
    ("points", "goal", "lowest", "below", "open_"),
    [
        ([point(0.8, BAD), point(0.9, GOOD)], None, 0.9, 0.8, []),
        ([point(0.8, GOOD), point(0.9, GOOD)], None, 0.8, None, []),
        ([point(0.8, BAD), point(0.9, BAD)], None, 1.0, 0.9, []),
        # A dip at a higher voltage counts, however good the lower one is.
        ([point(0.8, GOOD), point(0.85, BAD), point(0.9, GOOD)], None, 0.9, 0.85, []),
        # The mean is good enough, its interval is not.
        ([point(0.8, BAD), point(0.9, GOOD, SOME)], None, 1.0, 0.9, [0.9]),
        ([point(0.9, (20, 1.0))], None, 1.0, 0.9, [0.9]),
        # 600 chips of 605 are good: a yield of more than 95 %, perhaps of 99 %, not of 99.99 %.
        ([point(0.9, GOOD, SOME)], 0.95, 0.9, None, []),
        ([point(0.8, GOOD, SOME), point(0.9, GOOD, SOME)], 0.99, 1.0, 0.9, [0.9, 0.8]),
        ([point(0.8, GOOD, SOME), point(0.9, GOOD, SOME)], 0.9999, 1.0, 0.9, []),
        # The mean is fine, but each chip loses too much.
        ([point(0.9, (300, 0.989), (300, 1.0))], 0.7, 1.0, 0.9, []),
    ],
)
def test_lowest_voltage(
    points: list[CurvePoint],
    goal: float | None,
    lowest: float,
    below: float | None,
    open_: list[float],
) -> None:
    curve = VoltageCurve((*points, point(1.0, (2, 1.0))), Bound(1.0, 0.01, goal))
    assert curve.lowest.voltage_rel == lowest
    assert (curve.next_lower and curve.next_lower.voltage_rel) == below
    assert [point.voltage_rel for point in curve.open] == open_


def test_nothing_is_estimated_where_no_cell_can_fail() -> None:
    vmin, bound = point(1.0, (2, 0.875)), Bound(0.875, 0.01, 0.99)
    assert vmin.accuracy == Estimate(0.875, 0.875, 0.875, 2)
    assert vmin.share(bound) == Estimate(1.0, 1.0, 1.0, 2)
    assert point(0.99, (2, 0.875)).accuracy.width > 0.5


@pytest.mark.parametrize("refine", [0, 1, 6])
def test_halving_brings_the_threshold_between_two_points(refine: int) -> None:
    curve = measure_curve(Told(threshold), [0.75, 0.875], StopRule.fixed(600), refine=refine)  # type: ignore[arg-type]
    assert len(curve.points) == 3 + refine
    assert curve.next_lower is not None
    assert curve.next_lower.voltage_rel < 0.9 <= curve.lowest.voltage_rel
    gap = curve.lowest.voltage_rel - curve.next_lower.voltage_rel
    assert abs(gap - 0.125 / 2**refine) < 1e-5


def test_nothing_to_refine_where_all_voltages_are_good_enough() -> None:
    curve = measure_curve(Told(threshold), [0.95], StopRule.fixed(600), refine=4)  # type: ignore[arg-type]
    assert [p.voltage_rel for p in curve.points] == [0.95, 1.0]


def test_stop_rule_counts_for_each_voltage() -> None:
    """Hopeless and good voltages are decided soon, those between take all chips there may be."""
    shares = {0.8: 0.3, 0.85: 0.955, 0.9: 0.999}
    rates = {SRAM.probability(voltage): share for voltage, share in shares.items()}
    told = Told(lambda rate, seed: rates[rate])
    curve = measure_curve(told, shares, StopRule(10, 320), loss=0.05)  # type: ignore[arg-type]
    assert [len(p.accuracies) for p in curve.points] == [10, 320, 160, 10]
    assert [p.kept(curve.bound) for p in curve.points] == [False, None, True, True]
    assert [p.looks for p in curve.points] == [6] * 4
    assert (curve.lowest.voltage_rel, [p.voltage_rel for p in curve.open]) == (0.9, [0.85])


def test_chips_until_intervals_are_narrow() -> None:
    told = Told(lambda rate, seed: 1.0 if rate < 0.01 else 0.4 + 0.2 * (seed % 2))
    curve = measure_curve(told, [0.8, 0.9], StopRule(5, 320, 0.2))  # type: ignore[arg-type]
    assert [len(p.accuracies) for p in curve.points] == [40, 40, 5]
    assert [p.accuracy.width <= 0.2 for p in curve.points] == [True] * 3
    for done in curve.points[:2]:
        half = len(done.accuracies) // 2
        assert replace(done, accuracies=done.accuracies[:half]).accuracy.width > 0.2


def test_yield_goals_stop_at_what_they_ask() -> None:
    """One chip in ten loses everything: too many, at once, for a yield of 0.99, not for 0.8."""
    told = Told(lambda rate, seed: float(seed % 10 > 0))
    found = [
        measure_curve(told, [0.9], StopRule(50, 800), goal=goal)  # type: ignore[arg-type]
        for goal in (0.99, 0.8, 0.9)
    ]
    assert [len(curve.points[0].accuracies) for curve in found] == [50, 200, 800]
    assert [curve.points[0].kept(curve.bound) for curve in found] == [False, True, None]
    assert [curve.lowest.voltage_rel for curve in found] == [1.0, 0.9, 1.0]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"voltages": [0.8, 0.7]},
            VoltageError,
            "voltage must be 0.75..1.176 of vmin (what the data covers), not 0.7",
        ),
        (
            {"loss": 1.0},
            StatisticsError,
            "the loss that is acceptable must be between 0 and 1, not 1",
        ),
        (
            {"goal": 99.0},
            StatisticsError,
            "a yield must be between 0 and 1, not 99",
        ),
    ],
)
def test_errors_of_curves(change: dict[str, Any], error: type[HwsimError], text: str) -> None:
    told = Told(threshold)
    with pytest.raises(error) as caught:
        measure_curve(told, **{"voltages": [0.8], "rule": StopRule.fixed(2), **change})
    assert str(caught.value) == text
    assert told.asked == 0


# -- maps in place of chips ------------------------------------------------------------------------


@pytest.mark.parametrize("protection", [NONE, Secded()])
def test_chips_of_a_map_are_its_cells_from_a_place_on(study: Study, protection: Any) -> None:
    """All memories lie one after another, check bits included, around the end of the map."""
    cells = np.random.default_rng(3).random((9, 13))
    own = FaultMap(SRAM, cells, "rate")
    mapped = replace(study, protection=protection, map=own)
    names = list(mapped.protections)
    assert names == ["conv1.weight", "conv2.weight", "head.weight"]
    for seed in range(4):
        chip = mapped.chip(seed)
        assert isinstance(chip, FaultMap)
        assert isinstance(chip.offset, dict)
        at = chip.offset[names[0]]
        for memory in memory_list(study.pipeline):
            if memory.name in names:
                bits = memory.bits + mapped.protections[memory.name].check_bits(memory.bits)
                found = chip.faults_at(memory.name, memory.words, bits, 0.2)
                place = (at + np.arange(memory.words * bits)) % cells.size
                expected = np.flatnonzero(cells.reshape(-1)[place] < 0.2)
                assert np.array_equal(found.word * bits + found.bit, expected)
                at += memory.words * bits
    assert len({mapped.chip(seed).offset["head.weight"] for seed in range(8)}) > 4  # type: ignore[union-attr,index]
    curve = measure_curve(mapped, [0.8], StopRule.fixed(3))
    rate = SRAM.probability(0.8)
    for seed, found in enumerate(curve.points[0].accuracies):
        faults = design_faults(
            study.pipeline, mapped.chip(seed), rate, WEIGHTS, protection=protection
        )
        assert found == FaultyExecutor(faults).accuracy(study.x, study.labels)
    assert mapped.failing(rate) == np.count_nonzero(cells < rate) / cells.size
    assert study.failing(rate) == rate


# -- resuming --------------------------------------------------------------------------------------


def test_an_interrupted_curve_goes_on_where_it_was(tmp_path: Path) -> None:
    def losses(rate: float, seed: int) -> float:
        return 1 - 10 * rate - seed / 1000

    def run(told: Told, records: ChipRecords) -> VoltageCurve:
        return measure_curve(told, [0.85, 0.9], StopRule.fixed(4), refine=1, records=records)  # type: ignore[arg-type]

    whole = run(Told(losses), ChipRecords())
    path = tmp_path / "faults.jsonl"
    first = Told(losses, most=7)
    with pytest.raises(KeyboardInterrupt):
        run(first, ChipRecords(path))
    assert len(path.read_text().splitlines()) == first.asked == 7
    with path.open("a") as file:
        file.write('{"key": "torn", "se')
    second = Told(losses)
    assert run(second, ChipRecords(path)) == whole
    third = Told(losses)
    assert run(third, ChipRecords(path)) == whole
    assert (second.asked, third.asked) == (16 - 7, 0)
    # The torn line has a line of its own and spoils no other.
    assert len(ChipRecords(path)) == 16
    other = Told(losses, key="other")
    run(other, ChipRecords(path))
    assert other.asked == 16


def test_records_that_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"faults.jsonl: cannot be written \(No such file"):
        ChipRecords(tmp_path / "missing" / "faults.jsonl").add("k", 0, 1)
    with pytest.raises(OutputError, match=": is not a file$"):
        ChipRecords(tmp_path)


def test_lines_that_are_no_records_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "faults.jsonl"
    path.write_text('[]\n{"key": "k"}\nx\n\n{"key": "k", "seed": 1, "right": 5}\n')
    assert (len(ChipRecords(path)), ChipRecords(path).get("k", 1)) == (1, 5)


def test_key_tells_everything_apart_that_changes_answers(study: Study) -> None:
    x, labels = study.x.copy(), study.labels.copy()
    x[0, 0, 0, 0] ^= 1
    labels[0] ^= 1
    stuck = SRAM.model_copy(update={"faults": SRAM.faults.model_copy(update={"kind": "stuck"})})
    cells = np.eye(4)
    law = SRAM.model_copy(update={"lowest": 0.3})
    depths = {fifo.name: 32 for fifo in study.pipeline.fifos}
    others = [
        study,
        replace(study, x=x),
        replace(study, labels=labels),
        replace(study, memories=("weight", "window")),
        replace(study, protection=Secded()),
        replace(study, spatial=Spatial(column=0.5)),
        replace(study, technology=stuck),
        replace(study, pipeline=study.pipeline.with_depths(depths)),
        replace(study, map=FaultMap(SRAM, cells)),
        replace(study, map=FaultMap(SRAM, cells, "rate")),
        replace(study, map=FaultMap(SRAM, cells, interleave=2)),
        replace(study, map=FaultMap(law, cells, "rate")),
    ]
    assert len({other.key for other in others}) == len(others)
    assert replace(study).key == study.key
    # The rate decides, not which technology has it.
    voltage = SRAM.model_copy(update={"nominal": 1.5})
    assert replace(study, technology=voltage).key == study.key


def test_errors_of_studies(pipeline: Pipeline, study: Study) -> None:
    with pytest.raises(ChipError, match="^weight: no memory with cells that could fail"):
        _ = Study(small_pipeline("constant"), SRAM, study.x, study.labels, WEIGHTS).protections
    with pytest.raises(ChipError, match="not 'flash'$"):
        _ = replace(study, memories=("flash",)).protections
    with pytest.raises(NetworkError, match=r"^labels must be \[40\], at least one, not \[39\]$"):
        replace(study, labels=study.labels[:-1])


# -- energy ----------------------------------------------------------------------------------------


def test_accesses_cost_what_the_accelerators_energy_says(
    pipeline: Pipeline, prices: Prices
) -> None:
    report = estimate_energy(pipeline, prices.table, 100, 100.0)
    sums = Counter[str]()
    for stage in dict.fromkeys(m.layer for m in memory_list(pipeline)):
        for memory in memory_list(pipeline):
            if memory.layer == stage:
                sums[stage, memory.role] += access_pj(memory, prices)
    found = {
        (stage, kind): pj
        for stage, kinds in report.by_stage_and_kind.items()
        for kind, pj in kinds.items()
        if pj and kind not in ("logic", "leakage")
    }
    assert found == {key: pj for key, pj in sums.items() if pj}
    assert memory_list(small_pipeline("constant"))[1].style == "constant"
    assert access_pj(memory_list(small_pipeline("constant"))[1], prices) == 0


def test_energy_of_bare_memories(study: Study, prices: Prices) -> None:
    energy = memory_energy(study.pipeline, SRAM, study.protections, prices, 100.0)
    weights = [m for m in memory_list(study.pipeline) if m.role == "weight"]
    assert energy.bare_pj == sum(access_pj(m, prices) for m in weights)
    assert (energy.accesses_pj, energy.gates_pj) == (energy.bare_pj, 0)
    assert (energy.cells, energy.check_cells) == (2 * 10 + 6 * 20 + 6 * 32, 0)
    interval = simulate(study.pipeline, 8).frame_interval_cycles
    total = estimate_energy(study.pipeline, prices.table, interval, 100.0).total_pj
    assert energy.share == energy.bare_pj / total
    assert np.isclose(energy.rel_vmin(0.8), 0.8**2, rtol=1e-12)
    assert np.isclose(energy.rel_nominal(0.8), (0.8 / SRAM.nominal_rel) ** 2, rtol=1e-12)
    saved = (1 - energy.rel_nominal(0.8)) * energy.bare_pj
    assert np.isclose(energy.accelerator_rel(0.8), 1 - saved / total, rtol=1e-12)
    assert energy.accelerator_rel(SRAM.nominal_rel) == 1


def test_energy_of_protected_memories(study: Study, prices: Prices) -> None:
    """Check bits in proportion; gates at the voltage of the logic; values of each memory."""
    protected = replace(study, protection=Tmr(1))
    energy = memory_energy(study.pipeline, SRAM, protected.protections, prices, 100.0)
    accesses = checks = gates = 0
    for m in memory_list(study.pipeline):
        if m.role == "weight":
            # Values: tap and sign, 5 bits, in the convolutions, 8 bits in the last layer.
            values = m.bits // (8 if m.layer == "head" else 5)
            accesses += access_pj(m, prices) * (1 + 2 * values / m.bits)
            checks += 2 * values * m.words
            gates += 4 * values * m.reads
    assert energy.check_cells == checks
    assert np.isclose(energy.accesses_pj, accesses, rtol=1e-12)
    assert np.isclose(energy.gates_pj, gates * prices.operation(Operation("select", 1)), rtol=1e-12)
    at = energy.accesses_pj * (0.8 / SRAM.nominal_rel) ** 2 + energy.gates_pj
    assert np.isclose(energy.at(0.8), at, rtol=1e-12)
    bare = memory_energy(study.pipeline, SRAM, study.protections, prices, 100.0)
    assert energy.rel_vmin(1.0) > bare.rel_vmin(1.0) == 1


def test_windows_are_written_through_the_encoder(study: Study, prices: Prices) -> None:
    windows = replace(study, memories=("window",), protection=Secded())
    energy = memory_energy(study.pipeline, SRAM, windows.protections, prices, 100.0)
    gates = sum(
        m.writes * Secded().gates(m.bits).encode + m.reads * Secded().gates(m.bits).decode
        for m in memory_list(study.pipeline)
        if m.role == "window"
    )
    assert np.isclose(energy.gates_pj, gates * prices.operation(Operation("select", 1)), rtol=1e-12)


def test_energy_counts_the_protection_that_is_simulated() -> None:
    """Registers have none, whatever their role: accumulators, and windows of resize stages."""
    network = small_pipeline().network
    pipeline = build_pipeline(network, {"conv1": Fold(4, 1), "conv2": Fold(1, 2)})
    study = Study(pipeline, SRAM, *own_answers(network, 2), tuple(Role), Secded())
    simulated = {name: m.protection for name, m in study.faults(0, 0.5).memories.items()}
    assert study.protections == simulated
    styles = {m.name: m.style for m in memory_list(pipeline)}
    assert "resize_conv2.window" in simulated
    for name, protection in simulated.items():
        assert protection == (Secded() if styles[name] == "memory" else NONE)


# -- where errors hurt -----------------------------------------------------------------------------


class Recorder(Study):
    """Remembers which faults it was asked about."""

    def right(self, faults: DesignFaults) -> int:
        self.__dict__.setdefault("asked", []).append(faults)
        return super().right(faults)


def cells(faults: DesignFaults) -> Counter[tuple[str, int, int]]:
    return Counter(
        (name, int(word), int(bit))
        for name, memory in faults.memories.items()
        for word, bit in zip(memory.faults.word, memory.faults.bit, strict=True)
    )


@pytest.mark.parametrize("protection", [NONE, Secded()])
@pytest.mark.parametrize("measure", [layer_sensitivity, bit_sensitivity])
def test_parts_share_a_chips_faults_among_them(
    pipeline: Pipeline, measure: Callable[..., Any], protection: Any
) -> None:
    """Every failing cell is in one part; check bits are in no single bit's part."""
    x, labels = own_answers(pipeline.network, 4)
    study = Recorder(pipeline, SRAM, x, labels, PROTECTABLE, protection)
    found = measure(study, 0.02, StopRule.fixed(2), seed=3)
    for chip in (0, 1):
        whole = cells(study.faults(3 + chip, 0.02))
        if measure is bit_sensitivity:
            bits = {m.name: m.bits for m in memory_list(pipeline)}
            whole = Counter({cell: n for cell, n in whole.items() if cell[2] < bits[cell[0]]})
        parts = study.__dict__["asked"][chip::2]
        assert len(parts) == len(found)
        assert sum((cells(part) for part in parts), Counter()) == whole
        assert len(whole) > 0
    checks = sum(
        m.words * study.protections[m.name].check_bits(m.bits)
        for m in memory_list(pipeline)
        if m.name in study.protections
    )
    total = sum(
        int(memory.fields.real_bits().sum()) for memory in study.faults(0, 1.0).memories.values()
    )
    with_checks = checks if measure is layer_sensitivity else 0
    assert sum(part.cells for part in found) == total + with_checks


def test_layers_lose_what_they_lose_alone(study: Study) -> None:
    found = layer_sensitivity(study, 0.05, StopRule.fixed(3))
    assert [part.name for part in found] == ["conv1.weight", "conv2.weight", "head.weight"]
    for part in found:
        values = [
            FaultyExecutor(
                design_faults(study.pipeline, Chip(SRAM, seed), 0.05, (part.name,))
            ).accuracy(study.x, study.labels)
            for seed in range(3)
        ]
        assert np.isclose(part.drop.mean, 1 - np.mean(values), rtol=1e-12)
        assert part.drop.count == 3
    assert max(part.drop.mean for part in found) > 0


def test_names_of_bits(pipeline: Pipeline) -> None:
    x, labels = own_answers(pipeline.network, 4)
    study = Study(pipeline, SRAM, x, labels, ("weight", "constants", "fifo"))
    names = [part.name for part in bit_sensitivity(study, 0.0, StopRule.fixed(2))]
    weights = [f"4-bit tap, bit {n}" for n in range(4)] + ["1-bit weight, bit 0"]
    weights += [f"8-bit weight, bit {n}" for n in range(8)]
    assert names[: len(weights)] == weights
    assert "6-bit multiplier, bit 5" in names
    assert "8-bit fifo, bit 7" in names


def test_sensitivities_are_resumed(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "faults.jsonl"
    first = layer_sensitivity(study, 0.05, StopRule.fixed(2), records=ChipRecords(path))
    assert len(path.read_text().splitlines()) == 6
    assert {json.loads(line)["seed"] for line in path.read_text().splitlines()} == {0, 1}
    _ = study.clean

    def never(self: Study, faults: DesignFaults) -> int:
        raise AssertionError

    monkeypatch.setattr(Study, "right", never)
    assert layer_sensitivity(study, 0.05, StopRule.fixed(2), records=ChipRecords(path)) == first
