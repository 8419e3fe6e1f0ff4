"""Progress reporting: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading

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
    lines = r"train: 33%, \d+\.\d s, loss 2\ntrain: 33%, \d+\.\d s, loss 1\n"
    assert re.fullmatch(lines + r"train: \d+\.\d s, loss 1\n", stream.getvalue())


RUN = "from hwsim.cli.main import main; main()"


class Log(io.StringIO):
    """Tells when it has got three lines."""

    def __init__(self) -> None:
        super().__init__()
        self.three = threading.Event()

    def flush(self) -> None:
        if self.getvalue().count("\n") >= 3:
            self.three.set()


def test_work_that_reports_nothing_is_heard_of_now_and_then() -> None:
    stream = Log()
    with PlainProgress(stream, every=0.01).task("build") as task:
        assert stream.three.wait(60)
    said = stream.getvalue()
    assert re.fullmatch(r"(build: \d+\.\d s\n){4,}", said)
    assert task.ended.wait(0)
    # Nobody speaks after the end.
    assert not [thread for thread in threading.enumerate() if "repeat" in thread.name]
    assert stream.getvalue() == said


def test_lines_are_rare_by_default() -> None:
    stream = io.StringIO()
    with PlainProgress(stream).task("study", 1000) as task:
        for _ in range(1000):
            task.advance()
    assert stream.getvalue().count("\n") == 1


def test_a_log_of_a_training_has_a_line_for_each_epoch(tmp_path) -> None:
    """In a process of its own, stdout and stderr in files; quiet and --json keep their word."""
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ndata: {set: digits}\nmodel: {channels: [4, 4], strides: [2, 2]}\n"
        "training: {epochs: 3, twin_epochs: 2, threads: 1}\n"
    )
    logs = {}
    for name, option in (("loud", "--json"), ("quiet", "--quiet")):
        words = [sys.executable, "-c", RUN, "train", "tiny.yaml", "-o", name, option]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        logs[name] = done
    document = json.loads(logs["loud"].stdout)
    assert document["accuracy"]["agreement"] >= 0.98
    log = logs["loud"].stderr.splitlines()
    for title, epochs in (("train float twin", 2), ("train network", 3)):
        for epoch in range(1, epochs + 1):
            share = f"{epoch / epochs:.0%}"
            line = (
                rf"{title} \(cpu, (fp32|bf16)\): {share}, [\d.]+ s, epoch {epoch} of {epochs}, "
                r"loss [\d.]+, test accuracy [\d.]+%"
            )
            assert [text for text in log if re.fullmatch(line, text)], (line, log)
    assert [text for text in log if "of the answers as in training" in text]
    assert logs["quiet"].stderr == ""
    assert "agreement" in logs["quiet"].stdout


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
