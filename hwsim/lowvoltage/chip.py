"""One chip: the same failing cells for every caller, and no storage for healthy cells.

Cell (word, bit) of memory ``name`` draws a 32-bit number from Philox: counter = (index of the
cell // 4, number of the memory, stream), key = seed, lane = index mod 4. Read as a share of 2**32
it is the cell's *critical probability* (after the spatial model, see ``Spatial``): the cell fails
at every bit error rate above it, hence a chip's faults at a higher voltage are among those at a
lower one, and faults of different technologies at one error rate are the same cells. Check bits of
a protected memory are an array of their own beside its data, ``NAME.check``, in the same rows:
the data bits of a chip fail alike whatever protects them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from hwsim.errors import HwsimError
from hwsim.jit import njit
from hwsim.lowvoltage.philox import philox, philox_run
from hwsim.lowvoltage.technology import FaultModel, MemoryTechnology, VoltageError
from hwsim.lowvoltage.transient import ALWAYS, errs_now, transient_key

CELLS, PREFERENCES, COLUMNS, ROWS, BANKS = range(5)
"""Streams of the generator: each decides something else."""

_CHUNK = 1 << 20
_BLOCKS = 512


class ChipError(HwsimError):
    """A chip cannot be made as described; says what is allowed."""


@dataclass(frozen=True)
class Spatial:
    """How failures cluster, and where words lie.

    column, row, bank: share of the variance of the (normal) critical voltage that all cells of a
    column, row or bank have in common. Each share is >= 0, and their sum is < 1; with 0 cells are
    independent. The probability of every single cell does not depend on the shares. banks: number
    of equal banks, one above the other, into which the rows are divided. bank_cells: cells of a
    bank, instead of ``banks``; a bank has as many whole rows as these cells fill, at least one, and
    a memory begins with a new bank. interleave: words that share a physical row, bit by bit (column
    multiplexing). offset: physical row of word 0; words wrap around.
    """

    column: float = 0.0
    row: float = 0.0
    bank: float = 0.0
    banks: int = 1
    interleave: int = 1
    offset: int = 0
    bank_cells: int = 0

    def __post_init__(self) -> None:
        shares = (self.column, self.row, self.bank)
        if min(shares) < 0 or sum(shares) >= 1:
            raise ChipError(f"column, row and bank must be >= 0 with a sum < 1, not {shares}")
        if self.banks < 1 or self.interleave < 1 or self.offset < 0:
            raise ChipError("banks and interleave must be >= 1, offset >= 0")
        if self.bank_cells < 0 or (self.bank_cells and self.banks > 1):
            raise ChipError("bank_cells must be >= 0, and 0 where banks are counted")

    @classmethod
    def of(cls, technology: MemoryTechnology) -> Spatial:
        """How failures cluster according to the data of a technology."""
        banks = technology.banks
        return cls() if banks is None else cls(bank=banks.share, bank_cells=banks.cells)

    @property
    def independent(self) -> bool:
        return self.column == self.row == self.bank == 0

    def cell(self, word: np.ndarray, bit: np.ndarray, words: int, bits: int) -> np.ndarray:
        """Physical index of logical cells: row times columns, plus column."""
        k = self.interleave
        place = (word + self.offset * k) % self._room(words)
        return place // k * (bits * k) + bit * k + place % k

    def logical(self, cell: np.ndarray, words: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Word and bit of physical cells; words past the last one do not exist."""
        k = self.interleave
        row, column = np.divmod(cell, bits * k)
        place = row * k + column % k
        return (place - self.offset * k) % self._room(words), column // k

    def lay(
        self, cell: np.ndarray, words: int, bits: int
    ) -> tuple[np.ndarray | slice, np.ndarray, np.ndarray]:
        """Words and bits of ascending physical cells, in the order of (word, bit).

        Returns an index into the cells, the words and the bits; cells without a word are left out.
        """
        if self.interleave == 1 and self.offset == 0:
            return slice(None), *np.divmod(cell, bits)
        word, bit = self.logical(cell, words, bits)
        order = np.flatnonzero(word < words)
        order = order[np.lexsort((bit[order], word[order]))]
        return order, word[order], bit[order]

    def _room(self, words: int) -> int:
        """Number of words for which the rows have room."""
        return -(-words // self.interleave) * self.interleave

    def rows(self, words: int) -> int:
        return -(-words // self.interleave)

    def bank_of(self, rows: int, columns: int) -> np.ndarray:
        """Bank of each of ``rows`` rows of ``columns`` cells, int64 [rows]."""
        if self.bank_cells:
            return np.arange(rows) // max(self.bank_cells // columns, 1)
        return np.arange(rows) * self.banks // max(rows, 1)


_BY_FAULT = ("word", "bit", "reads", "critical")


@dataclass(frozen=True, eq=False)
class FaultList:
    """Failing cells of one memory, in the order of (word, bit).

    word, bit: int64 [faults]. reads: int8 [faults]: 0 or 1 for a cell that always reads so, -1
    for one that flips. critical: float64 [faults], bit error rate above which the cell fails.
    words, bits: size of the memory. errs: accesses out of 256 in which the cells err, key: which
    ones (``hwsim.lowvoltage.transient``). on_write: the cells err when they are written, in
    ``errs`` writes out of 256, and keep what they held; ``reads`` is what they power up as.
    """

    words: int
    bits: int
    word: np.ndarray
    bit: np.ndarray
    reads: np.ndarray
    critical: np.ndarray
    errs: int = ALWAYS
    key: int = 0
    on_write: bool = False

    def __len__(self) -> int:
        return len(self.word)

    def below(self, probability: float) -> FaultList:
        """The cells that still fail at a lower bit error rate."""
        return self.where(self.critical < probability)

    def where(self, kept: np.ndarray) -> FaultList:
        """The cells for which ``kept``, bool [faults], is true."""
        return replace(self, **{key: getattr(self, key)[kept] for key in _BY_FAULT})

    def written_once(self) -> FaultList:
        """What they do in a memory whose words are written once, in order, before any is read.

        Word w is written in write w. Cells whose write fails read what they powered up as, for
        ever; the others are sound. Faults of reading stay as they are.
        """
        if not self.on_write:
            return self
        fails = np.ones(len(self), bool)
        if self.errs < ALWAYS:
            numbers = (np.uint64(self.key), self.word, self.bit, np.uint64(self.errs))
            _fail_once(*numbers, fails)
        return replace(self.where(fails), errs=ALWAYS, on_write=False)

    def beside(self, higher: FaultList) -> FaultList:
        """Faults of longer words: these words below, the words of ``higher`` (as many) above."""
        higher = replace(higher, bit=higher.bit + self.bits)
        joined: dict[str, Any] = {
            key: np.concatenate((getattr(self, key), getattr(higher, key))) for key in _BY_FAULT
        }
        order = np.lexsort((joined["bit"], joined["word"]))
        return replace(self, bits=self.bits + higher.bits, **joined).where(order)


class FaultSource(Protocol):
    """A source of failing cells: a ``Chip``, or a user's ``FaultMap``.

    ``technology`` translates voltages and says how failing cells read. ``seed``, 64 bits, decides
    in which accesses cells err, if errors come and go (``hwsim.lowvoltage.transient``).
    """

    @property
    def technology(self) -> MemoryTechnology: ...

    @property
    def seed(self) -> int: ...

    def faults(self, memory: str, words: int, bits: int, voltage_rel: float) -> FaultList:
        """Failing cells of a memory of ``words`` x ``bits`` at a voltage relative to vmin."""
        ...

    def faults_at(
        self, memory: str, words: int, bits: int, probability: float, checks: int = 0
    ) -> FaultList:
        """Failing cells at a bit error rate, 0..1; ``checks``: check bits above the word's bits."""
        ...


@dataclass(frozen=True)
class Chip:
    """A chip of ``technology``; ``seed`` (0 .. 2**64 - 1) is its identity.

    spatial: how failures of the chip cluster; None: as the technology says.
    """

    technology: MemoryTechnology
    seed: int
    spatial: Spatial | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ChipError(f"seed must be 0..2^64 - 1, not {self.seed}")

    @cached_property
    def clusters(self) -> Spatial:
        """How failures of the chip cluster."""
        return Spatial.of(self.technology) if self.spatial is None else self.spatial

    @property
    def _key(self) -> Key:
        return key_of(self.seed)

    def faults(self, memory: str, words: int, bits: int, voltage_rel: float) -> FaultList:
        """Failing cells of a memory of ``words`` x ``bits`` at a voltage relative to vmin.

        Raises VoltageError outside the technology's data.
        """
        return self.faults_at(memory, words, bits, self.technology.probability(voltage_rel))

    def faults_at(
        self, memory: str, words: int, bits: int, probability: float, checks: int = 0
    ) -> FaultList:
        """Failing cells at a bit error rate (share of cells that fail), 0..1.

        With ``checks`` >= 0 check bits above the ``bits`` of each word.
        """
        if not 0 <= probability <= 1:
            raise VoltageError(f"bit error rate must be 0..1, not {probability:g}")
        data = self._array(memory, memory, words, bits, probability, bits)
        if not checks:
            return data
        return data.beside(self._array(memory, f"{memory}.check", words, checks, probability, bits))

    def _array(
        self, memory: str, array: str, words: int, bits: int, probability: float, beside: int
    ) -> FaultList:
        """Failing cells of one array (data or check bits) of a memory; arrays share rows and banks.

        beside: bits of the memory's words.
        """
        number, spatial = memory_number(array), self.clusters
        rows, columns = spatial.rows(words), bits * spatial.interleave
        if spatial.independent:
            limit = min(int(np.ceil(probability * 2.0**32)), 1 << 32)
            cell, drawn = _scan(rows * columns, limit, number, self._key)
            critical = drawn / 2.0**32
        else:
            shared = memory_number(memory)
            bank = spatial.bank_of(rows, beside * spatial.interleave)
            cell, critical = self._clustered(bank, columns, probability, number, shared)
        order, word, bit = spatial.lay(cell, words, bits)
        cell, critical = cell[order], critical[order]
        reads = preferences(self.technology.faults, cell, number, self._key)
        key, errs = transient_key(self.seed, memory), self.technology.faults.errs
        on_write = self.technology.faults.kind == "write_failure"
        return FaultList(words, bits, word, bit, reads, critical, errs, key, on_write)

    def _clustered(
        self, bank: np.ndarray, columns: int, probability: float, number: int, memory: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Failing physical cells and their critical probabilities, if cells share variance.

        bank: bank of each row. number: number of the array. memory: number of the memory that owns
        the rows and banks.
        """
        s, rows = self.clusters, len(bank)
        own = np.sqrt(1 - s.column - s.row - s.bank)

        def shared(count: int, stream: int, share: float, number: int) -> np.ndarray:
            drawn = _draw(np.arange(count), stream, number, self._key)
            return np.sqrt(share) * ndtri((drawn + 0.5) / 2.0**32)

        by_column = shared(columns, COLUMNS, s.column, number)
        by_row = shared(rows, ROWS, s.row, memory)
        if rows:
            by_row += shared(int(bank[-1]) + 1, BANKS, s.bank, memory)[bank]
        cells, criticals = [np.zeros(0, np.int64)], [np.zeros(0)]
        step = max(1, _CHUNK // columns)
        for first in range(0, rows, step):
            cell = np.arange(first * columns, min(first + step, rows) * columns)
            drawn = _draw(cell, CELLS, number, self._key)
            z = own * ndtri((drawn + 0.5) / 2.0**32)
            z += by_row[cell // columns] + by_column[cell % columns]
            critical = ndtr(z)
            kept = critical < probability
            cells.append(cell[kept])
            criticals.append(critical[kept])
        return np.concatenate(cells), np.concatenate(criticals)


Key = tuple[np.uint64, np.uint64]


def key_of(seed: int) -> Key:
    """Key words of the generator."""
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


def preferences(model: FaultModel, cell: np.ndarray, number: int, key: Key) -> np.ndarray:
    """What failing cells read, or power up as: each cell's own 0 or 1, -1 where ``model`` flips.

    int8, as ``cell``.
    """
    if model.kind == "flip":
        return np.full(len(cell), -1, np.int8)
    drawn = _draw(cell, PREFERENCES, number, key)
    return (drawn < model.ones * 2.0**32).astype(np.int8)


def memory_number(name: str) -> int:
    """32-bit number of a memory, from its name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def _scan(cells: int, limit: int, number: int, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Cells 0 .. cells - 1 whose number is below ``limit``, ascending, and the numbers."""
    expected = cells * limit / 2.0**32
    room = int(expected + 8 * np.sqrt(expected) + 64)
    while True:
        found = np.empty(room, np.int64)
        drawn = np.empty(room, np.uint32)
        count = _scan_into(cells, np.uint64(limit), np.uint64(number), *key, found, drawn)
        if count <= room:
            return found[:count], drawn[:count]
        room = count


@njit
def _scan_into(cells, limit, number, k0, k1, found, drawn):  # type: ignore[no-untyped-def]
    """Write cells below ``limit`` as far as there is room; returns the number of such cells."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    even, odd = np.empty(_BLOCKS, np.uint64), np.empty(_BLOCKS, np.uint64)
    any_below = np.empty(_BLOCKS, np.uint8)
    count, room = 0, len(found)
    for first in range(0, (cells + 3) // 4, _BLOCKS):
        philox_run(np.uint64(first), number, np.uint64(CELLS), k0, k1, even, odd)
        # Most blocks have no failing cell: told apart in a loop of its own, which has no branch.
        for i in range(np.uintp(_BLOCKS)):
            x, y = even[i], odd[i]
            any_below[i] = min(min(x & low, x >> half), min(y & low, y >> half)) < limit
        for i in range(_BLOCKS):
            if not any_below[i]:
                continue
            lanes = (even[i] & low, even[i] >> half, odd[i] & low, odd[i] >> half)
            for lane in range(4):
                cell = 4 * (first + i) + lane
                if lanes[lane] < limit and cell < cells:
                    if count < room:
                        found[count] = cell
                        drawn[count] = np.uint32(lanes[lane])
                    count += 1
    return count


@njit
def _fail_once(key, word, bit, errs, fails):  # type: ignore[no-untyped-def]
    """Whether the only write of each cell fails: write w of word w."""
    for i in range(len(fails)):
        number = np.uint64(word[i]) & np.uint64(0xFFFFFFFF)
        fails[i] = errs_now(key, number, np.uint64(bit[i]), errs)


def _draw(cell: np.ndarray, stream: int, number: int, key: Key) -> np.ndarray:
    """The 32-bit numbers of single cells, uint32."""
    out = np.empty(len(cell), np.uint32)
    _draw_into(cell.astype(np.int64), np.uint64(stream), np.uint64(number), *key, out)
    return out


@njit
def _draw_into(cell, stream, number, k0, k1, out):  # type: ignore[no-untyped-def]
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for i in range(len(cell)):
        b = np.uint64(cell[i] >> 2)
        lanes = philox(b & low, b >> half, number, stream, k0, k1)
        out[i] = np.uint32(lanes[cell[i] & 3])
