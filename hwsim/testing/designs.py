"""What every design must satisfy, so that faults, energy, files and reports can ask it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hwsim.accelerator import estimate_energy
from hwsim.config.accelerator import EnergyConfig
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config
from hwsim.design import Design, Style, System, verify_images
from hwsim.faults import design_faults
from hwsim.faults.description import FaultRecord, describe_faults, fault_arrays, restore_faults
from hwsim.testing.cases import Cases, assert_same
from hwsim.testing.faulty import chip

RATE = 0.1
"""Bit error rate of the faulty chips."""

CLOCK_MHZ = 100.0


class DesignConformance(Cases):
    """Derive from it, define ``designs`` and ``restore``, and every design passes or is named::

    class TestVotes(DesignConformance):
        def designs(self):
            return {"slow": Votes(pace=9), "fast": Votes(pace=1)}

        def restore(self, design, plain):
            return Votes(plain["pace"])
    """

    argument = "design"

    def designs(self) -> Mapping[str, Design]:
        """The designs to be tested, by label."""
        raise NotImplementedError

    def restore(self, design: Design, plain: dict[str, Any]) -> Design:
        """A design from what ``design.to_plain()`` gave.

        design: for what is kept elsewhere, as the network of an accelerator is.
        """
        raise NotImplementedError

    def workload(self, design: Design) -> Any:
        """A workload that ``design.cycles`` takes; 8 frames unless it is overridden."""
        return 8

    def cases(self) -> Iterable[tuple[str, Design]]:
        return self.designs().items()

    def test_names_and_sizes_agree(self, design: Design) -> None:
        verify_images(design)
        assert design.memories(), "the design has no memory"

    def test_banks_have_paths_of_their_own(self, design: Design) -> None:
        paths: set[str] = set()
        for memory in design.memories():
            if memory.style is not Style.MEMORY:
                assert not memory.instances, f"{memory.name}: no memory, but it has paths"
            for path in memory.instances:
                assert path not in paths, f"{memory.name}: {path} is another bank's path, too"
                paths.add(path)

    def test_answers_do_not_change(self, design: Design) -> None:
        memories = design.memories()
        assert design.memories() == memories
        assert design.operations() == design.operations()
        assert list(design.operations()) == list(design.operations())
        assert _images(design) == _images(design)
        assert design.to_plain() == design.to_plain()

    def test_images_are_what_is_stored(self, design: Design) -> None:
        """Word by word, each field at its place; a field holds no more than its bits."""
        for memory in design.memories():
            fields, stored = design.fields(memory), design.stored(memory)
            image = design.image(memory)
            assert (image is None) == (stored is None), f"{memory.name}: image, nothing stored"
            if stored is None or image is None:
                continue
            assert stored.dtype == np.int64, f"{memory.name}: stored as {stored.dtype}"
            assert stored.shape == fields.real.shape, f"{memory.name}: stored {stored.shape}"
            for row, word in zip(stored.tolist(), image, strict=True):
                at = expected = 0
                for value, width in zip(row, fields.width.tolist(), strict=True):
                    assert 0 <= value < 1 << width, f"{memory.name}: {value} in {width} bits"
                    expected |= value << at
                    at += width
                assert word == expected, f"{memory.name}: word {word}, must be {expected}"

    def test_units_of_work_take_whole_cycles(self, design: Design) -> None:
        interval = self._interval(design)
        assert isinstance(interval, int), f"the interval is {interval!r}"
        assert interval >= 1, f"the interval is {interval} cycles"
        assert self._interval(design) == interval

    def test_plain_data_restore_the_design(self, design: Design) -> None:
        plain = design.to_plain()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert plain["kind"] == design.kind
        again = self.restore(design, plain)
        assert again.to_plain() == plain
        assert again.memories() == design.memories()
        assert again.operations() == design.operations()
        assert _images(again) == _images(design)
        assert self._interval(again) == self._interval(design)

    def test_faults_follow_from_names(self, design: Design) -> None:
        """A chip is asked for each memory by its name, words and bits, and for nothing else."""
        source = chip("flip", 7)
        found = design_faults(design, source, RATE).memories
        for memory in design.memories():
            expected: set[tuple[int, int]] = set()
            if memory.style is not Style.CONSTANT:
                cells = source.faults_at(memory.name, memory.words, memory.bits, RATE)
                real = design.fields(memory).real_bits()
                pairs = zip(cells.word.tolist(), cells.bit.tolist(), strict=True)
                expected = {(word, bit) for word, bit in pairs if real[word, bit]}
            own = found.get(memory.name)
            got = set() if own is None else {
                *zip(own.faults.word.tolist(), own.faults.bit.tolist(), strict=True)
            }  # fmt: skip
            assert got == expected, f"{memory.name}: other cells fail"

    def test_faulty_words_are_read_by_the_rule_of_a_cell(self, design: Design) -> None:
        """Cell by cell on whole words: it reads the opposite, 0 or 1."""
        for kind in ("flip", "preferred"):
            for name, faulty in design_faults(design, chip(kind, 3), RATE).memories.items():
                stored, image = design.stored(faulty.memory), design.image(faulty.memory)
                if stored is None or image is None:
                    continue
                words, cells = list(image), faulty.faults
                for word, bit, reads in zip(cells.word, cells.bit, cells.reads, strict=True):
                    mask = 1 << int(bit)
                    words[word] ^= mask if reads < 0 or (words[word] & mask > 0) != reads else 0
                seen = faulty.fields.words(faulty.read(stored))
                assert seen == words, f"{name}: faulty words"

    def test_faults_are_written_down_and_found_again(self, design: Design) -> None:
        faults = design_faults(design, chip("flip", 7), RATE)
        text = json.dumps(describe_faults(faults))
        again = restore_faults(design, FaultRecord.model_validate_json(text), fault_arrays(faults))
        assert again.probability == faults.probability
        assert again.memories.keys() == faults.memories.keys()
        for name, memory in faults.memories.items():
            for key in ("word", "bit", "reads"):
                got = getattr(again.memories[name].faults, key)
                assert_same(f"{name}.{key}", got, getattr(memory.faults, key))

    def test_energy_of_parts_adds_up(self, design: Design) -> None:
        """Of all parts, of all kinds, and of two of the design on one chip."""
        table = load_config(EnergyConfig().table, EnergyTable, "energy")
        interval = self._interval(design)
        one = estimate_energy(design, table, interval, CLOCK_MHZ)
        parts = {m.layer for m in design.memories() if m.style is not Style.CONSTANT}
        assert set(one.by_stage) == parts | set(design.operations())
        assert min(one.by_stage.values()) >= 0
        assert one.total_pj > 0
        for sums in (one.by_stage, one.by_kind):
            assert math.isclose(math.fsum(sums.values()), one.total_pj)
        both = estimate_energy(_twice(design), table, interval, CLOCK_MHZ)
        for side in ("left", "right"):
            for part, pj in one.by_stage.items():
                assert both.by_stage[f"{side}.{part}"] == pj, part
        assert math.isclose(both.total_pj, 2 * one.total_pj)

    def test_a_system_has_the_same_memories(self, design: Design) -> None:
        both = _twice(design)
        verify_images(both)
        work = self.workload(design)
        found = both.cycles({"left": work, "right": work})
        assert found.frame_interval_cycles == self._interval(design)
        images = _images(both)
        own = _images(design)
        assert images == {f"{side}.{name}": own[name] for side in ("left", "right") for name in own}

    def _interval(self, design: Design) -> int:
        return design.cycles(self.workload(design)).frame_interval_cycles


def _twice(design: Design) -> System:
    return System({"left": design, "right": design})


def _images(design: Design) -> dict[str, list[int] | None]:
    return {memory.name: design.image(memory) for memory in design.memories()}
