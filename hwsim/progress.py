"""Progress of long work: libraries report to a ``Progress``, the command line shows it.

Libraries take ``progress: Progress = NoProgress()`` and never print themselves.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, n: float = 1) -> None:
        """``n`` more of the total are done."""

    def note(self, text: str) -> None:
        """Show ``text`` (a loss, an accuracy) beside the task; it replaces the last note."""


class Progress(Protocol):
    """Where work reports to."""

    def task(self, description: str, total: float | None = None) -> AbstractContextManager[Task]:
        """Begin a task of ``total`` steps (``None``: unknown); leaving the context ends it."""


class NoProgress:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        yield self

    def advance(self, n: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _PlainTask:
    def __init__(self) -> None:
        self.last_note = ""

    def advance(self, n: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.last_note = text


class PlainProgress:
    """One line when a task ends, for log files and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        start = time.perf_counter()
        task = _PlainTask()
        yield task
        note = f", {task.last_note}" if task.last_note else ""
        seconds = time.perf_counter() - start
        print(f"{description}: {seconds:.1f} s{note}", file=self._stream, flush=True)


class RichProgress:
    """A bar with rate and time left on a terminal; it vanishes when its task ends.

    Tasks may nest. An exception (Ctrl-C too) takes the bars away and leaves the terminal sound.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        # Imported here so that commands without progress start fast.
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=Console(file=stream or sys.stderr),
            transient=True,
        )
        self.open_tasks = 0

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        if self.open_tasks == 0:
            self._bars.start()
        self.open_tasks += 1
        handle = self._bars.add_task(description, total=total, note="")
        bars = self._bars

        class _RichTask:
            def advance(self, n: float = 1) -> None:
                bars.advance(handle, n)

            def note(self, text: str) -> None:
                bars.update(handle, note=text)

        try:
            yield _RichTask()
        finally:
            bars.remove_task(handle)
            self.open_tasks -= 1
            if self.open_tasks == 0:
                bars.stop()


def make_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Bars on a terminal, plain lines elsewhere, nothing when ``quiet``; always on stderr."""
    if quiet:
        return NoProgress()
    stream = stream or sys.stderr
    return RichProgress(stream) if stream.isatty() else PlainProgress(stream)
