"""Where errors hurt: faults in one memory at a time, or in one bit of values at a time.

All measurements are at one bit error rate, on the chips of the curve. The faults of a chip are
filtered, so a part fails in the same cells as when all parts fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.accelerator import memory_list
from hwsim.accelerator.fields import memory_fields
from hwsim.design import MemoryInfo
from hwsim.design.roles import Role
from hwsim.faults.design import DesignFaults, MemoryFaults
from hwsim.hashes import value_hash
from hwsim.progress import NoProgress, Progress
from hwsim.studies.curve import accuracies
from hwsim.studies.statistics import Estimate, StopRule, estimate
from hwsim.studies.study import ChipRecords, Study


@dataclass(frozen=True)
class Sensitivity:
    """Loss by faults in one part. cells: number of its cells; drop: loss of accuracy over chips."""

    name: str
    cells: int
    drop: Estimate


@dataclass(frozen=True)
class _Part:
    """A set of cells. chosen: bool [bits] of the data bits of each memory that it touches."""

    name: str
    chosen: dict[str, np.ndarray]
    whole: bool = False

    def filter(self, faults: DesignFaults) -> DesignFaults:
        """The faults in this part alone."""
        kept = {}
        for name, memory in faults.memories.items():
            if name in self.chosen:
                found = memory.faults.where(self._holds(memory))
                if len(found):
                    kept[name] = replace(memory, faults=found)
        return replace(faults, memories=kept)

    @property
    def key(self) -> list[object]:
        """What the part is, as plain JSON values."""
        return [
            self.whole,
            [[name, np.flatnonzero(bits).tolist()] for name, bits in sorted(self.chosen.items())],
        ]

    def cells(self, study: Study) -> int:
        """Cells of lanes that carry channels, and check bits where they belong to the part."""
        count = 0
        for memory in _memories(study):
            if memory.name in self.chosen:
                real = memory_fields(study.pipeline, memory).real_bits()
                count += int(np.count_nonzero(real[:, self.chosen[memory.name]]))
                checks = study.protections[memory.name].check_bits(memory.bits)
                count += self.whole * memory.words * checks
        return count

    def _holds(self, memory: MemoryFaults) -> np.ndarray:
        """bool [faults]; check bits belong to a part that is whole memories."""
        bits = memory.memory.bits
        bit, chosen = memory.faults.bit, self.chosen[memory.memory.name]
        return np.where(bit < bits, chosen[np.minimum(bit, bits - 1)], self.whole)


def layer_sensitivity(
    study: Study,
    probability: float,
    rule: StopRule,
    *,
    seed: int = 0,
    records: ChipRecords | None = None,
    progress: Progress | None = None,
) -> list[Sensitivity]:
    """Loss of accuracy when only one memory of ``study`` fails, for each of them."""
    parts = [
        _Part(memory.name, {memory.name: np.ones(memory.bits, bool)}, whole=True)
        for memory in _memories(study)
    ]
    return _measure(study, probability, rule, parts, seed, records, progress)


def bit_sensitivity(
    study: Study,
    probability: float,
    rule: StopRule,
    *,
    seed: int = 0,
    records: ChipRecords | None = None,
    progress: Progress | None = None,
) -> list[Sensitivity]:
    """Loss of accuracy when only one bit of all values of a role fails, for each role and bit.

    Parts have names like ``8-bit weight, bit 7``: the kind of value (tap, weight, multiplier, bias,
    or the role of the memory), and the bit, with 0 as the lowest.
    """
    order = tuple(Role)
    found: dict[tuple[int, str, int, int], dict[str, np.ndarray]] = {}
    for memory in _memories(study):
        for value, width, bit, chosen in _bits_of_values(study, memory):
            part = order.index(memory.role), value, width, bit
            found.setdefault(part, {})[memory.name] = chosen
    parts = [
        _Part(f"{width}-bit {value}, bit {bit}", found[role, value, width, bit])
        for role, value, width, bit in sorted(found)
    ]
    return _measure(study, probability, rule, parts, seed, records, progress)


def _memories(study: Study) -> list[MemoryInfo]:
    return [m for m in memory_list(study.pipeline) if m.name in study.protections]


def _bits_of_values(study: Study, memory: MemoryInfo) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """(what the value is, its width, a bit of it, bool [bits]: where in a word that bit is)."""
    fields = memory_fields(study.pipeline, memory)
    names = fields.values * fields.lanes
    of_bit = np.repeat(np.array(names), fields.width)
    place = np.arange(memory.bits) - np.repeat(fields.start, fields.width)
    for value in dict.fromkeys(names):
        width = int(place[of_bit == value].max()) + 1
        for bit in range(width):
            yield value, width, bit, (of_bit == value) & (place == bit)


def _measure(
    study: Study,
    probability: float,
    rule: StopRule,
    parts: Sequence[_Part],
    seed: int,
    records: ChipRecords | None,
    progress: Progress | None,
) -> list[Sensitivity]:
    records = ChipRecords() if records is None else records
    clean = study.clean / study.images
    found = []
    with (progress or NoProgress()).task("one part at a time", len(parts) * rule.most) as task:
        for part in parts:
            key = value_hash([study.key, probability, part.key])

            def faults(chip: int, part: _Part = part) -> DesignFaults:
                return part.filter(study.faults(chip, probability))

            values = accuracies(study, key, rule, seed, records, task, faults)
            drop = estimate(clean - np.array(values), least=clean - 1, most=clean)
            found.append(Sensitivity(part.name, part.cells(study), drop))
    return found
