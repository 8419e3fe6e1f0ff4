"""A small experiment on the digits, from training to report, through the command line."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwsim import __version__
from hwsim.accelerator import estimate_energy, memory_list, simulate
from hwsim.accelerator.energy import KINDS
from hwsim.cli.main import main
from hwsim.config.accelerator import EnergyConfig
from hwsim.config.training import DataConfig
from hwsim.models.data import load_data
from hwsim.network import load, network_hash
from hwsim.report import SECTIONS, build_report
from hwsim.result import AcceleratorTarget, Result, basis_of, load_result
from hwsim.run.figures import energy_table

TINY = """\
name: tiny
seed: 1
data: {set: digits}
model: {channels: [6, 6], strides: [2, 2]}
training: {epochs: 3, twin_epochs: 1, batch_size: 128, learning_rate: 1e-2}
accelerator: {frame_interval_cycles: 64}
verification: {images: 3}
"""
pytestmark = pytest.mark.xdist_group("experiment")
"""One worker runs this file, so that the experiment is made once."""

STAGES = ["train", "export", "evaluate", "simulate", "generate", "verify", "report"]


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def stages(err: str) -> dict[str, bool]:
    """Stages by name that a run told of; True for those that were taken over."""
    lines = [line.split() for line in err.splitlines() if line.startswith("  ")]
    return {words[1]: words[2] == "cached" for words in lines}


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "simulation" not in path.parts
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.yaml, and out/ as a complete run left it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.raises(SystemExit) as caught:
        main(["run", str(folder / "tiny.yaml"), "-o", str(folder / "out"), "--quiet"])
    assert caught.value.code == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of ``finished`` to change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def run(capsys: Any, folder: Path, *words: str) -> tuple[int, str, str]:
    return call(capsys, "run", folder / "tiny.yaml", "-o", folder / "out", *words)


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "tiny.yaml").read_text()
    assert old in text
    (folder / "tiny.yaml").write_text(text.replace(old, new))


def test_everything_is_there(finished: Path) -> None:
    assert files(finished / "out") == {
        ".lock",
        "evaluation.json",
        "network.hwnet",
        "report.html",
        "result.json",
        "simulation.json",
        "state.json",
        "train/final.pt",
        "train/history.json",
        "train/network.pt",
        "train/twin.pt",
        "verification.json",
        "verilog/accelerator.v",
        "verilog/manifest.json",
        "verilog/network.hwnet",
        "verilog/vectors.npz",
    }


def test_result(finished: Path) -> None:
    result = load_result(finished / "out" / "result.json")
    network = load(finished / "out" / result.files.network)
    assert result.network_sha256 == network_hash(network)
    assert result.accuracy.integer == result.accuracy.golden
    assert result.accuracy.test_images == 355
    target = result.accelerator
    assert target.verification.passed
    assert target.verification.images == 3
    assert target.verification.tests >= 3
    assert target.verification.outputs_equal
    assert target.verification.cycles_equal
    assert {f.predicted - f.measured for f in target.verification.figures} == {0}
    assert target.cycles.frame_interval_cycles == 64
    pipeline = target.design.restore(network)
    assert simulate(pipeline, 3).frame_interval_cycles == 64
    assert {m.name: m.words * m.bits for m in target.memories} == {
        m.name: m.size_bits for m in memory_list(pipeline)
    }
    table = energy_table(EnergyConfig())
    spent = estimate_energy(pipeline, table, 64, target.cycles.clock_mhz)
    assert target.costs.by_part_and_kind("energy_pj", KINDS) == spent.by_stage_and_kind
    cells = sum(m.words * m.bits for m in target.memories if m.style != "constant")
    assert target.costs.total("memory_bits") == cells
    assert [time.name for time in result.times] == STAGES[:-1]
    assert len(result.confusion) == 10
    assert sum(map(sum, result.confusion)) == 355
    right = sum(row[label] for label, row in enumerate(result.confusion))
    assert right == round(355 * result.accuracy.integer)
    data = load_data(DataConfig(set="digits"))
    assert [sum(row) for row in result.confusion] == np.bincount(data.test_y).tolist()
    assert result.machine.device == "cpu"
    assert result.machine.cpu_capability == torch.backends.cpu.get_cpu_capability()
    assert result.machine.threads == torch.get_num_threads()


def test_documented_keys() -> None:
    """docs/result.md names every key of the schema."""
    text = (Path(__file__).parent.parent / "docs" / "result.md").read_text()
    for key in (*Result.model_fields, *(f"targets[].{k}" for k in AcceleratorTarget.model_fields)):
        assert f"`{key}" in text, key


def numbers(value: object, key: str = "") -> Iterator[str]:
    """Dotted keys of all numbers of a document, without places in lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key


