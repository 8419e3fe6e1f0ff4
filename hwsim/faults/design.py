"""The faults of a design: all its memories, for one chip at one operating point.

``design_faults`` asks the chip about each memory of ``memory_list`` by its name, words and bits, so
chip, seed and voltage decide which cells fail. Evaluation in NumPy, evaluation in PyTorch and the
RTL all get the same cells. Memories in the fabric (style ``constant``) have no cells. Cells of
lanes past the last channel do not fail: nothing depends on them, and synthesis removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hwsim.accelerator import Pipeline
from hwsim.cells import failing_cells, read_cells
from hwsim.design import Design, MemoryInfo
from hwsim.design.fields import Fields
from hwsim.design.roles import PROTECTABLE, STORES, Role, Style
from hwsim.faults.masks import FieldMasks, field_masks
from hwsim.lowvoltage.chip import ChipError, FaultList, FaultSource
from hwsim.lowvoltage.protection import NONE, Protection
from hwsim.lowvoltage.technology import VoltageError
from hwsim.lowvoltage.transient import ALWAYS, transient_key


class CellMasks(NamedTuple):
    """How each cell reads (``hwsim.cells``): uint8 [words, bits] of 0 and 1."""

    keep: np.ndarray
    flip: np.ndarray

    @property
    def failing(self) -> np.ndarray:
        """Cells that fail, uint8 [words, bits] of 0 and 1."""
        return failing_cells(self.keep, self.flip) & 1


@dataclass(frozen=True, eq=False)
class MemoryFaults:
    """Failing cells of one memory, and how its words are read.

    faults: cells of lanes that carry channels, and check bits. keys: of transient errors, one
    for each bank (``hwsim.lowvoltage.transient``). Check bits lie above the data bits of a word.

    Write failures (``faults.on_write``) are found in memories that are written only, and those
    have no check bits: a store is written once, when the design is configured, so its faults are
    those of ``FaultList.written_once``. Where only some writes fail, cells of lanes that are at
    times past the last channel (``Fields.steady``) do not fail: what such a lane is given is
    nobody's business, and would be seen later.
    """

    memory: MemoryInfo
    fields: Fields
    faults: FaultList
    keys: tuple[int, ...]
    protection: Protection

    @property
    def transient(self) -> bool:
        """Whether cells err in some reads only."""
        return self.faults.errs < ALWAYS and not self.on_write

    @property
    def on_write(self) -> bool:
        """Whether cells fail when they are written, and else read what they hold."""
        return self.faults.on_write

    @property
    def lasting(self) -> bool:
        """Whether what is read depends on all that was written since reset."""
        return self.on_write and self.faults.errs < ALWAYS

    @property
    def protected(self) -> bool:
        return self.protection.check_bits(self.memory.bits) > 0

    @cached_property
    def masks(self) -> FieldMasks:
        """How the failing cells change the fields of each word, without any protection."""
        return field_masks(self.fields, self.faults)

    def read(self, stored: np.ndarray, word: np.ndarray | None = None) -> np.ndarray:
        """Fields [n, fields] as they are read, if errors always occur.

        Cells whose writes all fail read what they powered up as.
        stored: int64 [n, fields], unsigned. word: which word each row lies in; default: row n
        in word n.
        """
        word = np.arange(self.memory.words) if word is None else word
        if not self.protected:
            return read_cells(stored, self.masks.keep[word], self.masks.flip[word])
        cells = self.cells
        read = np.array(stored)
        rows = np.flatnonzero(np.logical_or.reduce(cells.failing, axis=1)[word])
        masks = (mask[word[rows]] for mask in cells)
        seen = self.protection.read(self.fields.pack(stored[rows]), *masks)
        read[rows] = self.fields.unpack(seen)
        return read

    @cached_property
    def cells(self) -> CellMasks:
        """How each cell reads, check bits included."""
        f = self.faults
        keep, flip = np.ones((f.words, f.bits), np.uint8), np.zeros((f.words, f.bits), np.uint8)
        keep[f.word, f.bit] = f.reads < 0
        flip[f.word, f.bit] = f.reads != 0
        return CellMasks(keep, flip)


@dataclass(frozen=True, eq=False)
class DesignFaults:
    """The faults of ``design`` on ``chip``; made by ``design_faults``.

    probability, protections: bit error rate and protection of each memory that may fail, by name.
    memories: the memories with at least one failing cell, by name.
    """

    design: Design
    chip: FaultSource
    probability: Mapping[str, float]
    protections: Mapping[str, Protection]
    memories: Mapping[str, MemoryFaults]

    @property
    def pipeline(self) -> Pipeline:
        """The design, if it is a pipeline; raises ChipError for another design."""
        if not isinstance(self.design, Pipeline):
            raise ChipError(f"faults of a {self.design.kind} are not evaluated as a pipeline's")
        return self.design

    def __len__(self) -> int:
        """Number of all failing cells."""
        return sum(len(memory.faults) for memory in self.memories.values())

    @property
    def lasting(self) -> bool:
        """Whether a frame's errors depend on the values of all frames since reset."""
        return any(memory.lasting for memory in self.memories.values())

    def of(self, layer: str, role: str) -> MemoryFaults | None:
        """The faulty memory of this role (not ``fifo``) in a stage; None if it has no faults."""
        return self.memories.get(Role(role).memory(layer))

    def fifo(self, name: str) -> MemoryFaults | None:
        """The faulty memory of a FIFO; None if it has no faults."""
        return self.memories.get(Role.FIFO.memory(name))

    def stored(self, layer: str, role: Role) -> np.ndarray:
        """Fields of a weight store or of constants as they are always read, int64.

        Cells whose errors come and go are read as stored. Raises ChipError for a memory that is
        written.
        """
        name = Role(role).memory(layer)
        memory = next(memory for memory in self.design.memories() if memory.name == name)
        fields = self.design.stored(memory)
        if fields is None:
            raise ChipError(f"{name}: is written at run time, so its contents are not known")
        faulty = self.memories.get(name)
        return fields if faulty is None or faulty.transient else faulty.read(fields)


