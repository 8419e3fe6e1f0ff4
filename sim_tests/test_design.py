"""A design that is no pipeline goes where designs go: faults, energy, files, RTL, a whole chip."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwsim.accelerator import Pipeline, Prices, estimate_energy
from hwsim.accelerator.energy import KINDS
from hwsim.accelerator.plain import PipelineRecord
from hwsim.config.accelerator import EnergyConfig
from hwsim.design import (
    Design,
    Fields,
    MemoryInfo,
    Operation,
    Role,
    Style,
    System,
    verify_design,
    verify_images,
)
from hwsim.design.design import CycleCount
from hwsim.faults import FaultyExecutor, design_faults
from hwsim.faults.costs import memory_energy
from hwsim.faults.description import FaultRecord, describe_faults, restore_faults
from hwsim.faults.design import memory_protections
from hwsim.lowvoltage import Chip, ChipError, load_technology
from hwsim.lowvoltage.protection import parse_protection
from hwsim.rtl.memory import design_memories
from hwsim.run.figures import energy_table
from hwsim.testing import DesignConformance, Limits, random_pipeline
from hwsim.testing.faulty import chip

SRAM = load_technology("sram_14nm")


@dataclass(frozen=True, eq=False)
class Votes(Design):
    """Counts answers: a table of weights that is read, and counters that are written.

    A workload is a number of commands, each of which takes ``pace`` cycles.
    """

    kind = "votes"
    pace: int = 3

    def memories(self) -> tuple[MemoryInfo, ...]:
        table = ("table.words",)
        return (
            MemoryInfo("table.weight", Role.WEIGHT, "table", 5, 12, Style.MEMORY, 7, 0, table),
            MemoryInfo("votes.window", Role.WINDOW, "votes", 8, 6, Style.MEMORY, 7, 7, ("v.bank",)),
        )

    def fields(self, memory: MemoryInfo) -> Fields:
        width = np.array([4, 8]) if memory.layer == "table" else np.array([6])
        return Fields(width, np.ones((memory.words, len(width)), bool), 1, ("number",) * len(width))

    def stored(self, memory: MemoryInfo) -> np.ndarray | None:
        if memory.layer != "table":
            return None
        return np.array([[n, 250 - n] for n in range(5)])

    def operations(self) -> dict[str, Counter[Operation]]:
        return {"table": Counter(), "votes": Counter({Operation("add", 6): 7})}

    def cycles(self, workload: int) -> CycleCount:
        return SimpleNamespace(frame_interval_cycles=self.pace, total_cycles=self.pace * workload)

    def to_plain(self) -> dict[str, Any]:
        return {"kind": self.kind, "pace": self.pace}


VOTES = Votes()


def drawn(seed: int = 0) -> Pipeline:
    """The first random pipeline from ``seed`` on that can be mapped."""
    found = (random_pipeline(n, Limits(blocks=2), 2) for n in range(seed, seed + 100))
    return next(pipeline for pipeline in found if pipeline is not None)


def system(seed: int = 0) -> System:
    return System({"accelerator": drawn(seed), "votes": VOTES})


class TestDesigns(DesignConformance):
    """Accelerators, ``Votes``, and chips of both."""

    def designs(self) -> dict[str, Design]:
        found: dict[str, Design] = {"votes": VOTES}
        for seed in range(0, 50, 10):
            found[f"pipeline-{seed}"] = drawn(seed)
            found[f"system-{seed}"] = system(seed)
        return found

    def workload(self, design: Design) -> Any:
        if isinstance(design, System):
            return {name: self.workload(part) for name, part in design.designs.items()}
        return 8

    def restore(self, design: Design, plain: dict[str, Any]) -> Design:
        if isinstance(design, System):
            parts = plain["designs"].items()
            return System({name: self.restore(design.designs[name], of) for name, of in parts})
        if isinstance(design, Pipeline):
            return PipelineRecord.model_validate(plain).restore(design.network)
        return Votes(plain["pace"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "votes.window"}, "two memories are called votes.window"),
        ({"words": 0}, "table.weight: has no cells"),
        ({"instances": ("a", "b")}, "table.weight: its banks differ"),
        ({"reads": -1}, "table.weight: accesses below 0"),
        ({"layer": ""}, "table.weight: belongs to no part"),
    ],
)
def test_contradictions_are_named(change: dict[str, Any], message: str) -> None:
    first, second = VOTES.memories()

    class Wrong(Votes):
        def memories(self) -> tuple[MemoryInfo, ...]:
            return replace(first, **change), second

    with pytest.raises(AssertionError, match=message):
        verify_design(Wrong())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 13}, "table.weight: fields of 12 bits"),
        ({"words": 6}, "table.weight: 5 words in its image"),
        ({"writes": 1}, "table.weight: is written, and has an image"),
    ],
)
def test_images_of_other_sizes_are_named(change: dict[str, Any], message: str) -> None:
    first, second = VOTES.memories()

    class Wrong(Votes):
        def memories(self) -> tuple[MemoryInfo, ...]:
            return replace(first, **change), second

    with pytest.raises(AssertionError, match=message):
        verify_images(Wrong())


def test_image_is_made_of_what_is_stored() -> None:
    table, votes = VOTES.memories()
    assert VOTES.image(table) == [n | (250 - n) << 4 for n in range(5)]
    assert VOTES.image(votes) is None


def test_faults_of_a_memory_follow_from_its_name_alone() -> None:
    """Alone, or on a chip with an accelerator where its name is another."""
    source = Chip(SRAM, 7)
    alone = design_faults(VOTES, source, 0.1)
    assert set(alone.memories) == {"table.weight", "votes.window"}
    cells = source.faults_at("table.weight", 5, 12, 0.1)
    found = alone.memories["table.weight"].faults
    assert np.array_equal(found.word, cells.word)
    assert np.array_equal(found.bit, cells.bit)
    both = design_faults(system(), source, 0.1, memories=["weight", "fifo"])
    named = both.memories["votes.table.weight"].faults
    cells = source.faults_at("votes.table.weight", 5, 12, 0.1)
    assert np.array_equal(named.word, cells.word)
    assert np.array_equal(named.bit, cells.bit)
    assert any(name.startswith("accelerator.") for name in both.memories)
    assert not any(name.endswith("window") for name in both.probability)


def test_faulty_words_are_read_by_the_rule_of_a_cell() -> None:
    faults = design_faults(VOTES, chip("flip", 3), 0.2)
    table, _ = VOTES.memories()
    words = VOTES.image(table)
    assert words is not None
    cells = faults.memories["table.weight"].faults
    assert len(cells)
    for word, bit in zip(cells.word, cells.bit, strict=True):
        words[word] ^= 1 << int(bit)
    assert VOTES.fields(table).words(faults.stored("table", "weight")) == words
    with pytest.raises(ChipError, match="votes.window: is written at run time"):
        faults.stored("votes", "window")
    built = design_memories(VOTES, faults)
    assert list(built["table.weight"].words) == words
    assert list(built["votes.window"].words) == []


def test_faults_can_be_written_down_and_found_again() -> None:
    for design in (VOTES, system()):
        faults = design_faults(design, Chip(SRAM, 7), {"weight": 0.1, "window": 0.02})
        record = FaultRecord.model_validate_json(json.dumps(describe_faults(faults)))
        again = restore_faults(design, record, {})
        assert {name: len(memory.faults) for name, memory in again.memories.items()} == {
            name: len(memory.faults) for name, memory in faults.memories.items()
        }


def test_evaluation_as_a_pipeline_is_refused() -> None:
    with pytest.raises(ChipError, match="faults of a votes are not evaluated as a pipeline's"):
        FaultyExecutor(design_faults(VOTES, Chip(SRAM, 7), 0.1))


def test_energy_of_parts_adds_up() -> None:
    pipeline = drawn()
    table, both = energy_table(EnergyConfig()), System({"accelerator": pipeline, "votes": VOTES})
    spent = {
        name: estimate_energy(design, table, 50, 100.0)
        for name, design in (("accelerator", pipeline), ("votes", VOTES), ("both", both))
    }
    assert spent["votes"].by_stage.keys() == {"table", "votes"}
    assert set(spent["both"].by_kind) == set(KINDS)
    for name in ("accelerator", "votes"):
        for part, pj in spent[name].by_stage.items():
            assert spent["both"].by_stage[f"{name}.{part}"] == pj
    total = spent["accelerator"].total_pj + spent["votes"].total_pj
    assert spent["both"].total_pj == pytest.approx(total)


def test_energy_of_protected_memories() -> None:
    code = parse_protection("secded")
    codes = memory_protections(VOTES, ["weight"], code)
    cost = memory_energy(VOTES, SRAM, codes, Prices(energy_table(EnergyConfig())), 100.0)
    assert cost.cells == 60
    assert cost.check_cells == 5 * code.check_bits(12)
    assert 0 < cost.bare_pj < cost.total_pj


def test_a_system_is_as_slow_as_its_slowest_part() -> None:
    pipeline = drawn()
    frames = pipeline.cycles(8).frame_interval_cycles
    for pace in (1, frames + 5):
        both = System({"accelerator": pipeline, "votes": Votes(pace)})
        found = both.cycles({"accelerator": 8, "votes": 2})
        assert found.frame_interval_cycles == max(frames, pace)
    plain = {"accelerator": pipeline.to_plain(), "votes": {"kind": "votes", "pace": frames + 5}}
    assert both.to_plain() == {"kind": "system", "designs": plain}