def test_every_number_has_a_basis(finished: Path) -> None:
    result = load_result(finished / "out" / "result.json")
    keys = set(numbers(result.model_dump(mode="json")))
    assert {"seed", "accuracy.integer", "targets.ledger.entries.value", "times.seconds"} <= keys
    bases = {key: basis_of(key, result.bases) for key in keys}
    assert {basis.kind for basis in bases.values()} == {"exact", "measured", "model", "assumed"}
    assert bases["accuracy.integer"].kind == "measured"
    assert bases["targets.cycles.frame_interval_cycles"].kind == "exact"
    assert bases["targets.cycles.clock_mhz"].kind == "assumed"
    # None is for a key that does not exist.
    used = {key for key in result.bases if any(f"{k}.".startswith(f"{key}.") for k in keys)}
    assert used == set(result.bases)
    with pytest.raises(KeyError):
        basis_of("accurac", result.bases)


def test_results_of_an_earlier_version_are_refused(copy: Path, capsys: Any) -> None:
    path = copy / "out" / "result.json"
    path.write_text('{"format": 1, "accelerator": {}}')
    code, _, err = call(capsys, "report", copy / "out")
    assert code == 2
    assert err.splitlines()[-1] == (
        f"hwsim: {path}: format 1 is of an earlier version of hwsim; "
        "run the experiment again (hwsim run)"
    )


def test_second_run_takes_everything_over(capsys: Any, finished: Path) -> None:
    before = (finished / "out" / "state.json").read_bytes()
    code, out, err = run(capsys, finished, "--json")
    assert code == 0
    assert stages(err) == dict.fromkeys(STAGES, True)
    assert (finished / "out" / "state.json").read_bytes() == before
    document = json.loads(out)
    assert document["command"] == "run"
    assert document["hwsim_version"] == __version__
    assert document["seed"] == 1
    for section in ("accuracy", "verification", "accelerator", "energy", "files"):
        assert section in document
    for key in ("network", "verilog", "report"):
        assert (finished / "out" / document["files"][key]).exists()


def test_what_people_see(capsys: Any, finished: Path) -> None:
    code, out, _ = run(capsys, finished, "-q")
    assert code == 0
    for text in ("integer", "a frame every 64", "every output and every cycle count equal", "nJ"):
        assert text in out