def design_faults(
    design: Design,
    chip: FaultSource,
    probability: float | Mapping[str, float],
    memories: Iterable[str] = tuple(Role),
    protection: Protection | Mapping[str, Protection] = NONE,
) -> DesignFaults:
    """The faults of ``design`` on ``chip`` at one operating point.

    probability: bit error rate 0..1 of all memories, or rates by name, layer (stage; ``source``
    for the input FIFO) or role. If several keys fit, a name counts before a layer, and a layer
    before a role; a memory without a key does not fail. memories: roles or names of the memories
    that may fail. protection: one for all memories of the roles in PROTECTABLE, or by name, layer
    or role in the same way; registers have no protection.

    Raises ChipError for a name that is not known or is that of a role and of a layer, for
    protected registers, for protected cells whose errors come and go and for write failures in
    protected memories that are written; VoltageError for a rate outside 0..1.
    """
    listed = design.memories()
    chosen = _chosen(listed, memories)
    rates = _by_memory(listed, probability, "bit error rate")
    codes = _by_memory(listed, protection, "protection")
    found, used, protections = {}, {}, {}
    for memory in listed:
        rate = rates.get(memory.name)
        if memory.name not in chosen or rate is None or memory.style is Style.CONSTANT:
            continue
        if not 0 <= rate <= 1:
            raise VoltageError(f"{memory.name}: bit error rate must be 0..1, not {rate:g}")
        used[memory.name] = float(rate)
        code = protections[memory.name] = _protection(memory, codes, given=protection)
        one = _memory_faults(design, chip, memory, float(rate), code)
        if len(one.faults):
            found[memory.name] = one
    return DesignFaults(design, chip, used, protections, found)


