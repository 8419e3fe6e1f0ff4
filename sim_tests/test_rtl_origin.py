"""A folder from a stranger: its Verilog is data until it is known to be harmless."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.emitted import SIMULATOR, tiny_pipeline

from hwsim.accelerator import Pipeline, build_pipeline
from hwsim.errors import MappingError, StorageError
from hwsim.faults import design_faults
from hwsim.network import ArgMax, Network, TensorType
from hwsim.rtl import origin, runner
from hwsim.rtl.emit import MANIFEST, VERILOG, generate, read_folder, verilog_text
from hwsim.rtl.origin import verilog_of
from hwsim.rtl.plain import plain
from hwsim.rtl.synth import read_check, synth
from hwsim.rtl.verify import verify
from hwsim.testing import Limits, random_depths, random_folding, random_network
from hwsim.testing.faulty import chip, residual_pipeline

UNKNOWN = "is not what this version of hwsim generates"


def smallest_pipeline() -> Pipeline:
    network = Network("top", TensorType(3, 1, 1, 2), (ArgMax("top", ("input",)),))
    return build_pipeline(network, {}, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate(smallest_pipeline(), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE_DIR", "")


def append(folder: Path, text: str) -> None:
    """Add to the Verilog, and make the manifest say that it was always there."""
    file = folder / VERILOG
    file.write_text(file.read_text() + text)
    forge(folder)


def forge(folder: Path) -> None:
    """Make the manifest name the Verilog as it is now."""
    document = json.loads((folder / MANIFEST).read_text())
    digest = hashlib.sha256((folder / VERILOG).read_bytes()).hexdigest()
    document["files"][VERILOG] = digest
    (folder / MANIFEST).write_text(json.dumps(document))


def texts() -> list[str]:
    """Verilog of many kinds: random networks, a residual one, faulty memories."""
    found = [verilog_text(tiny_pipeline())]
    pipeline = residual_pipeline()
    faults = design_faults(pipeline, chip("transient_stuck", 0), 0.3, ("weight", "fifo"))
    found.append(verilog_text(pipeline, faults))
    for seed in (3, 45):
        rng = np.random.default_rng(seed)
        network = random_network(seed, Limits(channels=4, size=5, blocks=2))
        try:
            found.append(verilog_text(random_depths(network, random_folding(network, rng), rng)))
        except MappingError:
            continue
    return found


def test_what_hwsim_writes_is_plain() -> None:
    written = texts()
    assert len(written) >= 3
    for text in written:
        checked = plain(text, "v")
        assert checked.count("\n") == text.count("\n")
        assert "//" not in checked
        without = re.sub(r"//[^\n]*", "", text)
        assert checked.split() == without.split()


REFUSED = {
    'initial $system("touch x");': "$system",
    "initial\n$system (1);": "$system",
    'initial $c("system(0)");': "$c",
    "initial $c;": "$c",
    "wire a = $c1(1);": "$c1",
    'initial $readmemh("/etc/passwd", m);': "$readmemh",
    "initial $vpi_x;": "$vpi_x",
    "initial $;": "$",
    'import "DPI-C" function void f();': "import",
    "export f;": "export",
    "bind x y z();": "bind",
    "program p; endprogram": "program",
    "class c; endclass": "class",
    "package p; endpackage": "package",
    "initial forever ;": "forever",
    '`include "x"': "`include",
    "`define m $system": "`define",
    "`systemc_header": "`systemc_header",
    "`verilator_config": "`verilator_config",
    'wire a = "x";': '"x"',
    "wire \\a\\b ;": "\\a\\b",
    "wire \\$system ;": "\\$system",
    "initial \\$signature__$ ;": "\\$signature__$",
    "(* public *) wire a;": "(*",
    "(*keep*) wire a;": "(*",
    "initial bench.done = 1;": ".done",
    "initial $root.bench.x = 1;": "$root.bench.x",
    "wire é;": "?",
    "wire a\x00;": "?",
    "wire a = 'x' ;": "'x'",
    "// fine\n/* $system */ wire a; $system": "$system",
    "/* open": "/*",
    "/* a */ */ $c": "$c",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_could_act_is_refused(text: str) -> None:
    before = "module m;\n\n"
    with pytest.raises(StorageError) as caught:
        plain(before + text, "v")
    word = REFUSED[text]
    at = text.rindex(word.replace("?", "")) if "?" not in word else 0
    line = 3 + text[:at].count("\n")
    message = f"v: line {line}: '{word}"
    assert str(caught.value).startswith(message), caught.value
    assert str(caught.value).endswith("is not allowed in Verilog that hwsim did not write")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "// $system `include\nwire a;",
        "/* verilator public\n$c */ wire a;",
        "/*/ $system */ wire a;",
        "wire \\a[3].b ;",
        "always @(*) x = $signed(y) + 8'sh 3f + 'd7;",
        "sub #(.W(3)) s (.a(b), .c(d));",
        "wire a$system;",
    ],
)
def test_what_only_describes_is_let_through(text: str) -> None:
    checked = plain(text, "v")
    assert not re.search(r"//|/\*|\*/", checked)
    assert checked.count("\n") == text.count("\n")


def test_no_comment_joins_words() -> None:
    assert plain("a/**/b//c\nd", "v").split() == ["a", "b", "d"]


def test_what_was_generated_is_used_as_it_is(folder: Path) -> None:
    source = verilog_of(read_folder(folder))
    assert source.text == (folder / VERILOG).read_text()
    assert not source.edited


def test_a_forged_manifest_changes_nothing(folder: Path) -> None:
    append(folder, "// harmless\n")
    emitted = read_folder(folder)
    with pytest.raises(StorageError, match=UNKNOWN):
        verilog_of(emitted)
    source = verilog_of(emitted, allow_edited=True)
    assert source.edited
    assert "harmless" not in source.text


@pytest.mark.usefixtures("no_cache")
def test_without_a_cache_the_text_is_written_anew(folder: Path) -> None:
    assert not verilog_of(read_folder(folder)).edited
    append(folder, "\n")
    with pytest.raises(StorageError, match=UNKNOWN):
        verilog_of(read_folder(folder))


def test_a_text_is_compared_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a folder that came from elsewhere: nothing is noted about it."""
    written = []
    monkeypatch.setenv("HWSIM_CACHE_DIR", str(tmp_path / "fresh"))
    monkeypatch.setattr(
        origin, "verilog_text", lambda *args: written.append(1) or verilog_text(*args)
    )
    for _ in range(2):
        assert not verilog_of(read_folder(folder)).edited
    assert len(written) == 1
    # What is noted is this text of this mapping, no other.
    append(folder, "\n")
    with pytest.raises(StorageError, match=UNKNOWN):
        verilog_of(read_folder(folder))
    assert len(written) == 2
    generate(smallest_pipeline().with_depths({"top__sink": 3}), folder)
    (folder / VERILOG).write_text(verilog_text(smallest_pipeline()))
    forge(folder)
    with pytest.raises(StorageError, match=UNKNOWN):
        verilog_of(read_folder(folder))


