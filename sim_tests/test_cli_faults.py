"""``hwsim faults`` as a user meets it: answer, table, JSON, files, resuming, one-line errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from support.small_study import own_answers, small_network, write_npz

from hwsim import __version__
from hwsim.accelerator import build_pipeline
from hwsim.cli.main import main
from hwsim.lowvoltage import FaultMap, Spatial, load_technology
from hwsim.lowvoltage.protection import Secded
from hwsim.network import Network, network_hash, save
from hwsim.studies.result import FaultsResult, load_faults
from hwsim.studies.statistics import chips_for_mean
from hwsim.studies.study import Study

SRAM = load_technology("sram_14nm")


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The network and its data as words of a command line."""
    folder = tmp_path_factory.mktemp("inputs")
    save(small_network(), folder / "net.hwnet")
    write_npz(folder / "mine.npz", small_network())
    return [folder / "net.hwnet", "--data", "npz", "--path", folder / "mine.npz", "--quiet"]


QUICK = ["--voltages", "0.8,0.9", "--chips", "3", "--refine", "1"]


def test_json_has_the_promised_keys(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    code, out, err = call(
        capsys, "faults", *inputs, *QUICK, "--json", "--seed", "4", "-o", tmp_path
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    head = [document[key] for key in ("command", "hwsim_version", "seed", "network_sha256")]
    assert head == ["faults", __version__, 4, network_hash(small_network())]
    assert (document["data"], document["images"], document["accuracy_clean"]) == ("mine", 40, 1)
    assert {m.rpartition(".")[2] for m in document["memories"]} >= {"weight", "window"}
    assert not any(name.endswith("accumulator") for name in document["memories"])
    for row in document["curve"]:
        voltage = row["voltage_rel"]
        assert row["bit_error_rate"] == SRAM.probability(voltage)
        assert row["chips"] == 3 == len(row["accuracies"])
        assert row["accuracy_mean"] == np.mean(row["accuracies"])
        assert row["accuracy_low"] <= row["accuracy_mean"] <= row["accuracy_high"]
        assert row["accuracy_worst"] == min(row["accuracies"])
        assert np.isclose(row["energy_rel_vmin"], voltage**2, rtol=1e-12)
        nominal = (voltage / SRAM.nominal_rel) ** 2
        assert np.isclose(row["energy_rel_nominal"], nominal, rtol=1e-12)
    lowest = document["lowest_voltage_rel"]
    assert lowest in {row["voltage_rel"] for row in document["curve"]}
    assert np.isclose(document["energy_saved_vs_vmin"], 1 - lowest**2, rtol=1e-12)
    stored = json.loads((tmp_path / "faults.json").read_text())
    assert stored.items() <= document.items()
    assert load_faults(tmp_path / "faults.json").model_dump(mode="json") == stored
    assert document["files"] == {
        "faults": str(tmp_path / "faults.json"),
        "page": str(tmp_path / "faults.html"),
    }
    assert {p.name for p in tmp_path.iterdir()} == {"faults.json", "faults.html", "faults.jsonl"}


def test_schema_is_documented() -> None:
    """docs/memories.md names every key of faults.json."""
    text = (Path(__file__).parent.parent / "docs" / "memories.md").read_text()
    for key in FaultsResult.model_fields:
        assert f"`{key}" in text or f"`{key.rpartition('_')[0]}_{{" in text, key


def test_a_rerun_counts_nothing_again(
    capsys: Any, inputs: list[object], tmp_path: Path, monkeypatch: Any
) -> None:
    words = ["faults", *inputs, *QUICK, "--sensitivity", "-o", tmp_path, "--json"]
    first = call(capsys, *words)
    assert first[0] == 0

    def never(self: Study, faults: object) -> int:
        raise AssertionError

    monkeypatch.setattr(Study, "right", never)
    assert call(capsys, *words) == first
    # More chips need more counting.
    code, _, err = call(capsys, *words, "--chips", "4")
    assert (code, err.startswith("hwsim: AssertionError")) == (1, True)


def test_answer_and_table_for_people(capsys: Any, inputs: list[object]) -> None:
    code, out, err = call(
        capsys, "faults", *inputs, "--voltages", "0.94,0.98", "--memories", "weight"
    )
    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "14 nm FinFET SRAM, 2^20 cells measured, no protection"
    assert [line.split()[0] for line in lines if line[:1] in ("0", "1")][1:] == [
        "0.940",
        "0.980",
        "1.000",
    ]
    assert (
        "runs at 0.940 of Vmin, the lowest voltage asked for, within 1.0 points of 100.00 % in the "
        "mean: memory energy -11.6 % against Vmin, -36.2 % against nominal (95 % intervals over "
        "chips)"
    ) in lines
    assert lines[-1].startswith("these memories take ")


def test_the_accelerator_of_an_experiment(
    capsys: Any, inputs: list[object], tmp_path: Path
) -> None:
    """The mapping decides which memories there are."""
    experiment = tmp_path / "fabric.yaml"
    experiment.write_text(
        "name: fabric\nseed: 1\ndata: {set: digits}\nmodel: {channels: [6]}\n"
        "training: {epochs: 1}\naccelerator: {weights: constant, fifo_depth: 8}\n"
        "energy: {table: cmos_65nm}\n"
    )
    words = [*inputs, *QUICK, "--config", experiment]
    code, out, err = call(capsys, "faults", *words, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert not any(name.endswith(".weight") for name in document["memories"])
    assert any(name.startswith("fifo.") for name in document["memories"])
    assert document["energy_table"] == "cmos_65nm"
    assert call(capsys, "faults", *words, "--memories", "weight") == (
        2,
        "",
        "hwsim: weight: no memory with cells that could fail (weights in the fabric have none)\n",
    )


def test_several_protections_share_plots_and_chips(
    capsys: Any, inputs: list[object], tmp_path: Path
) -> None:
    words = ["--memories", "weight", "--protection", "none, secded,tmr:2", "--within", "0.05"]
    code, out, _ = call(
        capsys, "faults", *inputs, *QUICK, *words, "--sensitivity", "--json", "-o", tmp_path
    )
    document = json.loads(out)
    assert code == 0
    assert document["protection"] == "none"
    assert [other["protection"] for other in document["others"]] == ["secded", "tmr:2"]
    assert document["check_bits_share"] == 0 < document["others"][0]["check_bits_share"]
    rows = {row["voltage_rel"]: row["accuracies"] for row in document["curve"]}
    for gap in document["differences"]:
        other = next(o for o in document["others"] if o["protection"] == gap["protection"])
        (row,) = (r for r in other["curve"] if r["voltage_rel"] == gap["voltage_rel"])
        pairs = np.array(row["accuracies"]) - np.array(rows[gap["voltage_rel"]])
        assert np.isclose(gap["mean"], pairs.mean(), rtol=0, atol=1e-15)
    assert {gap["voltage_rel"] for gap in document["differences"]} >= {0.8, 0.9}
    names = [part["name"] for part in document["sensitivity"]["memories"]]
    assert names == ["conv1.weight", "conv2.weight", "head.weight"]
    page = (tmp_path / "faults.html").read_text()
    for words_ in ("no protection", "SECDED", "TMR of the top 2 bits", "In one memory alone"):
        assert words_ in page
    assert page.count('class="curve k2"') == 3


def test_a_map_in_place_of_chips(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    cells = np.random.default_rng(0).random((8, 16))
    np.save(tmp_path / "cells.npy", cells)
    reads = np.random.default_rng(1).integers(-1, 2, (8, 16))
    np.save(tmp_path / "reads.npy", reads)
    words = ["--map", tmp_path / "cells.npy", "--map-holds", "rate", "--memories", "weight"]
    words += ["--map-reads", tmp_path / "reads.npy", "--map-interleave", "2"]
    words = ["faults", *inputs, *QUICK, *words, "-o", tmp_path / "out"]
    code, out, err = call(capsys, *words, "--sensitivity", "--per-memory", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["map"] == {
        "file": str(tmp_path / "cells.npy"),
        "holds": "rate",
        "reads": str(tmp_path / "reads.npy"),
        "shape": None,
        "interleave": 2,
        "rows": 8,
        "columns": 16,
        "repetitions": document["memory_bits"] / 128,
    }
    study = Study(
        build_pipeline(small_network()),
        SRAM,
        *own_answers(small_network()),
        ("weight",),
        map=FaultMap(SRAM, cells, "rate", reads, interleave=2),
    )
    for row in document["curve"]:
        rate = SRAM.probability(row["voltage_rel"])
        assert row["bit_error_rate"] == np.count_nonzero(cells < rate) / 128
        right = [study.right(study.faults(seed, rate)) for seed in range(3)]
        assert row["accuracies"] == [n / 40 for n in right]
    page = " ".join((tmp_path / "out" / "faults.html").read_text().split())
    assert f"of the map {tmp_path / 'cells.npy'}, 8 × 16 cells; a chip is the map" in page
    code, out, _ = call(capsys, *words)
    lines = [line.strip() for line in out.splitlines()]
    shown = " ".join(lines)
    assert shown.startswith(f"cells of {tmp_path / 'cells.npy'}, no protection ")
    assert (
        f"these memories fill the map of 8 x 16 cells {document['map']['repetitions']:.2f} times; "
        "a chip is another place in it"
    ) in lines


def test_clustered_chips(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    words = ["--spatial", "column=0.5, banks=2,interleave=2", "--memories", "weight", "--json"]
    code, out, _ = call(capsys, "faults", *inputs, *QUICK, *words, "-o", tmp_path)
    document = json.loads(out)
    assert code == 0
    spatial = Spatial(column=0.5, banks=2, interleave=2)
    assert document["spatial"] == vars(spatial)
    pipeline, images = build_pipeline(small_network()), own_answers(small_network())
    clustered = Study(pipeline, SRAM, *images, ("weight",), spatial=spatial)
    row = document["curve"][0]
    right = [clustered.right(clustered.faults(seed, row["bit_error_rate"])) for seed in range(3)]
    assert row["accuracies"] == [n / 40 for n in right]
    page = (tmp_path / "faults.html").read_text()
    assert "Failures cluster: column=0.5, banks=2, interleave=2." in page


def test_a_voltage_for_each_memory(
    capsys: Any, inputs: list[object], tmp_path: Path, monkeypatch: Any
) -> None:
    words = ["--memories", "weight", "--protection", "secded,none", "--within", "0.1"]
    words = ["faults", *inputs, *QUICK, *words, "--per-memory", "-o", tmp_path, "--seed", "9"]
    code, out, _ = call(capsys, *words, "--json")
    document = json.loads(out)
    assert code == 0
    found = document["per_memory"]
    assert [found[key] for key in ("search_chips", "search_images", "images")] == [3, 20, 20]
    assert [m["name"] for m in found["memories"]] == document["memories"]
    assert {m["voltage_rel"] for m in found["memories"]} <= {
        row["voltage_rel"] for row in document["curve"]
    }
    for memory in found["memories"]:
        assert memory["bit_error_rate"] == SRAM.probability(memory["voltage_rel"])
    # Judged with the first protection on the chips and images that had no say.
    x, labels = own_answers(small_network())
    study = Study(build_pipeline(small_network()), SRAM, x[20:], labels[20:], ("weight",), Secded())
    gates = document["gates_share"]
    for supply, voltages in (
        (found["own"], {m["name"]: m["voltage_rel"] for m in found["memories"]}),
        (found["single"], dict.fromkeys(document["memories"], found["single_voltage_rel"])),
    ):
        rates = {name: SRAM.probability(voltage) for name, voltage in voltages.items()}
        right = [study.right(study.faults(seed, rates)) for seed in (12, 13, 14)]
        assert supply["accuracy_mean"] == np.mean([n / 20 for n in right])
        assert supply["chips"] == 3
        whole = sum(m["energy_pj"] for m in found["memories"])
        pj = sum(m["energy_pj"] * voltages[m["name"]] ** 2 for m in found["memories"])
        nominal = pj / SRAM.nominal_rel**2 / document["memory_energy_pj"] + gates
        assert np.isclose(supply["energy_rel_nominal"], nominal, rtol=1e-12)
        assert supply["energy_saved_vs_nominal"] == 1 - supply["energy_rel_nominal"]
        assert supply["energy_saved_vs_vmin"] == 1 - supply["energy_rel_vmin"]
        assert whole > document["memory_energy_pj"]
    assert found["own"]["energy_rel_vmin"] <= found["single"]["energy_rel_vmin"]
    page = (tmp_path / "faults.html").read_text()
    assert "A voltage for each memory, SECDED" in page

    def never(self: Study, faults: object) -> int:
        raise AssertionError

    monkeypatch.setattr(Study, "right", never)
    assert call(capsys, *words, "--json")[:2] == (0, out)
    code, out, _ = call(capsys, *words)
    lines = [line.strip() for line in out.splitlines()]
    assert "a voltage for each memory, SECDED" in lines
    assert sum(line.startswith("with a voltage for each memory: memory energy") for line in lines)


def test_a_voltage_for_each_of_one_memory(capsys: Any, inputs: list[object]) -> None:
    words = ["--memories", "conv2.weight", "--per-memory", "--json"]
    code, out, _ = call(capsys, "faults", *inputs, *QUICK, *words)
    found = json.loads(out)["per_memory"]
    assert code == 0
    assert [m["name"] for m in found["memories"]] == ["conv2.weight"]


def test_halves_of_one_image(capsys: Any, inputs: list[object]) -> None:
    words = ["--images", "1", "--per-memory", "--memories", "weight"]
    assert call(capsys, "faults", *inputs, *QUICK, *words) == (
        2,
        "",
        "hwsim: voltages of single memories need at least 2 images: half to search on, half to "
        "judge\n",
    )


def test_chips_until_the_interval_is_narrow(capsys: Any, inputs: list[object]) -> None:
    words = ["--until-width", "0.2", "--chips", "5", "--max-chips", "100", "--voltages", "0.8,0.98"]
    code, out, _ = call(capsys, "faults", *inputs, *words, "--refine", "0", "--json")
    assert code == 0
    curve = json.loads(out)["curve"]
    assert [row["chips"] for row in curve] == [40, 40, 5]
    assert all(row["accuracy_high"] - row["accuracy_low"] <= 0.2 for row in curve)


def test_a_yield_in_place_of_a_mean(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    """Clopper and Pearson's interval of the chips that lose at most the bound, row by row."""
    words = ["--voltages", "0.8,0.86,0.94", "--memories", "weight", "--refine", "0"]
    words = ["faults", *inputs, *words, "--within", "0.05"]
    code, out, _ = call(capsys, *words, "--yield", "0.9", "--chips", "60", "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["yield_goal"], document["looks"], document["chips_most"]) == (0.9, 1, 60)
    assert document["chips_needed"] == 36
    kept = []
    for row in document["curve"][:-1]:
        good = sum(accuracy >= 0.95 - 1e-9 for accuracy in row["accuracies"])
        low, high = binomtest(good, 60).proportion_ci(method="exact")
        assert row["yield"] == good / 60
        assert np.allclose((row["yield_low"], row["yield_high"]), (low, high), rtol=1e-9)
        kept.append(True if low >= 0.9 else False if high < 0.9 else None)
    assert kept == [row["kept"] for row in document["curve"][:-1]]
    assert kept[0] is False
    assert kept[2] is True
    vmin = document["curve"][-1]
    assert [vmin[key] for key in ("yield", "yield_low", "yield_high", "kept")] == [1, 1, 1, True]
    # As many chips as it takes, each look with a part of the 5 %.
    code, out, _ = call(capsys, *words, "--yield", "0.9", "-o", tmp_path, "--json")
    document = json.loads(out)
    assert document["looks"] == 5
    for row in document["curve"][:-1]:
        good = round(row["yield"] * row["chips"])
        low, high = binomtest(good, row["chips"]).proportion_ci(0.99, method="exact")
        assert np.allclose((row["yield_low"], row["yield_high"]), (low, high), rtol=1e-9)
    page = " ".join((tmp_path / "faults.html").read_text().split())
    assert "with 90 % of chips or more within 5.0 points of 100.00 %" in page


def test_too_few_chips_to_show_anything(capsys: Any, inputs: list[object]) -> None:
    words = ["faults", *inputs, "--voltages", "0.98", "--memories", "weight", "--refine", "0"]
    words += ["--chips", "20"]
    code, out, _ = call(capsys, *words)
    lines = [line.strip() for line in out.splitlines()]
    assert code == 0
    assert any(line.startswith("needs 1.000 of Vmin to run within 1.0 points") for line in lines)
    tail = "{:,} even where none loses anything"
    start = "0.980 of Vmin may do: 20 chips are too few to show it, it takes "
    assert start + tail.format(chips_for_mean(1.0, 0.01)) in lines
    lines = [line.strip() for line in call(capsys, *words, "--yield", "0.99")[1].splitlines()]
    assert start + tail.format(368) in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--voltages", "0.8,0.7"],
            "voltage must be 0.75..1.176 of vmin (what the data covers), not 0.7",
        ),
        (
            ["--voltages", "0.8;0.9"],
            "--voltages: voltage must be a number, perhaps with V, mV or %, not '0.8;0.9'",
        ),
        (
            ["--chips", "1"],
            "Invalid value for '--chips': Input should be greater than or equal to 2 "
            "(see hwsim faults --help)",
        ),
        (
            ["--until-width", "0"],
            "Invalid value for '--until-width': must be a share between 0 and 1, not 0 "
            "(see hwsim faults --help)",
        ),
        (
            ["--chips", "20", "--max-chips", "10"],
            "--max-chips: must be at least 20 (the number of --chips), not 10",
        ),
        (
            ["--within", "2"],
            "Invalid value for '--within': must be a share between 0 and 1, not 2 "
            "(see hwsim faults --help)",
        ),
        (
            ["--within", "0"],
            "Invalid value for '--within': must be a share between 0 and 1, not 0 "
            "(see hwsim faults --help)",
        ),
        (
            ["--yield", "99"],
            "Invalid value for '--yield': must be a share between 0 and 1, not 99 "
            "(see hwsim faults --help)",
        ),
        (
            ["--memories", "weight,flash"],
            "memories must be of weight, window, constants, table, fifo, accumulator, or names as "
            "conv1.window, not 'flash'",
        ),
        (
            ["--protection", "ecc"],
            "protection must be none, parity, secded, secded:zero or tmr:N (N >= 1 top bits of "
            "each value), not 'ecc'",
        ),
        (
            ["--protection", ","],
            "--protection: needs at least one of none, parity, secded, secded:zero or tmr:N",
        ),
        (
            ["--spatial", "column=0.3,rows=1"],
            "--spatial: must be of column, row, bank, banks, interleave, offset, bank_cells, with "
            "numbers as in column=0.3,banks=4, not 'rows=1'",
        ),
        (
            ["--spatial", "banks=1.5"],
            "--spatial: must be of column, row, bank, banks, interleave, offset, bank_cells, with "
            "numbers as in column=0.3,banks=4, not 'banks=1.5'",
        ),
        (
            ["--spatial", "column=nan"],
            "--spatial: must be of column, row, bank, banks, interleave, offset, bank_cells, with "
            "numbers as in column=0.3,banks=4, not 'column=nan'",
        ),
        (
            ["--spatial", "column=1"],
            "column, row and bank must be >= 0 with a sum < 1, not (1.0, 0.0, 0.0)",
        ),
        (
            ["--spatial", "column=0.1", "--map", "cells.npy"],
            "--spatial: cannot be combined with --map, since the map says where cells fail",
        ),
        (
            ["--map", "cells.npy"],
            "cells.npy: cannot be read (No such file or directory)",
        ),
        (
            ["--map-reads", "reads.npy"],
            "--map-reads: needs --map",
        ),
        (
            ["--memories", ","],
            "--memories: needs at least one role or name",
        ),
    ],
)
def test_users_errors(capsys: Any, inputs: list[object], words: list[str], message: str) -> None:
    assert call(capsys, "faults", *inputs, *words) == (2, "", f"hwsim: {message}\n")


def test_data_of_another_shape(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    code, out, err = call(
        capsys, "faults", inputs[0], "--data", "digits", "-q", "-o", tmp_path / "o"
    )
    assert (code, out) == (2, "")
    assert err == "hwsim: digits: images are [1, 8, 8], the network reads 1x6x6 u8\n"
    assert not (tmp_path / "o").exists()


def test_network_without_argmax(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    whole = small_network()
    save(Network("bare", whole.input, whole.ops[:-1]), tmp_path / "bare.hwnet")
    found = call(capsys, "faults", tmp_path / "bare.hwnet", *inputs[1:])
    assert found == (2, "", "hwsim: accuracy needs a network that ends in ArgMax\n")


def test_unknown_technology(capsys: Any, inputs: list[object]) -> None:
    code, out, err = call(capsys, "faults", *inputs, "--technology", "sram_14mn")
    assert (code, out) == (2, "")
    assert err.startswith("hwsim: sram_14mn: is neither a file nor one of the shipped memories: ")


def test_folder_that_cannot_be_made(capsys: Any, inputs: list[object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = call(capsys, "faults", *inputs, *QUICK, "-o", tmp_path / "file" / "x")
    assert found == (2, "", f"hwsim: {tmp_path}/file/x: cannot be made (Not a directory)\n")
