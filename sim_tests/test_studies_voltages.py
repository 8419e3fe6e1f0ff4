"""Voltages of single memories: cheaper than one for all, never below the bound, no mistakes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwsim.accelerator import build_pipeline, memory_list
from hwsim.execute import Executor
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults
from hwsim.lowvoltage import Chip, VoltageError, load_technology
from hwsim.network import (
    Alphabet,
    ArgMax,
    Flatten,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)
from hwsim.studies import voltages
from hwsim.studies.statistics import Bound, StatisticsError, StopRule
from hwsim.studies.study import ChipRecords, Study
from hwsim.studies.voltages import halves, judge_voltages, search_voltages
from hwsim.testing.faulty import residual_images, residual_pipeline

SRAM = load_technology("sram_14nm")
LEVELS = (0.75, 0.8, 0.85, 0.9, 0.95)


def study(count: int = 60) -> Study:
    """A network whose big first layer hardly matters: it only nudges what the head sums up."""
    rng = np.random.default_rng(4)
    channels = 16
    network = Network(
        "uneven",
        TensorType(channels, 4, 4, 4),
        (
            MuxConv2d(
                "conv",
                ("input",),
                rng.integers(0, 9, (channels, channels)),
                rng.integers(-8, 8, (channels, channels)),
                (3, 3),
                pad=(1, 1),
                alphabet=Alphabet("int4"),
            ),
            Requantize("quant", ("conv",), np.ones(channels, int), np.full(channels, 64), 4, 0, 15),
            GlobalAvgPool("pool", ("quant",)),
            Flatten("flat", ("pool",)),
            Linear("head", ("flat",), rng.integers(-128, 128, (5, channels))),
            ArgMax("label", ("head",)),
        ),
    )
    x = rng.integers(0, 16, (count, channels, 4, 4))
    labels = Executor(network).run(x)[:, 0, 0, 0]
    return Study(build_pipeline(network), SRAM, x, labels, ("weight",))


def energies(subject: Study) -> dict[str, float]:
    memories = memory_list(subject.pipeline)
    return {m.name: float(m.reads * m.bits) for m in memories if m.role == "weight"}


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_cheaper_than_one_voltage_and_within_the_bound(loss: float) -> None:
    subject = study()
    found = search_voltages(subject, energies(subject), LEVELS, chips=6, loss=loss)
    assert found.clean == 1.0
    assert found.levels == (*LEVELS, 1.0)
    for one in (found.uniform, found.best):
        assert one.mean >= one.cautious >= 1 - loss
        assert set(one.voltages) == {"conv.weight", "head.weight"}
        total = sum(energies(subject).values())
        energy = sum(energies(subject)[n] * v**2 for n, v in one.voltages.items()) / total
        assert one.energy_rel_vmin == pytest.approx(energy)
    assert len(set(found.uniform.voltages.values())) == 1
    assert found.best.energy_rel_vmin <= found.uniform.energy_rel_vmin < 1
    for row in found.alone.values():
        # From 1.0 down, until a memory alone loses more than may be lost.
        assert tuple(row) == found.levels[::-1][: len(row)]
        assert row[1.0] == 1.0
        *kept, last = row.values()
        assert all(accuracy >= 1 - loss for accuracy in kept)
        assert len(row) == len(found.levels) or last < 1 - loss


def test_prices_between_the_last_two_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving alone leaves accuracy over that could have been spent."""
    pipeline = residual_pipeline()
    x = residual_images(120)
    labels = Executor(pipeline.network).run(x)[:, 0, 0, 0]
    subject = Study(pipeline, SRAM, x, labels, ("weight",))
    levels = [n / 100 for n in range(76, 100)]
    listed = memory_list(pipeline)
    weights = {m.name: float(m.reads * m.bits) for m in listed if m.name in subject.protections}
    records, saved = ChipRecords(), []
    for loss in (0.1, 0.2, 0.4):
        both = []
        for more in (0, voltages._BISECTIONS):
            monkeypatch.setattr(voltages, "_BISECTIONS", more)
            found = search_voltages(subject, weights, levels, chips=5, loss=loss, records=records)
            assert found.best.cautious >= 1 - loss
            both.append(found.best.energy_rel_vmin)
        saved.append(both[0] - both[1])
    assert min(saved) >= 0
    assert max(saved) > 0


