"""Tables of measurements in the formats of laboratories: text with or without a header.

One reader for every table of this package. It has no options and guesses nothing: a rule decides
each freedom of the format, and a table that no rule decides is an error.

encoding    UTF-8, with or without a byte-order mark; UTF-16 with one
comments    lines that begin with ``#``, and empty lines, are left out
separator   the first of tab, semicolon and comma that is in the first line; else spaces
decimals    a point; between tabs or semicolons a comma too, unless it may mark thousands
header      the first line, if it has a field that is no number
unit        of voltages: in the header (``voltage_mv``, ``voltage [V]``, ``voltage_percent``) or
            behind the number (``540 mV``, ``0.54V``, ``88 %``); millivolts become volts, percent
            become shares; the same unit in the whole column
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsim.errors import HwsimError

MAX_BYTES = 256 << 20
"""Largest number of bytes of a file."""

_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
_UNITS = {"v": 1.0, "volt": 1.0, "volts": 1.0, "mv": 1e-3, "millivolt": 1e-3, "millivolts": 1e-3,
          "%": 1e-2, "percent": 1e-2, "rel": 1.0, "share": 1.0}  # fmt: skip
_KINDS = {1.0: "volts", 1e-3: "millivolts", 1e-2: "percent", None: "numbers without a unit"}
_UNIT_HINT = "call the column voltage_mv if it holds millivolts, voltage_percent if percent"
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|NaN|NAN|inf|Inf|INF)"
_VALUE = re.compile(rf"({_NUMBER})\s*([a-zA-Z]+|%)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_NAME = re.compile(r"(?P<name>\w+?)(?:[\s_]+|\s*[\[(]\s*)(?P<unit>%|[a-z]+)\s*[\])]?")


class TableError(HwsimError):
    """A table of numbers cannot be read; the text names file, line and allowed values."""


@dataclass(frozen=True)
class Table:
    """Rows of text fields, all of one length; below a header there may be no row.

    header: names of the columns as the file has them; None without a header. lines: number of each
    row's line in the file. comments: text of the comments, without ``#``.
    """

    path: Path
    header: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    comments: tuple[str, ...] = ()

    def place(self, row: int) -> str:
        """File and line of a row, for errors."""
        return f"{self.path}:{self.lines[row]}"

    @property
    def columns(self) -> int:
        return len(self.header or self.rows[0])

    def find(self, names: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """Index of the column that has one of the words of ``names``, by key; units do not count.

        Raises TableError if two columns have a name of the same key.
        """
        found: dict[str, int] = {}
        for at, written in enumerate(self.header or ()):
            name = _split(written)[0]
            for key in (key for key, words in names.items() if name in words):
                if key in found:
                    one = (self.header or ())[found[key]]
                    raise TableError(
                        f"{self.path}: columns '{one}' and '{written}' both say {key}; leave one"
                    )
                found[key] = at
        return found

    def integers(self, column: int, name: str) -> list[int]:
        """The column as integers of at most 15 digits; raises TableError."""
        found = []
        for n, row in enumerate(self.rows):
            value = number(row[column])
            if value is None or not value.is_integer() or abs(value) >= 1e15:
                raise TableError(f"{self.place(n)}: {name} must be an integer, not {row[column]!r}")
            found.append(int(value))
        return found

    def voltages(self, column: int) -> list[float]:
        """The column in volts, or as shares of another voltage; raises TableError.

        A number above 10 without a unit is neither, so it is an error.
        """
        of_header = None if self.header is None else _split(self.header[column])[1]
        units: set[float | None] = set()
        found = []
        for n, row in enumerate(self.rows):
            value, unit = _measured(row[column])
            if value is None or not 0 < value < float("inf"):
                what = "a number" if value is None else "a number > 0"
                raise TableError(f"{self.place(n)}: voltage must be {what}, not {row[column]!r}")
            units |= {unit or of_header, of_header or unit}
            if len(units) > 1:
                kinds = " and ".join(sorted(_KINDS[unit] for unit in units))
                raise TableError(f"{self.place(n)}: the column of voltages mixes {kinds}")
            scale = unit or of_header or 1.0
            # Division by a whole number makes of 540 mV the float that 0.54 is.
            value = value if scale == 1.0 else value / round(1 / scale)
            if value > 10:
                hint = f"; {_UNIT_HINT}" if (unit or of_header) is None else ""
                raise TableError(
                    f"{self.place(n)}: voltage must be at most 10 volts, or a share of Vmin, "
                    f"not {row[column]!r}{hint}"
                )
            found.append(value)
        return found


def read_table(path: Path | str) -> Table:
    """The table in a text file; raises TableError."""
    path = Path(path)
    text = _text(path)
    comments: list[str] = []
    lines: list[int] = []
    content: list[str] = []
    for n, line in enumerate(io.StringIO(text, newline=None), start=1):
        if (line := line.strip(" \r\n")).startswith("#"):
            comments.append(line.lstrip("# ").strip())
        elif line.strip(" \t"):
            lines.append(n)
            content.append(line)
    if not content:
        raise TableError(f"{path}: holds no numbers")
    separator = next((mark for mark in _SEPARATORS if mark in content[0]), None)
    rows: list[tuple[str, ...]] = []
    for n, line in zip(lines, content, strict=True):
        fields = _fields(line, separator, f"{path}:{n}")
        if rows and len(fields) != len(rows[0]):
            raise TableError(
                f"{path}:{n}: has {len(fields)} fields, the first line has {len(rows[0])} "
                f"(separated by {_SEPARATORS.get(separator or '', 'spaces')})"
            )
        rows.append(fields)
    header = None
    if any(_measured(field)[0] is None for field in rows[0]):
        header, rows, lines = rows[0], rows[1:], lines[1:]
    return Table(path, header, tuple(rows), tuple(lines), tuple(comments))


def number(text: str) -> float | None:
    """The number that ``text`` is, None for anything else; digits and a point, nan and inf."""
    return float(text) if re.fullmatch(_NUMBER, text) else None


def parse_voltage(text: str) -> tuple[float, str | None]:
    """A voltage of the command line: a number, and ``volts`` or ``percent`` if it has a unit.

    Millivolts become volts, percent becomes a share. Raises TableError.
    """
    value, unit = _measured(text.strip())
    if value is None or value != value:
        raise TableError(f"voltage must be a number, perhaps with V, mV or %, not {text!r}")
    if unit is None:
        return value, None
    kind = "percent" if unit == 1e-2 else "volts"
    return value if unit == 1.0 else value / round(1 / unit), kind


def _measured(text: str) -> tuple[float | None, float | None]:
    """A number and the scale of its unit; None for what is not there."""
    found = _VALUE.fullmatch(text)
    if found is None:
        return None, None
    unit = found[2]
    if unit is None:
        return float(found[1]), None
    scale = _UNITS.get(unit.lower())
    return (None, None) if scale is None else (float(found[1]), scale)


def _split(written: str) -> tuple[str, float | None]:
    """Name of a column in small letters, and the scale of its unit."""
    whole = written.strip().lower()
    found = _NAME.fullmatch(whole)
    if found is None or found["unit"] not in _UNITS:
        return re.sub(r"\W+", "_", whole), None
    return found["name"], _UNITS[found["unit"]]


def _fields(line: str, separator: str | None, place: str) -> tuple[str, ...]:
    if separator is None:
        return tuple(line.split())
    try:
        (found,) = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise TableError(f"{place}: has quotes that do not close") from None
    fields = tuple(field.strip() for field in found)
    return fields if separator == "," else tuple(_with_point(field, place) for field in fields)


def _with_point(field: str, place: str) -> str:
    """A number with a decimal comma as one with a point."""
    body = field.partition(" ")[0]
    if _THOUSANDS.fullmatch(body):
        raise TableError(
            f"{place}: {field!r} may have a decimal comma or one of thousands; write neither"
        )
    return field.replace(",", ".") if re.match(r"[+-]?\d*,\d+", field) else field


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise TableError(f"{path}: is longer than {MAX_BYTES >> 20} MiB")
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise TableError(f"{path}: is not text in UTF-8") from None
    if "\0" in text:
        raise TableError(f"{path}: is not text in UTF-8")
    return text
