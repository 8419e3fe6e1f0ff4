"""The section and page about memories at low voltage, and their drawings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.report_folder import balanced, four_layers, write_folder
from support.small_study import own_answers, small_pipeline
from test_report_page import _Page

from hwsim.accelerator import Prices
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config
from hwsim.errors import StorageError
from hwsim.lowvoltage import load_technology
from hwsim.lowvoltage.protection import NONE, Secded
from hwsim.network import network_hash
from hwsim.progress import NoProgress
from hwsim.report import build_report
from hwsim.report.faults import (
    answer,
    lost,
    method_name,
    open_question,
    own_answer,
    points,
    write_faults_page,
)
from hwsim.report.plots import Pin, Series, Whisker, pins, plot, whiskers
from hwsim.studies.campaign import CampaignPlan, Names, measure_faults
from hwsim.studies.result import FAULTS, FaultsResult, load_faults
from hwsim.studies.statistics import StopRule
from hwsim.studies.study import ChipRecords, Study


@pytest.fixture(scope="module")
def result() -> FaultsResult:
    pipeline, memory = small_pipeline(), load_technology("sram_14nm")
    x, labels = own_answers(pipeline.network)
    studies = [Study(pipeline, memory, x, labels, ("weight",), p) for p in (NONE, Secded())]
    return measure_faults(
        studies,
        CampaignPlan((0.8, 0.85, 0.9), StopRule.fixed(3), sensitivity=True, per_memory=True),
        Prices(load_config("cmos_45nm", EnergyTable, "energy")),
        100.0,
        Names("sram_14nm", "mine", "cmos_45nm"),
        ChipRecords(),
        NoProgress(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "run", balanced(four_layers(), 1024))


def put(folder: Path, result: FaultsResult, **changes: Any) -> None:
    document = {**result.model_dump(mode="json"), **changes}
    (folder / FAULTS).write_text(json.dumps(document))


def test_page_is_whole_and_needs_nothing_else(result: FaultsResult, tmp_path: Path) -> None:
    text = write_faults_page(tmp_path, result).read_text()
    page = _Page(text)
    assert page.links == ["data:,"]
    assert page.ids == ["faults"]
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["faults.html"]


def test_page_shows_every_figure(result: FaultsResult, tmp_path: Path) -> None:
    text = _Page(write_faults_page(tmp_path, result).read_text()).text.replace("\u00a0", " ")
    for found in result.methods:
        assert answer(result, found) in text
        for row in found.curve:
            assert f"{row.voltage_rel:.3f}" in text
            assert f"{100 * row.accuracy_mean:.2f} %" in text
            assert f"{row.energy_rel_vmin:.3f}" in text
    assert result.sensitivity is not None
    for part in (*result.sensitivity.memories, *result.sensitivity.bits):
        assert f"{part.name} {lost(part.loss_mean)}" in text
    for gap in result.differences:
        assert lost(gap.mean) in text
    supplies = result.per_memory
    assert supplies is not None
    assert own_answer(result, supplies) in text
    for memory, share in supplies.shares:
        assert f"{memory.name} {memory.voltage_rel:.3f}, {100 * share:.1f} %" in text
    for supply in (supplies.own, supplies.single):
        assert f"{100 * supply.accuracy_mean:.2f} %" in text
        assert f"{supply.energy_rel_vmin:.3f}" in text


def test_report_has_the_section(result: FaultsResult, folder: Path) -> None:
    network = network_hash(four_layers())
    put(folder, result, network_sha256=network)
    page = _Page(build_report(folder).read_text())
    assert page.ids.index("memory") < page.ids.index("faults") < page.ids.index("training")
    assert answer(result, result) in page.text
    assert "#faults" in page.links


def test_figures_of_an_earlier_network_are_not_shown(result: FaultsResult, folder: Path) -> None:
    put(folder, result)
    assert "faults" not in _Page(build_report(folder).read_text()).ids


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 2}'])
def test_damaged_figures(folder: Path, damage: str) -> None:
    (folder / FAULTS).write_text(damage)
    text = r"\(run hwsim faults again if another version wrote it\)$"
    with pytest.raises(StorageError, match=text):
        build_report(folder)


def test_missing_figures(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"faults\.json: cannot be read \(No such file"):
        load_faults(tmp_path / FAULTS)


def test_unknown_keys_are_errors(result: FaultsResult, tmp_path: Path) -> None:
    put(tmp_path, result, speed=1)
    with pytest.raises(StorageError, match="run hwsim faults again"):
        load_faults(tmp_path / FAULTS)


@pytest.mark.parametrize(
    ("protection", "name"),
    [
        ("none", "no protection"),
        ("parity", "parity, zero on error"),
        ("secded", "SECDED"),
        ("secded:zero", "SECDED, zero on double error"),
        ("tmr:1", "TMR of the top bit"),
        ("tmr:3", "TMR of the top 3 bits"),
    ],
)
def test_protections_in_words(protection: str, name: str) -> None:
    assert method_name(protection) == name


@pytest.mark.parametrize(
    ("share", "text"), [(0.01, "1.0 points"), (0.005, "0.5 points"), (0.0025, "0.25 points")]
)
def test_points(share: float, text: str) -> None:
    assert points(share) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.0015, "0.15"), (-0.0015, "-0.15"), (-0.00001, "0.00"), (0, "0.00")]
)
def test_points_lost(share: float, text: str) -> None:
    assert lost(share) == text


def answer_of(result: FaultsResult, lowest: float, below: float | None) -> str:
    changes = {"lowest_voltage_rel": lowest, "next_lower_voltage_rel": below}
    return answer(result, result.model_copy(update=changes))


def test_answers(result: FaultsResult) -> None:
    """What is saved is told as it stands in the result."""
    tail = (
        " within 1.0 points of 100.00 % in the mean: memory energy "
        f"{-100 * result.energy_saved_vs_vmin:+.1f} % against Vmin, "
        f"{-100 * result.energy_saved_vs_nominal:+.1f} % against nominal "
        "(95 % intervals over chips)"
    )
    assert answer_of(result, 0.85, 0.8) == "runs at 0.850 of Vmin" + tail
    lowest = "runs at 0.800 of Vmin, the lowest voltage asked for,"
    assert answer_of(result, 0.8, None) == lowest + tail
    assert answer_of(result, 1.0, 0.9) == "needs 1.000 of Vmin to run" + tail


def test_answers_about_single_memories(result: FaultsResult) -> None:
    found = result.per_memory
    assert found is not None
    supply = found.own.model_copy(
        update={
            "accuracy_mean": 0.9825,
            "share_good": 0.75,
            "kept": True,
            "energy_saved_vs_vmin": 0.25,
            "energy_saved_vs_nominal": 0.5,
        }
    )
    changes = {"accuracy_clean": 0.99, "own": supply, "single_voltage_rel": 0.85}
    worse = supply.model_copy(update={"kept": None})
    both = found.model_copy(update={**changes, "single": worse})
    assert own_answer(result, both) == (
        "with a voltage for each memory: memory energy -25.0 % against Vmin, -50.0 % against "
        "nominal; 98.25 % in the mean, which is enough (3 chips); with 0.850 of Vmin for all: "
        "-25.0 % against Vmin, -50.0 % against nominal; 98.25 % in the mean, which is not shown to "
        "be enough (3 chips); judged on other chips and 20 other images, where 99.00 % are right "
        "without faults"
    )
    worse = supply.model_copy(update={"kept": False})
    both = found.model_copy(update={**changes, "single": worse})
    text = own_answer(result.model_copy(update={"yield_goal": 0.9}), both)
    assert "75.0 % of chips within 1.0 points, which is enough (3 chips); with 0.850 of" in text
    assert "75.0 % of chips within 1.0 points, which is not enough (3 chips); judged on" in text


def test_what_is_left_open(result: FaultsResult) -> None:
    def question(*voltages: float, **changes: object) -> str | None:
        update = {"undecided_voltages_rel": list(voltages), **changes}
        found = result.model_copy(update=update)
        return open_question(found, found)

    assert question() is None
    assert question(0.9, chips_most=1120, chips_needed=498) == (
        "0.900 of Vmin: 1,120 chips leave it open; more may bring the voltage down (--max-chips)"
    )
    assert question(0.9, 0.8, chips_most=20, chips_needed=498) == (
        "0.800 to 0.900 of Vmin may do: 20 chips are too few to show it, it takes 498 even where "
        "none loses anything"
    )


def test_plot_puts_points_where_they_belong() -> None:
    series = Series("a", 0, [(0.8, 80), (0.9, 90), (1.0, 100)], chosen=(0.9, 90))
    text = str(plot([series], "T", "x", "y", y_most=100))
    (d,) = re.findall(r'd="M([^"]*)" class="curve k0"', text)
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split()) for p in d.split("L"))
    assert abs((x0 + x2) / 2 - x1) < 0.11
    assert abs((y0 + y2) / 2 - y1) < 0.11
    assert x0 < x2
    assert y0 > y2
    ring = re.search(r'<rect x="([\d.]+)" y="([\d.]+)" width="11"[^>]*class="chosen k0"', text)
    assert ring is not None
    assert abs(float(ring[1]) + 5.5 - x1) < 0.11
    assert abs(float(ring[2]) + 5.5 - y1) < 0.11
    assert ">100<" in text
    assert ">105<" not in text


def test_plot_cuts_off_what_is_below() -> None:
    series = [Series("a", 0, [(0.8, 10), (0.9, 98), (1.0, 99)])]
    text = str(plot(series, "T", "x", "y", level=(98.0, "limit"), y_least=90))
    inner = re.search(r'<svg x="52" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', text)
    assert inner is not None
    (d,) = re.findall(r'd="M([^"]*)" class="curve k0"', text)
    first, second, _ = (float(p.split()[1]) for p in d.split("L"))
    floor = float(inner[1]) + float(inner[2])
    assert second < floor < first
    assert ">90<" in text
    assert ">10<" not in text


def test_plot_of_a_single_point() -> None:
    assert "NaN" not in str(plot([Series("", 0, [(1.0, 99.0)])], "T", "x", "y"))


def test_whiskers_start_at_zero() -> None:
    rows = [Whisker("a", 2, -1, 4, "2.00"), Whisker("b", 0, 0, 0, "0.00")]
    text = str(whiskers(rows, "T", width=400))
    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', text)
    assert bars[0][0] == bars[1][0]
    assert float(bars[1][1]) == 0
    assert float(bars[0][1]) > 0


def test_pins_lie_on_one_scale() -> None:
    rows = [Pin("a", 0.8, "0.8"), Pin("b", 1.0, "1.0")]
    text = str(pins(rows, "T", "x", start=1.0, mark=(0.9, "all"), width=400))
    first, second = (float(x) + 4 for x in re.findall(r'<rect x="([\d.]+)"[^>]*class="dot', text))
    (mark,) = re.findall(r'd="M([\d.]+) [^"]*" class="limit"', text)
    assert first < float(mark) < second
    assert abs((first + second) / 2 - float(mark)) < 0.11
    starts = re.findall(r'd="M([\d.]+) [\d.]+L([\d.]+) [\d.]+" class="curve', text)
    assert [abs(float(x) - second) < 0.11 for x, _ in starts] == [True, True]
    assert abs(float(starts[0][1]) - first) < 0.11
    assert abs(float(starts[1][1]) - second) < 0.11
