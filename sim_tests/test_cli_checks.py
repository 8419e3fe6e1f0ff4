"""What can be known is told before the training starts, and nothing is left behind."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwsim.cli.main import main
from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import load_config, shipped_configs
from hwsim.models import train
from hwsim.models.data import load_data
from hwsim.models.export import export_network
from hwsim.models.networks import build_network
from hwsim.models.preview import preview_network
from hwsim.models.settle import settle_statistics
from hwsim.network import TensorType

EXPERIMENT = """\
name: tiny
data: {data}
model: {{channels: [6, 6], strides: [2, 2]{model}}}
training: {{epochs: 1{training}}}
accelerator: {{{accelerator}}}
energy: {{{energy}}}
verification: {{{verification}}}
"""


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def trains(*args: Any, **options: Any) -> None:
        raise AssertionError("the training has started")

    monkeypatch.setattr(train, "train", trains)


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def write(path: str, **values: str) -> None:
    """An experiment with these ``values`` in its sections."""
    empty = dict.fromkeys(("model", "training", "accelerator", "energy"), "")
    whole = {"data": "{set: digits}", "verification": "images: 2", **empty, **values}
    Path(path).write_text(EXPERIMENT.format(**whole), encoding="utf-8")


WRONG = {
    "count": (
        {"verification": "images: 356"},
        "verification.images: must be 1..355 (the test images of digits), not 356",
    ),
    "rider": (
        {"accelerator": "folding: {conv0: {pe: 2}}"},
        "folding: there is no stage 'conv0'; 'conv0' is done by the stage 'conv0_acc': name that",
    ),
    "lanes": (
        {"accelerator": "folding: {conv0_acc: {pe: 7}}"},
        "op 'conv0_acc': pe must be 1..6 (its outputs), not 7",
    ),
    "fifo": (
        {"accelerator": "fifo_depths: {conv0__conv1: 3}"},
        "no FIFO is called 'conv0__conv1'; there are input__conv0_acc, conv0__conv1_acc, "
        "conv1__pooled, pooled__logits_acc, logits__label, label__sink "
        "(did you mean 'conv0__conv1_acc'?)",
    ),
    "interval": (
        {"accelerator": "frame_interval_cycles: 10"},
        "op 'conv0_acc': a frame every 10 cycles is out of reach: with all lanes it takes 64, "
        "the smallest possible interval",
    ),
    "table": ({"energy": "table: cmos_46nm"}, "cmos_46nm: is neither a file nor one of the "),
    "initial": (
        {"training": ", initial: no.pt"},
        "training.initial: no.pt is not there; name a network.pt or final.pt",
    ),
    "pool": ({"model": ", pools: [0, 1]"}, "model.pools: no room for the pool after convolution 1"),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("folder", ["new", "deep/er", "there"])
@pytest.mark.parametrize("wrong", WRONG)
def test_before_training(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, folder: str
) -> None:
    values, message = WRONG[wrong]
    monkeypatch.chdir(tmp_path)
    write("tiny.yaml", **values)
    Path("there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(capsys, "run", "tiny.yaml", "-o", folder, "-q")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"hwsim: {message}")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("side", "code"), [(512, 2), (64, 1)])
def test_widths_that_no_export_can_have(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, code: int
) -> None:
    """Sums over a large picture are too wide for logits; the same network reads small ones."""
    monkeypatch.chdir(tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 1, side, side), np.uint8)
    labels = np.arange(2)
    np.savez(f"{side}.npz", train_x=pictures, train_y=labels, test_x=pictures, test_y=labels)
    bits = ", activation_bits: 8, residual_bits: 10, head_weights: int8, weights: int8"
    write("wide.yaml", data=f"{{set: npz, path: {side}.npz}}", model=bits + ", blocks: 1")
    words = ("--set", "model.channels=[4, 64]", "-o", "out", "-q")
    found, _, err = call(capsys, "run", "wide.yaml", *words)
    assert found == code, err
    if code == 2:
        assert re.match(r"hwsim: op 'logits_acc': values .* need 3[3-9] bits; at most 32", err)
        assert not Path("out").exists()
    else:
        assert "the training has started" in err, err


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("missing", "simulator", "message"),
    [
        ("perl", "verilator", "verilator needs perl, which is not installed"),
        ("make", "verilator", "verilator needs make, which is not installed"),
        ("iverilog", "icarus", "icarus: iverilog is not installed; use the simulator verilator"),
        ("c++", "verilator", "no C++ compiler for verilator; install g++ or clang, or run: "),
    ],
)
def test_tools_are_looked_for_first(
    capsys: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    simulator: str,
    message: str,
) -> None:
    gone = {"c++", "g++", "clang++"} if missing == "c++" else {missing}
    which, find_spec = shutil.which, importlib.util.find_spec
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(
        "shutil.which", lambda name: None if name in gone else which(name) or f"/bin/{name}"
    )
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "ziglang" else find_spec(name)
    )
    out = tmp_path / "out"
    words = ("-q", "-o", out, "--set", f"verification.simulator={simulator}")
    code, _, err = call(capsys, "run", "quickstart", *words)
    assert code == 2, err
    assert err.startswith(f"hwsim: {message}")
    assert not out.exists()
    # Training alone needs no simulator.
    with pytest.raises(AssertionError, match="the training has started"):
        main(["--debug", "train", "quickstart", "-q", "-o", str(out)])


@pytest.mark.parametrize("name", shipped_configs("experiments"))
def test_the_preview_has_the_shape_of_the_trained_network(name: str) -> None:
    """Same ops, names and shapes as an export after other weights and statistics."""
    config = load_config(name, ExperimentConfig)
    data = load_data(config.data.model_copy(update={"set": "digits"}))
    preview = preview_network(config, data)
    model = build_network(config.model, data.shape, data.classes, seed=7)
    model.freeze_positions()
    settle_statistics(model, [torch.zeros(2, *data.shape)])
    other = export_network(model.eval())
    shapes = [
        {op: (t.channels, t.height, t.width) for op, t in network.types.items()}
        for network in (preview, other)
    ]
    assert shapes[0] == shapes[1]
    assert [op.kind for op in preview] == [op.kind for op in other]
    assert preview.input == TensorType(1, 8, 8, config.model.input_bits)


def test_synth_tells_how_the_report_gets_its_figures(tmp_path: Path) -> None:
    from hwsim.cli.synth import _advice

    (tmp_path / "run" / "verilog").mkdir(parents=True)
    assert list(_advice(tmp_path / "run" / "verilog")) == []
    (tmp_path / "run" / "result.json").write_text("{}")
    assert list(_advice(tmp_path / "run" / "verilog")) == [
        f"in the report with: hwsim report {tmp_path / 'run'}"
    ]
