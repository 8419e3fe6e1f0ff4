"""Memories as components use them: a small one that is written, and who may make one."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from amaranth.hdl import Array, Cat, Module, Signal, unsigned
from amaranth.lib.wiring import Component, In, Out
from amaranth.sim import Simulator
from support.memory_probe import elaborate, memories

from hwsim.accelerator import memory_list
from hwsim.design import MemoryInfo
from hwsim.design.fields import Fields
from hwsim.design.roles import Role, Style
from hwsim.faults import DesignFaults, design_faults
from hwsim.faults.design import MemoryFaults
from hwsim.lowvoltage.chip import FaultList
from hwsim.lowvoltage.protection import NONE, Protection, parse_protection
from hwsim.lowvoltage.transient import ALWAYS, errs_now, transient_key
from hwsim.rtl.memory import DesignMemory
from hwsim.rtl.util import index
from hwsim.testing import Limits, random_pipeline
from hwsim.testing.faulty import KINDS, RATES, chip, residual_pipeline

WORDS, BITS, RATE = 12, 10, 0.15
RTL = Path(__file__).parent.parent / "rtl"


# -- a memory that is written at run time ----------------------------------------------------------


def info(style: Style = Style.MEMORY, banks: int = 1, writes: int = 1) -> MemoryInfo:
    instances = tuple(f"scratch.bank_{n}" for n in range(banks)) if style is Style.MEMORY else ()
    return MemoryInfo(
        "scratch.store", Role.WINDOW, "scratch", WORDS, BITS, style, 1, writes, instances
    )


def failing(
    kind: str, memory: MemoryInfo, code: Protection = NONE
) -> tuple[FaultList, MemoryFaults]:
    """Failing cells of ``memory`` on a chip, plain and as a design has them."""
    made = chip(kind, seed=3)
    faults = made.faults_at(memory.name, WORDS, BITS, RATE, code.check_bits(BITS))
    fields = Fields(np.array([BITS]), np.ones((WORDS, 1), bool), 1, (memory.role,))
    keys = tuple(transient_key(made.seed, memory.name, bank) for bank in range(memory.banks))
    return faults, MemoryFaults(memory, fields, faults, keys, code)


class Scratch(Component):
    """A memory with a read and a write port; every bank is read at the same address.

    Members: ``write``, ``write_at`` (word of the memory), ``value``; ``read``, ``read_at`` (word
    of each bank); ``seen``: what every bank reads, one beside the other. ``registered``: it is
    there in the cycle after ``read``.
    """

    def __init__(self, *, memory: DesignMemory, registered: bool) -> None:
        self._memory, self._registered = memory, registered
        m = memory.info
        super().__init__(
            {
                "write": In(1),
                "write_at": In(index(m.words)),
                "value": In(m.bits),
                "read": In(1),
                "read_at": In(index(m.bank_words)),
                "seen": Out(m.bits * m.banks),
            }
        )

    @property
    def memory(self) -> DesignMemory:
        return self._memory

    @property
    def registered(self) -> bool:
        return self._registered

    def elaborate(self, platform: object) -> Module:
        m = Module()
        info = self._memory.info
        if self._registered:
            cells = self._memory.place(m, starts=self.read)
        else:
            cells = self._memory.place(m, ends=self.read)
        if info.style is Style.REGISTERS:
            shape = unsigned(BITS)
            words = Array(
                Signal(shape, name=f"word_{n}", init=self._memory.at_reset(n, 1, shape)[0])
                for n in range(WORDS)
            )
            before = Signal(BITS)
            m.d.comb += before.eq(words[self.write_at])
            (value,) = cells.written([before], [self.value], self.write_at, self.write)
            with m.If(self.write):
                m.d.sync += words[self.write_at].eq(value)
            held = Signal(BITS)
            m.d.comb += held.eq(words[self.read_at])
            # Two lanes, as those of an accumulator are.
            lanes = [Signal(BITS // 2, name=f"lane_{n}") for n in range(2)]
            m.d.comb += Cat(*lanes).eq(held)
            m.d.comb += self.seen.eq(Cat(*cells.registers(lanes, self.read_at)))
            return m
        seen = []
        for bank in range(info.banks):
            first = bank * info.bank_words
            here = (self.write_at >= first) & (self.write_at < first + info.bank_words)
            cells.write(self.write_at - first, self.value, self.write & here, bank)
            seen.append(cells.read(self.read_at, bank=bank))
        m.d.comb += self.seen.eq(Cat(*seen))
        return m


class Seen(NamedTuple):
    """What a read found.

    access: its number. writes: (word, value) of all writes before it. intended: what the word
    would hold if all cells were sound.
    """

    access: int
    bank: int
    word: int
    writes: list[tuple[int, int]]
    intended: int
    seen: int


def traffic(memory: DesignMemory, registered: bool, cycles: int = 250) -> list[Seen]:
    """Random writes and reads."""
    rng = np.random.default_rng(1)
    dut = Scratch(memory=memory, registered=registered)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    size, banks = memory.info.bank_words, memory.info.banks
    first = memory.image()
    held = [0] * WORDS if first is None else list(first)
    rows: list[Seen] = []
    writes: list[tuple[int, int]] = []

    async def bench(ctx):  # type: ignore[no-untyped-def]
        reads, due = 0, []
        for _ in range(cycles):
            write, read = (bool(given) for given in rng.random(2) < 0.6)
            write_at, value = int(rng.integers(WORDS)), int(rng.integers(1 << BITS))
            read_at = int(rng.integers(size))
            for member, given in (
                *((dut.write, write), (dut.write_at, write_at), (dut.value, value)),
                *((dut.read, read), (dut.read_at, read_at)),
            ):
                ctx.set(member, given)
            wanted = [
                Seen(reads, bank, bank * size + read_at, writes[:], held[bank * size + read_at], 0)
                for bank in range(banks)
                if read
            ]
            _, _, seen = await ctx.tick().sample(dut.seen)
            # What is read stays until the next read, whatever is written meanwhile.
            shown, due = (due, wanted or due) if registered else (wanted, due)
            mask = (1 << BITS) - 1
            rows.extend(row._replace(seen=seen >> row.bank * BITS & mask) for row in shown)
            reads += read
            if write:
                held[write_at] = value
                writes.append((write_at, value))

    simulator.add_testbench(bench)
    simulator.run()
    return rows


def as_read(faults: FaultList, key: int, access: int, word: int, stored: int) -> int:
    """What a word reads in an access, cell by cell."""
    for at in np.flatnonzero(faults.word == word):
        bit, reads = int(faults.bit[at]), int(faults.reads[at])
        asked = (np.uint64(v) for v in (key, access, bit, faults.errs))
        if faults.errs < ALWAYS and not errs_now(*asked):
            continue
        seen = 1 - (stored >> bit & 1) if reads < 0 else reads
        stored = stored & ~(1 << bit) | seen << bit
    return stored


def as_written(
    faults: FaultList,
    keys: Sequence[int],
    memory: MemoryInfo,
    writes: Sequence[tuple[int, int]],
    word: int,
    stored: int,
) -> int:
    """What a word holds after writes since reset, cell by cell; ``stored``: if all were sound."""
    key = keys[word // memory.bank_words]
    for at in np.flatnonzero(faults.word == word):
        bit, holds = int(faults.bit[at]), int(faults.reads[at])
        for number, (written, value) in enumerate(writes):
            asked = (np.uint64(v) for v in (key, number, bit, faults.errs))
            if written == word and faults.errs < ALWAYS and not errs_now(*asked):
                holds = value >> bit & 1
        stored = stored & ~(1 << bit) | holds << bit
    return stored


def compare(memory: MemoryInfo, kind: str, registered: bool, image: Sequence[int] | None) -> None:
    faults, faulty = failing(kind, memory)
    rows = traffic(DesignMemory(memory, lambda: image, faulty), registered)

    def expected(cells: FaultList, row: Seen) -> int:
        if cells.on_write:
            return as_written(cells, faulty.keys, memory, row.writes, row.word, row.intended)
        return as_read(cells, faulty.keys[row.bank], row.access, row.word, row.intended)

    for row in rows:
        assert row.seen == expected(faults, row), (row.access, row.bank)
    # Some accesses meet errors, and all words were read.
    assert any(row.intended != row.seen for row in rows)
    assert {row.word for row in rows} == set(range(WORDS))
    # In some accesses, failing cells read as they should: just where errors come and go.
    always = replace(faults, errs=ALWAYS)
    spared = [row for row in rows if row.seen != expected(always, row)]
    assert bool(spared) == (faults.errs < ALWAYS)


@pytest.mark.parametrize("kind", KINDS)
def test_written_memory_reads_as_its_cells_do(kind: str) -> None:
    """One bank and two, with a register behind them and without, from zeros and from an image."""
    image = list(range(100, 100 + WORDS))
    compare(info(), kind, True, None)
    compare(info(banks=2), kind, True, image)
    compare(info(), kind, False, image)


@pytest.mark.parametrize("kind", KINDS)
def test_registers_read_as_their_cells_do(kind: str) -> None:
    compare(info(Style.REGISTERS), kind, False, None)


def test_sound_memory_reads_as_it_was_written() -> None:
    for memory, registered in (
        (info(), True),
        (info(banks=2), False),
        (info(Style.REGISTERS), False),
    ):
        rows = traffic(DesignMemory(memory), registered)
        assert len(rows) > 100
        assert all(row.intended == row.seen for row in rows)


@pytest.mark.parametrize("code", ["none", "parity", "secded"])
def test_words_that_nothing_writes_hold_their_errors(code: str) -> None:
    """Cell by cell for bare words; a protection is asked for the others."""
    memory, protection = info(writes=0), parse_protection(code)
    faults, faulty = failing("preferred", memory, protection)
    image = [int(word) for word in np.random.default_rng(2).integers(0, 1 << BITS, WORDS)]
    built = DesignMemory(memory, lambda: image, faulty)
    assert built.read_errors is None
    if code == "none":
        assert built.words == [as_read(faults, 0, 0, n, word) for n, word in enumerate(image)]
    assert built.words != image
    stored = np.array([[word >> bit & 1 for bit in range(BITS)] for word in image], np.uint8)
    seen = protection.read(stored, *faulty.cells)
    assert built.words == [sum(int(bit) << n for n, bit in enumerate(row)) for row in seen]


def test_errors_that_come_and_go_are_not_in_the_words() -> None:
    memory = info(writes=0)
    _, faulty = failing("transient_flip", memory)
    built = DesignMemory(memory, lambda: [5] * WORDS, faulty)
    assert built.words == [5] * WORDS
    assert built.read_errors is faulty


def test_wrong_use_is_refused() -> None:
    m = Module()
    one = Signal()
    with pytest.raises(ValueError, match=r"^memory 'scratch.store': give either starts or ends$"):
        DesignMemory(info()).place(m)
    with pytest.raises(ValueError, match=r"^memory 'scratch.store': its list entry has no writes$"):
        DesignMemory(info(writes=0)).place(m, starts=one).write(one, one, one)
    cells = DesignMemory(info()).place(m, starts=one)
    cells.read(one)
    with pytest.raises(ValueError, match=r"^memory 'scratch.store': bank 0 has a read port$"):
        cells.read(one)


# -- the memories of an accelerator ----------------------------------------------------------------


def check_arrays(pipeline, faults: DesignFaults | None) -> int:  # type: ignore[no-untyped-def]
    """The arrays of the hardware are those of the list; returns how many hold masks beside them."""
    _, top = elaborate(pipeline, faults)
    found = {p: (m._data.depth, m._data.shape.width) for p, m in memories(top).items()}
    listed = {p: (m.bank_words, m.bits) for m in memory_list(pipeline) for p in m.instances}
    masks = {path for path in found if path.endswith("_errors.masks")}
    assert {path: size for path, size in found.items() if path not in masks} == listed
    assert {path.removesuffix("_errors.masks") for path in masks} <= {
        *listed,
        *(f"stage_{m.layer}.accumulator" for m in memory_list(pipeline)),
    }
    return len(masks)


@pytest.mark.parametrize("seed", range(6))
def test_faulty_hardware_has_the_memories_of_the_list(seed: int) -> None:
    pipeline = random_pipeline(seed, Limits(channels=5, size=6), 2)
    assert pipeline is not None
    assert check_arrays(pipeline, None) == 0
    kind = list(KINDS)[seed % len(KINDS)]
    assert check_arrays(pipeline, design_faults(pipeline, chip(kind, seed), RATES[2])) > 0


@pytest.mark.parametrize("seed", range(20))
def test_every_memory_is_built_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Each entry of the list is used by one component; single words of weights are wiring."""
    built: Counter[str] = Counter()
    place, look_up = DesignMemory.place, DesignMemory.look_up
    look_up_parts = DesignMemory.look_up_parts

    def placed(self, *arguments, **strobes):  # type: ignore[no-untyped-def]
        built[self.info.name] += 1
        return place(self, *arguments, **strobes)

    def looked_up(self, *arguments):  # type: ignore[no-untyped-def]
        built[self.info.name] += self.info.style is Style.CONSTANT
        return look_up(self, *arguments)

    def looked_up_parts(self, *arguments):  # type: ignore[no-untyped-def]
        built[self.info.name] += self.info.style is Style.CONSTANT
        return look_up_parts(self, *arguments)

    monkeypatch.setattr(DesignMemory, "place", placed)
    monkeypatch.setattr(DesignMemory, "look_up", looked_up)
    monkeypatch.setattr(DesignMemory, "look_up_parts", looked_up_parts)
    pipeline = random_pipeline(seed, Limits(channels=5, size=6), 2) or residual_pipeline()
    elaborate(pipeline)
    wiring = {
        m.name
        for m in memory_list(pipeline)
        if m.role is Role.WEIGHT and (m.style, m.words) == (Style.CONSTANT, 1)
    }
    assert built == Counter(m.name for m in memory_list(pipeline) if m.name not in wiring)