@pytest.mark.parametrize("tool", [verify, read_check, synth])
def test_no_tool_gets_what_could_act(folder: Path, tmp_path: Path, tool: Any) -> None:
    spy = tmp_path / "spied"
    append(folder, f'module spy; initial $system("touch {spy}"); endmodule\n')
    with pytest.raises(StorageError, match=UNKNOWN):
        tool(folder)
    with pytest.raises(StorageError, match=r"accelerator.v: line \d+: '\$system' is not allowed"):
        tool(folder, allow_edited=True)
    assert not spy.exists()


@pytest.mark.cosim
def test_builds_in_the_folder_are_not_executed(folder: Path, tmp_path: Path) -> None:
    """Programs at the places where earlier versions built; the folder stays as it was."""
    spy = tmp_path / "spied"
    for simulator in runner.SIMULATORS:
        work = folder / "simulation" / simulator
        work.mkdir(parents=True)
        for name in ("bench", "sim.vvp"):
            (work / name).write_text(f"#!/bin/sh\ntouch {spy}\n")
            (work / name).chmod(0o755)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert verify(folder, SIMULATOR).passed
    assert not spy.exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.cosim
def test_edited_verilog_is_simulated_on_request(folder: Path) -> None:
    text = (folder / VERILOG).read_text()
    (folder / VERILOG).write_text(text.replace("  assign", "  /* by hand */ assign"))
    result = verify(folder, SIMULATOR, allow_edited=True)
    assert result.passed
    assert result.edited == (VERILOG,)


@pytest.mark.cosim
def test_paths_that_make_does_not_know(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verilator with a cache, a folder and temporary files in a path of many characters."""
    odd = "a b$HOME #'\"ü"
    runtime = runner._kept_runtime(tmp_path, waves=False)
    monkeypatch.setenv("HWSIM_CACHE_DIR", str(tmp_path / odd / "cache"))
    if runtime is not None:  # compiling it again would take a minute
        shutil.copytree(
            runtime, str(runner._kept_runtime(tmp_path, waves=False)), dirs_exist_ok=True
        )
    (tmp_path / odd / "tmp").mkdir()
    monkeypatch.setattr(runner.tempfile, "tempdir", str(tmp_path / odd / "tmp"))
    work = shutil.copytree(folder, tmp_path / odd / "out")
    result = verify(work, "verilator")
    assert result.failures == ()
    assert result.passed


def test_no_place_to_build_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "safe_path", lambda path: False)
    with pytest.raises(runner.tools.ToolError, match="set TMPDIR to one of letters"):
        runner.scratch_folder().__enter__()


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text(f"g++ -c\n{tmp_path}/bench.v:3: syntax error\n")
    assert runner._reason(log) == "bench.v:3: syntax error"
    log.write_text("make: no rule\n\n")
    assert runner._reason(log) == "make: no rule"
