"""Progress of long work: libraries report to a ``Progress``, the command line shows it.

Libraries take ``progress: Progress = NoProgress()`` and never print themselves.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, n: float = 1) -> None:
        """``n`` more of the total are done."""

    def note(self, text: str) -> None:
        """Show ``text`` (a loss, an accuracy) beside the task; it replaces the last note.

        In a log each note is a line: give one for each larger step, such as an epoch.
        """


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
    """Prints lines of one task; ``ended`` wakes the thread that prints now and then."""

    def __init__(self, description: str, total: float | None, stream: TextIO) -> None:
        self._description, self._total, self._stream = description, total, stream
        self._start = time.perf_counter()
        self._done, self._note = 0.0, ""
        self.ended = threading.Event()

    def advance(self, n: float = 1) -> None:
        self._done += n

    def note(self, text: str) -> None:
        self._note = text
        self.say()

    def say(self, *, ended: bool = False) -> None:
        share = f"{self._done / self._total:.0%}, " if self._total and not ended else ""
        note = f", {self._note}" if self._note else ""
        seconds = time.perf_counter() - self._start
        print(f"{self._description}: {share}{seconds:.1f} s{note}", file=self._stream, flush=True)

    def repeat(self, every: float) -> None:
        while not self.ended.wait(every):
            self.say()


class PlainProgress:
    """Lines for log files and pipes: of each note, every now and then, and when a task ends.

    every: seconds between lines of a task that has nothing to note. They come from a thread, so
    that work which reports nothing (a compiler, a search) is seen to be alive too.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 30.0) -> None:
        self._stream, self._every = stream or sys.stderr, every

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        task = _PlainTask(description, total, self._stream)
        thread = threading.Thread(target=task.repeat, args=(self._every,), daemon=True)
        thread.start()
        try:
            yield task
        finally:
            task.ended.set()
            thread.join()
        task.say(ended=True)


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
