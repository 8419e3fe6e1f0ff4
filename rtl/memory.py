"""The memories of a design in hardware: the one module that makes an Amaranth ``Memory``.

``design_memories`` has a ``DesignMemory`` for each entry of the memory list, by its name. What a
memory holds at reset, its path, its failing cells and its protection come with it, so that a
component only says how it is used. A memory that is only read takes one call:

    word = memory.look_up(m, pipe, "address", "start", depth)

or, where lanes have equal parts of it, each its own:

    words = memory.look_up_parts(m, pipe, addresses, "emit")

A memory that is written as well is placed, and has ports:

    cells = memory.place(m, starts=enable)
    cells.write(write_address, data, write_enable)
    word = cells.read(read_address)

Registers that act as a memory belong to the component, which reads them through
``PlacedMemory.registers``, resets them to ``DesignMemory.at_reset``
and are told what ``PlacedMemory.written`` says of a write.

Errors that always occur are in the words of a memory that nothing writes. All others are added
to what is read (``hwsim.rtl.faults``): the masks of a word lie in a memory that is read beside the
faulty one. Where writes fail, cells hold at reset what they power up as, and a bit whose write
fails is not enabled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import Component, In, Out

from hwsim.cells import write_cells
from hwsim.design import Design, MemoryInfo
from hwsim.design.bits import bits_to_ints, ints_to_bits
from hwsim.design.roles import STORES, Style
from hwsim.errors import MappingError
from hwsim.faults import DesignFaults
from hwsim.faults.design import MemoryFaults
from hwsim.rtl.faults import COUNT, WordErrors, access_number, add_errors, failing_writes
from hwsim.rtl.util import Pipe, index, lanes_of, named, table


@dataclass(frozen=True, eq=False)
class DesignMemory:
    """One memory of a design, ready to be built.

    image: makes the words that the memory is to hold at reset, one integer each, bit 0 lowest;
    None stands for zeros. faults: its failing cells, None where no cell fails.

    Raises ValueError for words or bits below 1, MappingError for check bits in a memory that is
    written: there is no encoder for them.
    """

    info: MemoryInfo
    image: Callable[[], Sequence[int] | None] = lambda: None
    faults: MemoryFaults | None = None

    def __post_init__(self) -> None:
        for what in ("words", "bits"):
            value = getattr(self.info, what)
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"memory '{self.info.name}': {what} must be an integer >= 1, not {value!r}"
                )
        if self.faults is not None and self.faults.protected and self.written:
            raise MappingError(
                f"memory '{self.info.name}': protection {self.faults.protection.name} is evaluated "
                "but not built into Verilog for memories that are written; protect "
                f"{', '.join(STORES)}, or nothing"
            )

    @property
    def written(self) -> bool:
        """Whether the design writes the memory."""
        return self.info.writes > 0

    @property
    def read_errors(self) -> MemoryFaults | None:
        """The failing cells whose errors are added to what is read, None where there are none."""
        if self.write_errors is not None:
            return None
        if self.faults is None or self.written or self.faults.transient:
            return self.faults
        return None

    @property
    def write_errors(self) -> MemoryFaults | None:
        """The failing cells whose writes fail, None where there are none."""
        return self.faults if self.faults is not None and self.faults.on_write else None

    @cached_property
    def words(self) -> Sequence[int]:
        """Words at reset, without check bits; empty for zeros.

        Errors that always occur are in the words of a memory that nothing writes. Cells whose
        writes fail hold what they power up as.
        """
        words = self.image()
        if words is None and self.write_errors is not None:
            words = [0] * self.info.words
        if words is None:
            return ()
        if self.faults is None or self.read_errors is not None:
            return words
        stored = ints_to_bits(words, self.info.bits)
        return bits_to_ints(self.faults.protection.read(stored, *self.faults.cells))

    def at_reset(self, word: int, lanes: int, shape: Shape) -> list[int]:
        """What registers that hold a word are to be reset to, lane by lane, each of ``shape``."""
        if not self.words:
            return [0] * lanes
        parts = (self.words[word] >> n * shape.width for n in range(lanes))
        return [Const(part & (1 << shape.width) - 1, shape).value for part in parts]

    def look_up(self, m: Module, pipe: Pipe, address: str, enable: str, depth: int) -> Value:
        """The word that the step ``depth`` registers on in ``pipe`` reads, combinational.

        For a memory that nothing writes. address, enable: control signals of the pipe. A memory
        is read while the last of these registers is filled, constants in the fabric after it.
        """
        if self.info.style is Style.CONSTANT:
            return table(self.words, unsigned(self.info.bits), pipe.at(address, depth))
        cells = self.place(m, starts=pipe.at(enable, depth - 1))
        return cells.read(pipe.at(address, depth - 1))

    def look_up_parts(
        self, m: Module, pipe: Pipe, addresses: Sequence[Value], enable: str
    ) -> list[Value]:
        """A word of each of the memory's equal parts, a bank each; advances ``pipe`` by a register.

        For a memory that nothing writes. addresses: one for each part. enable: control signal of
        the pipe.
        """
        if self.info.style is Style.CONSTANT:
            size, shape = self.info.words // len(addresses), unsigned(self.info.bits)
            words = [
                table(self.words[n * size : (n + 1) * size], shape, at)
                for n, at in enumerate(addresses)
            ]
            return pipe.register(words, self.info.name.rpartition(".")[2])
        cells = self.place(m, starts=pipe[enable])
        words = [cells.read(at, bank=n) for n, at in enumerate(addresses)]
        pipe.advance()
        return words

    def place(
        self, m: Module, *, starts: Value | None = None, ends: Value | None = None
    ) -> PlacedMemory:
        """The memory in the module ``m``, whose accesses are counted by one of the two strobes.

        starts: a read starts in this cycle; its data is there from the next cycle on. ends: what
        is there is used in this cycle for the last time.
        """
        if (starts is None) == (ends is None):
            raise ValueError(f"memory '{self.info.name}': give either starts or ends")
        return PlacedMemory(m, self, starts, ends)


class PlacedMemory:
    """A memory in a module; made by ``DesignMemory.place``. A bank is there with its first port."""

    def __init__(
        self, m: Module, memory: DesignMemory, starts: Value | None, ends: Value | None
    ) -> None:
        self._m, self._memory = m, memory
        self._starts, self._ends = starts, ends
        self._arrays: dict[int, Memory] = {}

    def write(self, address: Value, data: Value, enable: Value, bank: int = 0) -> None:
        """Write ``data`` to a word of ``bank`` at the end of this cycle when ``enable`` is set."""
        if not self._memory.written:
            raise ValueError(f"memory '{self._memory.info.name}': its list entry has no writes")
        failing = self._failing(self._name(bank), self._part(bank), bank, address, enable)
        if failing is None:
            write = self._array(bank).write_port()
            enables = enable
        else:
            write = self._array(bank).write_port(granularity=1)
            if self._memory.write_errors is not None and self._memory.write_errors.lasting:
                # A reset leaves words as they are: the first write of each puts back what its
                # cells power up as.
                first = self._first_write(bank, address, enable)
                shape = unsigned(self._memory.info.bits)
                power_up = table(self._memory.words[self._part(bank)], shape, address)
                data = Mux(first, write_cells(power_up, data, failing), data)
                failing = Mux(first, 0, failing)
            enables = Value.cast(enable).replicate(self._memory.info.bits) & ~failing
        self._m.d.comb += [write.addr.eq(address), write.data.eq(data), write.en.eq(enables)]

    def written(
        self,
        registers: Sequence[Signal],
        values: Sequence[Value],
        word: Value | int,
        enable: Value,
    ) -> Sequence[Value]:
        """What registers of the component hold after they are written, lane by lane.

        registers: what holds the word before. values: what is written to ``word``, as wide as the
        registers keep it, in each cycle in which ``enable`` is set.
        """
        name, part, address = self._registers_of(word)
        failing = self._failing(name, part, 0, address, enable)
        if failing is None:
            return values
        shape = registers[0].shape()
        kept = [named(self._m, f"{name}_write_{n}", value, shape) for n, value in enumerate(values)]
        stays = write_cells(Cat(*registers), Cat(*kept), failing)
        return lanes_of(stays, len(registers), shape)

    def read(self, address: Value, *, enable: Value | None = None, bank: int = 0) -> Value:
        """What is read of a word of ``bank``, errors included; one port for each bank.

        It is there in the cycle after ``enable`` (default: the strobe ``starts``), at once where
        there is neither. A word that is written in the cycle of ``enable`` is read as it was.
        """
        array = self._array(bank)
        if array.read_ports:
            raise ValueError(f"memory '{self._memory.info.name}': bank {bank} has a read port")
        enable = self._starts if enable is None else enable
        read = _read_port(self._m, array, address, enable)
        enable = None if enable is None else read.en
        part = self._part(bank)
        return self._seen(self._name(bank), part, bank, read.data, read.addr, enable)

    def registers(self, registers: Sequence[Signal], word: Value | int) -> Sequence[Value]:
        """Registers of the component, lane by lane, as they are read; they hold word ``word``."""
        name, part, address = self._registers_of(word)
        stored = Cat(*registers)
        seen = self._seen(name, part, 0, stored, address, None)
        if seen is stored:
            return registers
        return lanes_of(seen, len(registers), registers[0].shape())

    def _registers_of(self, word: Value | int) -> tuple[str, slice, Value | None]:
        """Name of what registers hold, its words, and which one of them where there are many."""
        info = self._memory.info
        name, part = info.name.rpartition(".")[2], slice(None)
        if isinstance(word, int) and info.words > 1:
            name, part = f"{name}_{word}", slice(word, word + 1)
        return name, part, None if isinstance(word, int) else word

    def _part(self, bank: int) -> slice:
        """Words of a bank."""
        words = self._memory.info.bank_words
        return slice(bank * words, (bank + 1) * words)

    def _name(self, bank: int) -> str:
        return self._memory.info.instances[bank].rpartition(".")[2]

    def _array(self, bank: int) -> Memory:
        if bank not in self._arrays:
            info, part = self._memory.info, self._memory.words[self._part(bank)]
            array = Memory(shape=unsigned(info.bits), depth=info.bank_words, init=part)
            self._m.submodules[self._name(bank)] = self._arrays[bank] = array
        return self._arrays[bank]

    @cached_property
    def _access(self) -> Value:
        """Number of the access whose data is there; one counter for all banks."""
        faulty = self._memory.read_errors
        strobe = self._ends if self._starts is None else self._starts
        assert faulty is not None
        assert strobe is not None
        return access_number(self._m, faulty, strobe, starts=self._starts is not None)

    def _first_write(self, bank: int, address: Value, enable: Value) -> Value:
        """Whether the word at ``address`` was not written since reset."""
        words = self._memory.info.bank_words
        name = f"{self._name(bank)}_written"
        flags = Array(Signal(name=f"{name}_{n}") for n in range(words))
        at = named(self._m, f"{name}_at", address, index(words))
        with self._m.If(enable):
            self._m.d.sync += flags[at].eq(1)
        return ~flags[at]

    @cached_property
    def _writes(self) -> Signal:
        """How often the memory was written since reset; one counter for all banks."""
        return Signal(COUNT, name=f"{self._memory.info.role}_writes")

    def _failing(
        self, name: str, words: slice, bank: int, address: Value | None, enable: Value
    ) -> Value | None:
        """The bits whose write fails in this cycle, None where no cell fails.

        The others as in ``_seen``.
        """
        faulty = self._memory.write_errors
        if faulty is None:
            return None
        if faulty.lasting:
            with self._m.If(enable):
                self._m.d.sync += self._writes.eq(self._writes + 1)
        cells = WordErrors.of(faulty, words, bank)
        if not cells.failing:
            return None
        errors = WriteErrors(cells=cells)
        self._m.submodules[f"{name}_errors"] = errors
        if faulty.lasting:
            self._m.d.comb += errors.number.eq(self._writes)
        if address is not None and cells.words > 1:
            self._m.d.comb += errors.address.eq(address)
        return errors.failing

    def _seen(
        self,
        name: str,
        words: slice,
        bank: int,
        data: Value,
        address: Value | None,
        enable: Value | None,
    ) -> Value:
        """``data`` as it is read.

        name: of what holds the data. words: those that it may be of. address: which one of them,
        None where there is one. enable: of a read port with a register.
        """
        faulty = self._memory.read_errors
        cells = None if faulty is None else WordErrors.of(faulty, words, bank)
        if cells is None or not cells.failing:
            return data
        errors = Errors(cells=cells, registered=enable is not None)
        self._m.submodules[f"{name}_errors"] = errors
        self._m.d.comb += [errors.data.eq(data), errors.access.eq(self._access)]
        if address is not None and cells.words > 1:
            self._m.d.comb += errors.address.eq(address)
        if enable is not None:
            self._m.d.comb += errors.enable.eq(enable)
        return errors.seen


class Errors(Component):
    """What is read from a memory with failing cells.

    Members: ``address``: word that is being read; ``enable``: it is read into a register at the
    next edge (``registered``), otherwise it is there at once; ``access``: number of the access
    whose ``data`` is there now; ``seen``: what is read instead.

    Parameters: cells; registered: the memory's read port has a register.
    """

    def __init__(self, *, cells: WordErrors, registered: bool) -> None:
        self._cells, self._registered = cells, registered
        super().__init__(
            {
                "address": In(index(cells.words)),
                "enable": In(1),
                "access": In(COUNT),
                "data": In(cells.bits),
                "seen": Out(cells.bits),
            }
        )

    @property
    def cells(self) -> WordErrors:
        return self._cells

    @property
    def registered(self) -> bool:
        return self._registered

    def elaborate(self, platform: object) -> Module:
        m = Module()
        masks = self._masks(m)
        m.d.comb += self.seen.eq(add_errors(m, self._cells, self.data, masks, self.access))
        return m

    def _masks(self, m: Module) -> Value:
        """The masks of the word whose data is there now."""
        return _read_masks(m, self._cells, self.address, self.enable if self._registered else None)


class WriteErrors(Component):
    """The bits whose write fails, in a memory with failing cells.

    Members: ``address``: word that is written; ``number``: of the write; ``failing``: bits that
    keep what they hold.

    Parameters: cells.
    """

    def __init__(self, *, cells: WordErrors) -> None:
        self._cells = cells
        super().__init__(
            {"address": In(index(cells.words)), "number": In(COUNT), "failing": Out(cells.bits)}
        )

    @property
    def cells(self) -> WordErrors:
        return self._cells

    def elaborate(self, platform: object) -> Module:
        m = Module()
        masks = _read_masks(m, self._cells, self.address, None)
        m.d.comb += self.failing.eq(failing_writes(m, self._cells, masks, self.number))
        return m


def _read_masks(m: Module, cells: WordErrors, address: Value, enable: Value | None) -> Value:
    """The masks of the word at ``address``; enable: as in ``_read_port``."""
    width, words = cells.mask_bits, cells.mask_words()
    if len(words) == 1:
        return Const(words[0], width)
    m.submodules.masks = memory = Memory(shape=unsigned(width), depth=len(words), init=words)
    return _read_port(m, memory, address, enable).data


def _read_port(m: Module, memory: Memory, address: Value, enable: Value | None) -> ReadPort:
    """A port of ``memory`` with a register, without one where ``enable`` is None."""
    read = memory.read_port(domain="comb" if enable is None else "sync")
    m.d.comb += read.addr.eq(address)
    if enable is not None:
        m.d.comb += read.en.eq(enable)
    return read


def design_memories(design: Design, faults: DesignFaults | None = None) -> dict[str, DesignMemory]:
    """Every memory of ``design`` by name, with the failing cells that ``faults`` has for it.

    Raises MappingError for a protection of memories that are written.
    """
    faulty = {} if faults is None else faults.memories
    return {
        info.name: DesignMemory(info, partial(design.image, info), faulty.get(info.name))
        for info in design.memories()
    }