def test_a_terminal_without_check_marks(finished: Path, monkeypatch: Any) -> None:
    """A verification that passed is a success there too."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), "cp1252") for name in ("stdout", "stderr")}
    with monkeypatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as caught:
            main(["run", str(finished / "tiny.yaml"), "-o", str(finished / "out")])
    assert caught.value.code == 0
    for stream, text in zip(streams.values(), (b"ok 6 tests", b"  ok verify"), strict=True):
        stream.flush()
        assert text in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_only_dependent_stages_are_redone(capsys: Any, copy: Path) -> None:
    edit(copy, "64}", "64, clock_mhz: 50}")
    code, _, err = run(capsys, copy)
    assert code == 0
    # The same lanes give the same Verilog, which need not be verified again.
    redone = {"simulate", "generate", "report"}
    assert stages(err) == {name: name not in redone for name in STAGES}
    assert load_result(copy / "out" / "result.json").accelerator.cycles.clock_mhz == 50


def test_sections_of_ones_own(capsys: Any, copy: Path, monkeypatch: Any) -> None:
    """They are in the report as long as they are named, and drawn anew when they change."""
    monkeypatch.setattr("hwsim.report.sections.SECTIONS", list(SECTIONS))
    own = copy / "own.py"
    page = copy / "out" / "report.html"
    for text, cached in (("one", False), ("one", True), ("two", False)):
        own.write_text(
            "from hwsim.report import section\n"
            f"@section('own', 'My section')\ndef own(report):\n    return '{text} of mine'\n",
            encoding="utf-8",
        )
        code, _, err = run(capsys, copy, "--sections", str(own))
        assert code == 0
        assert stages(err)["report"] == cached
        assert f"{text} of mine" in page.read_text(encoding="utf-8")
    other = copy / "other.html"
    call(capsys, "report", copy / "out", "--sections", own, "-q")
    build_report(copy / "out", other)
    assert other.read_bytes() == page.read_bytes()


def test_values_set_on_the_command_line(capsys: Any, copy: Path) -> None:
    code, _, err = run(capsys, copy, "--set", "accelerator.clock_mhz=40")
    assert code == 0
    assert not stages(err)["simulate"]
    assert load_result(copy / "out" / "result.json").accelerator.cycles.clock_mhz == 40
    code, out, err = run(capsys, copy, "-q", "-s", "accelerator.clock_mhz=fast")
    assert (code, out) == (2, "")
    assert err == (
        "hwsim: --set accelerator.clock_mhz: accelerator.clock_mhz: must be a number, not 'fast'\n"
    )


def test_deleted_outputs_are_made_again(capsys: Any, copy: Path) -> None:
    (copy / "out" / "network.hwnet").unlink()
    (copy / "out" / "verilog" / "manifest.json").unlink()
    (copy / "out" / "report.html").unlink()
    code, _, err = run(capsys, copy)
    assert code == 0
    redone = {"export", "generate", "report"}
    assert stages(err) == {name: name not in redone for name in STAGES}


def test_other_commands_on_the_folder(capsys: Any, copy: Path) -> None:
    code, out, err = call(capsys, "train", copy / "tiny.yaml", "-o", copy / "out", "--json")
    assert (code, stages(err)) == (0, dict.fromkeys(STAGES[:3], True))
    trained = json.loads(out)
    assert Path(trained["files"]["network"]) == copy / "out" / "network.hwnet"

    words = ("--data", "digits", "--golden", "--json", "-q")
    code, out, _ = call(capsys, "evaluate", copy / "out" / "network.hwnet", *words)
    assert code == 0
    accuracy = json.loads(out)["accuracy"]
    assert accuracy == {key: trained["accuracy"][key] for key in ("integer", "golden")}

    words = ("-c", copy / "tiny.yaml", "--json", "-q")
    code, out, _ = call(capsys, "simulate", copy / "out" / "network.hwnet", *words)
    assert code == 0
    simulated = json.loads(out)
    target = load_result(copy / "out" / "result.json").accelerator.model_dump(mode="json")
    assert simulated["accelerator"] == target["cycles"]
    for key in ("design", "stages", "fifos", "memories", "ledger"):
        assert simulated[key] == target[key]
    assert {key: simulated["energy"][key] for key in target["energy"]} == target["energy"]

    words = ("-c", copy / "tiny.yaml", "-o", copy / "verilog", "--images", "3", "--json", "-q")
    code, out, _ = call(capsys, "generate", copy / "out" / "network.hwnet", *words)
    assert code == 0
    assert json.loads(out)["lines"] == target["verilog_lines"]
    for name in ("accelerator.v", "manifest.json", "network.hwnet"):
        made = (copy / "verilog" / name).read_bytes()
        assert made == (copy / "out" / "verilog" / name).read_bytes()

    code, out, _ = call(capsys, "report", copy / "out", "--json", "-q")
    assert code == 0
    assert json.loads(out)["files"] == {"report": str(copy / "out" / "report.html")}


def test_verify_command(capsys: Any, copy: Path) -> None:
    code, out, err = call(
        capsys, "verify", copy / "out" / "verilog", "--images", "2", "--json", "-q"
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["seed"] == 0
    assert document["verification"]["passed"]
    assert document["verification"]["images"] == 2
    assert document["verification"]["cycles_equal"]


def test_interrupted_run_resumes(
    capsys: Any, tmp_path: Path, finished: Path, monkeypatch: Any
) -> None:
    """Stopped in the middle of the training, and again in the middle of the evaluation."""
    from hwsim.models import checkpoint, golden, train

    (tmp_path / "tiny.yaml").write_text(TINY)
    out = tmp_path / "out"
    save, saved = train.save_checkpoint, []

    def stop_after_three(path: Path, state: dict[str, Any]) -> None:
        save(path, state)
        saved.append(path.name)
        if len(saved) == 3:
            raise KeyboardInterrupt

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", stop_after_three)
        code, text, err = call(capsys, "train", tmp_path / "tiny.yaml", "-o", out)
    assert (code, text) == (130, "")
    assert err.endswith("hwsim: interrupted; run the same command again to resume\n")
    assert saved == ["twin.pt", "network.pt", "network.pt"]
    assert files(out) == {
        ".lock",
        "state.json",
        ".work-train/.key",
        ".work-train/train/network.pt",
        ".work-train/train/twin.pt",
    }
    with monkeypatch.context() as patch:
        patch.setattr(golden, "GoldenNetwork", stop)
        for module in (train, checkpoint):
            patch.setattr(module, "save_checkpoint", lambda *a: (saved.append(a[0].name), save(*a)))
        code, _, err = call(capsys, "train", tmp_path / "tiny.yaml", "-o", out)
    assert code == 130
    assert saved[3:] == ["network.pt", "final.pt"]
    assert stages(err) == {"train": False, "export": False}
    assert not any(".work" in name for name in files(out))
    code, _, err = call(capsys, "train", tmp_path / "tiny.yaml", "-o", out)
    assert code == 0
    assert stages(err) == {"train": True, "export": True, "evaluate": False}
    assert network_hash(load(out / "network.hwnet")) == network_hash(
        load(finished / "out" / "network.hwnet")
    )


def test_changed_training_starts_over(capsys: Any, copy: Path) -> None:
    edit(copy, "seed: 1", "seed: 2")
    code, _, err = call(capsys, "train", copy / "tiny.yaml", "-o", copy / "out", "--json")
    assert code == 0
    assert stages(err) == dict.fromkeys(STAGES[:3], False)
    # What was made from the old network is gone, so that nobody takes it for the new one's.
    assert not (copy / "out" / "result.json").exists()
    assert not (copy / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: tiny",
            "name: other",
            "{out}: holds experiment 'tiny', not 'other'; choose another folder with -o",
        ),
        (
            "images: 3",
            "images: 356",
            "verification.images: must be 1..355 (the test images of digits), not 356",
        ),
        (
            "{frame_interval_cycles: 64}",
            "{folding: {conv0_acc: {pe: 7}}}",
            "op 'conv0_acc': pe must be 1..6 (its outputs), not 7",
        ),
        (
            "{frame_interval_cycles: 64}",
            "{frame_interval_cycles: 10}",
            "op 'conv0_acc': a frame every 10 cycles is out of reach: with all lanes it takes 64, "
            "the smallest possible interval",
        ),
    ],
)
def test_users_errors(capsys: Any, copy: Path, old: str, new: str, message: str) -> None:
    edit(copy, old, new)
    code, out, err = run(capsys, copy, "-q")
    assert (code, out) == (2, "")
    assert err == f"hwsim: {message.format(out=copy / 'out')}\n"
    assert not any(".work" in name for name in files(copy / "out"))


def test_failed_verification_exits_with_one(capsys: Any, copy: Path, monkeypatch: Any) -> None:
    from dataclasses import replace

    from hwsim.rtl import verify
    from hwsim.rtl.explain import Failure

    check = verify.verify

    def differs(*args: Any, **options: Any) -> verify.VerificationResult:
        failure = Failure("back_to_back", "cycles", "stage [b]: 3 cycles, not 4")
        return replace(
            check(*args, **options), passed=False, failures=(failure,), cycles_equal=False
        )

    monkeypatch.setattr(verify, "verify", differs)
    code, out, _ = call(capsys, "verify", copy / "out" / "verilog", "--images", "1", "-q")
    assert code == 1
    assert "outputs equal, cycle counts different" in out
    assert "stage [b]: 3 cycles, not 4" in out
    edit(copy, "images: 3", "images: 2")
    code, out, err = run(capsys, copy)
    assert code == 1
    assert "✗ verify" in err
    assert "stage [b]: 3 cycles, not 4" in out
    assert not load_result(copy / "out" / "result.json").accelerator.verification.passed