def memory_protections(
    design: Design, memories: Iterable[str], protection: Protection = NONE
) -> dict[str, Protection]:
    """Protection of each memory with cells among these roles or names, by name.

    Raises ChipError for an unknown name, and if no memory has cells.
    """
    listed, memories = design.memories(), tuple(memories)
    chosen = _chosen(listed, memories)
    found = [m for m in listed if m.name in chosen and m.style is not Style.CONSTANT]
    if not found:
        raise ChipError(
            f"{', '.join(memories)}: no memory with cells that could fail "
            "(weights in the fabric have none)"
        )
    return {
        memory.name: protection.for_values(memory.bits // design.fields(memory).lanes)
        if _protectable(memory)
        else NONE
        for memory in found
    }


def memory_shapes(
    design: Design, protections: Mapping[str, Protection]
) -> dict[str, tuple[int, int]]:
    """Words and their bits, check bits included, of the memories named in ``protections``."""
    return {
        memory.name: (memory.words, memory.bits + protections[memory.name].check_bits(memory.bits))
        for memory in design.memories()
        if memory.name in protections
    }


def _protectable(memory: MemoryInfo) -> bool:
    return memory.role.record.protectable and memory.style is Style.MEMORY


def _chosen(listed: tuple[MemoryInfo, ...], memories: Iterable[str]) -> set[str]:
    """Names of the memories that have one of these roles or names."""
    if isinstance(memories, str):
        memories = (memories,)
    known = {memory.name: memory for memory in listed}
    chosen = set()
    for asked in memories:
        if asked in set(Role):
            chosen |= {memory.name for memory in listed if memory.role == asked}
        elif asked not in known:
            raise ChipError(
                f"memories must be of {', '.join(Role)}, or names as {listed[0].name}, "
                f"not '{asked}'"
            )
        elif known[asked].style is Style.CONSTANT:
            raise ChipError(f"memory '{asked}' is in the fabric and has no cells that could fail")
        else:
            chosen.add(asked)
    return chosen


def _by_memory(listed: tuple[MemoryInfo, ...], given, what: str) -> dict:  # type: ignore[no-untyped-def, type-arg]
    """The value of ``given`` for each memory to which it applies."""
    if not isinstance(given, Mapping):
        return {memory.name: given for memory in listed}
    known = {key for memory in listed for key in (memory.name, memory.layer)} | set(Role)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ChipError(
            f"{what} must be given for memories, layers or {', '.join(Role)}, not '{unknown[0]}'"
        )
    both = sorted(set(given) & set(Role) & {memory.layer for memory in listed})
    if both:
        raise ChipError(f"{what}: '{both[0]}' is a role and a layer here; name single memories")
    keys = {memory.name: (memory.name, memory.layer, memory.role) for memory in listed}
    return {
        name: next(given[key] for key in those if key in given)
        for name, those in keys.items()
        if any(key in given for key in those)
    }


def _protection(
    memory: MemoryInfo,
    codes: Mapping[str, Protection],
    given: Protection | Mapping[str, Protection],
) -> Protection:
    code = codes.get(memory.name, NONE)
    if _protectable(memory):
        return code
    by_name = isinstance(given, Mapping) and memory.name in given
    by_role = isinstance(given, Mapping) and memory.role in set(given) - set(PROTECTABLE)
    if (by_name or by_role) and code.check_bits(memory.bits):
        raise ChipError(
            f"{memory.name}: protection {code.name} is for memories of {', '.join(PROTECTABLE)}, "
            "not for registers"
        )
    return NONE


def _memory_faults(
    design: Design, chip: FaultSource, memory: MemoryInfo, rate: float, code: Protection
) -> MemoryFaults:
    fields = design.fields(memory)
    code = code.for_values(memory.bits // fields.lanes)
    checks = code.check_bits(memory.bits)
    faults = chip.faults_at(memory.name, memory.words, memory.bits, rate, checks)
    if (faults.words, faults.bits) != (memory.words, memory.bits + checks):
        raise ChipError(
            f"{memory.name}: has {memory.words} words of {memory.bits + checks} bits, its faults "
            f"are of {faults.words} words of {faults.bits} bits"
        )
    field = np.searchsorted(fields.start, np.minimum(faults.bit, memory.bits - 1), "right") - 1
    faults = faults.where((faults.bit >= memory.bits) | fields.real[faults.word, field])
    if not memory.writes:
        faults = faults.written_once()
    if faults.on_write and faults.errs < ALWAYS:
        # What is left in a lane past the last channel, which nothing says, would be seen later.
        data = np.minimum(faults.bit, memory.bits - 1)
        field = np.searchsorted(fields.start, data, "right") - 1
        steady = fields.always_real[faults.word, field]
        faults = faults.where((faults.bit >= memory.bits) | steady)
    if faults.on_write and checks and len(faults):
        raise ChipError(
            f"{memory.name}: protection {code.name} is for faults of reading; write failures in "
            f"protected words are not simulated: protect {', '.join(STORES)}, or nothing"
        )
    transient = faults.errs < ALWAYS and len(faults) > 0
    if transient and checks:
        raise ChipError(
            f"{memory.name}: protection {code.name} needs faults of persistence 1; errors that "
            "come and go in protected words are not simulated"
        )
    keys = (faults.key,) * memory.banks
    if transient and memory.banks > 1:
        keys = tuple(transient_key(chip.seed, memory.name, n) for n in range(memory.banks))
    return MemoryFaults(memory, fields, faults, keys, code)
