"""A user's own map of failing cells, in place of a ``Chip``: measured memories, worst cases.

A map is an array [rows, columns] of physical cells in memory, or a file (``load_map``), which may
also list failing cells. ``holds`` gives the meaning of a cell's number:

``fails``    0 or 1 (booleans, too): 1 for a cell that fails at every error rate above 0, that is,
             at every voltage below the technology's vmin
``rate``     0..1: the bit error rate above which the cell fails; 1: it never does
``voltage``  0..vmin, in the technology's unit: the voltage below which the cell fails, that is, the
             lowest at which it works; below the technology's lowest voltage: it never fails (a
             cell of exactly that voltage fails at error rates above that voltage's own)

NaN marks a cell that never fails.

A second array of the same shape may say how each failing cell reads: it reads 0 or 1, or it flips
the stored bit (-1). Without this array the technology's fault model decides, as for a chip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from hwsim.errors import HwsimError, StorageError
from hwsim.files import ArraySpec, read_array, read_arrays
from hwsim.lowvoltage.cell_list import MAX_CELLS, CellList, Shape, cells_in, cells_of, is_list
from hwsim.lowvoltage.chip import ChipError, FaultList, Spatial, key_of, preferences
from hwsim.lowvoltage.tables import TableError, number, read_table
from hwsim.lowvoltage.technology import MemoryTechnology, VoltageError
from hwsim.lowvoltage.transient import transient_key

_LIMIT = 8 * MAX_CELLS
"""Bytes of the arrays of a file."""

Holds = Literal["fails", "rate", "voltage"]


class _Failing(NamedTuple):
    """Cells that fail at some error rate, ascending; critical and reads as in ``FaultList``."""

    cell: np.ndarray
    critical: np.ndarray
    reads: np.ndarray


@dataclass(frozen=True, eq=False)
class FaultMap:
    """Failing cells from a map.

    cells: [rows, columns], booleans, integers or floats, see ``holds``. reads: the same shape,
    -1, 0 or 1. offset: cell (row times columns, plus column) at which memories start: all at the
    same, or by name. interleave: words that lie bit by bit among each other, as in ``Spatial``;
    with interleave = columns / bits, a row of the map is a row of the memory. From its first cell
    a memory goes on linearly, row by row. repeat: behind its last cell the map begins anew;
    otherwise a memory must not be longer than the rest of the map.

    Raises ChipError for arrays of another shape, type or range. Methods also raise it for a memory
    for which the map has no room or no offset.
    """

    technology: MemoryTechnology
    cells: np.ndarray
    holds: Holds = "fails"
    reads: np.ndarray | None = None
    offset: int | Mapping[str, int] = 0
    interleave: int = 1
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.holds not in get_args(Holds):
            raise ChipError(
                f"holds must be one of {', '.join(get_args(Holds))}, not '{self.holds}'"
            )
        top = {"fails": 1.0, "rate": 1.0, "voltage": self.technology.vmin}[self.holds]
        unit = f"; vmin of the technology is {top:g}" if self.holds == "voltage" else ""
        _check(self.cells, 0.0, top, whole=self.holds == "fails", missing=True, unit=unit)
        if self.holds == "voltage":
            self._check_unit()
        if self.reads is not None:
            _check(self.reads, -1.0, 1.0, whole=True)
            if self.technology.faults.kind == "write_failure" and (self.reads < 0).any():
                raise ChipError(
                    "reads must be 0 or 1 where writes fail (the technology's faults.kind is "
                    "write_failure): what each cell powers up as, not -1"
                )
            if self.reads.shape != self.cells.shape:
                raise ChipError(
                    f"reads must have the shape of cells, {_shape(self.cells)}, "
                    f"not {_shape(self.reads)}"
                )
        for start in self.offset.values() if isinstance(self.offset, Mapping) else [self.offset]:
            if not 0 <= start < self.cells.size:
                raise ChipError(f"offset must be 0..{self.cells.size - 1}, not {start}")
        if self.interleave < 1:
            raise ChipError(f"interleave must be >= 1, not {self.interleave}")

    def _check_unit(self) -> None:
        """Raise ChipError if every critical voltage lies below the technology's data."""
        told = self.cells[self.cells > 0]
        lowest = self.technology.lowest_rel
        if told.size and not (told / self.technology.vmin >= lowest).any():
            raise ChipError(
                f"no cell fails at any voltage of the technology: all voltages, {told.min():g}.."
                f"{told.max():g}, are below its lowest, {lowest * self.technology.vmin:g}; is the "
                f"unit another one? vmin is {self.technology.vmin:g}"
            )

    @cached_property
    def seed(self) -> int:
        """Seed that follows from the content: the same map is the same chip."""
        digest = hashlib.sha256(f"{self.holds} {self.cells.shape}".encode())
        digest.update(np.ascontiguousarray(self.cells, np.float64).tobytes())
        if self.reads is not None:
            digest.update(np.ascontiguousarray(self.reads, np.int8).tobytes())
        return int.from_bytes(digest.digest()[:8], "little")

    def placed(self, places: Mapping[str, int], seed: int) -> FaultMap:
        """The same map, repeated, and memories at ``places`` behind a cell that ``seed`` picks.

        places: cells, >= 0, by name; a memory past the end of the map begins in a repetition. All
        cells are as likely to be picked, whatever the seeds are.
        """
        digest = hashlib.sha256(f"first cell of {seed}".encode()).digest()
        first, size = int.from_bytes(digest[:8], "little"), self.cells.size
        return self.moved({name: (first + place) % size for name, place in places.items()})

    def moved(self, offset: Mapping[str, int]) -> FaultMap:
        """The same map, repeated, and memories that begin at other cells: 0 .. by name."""
        found = replace(self, offset=dict(offset), repeat=True)
        # What follows from the content alone is worked out once for all places.
        found.__dict__.update(seed=self.seed, _failing=self._failing)
        return found

    def laid_out(self, shapes: Mapping[str, tuple[int, int]], seed: int) -> FaultMap:
        """The same map, repeated, and memories of ``shapes`` (words, bits) one after another.

        The first begins at a cell that ``seed`` picks.
        """
        starts = accumulate((self.room(*shape) for shape in shapes.values()), initial=0)
        return self.placed(dict(zip(shapes, starts, strict=False)), seed)

    def room(self, words: int, bits: int) -> int:
        """Number of cells of a memory of ``words`` x ``bits``, in whole rows of the memory."""
        return self._spatial.rows(words) * bits * self.interleave

    def share(self, probability: float) -> float:
        """Share of the cells that fail at a bit error rate of the technology."""
        return int(np.count_nonzero(self._failing.critical < probability)) / self.cells.size

    def faults(self, memory: str, words: int, bits: int, voltage_rel: float) -> FaultList:
        """Failing cells of a memory of ``words`` x ``bits`` at a voltage relative to vmin.

        Raises VoltageError outside the technology's data.
        """
        return self.faults_at(memory, words, bits, self.technology.probability(voltage_rel))

    def faults_at(
        self, memory: str, words: int, bits: int, probability: float, checks: int = 0
    ) -> FaultList:
        """Failing cells at a bit error rate, 0..1: the cells whose critical rate is below it.

        ``checks`` >= 0 check bits lie behind the ``bits`` of each word, in the same rows.
        """
        bits += checks
        if not 0 <= probability <= 1:
            raise VoltageError(f"bit error rate must be 0..1, not {probability:g}")
        start, size = self._start(memory), self.cells.size
        end = start + self.room(words, bits)
        if end > size and not self.repeat:
            raise ChipError(
                f"map of {_shape(self.cells)} cells is too small for memory '{memory}': {words} "
                f"words of {bits} bits from cell {start} need {end}; repeat=True repeats the map"
            )
        cell, critical, reads = self._failing
        kept = critical < probability
        rounds = range(start // size, -(-end // size))
        place = np.concatenate([cell[kept] + n * size - start for n in rounds] or [cell[:0]])
        critical, reads = (np.tile(a[kept], len(rounds)) for a in (critical, reads))
        inside = (place >= 0) & (place < end - start)
        order, word, bit = self._spatial.lay(place[inside], words, bits)
        key, errs = transient_key(self.seed, memory), self.technology.faults.errs
        critical, reads = critical[inside][order], reads[inside][order]
        on_write = self.technology.faults.kind == "write_failure"
        return FaultList(words, bits, word, bit, reads, critical, errs, key, on_write)

    @property
    def _spatial(self) -> Spatial:
        return Spatial(interleave=self.interleave)

    def _start(self, memory: str) -> int:
        if not isinstance(self.offset, Mapping):
            return self.offset
        if memory not in self.offset:
            raise ChipError(
                f"map has no offset for memory '{memory}'; it has {', '.join(self.offset)}"
            )
        return self.offset[memory]

    @cached_property
    def _failing(self) -> _Failing:
        flat = self.cells.reshape(-1).astype(np.float64)
        if self.holds == "voltage":
            critical = self._critical_rates(flat)
        else:
            critical = 1.0 - flat if self.holds == "fails" else flat
        critical[np.isnan(flat)] = 1.0
        cell = np.flatnonzero(critical < 1)
        if self.reads is None:
            reads = preferences(self.technology.faults, cell, 0, key_of(self.seed))
        else:
            reads = self.reads.reshape(-1)[cell].astype(np.int8)
        return _Failing(cell, critical[cell], reads)

    def _critical_rates(self, voltage: np.ndarray) -> np.ndarray:
        """Bit error rates at critical voltages; of which measured maps have few different ones."""
        known, at = np.unique(voltage, return_inverse=True)
        lowest, vmin = self.technology.lowest_rel, self.technology.vmin
        rates = [self.technology.probability(v / vmin) if v / vmin >= lowest else 1 for v in known]
        return np.array(rates)[at]


def load_map(
    path: Path | str,
    technology: MemoryTechnology,
    holds: Holds | None = None,
    *,
    reads: Path | str | None = None,
    shape: Shape | None = None,
    offset: int | Mapping[str, int] = 0,
    interleave: int = 1,
    repeat: bool = False,
) -> FaultMap:
    """A ``FaultMap`` from a file.

    ``.npy``        an array [rows, columns] or [banks, rows, columns], bank after bank
    ``.npz``        such an array, ``cells``, and perhaps ``reads``; or a list of failing cells:
                    arrays ``row``, ``bit`` and perhaps ``bank`` and ``voltage``, all [failures]
    ``.csv``, ...   a table (``hwsim.lowvoltage.tables``): a line of numbers for each row of cells,
                    or, by the names of its columns, a list of cells (``cell_list``)

    holds: meaning of an array, default ``fails``. A list with voltages holds ``voltage``, in the
    technology's unit; a list without voltages holds ``fails``. shape: shape of all cells, for
    lists. reads: file with the bit that each failing cell reads (0, 1, or -1 to flip), one number
    for each cell. Raises ChipError naming the file and the allowed values.
    """
    try:
        found = _read(Path(path), shape, technology)
        if found.holds is not None and holds not in (None, found.holds):
            raise ChipError(f"lists cells, which holds {found.holds}, not {holds}")
        told = holds or found.holds or "fails"
        cells = FaultMap(
            technology, found.cells, told, found.reads,
            offset=offset, interleave=interleave, repeat=repeat,
        )  # fmt: skip
    except (ChipError, StorageError, TableError) as error:
        raise _in_file(path, error) from None
    if reads is None:
        return cells
    try:
        return replace(cells, reads=_read(Path(reads), shape, technology).cells)
    except (ChipError, StorageError, TableError) as error:
        raise _in_file(reads, error) from None


class _Content(NamedTuple):
    """Content of a file; holds: None if the file does not say the meaning of its numbers."""

    cells: np.ndarray
    holds: Holds | None = None
    reads: np.ndarray | None = None


def _in_file(path: Path | str, error: HwsimError) -> ChipError:
    text = str(error)
    return ChipError(text if text.startswith(str(path)) else f"{path}: {text}")


_ANY = ArraySpec("biuf")
_LIST = ("voltage", "bank", "row", "bit")


def _read(path: Path, shape: Shape | None, technology: MemoryTechnology) -> _Content:
    if path.suffix == ".npy":
        return _Content(_by_rows(read_array(path, _ANY, limit=_LIMIT)))
    if path.suffix == ".npz":
        return _read_npz(path, shape, technology)
    if path.suffix not in (".csv", ".tsv", ".txt"):
        raise ChipError("must be a .npy, .npz, .csv, .tsv or .txt file")
    table = read_table(path)
    if is_list(table):
        return _listed(cells_of(table, shape), technology)
    if not table.rows:
        raise ChipError("holds a header and no numbers")
    rows = np.empty((len(table.rows), table.columns))
    for n, row in enumerate(table.rows):
        for column, text in enumerate(row):
            if (value := number(text)) is None:
                raise ChipError(f"{table.place(n)}: cells must be numbers, not {text!r}")
            rows[n, column] = value
    return _Content(rows)


def _read_npz(path: Path, shape: Shape | None, technology: MemoryTechnology) -> _Content:
    spec = ArraySpec("biuf", optional=True)
    names = ("cells", "arr_0", "reads", *_LIST)
    found = read_arrays(path, dict.fromkeys(names, spec), limit=_LIMIT)
    whole = found.get("cells", found.get("arr_0"))
    listed = [name for name in _LIST if name in found]
    if whole is None and {"row", "bit"} <= set(listed) and "reads" not in found:
        return _listed(cells_in({name: found[name] for name in listed}, shape, path), technology)
    if whole is None or listed or {"cells", "arr_0"} <= set(found):
        raise ChipError(
            f"must hold the array cells, and perhaps reads, or a list: {', '.join(_LIST)}; it "
            f"holds {', '.join(found) or 'nothing'}"
        )
    reads = found.get("reads")
    return _Content(_by_rows(whole), None, None if reads is None else _by_rows(reads))


def _by_rows(array: np.ndarray) -> np.ndarray:
    """[banks, rows, columns] as [rows, columns], bank after bank."""
    return array.reshape(-1, array.shape[-1]) if array.ndim == 3 and array.size else array


def _listed(cells: CellList, technology: MemoryTechnology) -> _Content:
    if not cells.voltages:
        return _Content(cells.failing(), "fails")
    low, high = cells.voltages[0], cells.voltages[-1]
    least, vmin = technology.lowest_rel * technology.vmin, technology.vmin
    if high < least or high >= vmin:
        raise ChipError(
            f"cells failed at {low:g}..{high:g}; the technology has failures from {least:g} to "
            f"below its vmin, {vmin:g}: another unit, or another memory"
        )
    return _Content(cells.critical(vmin), "voltage")


def _check(
    array: np.ndarray,
    low: float,
    high: float,
    *,
    whole: bool,
    missing: bool = False,
    unit: str = "",
) -> None:
    """Raise ChipError unless ``array`` is a map of numbers within ``low`` .. ``high``.

    missing: NaN is allowed. unit: told with a number out of range.
    """
    if array.dtype.kind not in "biuf":
        raise ChipError(f"map must hold booleans, integers or floats, not {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ChipError(f"map must be [rows, columns] with at least one cell, not {_shape(array)}")
    wrong = ~((array >= low) & (array <= high))
    if whole:
        wrong |= array != np.round(array)
    if missing and array.dtype.kind == "f":
        wrong &= ~np.isnan(array)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        allowed = f"{low:g}..{high:g}"
        if whole:
            allowed = ", ".join(f"{n}" for n in range(int(low), int(high) + 1))
        raise ChipError(
            f"cells must be {allowed}, not {array[row, column]} (row {row}, column {column}){unit}"
        )


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape)) or "a single number"
