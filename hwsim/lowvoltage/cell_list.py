"""Lists of failing cells, as a laboratory writes them: voltage, bank, row and bit of each failure.

A list does not say how many cells did not fail, so it needs the ``Shape`` of the memory:
``890x1024x8`` for 890 banks of 1,024 rows of 8 bits. The user gives the shape, or a comment of the
file does: ``# shape: 890x1024x8``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwsim.lowvoltage.tables import Table, TableError, read_table

COLUMNS = {
    "voltage": ("voltage", "vdd"),
    "bank": ("bank", "bram", "block", "array"),
    "row": ("row", "word", "address"),
    "bit": ("bit", "column", "col"),
}
"""Names that the columns of a list may have."""

MAX_CELLS = 1 << 26
"""Largest number of cells of a memory."""
_SHAPE = re.compile(r"(?:(\d{1,9})\s*x\s*)?(\d{1,9})\s*x\s*(\d{1,9})")


class Shape(NamedTuple):
    """``banks`` of ``rows`` x ``bits`` cells; each >= 1."""

    banks: int
    rows: int
    bits: int

    @property
    def cells(self) -> int:
        return prod(self)

    def __str__(self) -> str:
        return " x ".join(map(str, self))


def parse_shape(text: str) -> Shape:
    """``890x1024x8``, or ``1024x8`` for a single bank; raises TableError."""
    found = _SHAPE.fullmatch(text.strip().lower())
    if found is None or not all(sizes := [int(size or 1) for size in found.groups()]):
        raise TableError(
            f"shape must be BANKSxROWSxBITS, as in 890x1024x8, or ROWSxBITS, not {text!r}"
        )
    shape = Shape(*sizes)
    if shape.cells > MAX_CELLS:
        raise TableError(f"shape must have at most {MAX_CELLS:,} cells, {shape} are more")
    return shape


@dataclass(frozen=True, eq=False)
class CellList:
    """Cells that failed at one voltage or more.

    voltages: the voltages of the list, ascending; empty if the list has none. cell: int64
    [cells], ascending: bank times rows, plus row, times bits, plus bit. fails: bool
    [cells, voltages].
    """

    shape: Shape
    voltages: tuple[float, ...]
    cell: np.ndarray
    fails: np.ndarray

    @cached_property
    def highest(self) -> np.ndarray:
        """Index of the highest voltage at which each cell failed, int64 [cells]."""
        return len(self.voltages) - 1 - np.argmax(self.fails[:, ::-1], axis=1)

    @cached_property
    def bank(self) -> np.ndarray:
        """Bank of each cell, int64 [cells]."""
        return self.cell // (self.shape.rows * self.shape.bits)

    def counts(self) -> np.ndarray:
        """Failing cells of each bank at each voltage, int64 [banks, voltages]."""
        counts = np.zeros((self.shape.banks, len(self.voltages)), np.int64)
        np.add.at(counts, self.bank, self.fails)
        return counts

    def critical(self, vmin: float) -> np.ndarray:
        """Lowest voltage of the list at which each cell works, NaN for cells that never failed.

        float64 [banks * rows, bits]. Of a cell that failed at the highest voltage of the list it
        is ``vmin``, where nothing fails. Between two voltages of the list the cell fails; those
        who measured did not look there.
        """
        works = np.array([*self.voltages[1:], vmin])[self.highest]
        return self._filled(np.nan, works)

    def failing(self) -> np.ndarray:
        """1 for cells of the list, float64 [banks * rows, bits]."""
        return self._filled(0.0, np.ones(len(self.cell)))

    def _filled(self, other: float, values: np.ndarray) -> np.ndarray:
        found = np.full(self.shape.cells, other)
        found[self.cell] = values
        return found.reshape(-1, self.shape.bits)


def is_list(table: Table) -> bool:
    """Whether a table with a header is a list of cells, by its columns."""
    return {"row", "bit"} <= table.find(COLUMNS).keys()


def shape_of(table: Table) -> Shape | None:
    """The shape in the comments of a table."""
    for comment in table.comments:
        name, _, text = comment.partition(":")
        if name.strip().lower() == "shape":
            return parse_shape(text)
    return None


def read_cells(path: Path | str, shape: Shape | None = None) -> CellList:
    """The list in a file; see ``cells_of``."""
    return cells_of(read_table(path), shape)


def cells_of(table: Table, shape: Shape | None = None) -> CellList:
    """The failing cells in ``table``: columns voltage, bank, row, bit, by any of their names.

    Without a header the columns are in this order. The voltage may be missing, and also the bank if
    there is only one. Rows and bits count from 0. A failure that is listed twice counts once.
    Raises TableError naming the file, the line and the allowed values.
    """
    told = shape_of(table)
    if shape is not None and told is not None and shape != told:
        raise TableError(f"{table.path}: says that it is of {told} cells, not of {shape}")
    at = table.find(COLUMNS)
    if table.header is None:
        if table.columns != len(COLUMNS):
            raise TableError(
                f"{table.path}: has {table.columns} columns and no header; without one a list of "
                f"cells has 4: {', '.join(COLUMNS)}"
            )
        at = {name: n for n, name in enumerate(COLUMNS)}
    arrays: dict[str, np.ndarray] = {
        name: np.array(table.integers(at[name], name))
        for name in ("bank", "row", "bit")
        if name in at
    }
    if "voltage" in at:
        arrays["voltage"] = np.array(table.voltages(at["voltage"]))
    return cells_in(arrays, shape or told, table.path, table.place)


def cells_in(
    arrays: Mapping[str, np.ndarray],
    shape: Shape | None,
    path: Path,
    place: Callable[[int], str] | None = None,
) -> CellList:
    """The list in arrays [failures] of some of ``COLUMNS``, as ``cells_of`` has it.

    place: of an entry, for errors; default: file and number of the entry.
    """
    where = place or (lambda entry: f"{path}: entry {entry}")
    if shape is None:
        raise TableError(
            f"{path}: lists failing cells; give the shape of all cells (banks, rows, bits), as in "
            "890x1024x8"
        )
    for name in ("row", "bit", *(("bank",) if shape.banks > 1 else ())):
        if name not in arrays:
            raise TableError(f"{path}: lacks the column {name} of a list of cells")
    lengths = {array.shape for array in arrays.values()}
    if len(lengths) > 1 or len(next(iter(lengths))) != 1 or lengths == {(0,)}:
        raise TableError(f"{path}: {', '.join(arrays)} must be lists of one length, at least 1")
    index = np.zeros((len(shape), len(arrays["row"])), np.int64)
    for n, (name, size) in enumerate(zip(("bank", "row", "bit"), shape, strict=True)):
        if name in arrays:
            values = arrays[name]
            wrong = ~((values >= 0) & (values < size) & (values == np.floor(values)))
            if wrong.any():
                first = int(np.flatnonzero(wrong)[0])
                raise TableError(
                    f"{where(first)}: {name} must be 0..{size - 1} in {shape} cells, "
                    f"not {values[first]}"
                )
            index[n] = values
    cell, which = np.unique(np.ravel_multi_index(tuple(index), shape), return_inverse=True)
    if "voltage" not in arrays:
        return CellList(shape, (), cell, np.zeros((len(cell), 0), bool))
    if not ((arrays["voltage"] > 0) & (arrays["voltage"] <= 10)).all():
        raise TableError(
            f"{path}: voltages must be above 0 and at most 10 volts, or shares of Vmin"
        )
    voltages, level = np.unique(arrays["voltage"], return_inverse=True)
    fails = np.zeros((len(cell), len(voltages)), bool)
    fails[which, level] = True
    return CellList(shape, tuple(voltages.tolist()), cell, fails)