def test_levels_at_which_no_chip_lost_are_not_safe() -> None:
    """No chip of six lost at 0.9, some did at 0.85: that is not worth next to no energy."""
    subject = study()
    weights = {"conv.weight": 1e6, "head.weight": 1e-6}
    found = search_voltages(subject, weights, LEVELS, chips=6, loss=0.05)
    assert found.alone["head.weight"][0.9] == 1.0 > found.alone["head.weight"][0.85]
    assert found.best.voltages == {"conv.weight": 0.85, "head.weight": 1.0}


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    subject, asked = study(20), Counter[str]()
    right = Study.right

    def run(records: ChipRecords) -> object:
        return search_voltages(
            subject, energies(subject), LEVELS, chips=3, loss=0.1, seed=5, records=records
        )

    def counted(most: int) -> None:
        asked.clear()

        def count(self: Study, faults: DesignFaults) -> int:
            if asked.total() == most:
                raise KeyboardInterrupt
            asked[json.dumps([faults.chip.seed, dict(faults.probability)])] += 1  # type: ignore[attr-defined]
            return right(self, faults)

        monkeypatch.setattr(Study, "right", count)

    counted(1 << 30)
    whole = run(ChipRecords())
    total = asked.total()
    # No voltages are measured twice on a chip.
    assert set(asked.values()) == {1}
    path = tmp_path / "faults.jsonl"
    counted(10)
    with pytest.raises(KeyboardInterrupt):
        run(ChipRecords(path))
    counted(1 << 30)
    assert run(ChipRecords(path)) == whole
    assert asked.total() == total - 10
    counted(0)
    assert run(ChipRecords(path)) == whole


def test_records_tell_memories_apart() -> None:
    subject, records = study(), ChipRecords()
    rule, bound = StopRule.fixed(4), Bound(1.0, 0.1)
    found = [
        judge_voltages(subject, {name: 0.8}, rule, bound, seed=3, records=records)
        for name in ("conv.weight", "head.weight")
    ]
    for one, name in zip(found, ("conv.weight", "head.weight"), strict=True):
        values = [
            FaultyExecutor(
                design_faults(subject.pipeline, Chip(SRAM, seed), {name: SRAM.probability(0.8)})
            ).accuracy(subject.x, subject.labels)
            for seed in range(3, 7)
        ]
        assert one.accuracies == tuple(values)
        assert (one.voltage_rel, one.bit_error_rate) == (0.8, SRAM.probability(0.8))
    assert found[0] != found[1]
    assert len(records) == 8


def test_judged_until_it_is_decided() -> None:
    """With all memories far too low few chips say so; at vmin nothing can fail."""
    subject, bound = study(20), Bound(1.0, 0.1)
    low = judge_voltages(subject, dict.fromkeys(energies(subject), 0.75), StopRule(8, 999), bound)
    assert (len(low.accuracies), low.looks, low.kept(bound)) == (8, 8, False)
    vmin = judge_voltages(subject, dict.fromkeys(energies(subject), 1.0), StopRule(8, 999), bound)
    assert (len(vmin.accuracies), vmin.kept(bound), vmin.accuracy.width) == (8, True, 0)


def test_halves_share_no_image() -> None:
    subject = study(7)
    first, second = halves(subject)
    assert (first.images, second.images) == (3, 4)
    assert np.array_equal(np.concatenate((first.x, second.x)), subject.x)
    assert np.array_equal(np.concatenate((first.labels, second.labels)), subject.labels)
    assert len({first.key, second.key, subject.key}) == 3


def test_memories_that_differ_get_voltages_that_differ() -> None:
    subject = study()
    found = search_voltages(subject, energies(subject), LEVELS, chips=6, loss=0.05)
    assert found.best.voltages["conv.weight"] != found.best.voltages["head.weight"]
    assert found.best.energy_rel_vmin < found.uniform.energy_rel_vmin


def test_mistakes_get_one_line() -> None:
    subject = study(4)
    with pytest.raises(StatisticsError, match=r"^chips must be at least 2, not 1$"):
        search_voltages(subject, energies(subject), LEVELS, chips=1)
    with pytest.raises(StatisticsError, match=r"must be between 0 and 1, not 1$"):
        search_voltages(subject, energies(subject), LEVELS, loss=1)
    with pytest.raises(VoltageError, match=r"^voltage must be 0\.75\.\..*, not 0\.6$"):
        search_voltages(subject, energies(subject), (0.6, 0.8))
    text = "voltages of single memories need at least 2 images: half to search on, half to judge"
    with pytest.raises(StatisticsError, match=f"^{text}$"):
        halves(study(1))
