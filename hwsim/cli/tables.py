"""Tables for terminals of any width: a number is never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table


class Grid:
    """Rows of cells below headings; the first ``words`` columns hold words, the others numbers.

    If the terminal is too narrow for all columns, several tables below each other show them. Each
    table has the first column, and as many other columns as fit.
    """

    def __init__(self, *headings: str, words: int = 1, title: str | None = None) -> None:
        self.headings, self.words, self.title = headings, words, title
        self.rows: list[tuple[Sequence[str], str | None]] = []

    def add(self, *cells: str, style: str | None = None) -> None:
        """One row, a cell for each heading, in ``style`` (as rich names it)."""
        if len(cells) != len(self.headings):
            raise ValueError(f"{len(cells)} cells for {len(self.headings)} headings")
        self.rows.append((cells, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title = self.title
        for columns in self._parts(console, options):
            yield self._table(columns, title)
            title = None

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[list[int]]:
        """Columns of each table: the first column, and as many other columns as fit."""
        from rich.measure import Measurement

        wide = options.update(max_width=1 << 20)
        columns = [0]
        for column in range(1, len(self.headings)):
            more = [*columns, column]
            needs = Measurement.get(console, wide, self._table(more)).maximum
            if needs > options.max_width and len(columns) > 1:
                yield columns
                more = [0, column]
            columns = more
        yield columns

    def _table(self, columns: Sequence[int], title: str | None = None) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for column in columns:
            folded = column < self.words
            # Only words may be folded where a single column is wider than the terminal.
            table.add_column(
                self.headings[column],
                justify="left" if folded else "right",
                no_wrap=not folded,
                overflow="fold",
            )
        for cells, style in self.rows:
            table.add_row(*(Text(cells[column]) for column in columns), style=style)
        return table
