"""What the machine or a slip of the hand does to a command: exit code 2 and one line."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.emitted import tiny_network

from hwsim.cli.main import main
from hwsim.files import write_text
from hwsim.network import INPUT, ArgMax, Flatten, Linear, Network, TensorType, save

LONG = 5000 * "x"
POINTS = "voltage,failed,cells\n0.5,90,1000\n0.55,40,1000\n0.6,9,1000\n0.65,2,1000\n0.7,0,1000\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network ``net.hwnet``, measurements ``points.csv`` and nothing else."""
    monkeypatch.chdir(tmp_path)
    save(replace(tiny_network(), name="a [/red] <b> name"), Path("net.hwnet"))
    Path("points.csv").write_text(POINTS)
    return tmp_path


def call(capsys: Any, *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def refusal(capsys: Any, *words: str) -> str:
    """The one line that is said, and no file is left."""
    before = sorted(Path().rglob("*"))
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, ""), err
    assert err.startswith("hwsim: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    line = err[7:-1]
    assert line.isprintable()
    assert len(line) < 700
    assert sorted(Path().rglob("*")) == before
    return line


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", LONG),
        ("simulate", LONG),
        ("evaluate", LONG, "--data", "digits"),
        ("verify", LONG),
        ("synth", LONG),
        ("report", LONG),
        ("run", LONG),
        ("run", "quickstart", "-o", LONG),
        ("train", "quickstart", "-o", LONG),
        ("generate", "net.hwnet", "-o", LONG, "-q"),
        ("simulate", "net.hwnet", "--energy-table", LONG),
        ("memory", "show", LONG),
        ("memory", "fit", LONG, "--nominal", "0.8"),
        ("memory", "fit", "points.csv", "--nominal", "0.8", "-o", LONG),
        ("evaluate", "net.hwnet", "--data", "npz", "--path", LONG),
    ],
    ids=lambda words: "-".join(word[:9] for word in words),
)
def test_names_that_are_too_long(capsys: Any, words: tuple[str, ...]) -> None:
    line = refusal(capsys, *words)
    assert "xxxxx[...]xxxxx" in line


@pytest.mark.parametrize("option", ["-o", "--output"])
@pytest.mark.parametrize("command", ["run", "train", "generate"])
def test_an_empty_name_is_not_this_folder(capsys: Any, command: str, option: str) -> None:
    first = "net.hwnet" if command == "generate" else "quickstart"
    assert refusal(capsys, command, first, option, "") == f"after {option}: is empty"
    assert refusal(capsys, command, first, "--output=") == "--output=: is empty"
    assert refusal(capsys, command, "", option, "out") == f"after {command}: is empty"


@pytest.mark.parametrize("number", [20 * "9", "-" + 20 * "9", 5000 * "9"])
@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "net.hwnet", "--frames"),
        ("simulate", "net.hwnet", "--frame-interval-cycles"),
        ("simulate", "net.hwnet", "--fifo-depth"),
        ("simulate", "net.hwnet", "--clock-mhz"),
        ("simulate", "net.hwnet", "--voltage-v"),
        ("evaluate", "net.hwnet", "--data", "digits", "--images"),
        ("generate", "net.hwnet", "-o", "out", "--chip"),
        ("verify", "out", "--seed"),
        ("memory", "show", "sram_14nm", "--steps"),
        ("run", "quickstart", "-s", "seed={}"),
        ("run", "quickstart", "-s", "training.epochs={}"),
        ("run", "quickstart", "-s", "training.learning_rate={}"),
        ("run", "quickstart", "-s", "accelerator.folding.conv0.pe={}"),
    ],
    ids=" ".join,
)
def test_numbers_that_are_too_large(capsys: Any, words: tuple[str, ...], number: str) -> None:
    given = [word.replace("{}", number) for word in words]
    line = refusal(capsys, *given, *([] if given != list(words) else [number]))
    assert "too large" in line or "must be" in line or "not in the range" in line
    if words[-1].startswith("--"):
        assert words[-1] in line


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "net.hwnet", "--clock-mhz"),
        ("simulate", "net.hwnet", "--voltage-v"),
        ("memory", "fit", "points.csv", "--nominal"),
        ("memory", "fit", "points.csv", "--nominal", "0.8", "--vmin"),
        ("verify", "out", "--gap-probability"),
        ("generate", "net.hwnet", "-q", "-o", "out", "--technology", "sram_14nm", "--voltage"),
        ("run", "quickstart", "-s", "accelerator.clock_mhz={}"),
    ],
    ids=" ".join,
)
def test_numbers_that_are_none(capsys: Any, words: tuple[str, ...], number: str) -> None:
    given = [word.replace("{}", number) for word in words]
    refusal(capsys, *given, *([] if given != list(words) else [number]))