# -- who may make a memory -------------------------------------------------------------------------

HARDWARE = "amaranth.hdl"
MAKERS = {
    "amaranth.lib.memory": {"memory.py"},
    "hwsim.rtl.faults": {"memory.py"},
    "hwsim.faults": {"memory.py", "faults.py", "accelerator.py"},
    "hwsim.lowvoltage": {"faults.py"},
}
"""Modules, and the files of hardware that may import them."""


def imported(tree: ast.AST) -> set[str]:
    """Modules, and names in them, that a file imports anywhere."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def uses(tree: ast.AST, module: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for name in imported(tree))


def called(tree: ast.AST) -> set[str]:
    """Last part of the name of everything that a file calls."""
    return {
        ast.unparse(node.func).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }


def test_only_one_file_makes_memories() -> None:
    trees = {path.name: ast.parse(path.read_bytes()) for path in RTL.glob("*.py")}
    hardware = {name for name, tree in trees.items() if uses(tree, HARDWARE)}
    assert {"stage.py", "mac.py", "window.py", "resize.py", "fifo.py", "pool.py"} <= hardware
    for module, allowed in MAKERS.items():
        found = {name for name in hardware if uses(trees[name], module)}
        assert found == allowed, module
    for function in (
        "Memory",
        "MemoryData",
        "add_errors",
        "WordErrors",
        "of",
        "access_number",
        "failing_writes",
    ):
        found = {name for name, tree in trees.items() if function in called(tree)}
        assert found <= {"memory.py"}, function
    assert {"Memory", "add_errors", "failing_writes", "access_number", "of"} <= called(
        trees["memory.py"]
    )


@pytest.mark.parametrize(
    "code",
    [
        "from amaranth.lib.memory import Memory as M",
        "from amaranth.lib import memory",
        "import amaranth.lib.memory",
        "def f():\n    from amaranth.lib.memory import Memory",
    ],
)
def test_every_way_to_a_memory_is_seen(code: str) -> None:
    assert uses(ast.parse(code), "amaranth.lib.memory")
    assert not uses(ast.parse("from amaranth.lib.memories import x"), "amaranth.lib.memory")
