"""The scripts of ``examples/``: each runs and prints what the tutorials show."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.report_folder import balanced, four_layers, write_folder

from hwsim.network import load, save
from hwsim.rtl.emit import read_folder

EXAMPLES = Path(__file__).parent.parent / "examples"


def main_of(name: str) -> Callable[[list[str]], None]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]  # type: ignore[no-any-return]


def test_every_example_is_tested() -> None:
    text = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'main_of("{path.stem}")' in text, path.name


def test_mux_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("mux_by_hand")([str(tmp_path / "verilog")])
    out = capsys.readouterr().out
    assert "a frame every 144 cycles" in out
    assert len(read_folder(tmp_path / "verilog").images) == 8


def test_lanes_and_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(four_layers(), tmp_path / "net.hwnet")
    main_of("lanes_and_intervals")([str(tmp_path / "net.hwnet"), "--intervals", "4096", "1024"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["4,096", "1,024"]
    assert int(rows[0][3].replace(",", "")) < int(rows[1][3].replace(",", ""))


def test_weight_alphabets(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("weight_alphabets")(["--alphabets", "binary", "ternary", "--epochs", "1"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["binary", "ternary"]
    assert int(rows[0][3].replace(",", "")) < int(rows[1][3].replace(",", ""))


def test_own_training_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_of("own_training_loop")(["--steps", "40", "--output", str(tmp_path / "own.hwnet")])
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(rows["integer accuracy"].rstrip("%")) > 30
    assert rows["executor == torch"] == "True"
    assert load(tmp_path / "own.hwnet").input.channels == 1


def test_draw_overview(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "run", balanced(four_layers(), 1024))
    main_of("draw_overview")([str(folder), str(tmp_path / "picture.svg")])
    text = (tmp_path / "picture.svg").read_text()
    assert len(text) < 200_000
    assert ElementTree.fromstring(text).tag.endswith("svg")
    for stage in ("conv1", "conv4", "head"):
        assert f">{stage}<" in text


def test_one_chip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chip 7 is the same in PyTorch and in the accelerator, for better or worse."""
    main_of("one_chip")(["--steps", "25", "--output", str(tmp_path / "chip7.hwnet")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["trained", "tuned"]
    for line in lines:
        (equal,) = re.findall(r"([\d.]+)% of the labels equal", line)
        assert float(equal) > 95
    assert load(tmp_path / "chip7.hwnet").input.channels == 1


def test_harden_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("harden_a_model")(["--steps", "40", "--chips", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["plain", "hardened"]
    assert all(" Vmin: " in line and line.endswith("less energy for the weights") for line in lines)