def digits_network() -> Network:
    """Any classifier of the pictures of ``digits``."""
    weight = np.random.default_rng(0).integers(-8, 8, (10, 64))
    ops = (Flatten("flat", (INPUT,)), Linear("fc", ("flat",), weight), ArgMax("answer", ("fc",)))
    return Network("digits", TensorType(1, 8, 8, 4), ops)


def test_images_that_the_set_does_not_have(capsys: Any) -> None:
    save(digits_network(), Path("digits.hwnet"))
    words = ("evaluate", "digits.hwnet", "--data", "digits", "-q", "--images")
    line = refusal(capsys, *words, "4000")
    assert line == "--images: must be 1..355 (the test images of digits), not 4000"
    code, out, _ = call(capsys, *words, "355")
    assert code == 0
    assert "355 test images of digits" in out
    line = refusal(
        capsys, "generate", "digits.hwnet", "-o", "out", "-c", "quickstart", "-q", "--images", "356"
    )
    assert line == "--images: must be 1..355 (the test images of digits), not 356"


# -- what the machine does -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "net.hwnet", "-o", "points.csv/out", "-q"),
        ("generate", "net.hwnet", "-o", "/proc/out", "-q"),
        ("run", "quickstart", "-o", "points.csv/out"),
        ("run", "quickstart", "-o", "/proc/out"),
        ("memory", "fit", "points.csv", "--nominal", "0.8", "-o", "/proc/out.yaml"),
        ("memory", "fit", "points.csv", "--nominal", "0.8", "-o", "points.csv/out.yaml"),
        ("report", "points.csv"),
        ("verify", "net.hwnet"),
        ("inspect", "."),
        ("inspect", "/dev/zero"),
        ("memory", "fit", ".", "--nominal", "0.8"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_or_read(capsys: Any, words: tuple[str, ...]) -> None:
    line = refusal(capsys, *words)
    assert any(line.startswith(word.split("/out")[0]) for word in words)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files of this process may have so many bytes only, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(capsys: Any, full_disk: None) -> None:
    line = refusal(capsys, "memory", "fit", "points.csv", "--nominal", "0.8", "-o", "out.yaml")
    assert line == "out.yaml: File too large"
    # What a training wrote before stays, to go on from.
    code, out, err = call(capsys, "run", "quickstart", "-q", "-o", "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("hwsim: out/")
    assert err.endswith(": File too large\n")


def test_a_disk_that_is_full_while_verilog_is_written(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hwsim.rtl.emit.save", full)
    line = refusal(capsys, "generate", "net.hwnet", "-q", "-o", "out")
    assert line == "out: No space left on device"


def test_files_that_do_not_fit_leave_what_was_there(full_disk: None) -> None:
    path = Path("file")
    write_text(path, "before")
    with pytest.raises(OSError) as caught:
        write_text(path, 1000 * "x")
    assert caught.value.filename == str(path)
    assert path.read_text() == "before"
    long = Path(255 * "n")
    write_text(long, "the longest name that a folder can hold")
    assert long.read_text().startswith("the longest")


def test_a_reader_that_has_enough() -> None:
    code = "from hwsim.cli.main import main; main()"
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", "net.hwnet"], stdout=into, stderr=subprocess.PIPE
    )
    os.close(into)
    assert (done.returncode, done.stderr) == (1, b"")


def test_too_little_memory(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path) -> None:
        raise MemoryError("Unable to allocate 16 EiB")

    monkeypatch.setattr("hwsim.network.load", load)
    line = refusal(capsys, "inspect", "net.hwnet")
    assert line == "needs more memory than there is (Unable to allocate 16 EiB)"


# -- names that mean something to terminals --------------------------------------------------------


def test_names_are_shown_as_they_are(capsys: Any) -> None:
    code, out, err = call(capsys, "inspect", "net.hwnet")
    assert (code, err) == (0, "")
    assert out.startswith("a [/red] <b> name: 1x5x6 u4 -> ")
    Path("[bold]").mkdir()
    assert refusal(capsys, "inspect", "[bold]") == "[bold]: is not a file"


def test_commands_to_terminals_are_escaped(capsys: Any) -> None:
    assert refusal(capsys, "inspect", "a\x1b[2Jb\x9b.hwnet").startswith("a\\x1b[2Jb\\x9b.hwnet: ")
