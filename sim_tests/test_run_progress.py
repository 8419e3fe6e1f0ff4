"""Progress reporting: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import re

import pytest

from hwsim.progress import NoProgress, PlainProgress, RichProgress, make_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_choice() -> None:
    assert isinstance(make_progress(quiet=True, stream=Terminal()), NoProgress)
    assert isinstance(make_progress(stream=Terminal()), RichProgress)
    assert isinstance(make_progress(stream=io.StringIO()), PlainProgress)


def test_plain_lines() -> None:
    stream = io.StringIO()
    with PlainProgress(stream).task("train", 3) as task:
        task.advance()
        task.note("loss 2")
        task.note("loss 1")
        task.advance(2)
    assert re.fullmatch(r"train: \d+\.\d s, loss 1\n", stream.getvalue())


def test_plain_task_that_fails_says_nothing() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), PlainProgress(stream).task("train"):
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_quiet() -> None:
    with NoProgress().task("train", 3) as task:
        task.advance()
        task.note("loss 1")


def test_bars_nest_and_leave_nothing() -> None:
    stream = Terminal()
    progress = RichProgress(stream)
    with progress.task("outer", 2) as outer, progress.task("inner") as inner:
        inner.advance()
        inner.note("halfway")
        outer.advance(2)
    assert progress.open_tasks == 0
    assert "outer" in stream.getvalue()


def test_interrupted_bar_gives_the_cursor_back() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), RichProgress(stream).task("train", 2):
        raise KeyboardInterrupt
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
