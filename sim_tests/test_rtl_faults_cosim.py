"""Fault-injection builds as Verilog: cocotb compares every FIFO and cycle figure with ==."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.emitted import SIMULATOR
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.errors import HwsimError, StorageError
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults
from hwsim.faults.design import memory_protections, memory_shapes
from hwsim.lowvoltage import FaultMap, Spatial, load_map, load_technology
from hwsim.lowvoltage.protection import parse_protection
from hwsim.network import save
from hwsim.rtl.emit import CELLS, MANIFEST, VECTORS, generate, read_folder
from hwsim.rtl.verify import verify
from hwsim.studies.result import FaultsResult
from hwsim.studies.study import Study
from hwsim.testing import Limits, random_input, random_pipeline
from hwsim.testing.faulty import KINDS, RATES, chip, residual_images, residual_pipeline

pytestmark = pytest.mark.cosim

REQUIRED = ("weight", "window", "fifo", "accumulator")
FRAMES = 3


def compare(folder: Path, kind: str, seed: int, rate: float, simulator: str = SIMULATOR) -> None:
    """The residual network on one chip."""
    pipeline, x = residual_pipeline(), residual_images(FRAMES)
    faults = design_faults(pipeline, chip(kind, seed), rate, REQUIRED)
    generate(pipeline, folder, x, faults=faults)
    result = verify(folder, simulator, seed=seed)
    assert result.failures == ()
    assert result.passed
    assert (result.tests, result.images) == (6, FRAMES)


@pytest.mark.parametrize("kind", ["transient_stuck", "transient_write"])
def test_residual_network(tmp_path: Path, kind: str) -> None:
    """The kinds that have everything; the slow test below has all of them."""
    compare(tmp_path / "out", kind, 0, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_residual_network_on_ten_chips(tmp_path: Path, kind: str, rate: float, seed: int) -> None:
    compare(tmp_path / "out", kind, seed, rate, "verilator" if seed == 9 else SIMULATOR)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 221))
def test_random_networks(tmp_path: Path, seed: int) -> None:
    pipeline = random_pipeline(seed, Limits(channels=4, size=6, blocks=2), FRAMES)
    if pipeline is None:
        pytest.skip("this network is not mapped")
    kind = list(KINDS)[seed % len(KINDS)]
    faults = design_faults(pipeline, chip(kind, seed), RATES[seed % len(RATES)])
    generate(
        pipeline, tmp_path / "out", random_input(pipeline.network, seed, FRAMES), faults=faults
    )
    assert verify(tmp_path / "out", SIMULATOR, seed=seed).failures == ()


def folder_faults() -> DesignFaults:
    """The faults of ``folder``."""
    rates = {"weight": 0.1, "fifo": 0.02}
    return design_faults(residual_pipeline(), chip("flip", 7), rates)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faulty") / "out"
    faults = folder_faults()
    generate(faults.pipeline, folder, residual_images(FRAMES), faults=faults)
    return folder


def test_folder_says_what_it_is(folder: Path) -> None:
    faults, emitted = folder_faults(), read_folder(folder)
    assert emitted.faults is not None
    assert emitted.faults.probability == faults.probability
    again = emitted.faults.memories
    assert again.keys() == faults.memories.keys()
    for name, memory in faults.memories.items():
        assert np.array_equal(again[name].faults.word, memory.faults.word)
        assert np.array_equal(again[name].faults.bit, memory.faults.bit)
    described = emitted.manifest.faults
    assert described.seed == 7
    assert described.memories["conv1.weight"].bit_error_rate == 0.1
    x = residual_images(FRAMES)
    with np.load(folder / VECTORS) as arrays:
        assert np.array_equal(arrays["expected"], FaultyExecutor(faults).run(x))
    head = (folder / "accelerator.v").read_text()[:1000]
    assert f"FAULT-INJECTION BUILD, not for use: {len(faults)} failing cells in" in head


def test_the_network_without_faults_is_not_what_is_built(tmp_path: Path) -> None:
    """Verification with the wrong expectation fails, and names the first link that differs."""
    pipeline, x = residual_pipeline(), residual_images(FRAMES)
    faults = design_faults(pipeline, chip("flip", 1), 0.2, ["fifo.conv1_q__conv2"])
    assert len(faults) > 0
    generate(pipeline, tmp_path / "out", x, faults=faults)
    path = tmp_path / "out" / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["faults"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="is not what this version of hwsim generates"):
        verify(tmp_path / "out", SIMULATOR)
    result = verify(tmp_path / "out", SIMULATOR, allow_edited=True)
    assert not result.passed
    assert result.cycles_equal
    text = [failure.text for failure in result.failures if failure.test == "every_tensor"]
    assert len(text) == 1
    assert text[0].startswith("every_tensor: image 0: layer conv1 (MuxConv2d, tensor conv1_q)")


WAIT = {"bit_error_rate": 0.1, "protection": "none", "failing_cells": 3}
MAP = {"holds": "fails", "offset": 0, "interleave": 1, "repeat": True}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 8}, "the chip has other failing cells than are written down"),
        ({"spatial": {"colum": 0.1}}, r"faults: spatial.colum: unknown key; allowed: "),
        ({"memories": {"wait": WAIT}}, "not 'wait'"),
        ({"memories": {"wait": {}}}, "faults.memories.wait.bit_error_rate: is required"),
        ({"map": MAP}, "faults: must have seed and spatial, or map"),
    ],
)
def test_damaged_manifest(folder: Path, change: dict, text: str) -> None:
    path = folder / MANIFEST
    whole = path.read_text()
    manifest = json.loads(whole)
    manifest["faults"] |= change
    path.write_text(json.dumps(manifest))
    try:
        with pytest.raises(StorageError, match=text) as caught:
            read_folder(folder)
    finally:
        path.write_text(whole)
    assert str(caught.value).startswith(f"{path}: faults")


def test_faults_that_are_no_mapping(folder: Path) -> None:
    path = folder / MANIFEST
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"faults": 7}))
    try:
        with pytest.raises(StorageError, match=rf"^{path}: faults: "):
            read_folder(folder)
    finally:
        path.write_text(whole)


def command(tmp_path: Path, *words: str):  # type: ignore[no-untyped-def]
    network = tmp_path / "n.hwnet"
    save(residual_pipeline().network, network)
    out = str(tmp_path / "out")
    return CliRunner().invoke(app, ["generate", str(network), "-o", out, "-q", *words])


def test_command_line(tmp_path: Path) -> None:
    words = ("--technology", "sram_14nm", "--voltage", "0.8", "--chip", "7")
    done = command(tmp_path, *words, "--faulty", "weight,window,fifo", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    faults = read_folder(tmp_path / "out").faults
    assert faults is not None
    assert document["faults"] == {
        "technology": "sram_14nm",
        "voltage_rel": 0.8,
        "chip": 7,
        "map": None,
        "protection": "none",
        "failing_cells": len(faults),
    }
    assert faults.chip.seed == 7
    roles = {memory.memory.role for memory in faults.memories.values()}
    assert roles == {"weight", "window", "fifo"}


def generated(tmp_path: Path, *words: str) -> DesignFaults:
    """The faults that the command builds in, as the folder has them."""
    done = command(tmp_path, "--technology", "sram_14nm", *words)
    assert done.exit_code == 0, done.output
    faults = read_folder(tmp_path / "out").faults
    assert faults is not None
    return faults


def same(a: DesignFaults, b: DesignFaults) -> bool:
    cells = (
        (faults.memories[name].faults.word, faults.memories[name].faults.bit)
        for name in a.memories
        for faults in (a, b)
    )
    pairs = list(cells)
    return a.memories.keys() == b.memories.keys() and all(
        np.array_equal(x[0], y[0]) and np.array_equal(x[1], y[1])
        for x, y in zip(pairs[::2], pairs[1::2], strict=True)
    )


def study(faults: DesignFaults, **how: object) -> Study:
    """As ``hwsim faults`` would ask about the same network."""
    images = residual_images(1)
    technology = load_technology("sram_14nm")
    return Study(faults.pipeline, technology, images, np.zeros(1), **how)  # type: ignore[arg-type]


def test_chips_of_the_command_are_those_of_a_study(tmp_path: Path) -> None:
    words = ("--voltage", "0.8", "--chip", "3", "--faulty", "weight,constants")
    rate = load_technology("sram_14nm").probability(0.8)
    stores = ("weight", "constants")

    faults = generated(tmp_path, *words, "--spatial", "column=0.4,banks=2")
    assert len(faults) > 0
    clustered = study(faults, memories=stores, spatial=Spatial(column=0.4, banks=2))
    assert same(faults, clustered.faults(3, rate))
    assert not same(faults, study(faults, memories=stores).faults(3, rate))

    faults = generated(tmp_path, *words, "--protection", "secded")
    protected = study(faults, memories=stores, protection=parse_protection("secded"))
    assert same(faults, protected.faults(3, rate))

    cells = (np.random.default_rng(2).random((30, 16)) < 0.2).astype(np.int8)
    np.save(tmp_path / "cells.npy", cells)
    faults = generated(tmp_path, *words, "--map", str(tmp_path / "cells.npy"))
    assert len(faults) > 0
    whole = load_map(tmp_path / "cells.npy", load_technology("sram_14nm"), repeat=True)
    assert same(faults, study(faults, memories=stores, map=whole).faults(3, rate))


def test_voltages_of_single_memories(tmp_path: Path) -> None:
    technology = load_technology("sram_14nm")
    faults = generated(tmp_path, "--voltage", "conv1.weight=0.8,fifo=0.9")
    assert faults.probability["conv1.weight"] == technology.probability(0.8)
    assert "conv2.weight" not in faults.probability
    fifos = {rate for name, rate in faults.probability.items() if name.startswith("fifo.")}
    assert fifos == {technology.probability(0.9)}


def test_voltages_that_were_found(tmp_path: Path) -> None:
    """hwsim faults -o DIR, then hwsim generate --voltage DIR/faults.json."""
    network = tmp_path / "n.hwnet"
    save(residual_pipeline().network, network)
    images, labels = residual_images(20).astype(np.uint8), np.arange(20) % 4
    np.savez(tmp_path / "data.npz", train_x=images, train_y=labels, test_x=images, test_y=labels)
    asked = ["faults", str(network), "--data", "npz", "--path", str(tmp_path / "data.npz"), "-q"]
    asked += ["--chips", "3", "--voltages", "0.8,0.9", "-o", str(tmp_path / "low")]
    # Three good chips show a yield of 0.2.
    asked += ["--within", "0.9", "--yield", "0.2"]
    found = tmp_path / "low" / "faults.json"
    for words in ((), ("--per-memory",)):
        done = CliRunner().invoke(app, [*asked, *words])
        assert done.exit_code == 0, done.output
        result = FaultsResult.model_validate_json(found.read_text())
        assert result.lowest_voltage_rel == 0.8
        faults = generated(tmp_path, "--voltage", str(found))
        assert list(faults.probability) == result.memories
        rate = load_technology("sram_14nm").probability
        if result.per_memory is None:
            assert set(faults.probability.values()) == {rate(result.lowest_voltage_rel)}
        else:
            supplies = {m.name: rate(m.voltage_rel) for m in result.per_memory.memories}
            assert supplies.items() <= faults.probability.items()
    whole = found.read_text()
    for text, message in (
        (whole.replace(result.network_sha256, "0" * 64), "belongs to another network"),
        (whole.replace(f'"memory_bits": {result.memory_bits}', '"memory_bits": 7'),
         "belongs to another mapping of this network; give the --config of hwsim faults"),
        (whole[:-20], "is not JSON"),
    ):  # fmt: skip
        found.write_text(text)
        done = command(tmp_path, "--technology", "sram_14nm", "--voltage", str(found))
        assert isinstance(done.exception, HwsimError)
        assert str(done.exception).startswith(f"--voltage: {found}:")
        assert message in str(done.exception)


def test_a_build_is_the_chip_of_its_study(tmp_path: Path) -> None:
    """Memories, protection, clusters and seed are those of the study; contradictions are told."""
    network = tmp_path / "n.hwnet"
    save(residual_pipeline().network, network)
    images, labels = residual_images(20).astype(np.uint8), np.arange(20) % 4
    np.savez(tmp_path / "data.npz", train_x=images, train_y=labels, test_x=images, test_y=labels)
    asked = ["faults", str(network), "--data", "npz", "--path", str(tmp_path / "data.npz"), "-q"]
    asked += ["--chips", "2", "--voltages", "0.8", "-o", str(tmp_path / "low"), "--seed", "5"]
    asked += ["--within", "0.9", "--yield", "0.1", "--memories", "weight", "--refine", "0"]
    asked += ["--protection", "secded", "--spatial", "column=0.4,bank=0.2,bank_cells=64"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = tmp_path / "low" / "faults.json"
    done = command(tmp_path, "--voltage", str(found))
    assert done.exit_code == 0, done.output
    faults = read_folder(tmp_path / "out").faults
    assert faults is not None
    of_study = Study(
        faults.pipeline,
        load_technology("sram_14nm"),
        residual_images(1),
        np.zeros(1),
        ("weight",),
        parse_protection("secded"),
        Spatial(column=0.4, bank=0.2, bank_cells=64),
    )
    voltage = FaultsResult.model_validate_json(found.read_text()).lowest_voltage_rel
    assert voltage == 0.8
    assert same(faults, of_study.faults(5, load_technology("sram_14nm").probability(voltage)))
    assert {memory.memory.role for memory in faults.memories.values()} == {"weight"}
    for words, message in (
        (("--faulty", "weight,fifo"), "--faulty: "),
        (("--protection", "none"), f"--protection: {found} has secded; leave the option out"),
        (("--technology", "bram_virtex7"), f"--technology: {found} has cells of 14 nm FinFET SRAM"),
        (("--spatial", "column=0.4"), "--spatial: "),
        (("--map", "cells.npy"), f"--map: {found} has none; leave the option out"),
    ):
        done = command(tmp_path, "--voltage", str(found), *words)
        assert isinstance(done.exception, HwsimError)
        assert str(done.exception).startswith(message)
    # What says the same is no contradiction.
    again = ("--faulty", "weight", "--protection", "secded", "--technology", "sram_14nm")
    done = command(tmp_path, "--voltage", str(found), *again)
    assert done.exit_code == 0, done.output


def test_measured_cells_are_built(tmp_path: Path) -> None:
    pipeline, x = residual_pipeline(), residual_images(FRAMES)
    cells = (np.random.default_rng(1).random((40, 24)) < 0.1).astype(np.int8)
    whole = FaultMap(load_technology("sram_14nm"), cells)
    protections = memory_protections(pipeline, REQUIRED)
    source = whole.laid_out(memory_shapes(pipeline, protections), 1)
    faults = design_faults(pipeline, source, 0.05, REQUIRED)
    out = tmp_path / "out"
    generate(pipeline, out, x, faults=faults)
    result = verify(out, SIMULATOR)
    assert result.failures == ()
    assert result.passed
    (out / CELLS).write_bytes(b"PK")
    with pytest.raises(StorageError, match=rf"^{out / CELLS}: is not an .npz file, or is damaged"):
        read_folder(out)
    # The map goes with the build that needs it.
    generate(pipeline, out, x)
    assert not (out / CELLS).exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--technology", "sram_14nm"), "give both --technology and --voltage, or neither"),
        (("--voltage", "0.8"), "give both --technology and --voltage, or neither"),
        (
            ("--chip", "3"),
            "--chip, --faulty, --spatial, --map and --protection need --technology and --voltage",
        ),
        (
            ("--spatial", "column=0.1"),
            "--chip, --faulty, --spatial, --map and --protection need --technology and --voltage",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.8 V"),
            "--voltage: 0.8 V: the technology tells voltages as shares of its vmin, not in volts",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "85"),
            "voltage must be 0.75..1.176 of vmin (what the data covers), not 85 (if it is in %, "
            "that is 0.85 of vmin)",
        ),
        (
            ("--technology", "bram_virtex7", "--voltage", "0.55"),
            "voltage must be 0.8852..1.639 of vmin (what the data covers), not 0.55 (if it is in "
            "V, that is 0.9016 of vmin)",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.8,0.9"),
            "--voltage: must be a number, NAME=V,... or a faults.json, not '0.8,0.9'",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "weight=low"),
            "--voltage: voltage must be a number, perhaps with V, mV or %, not 'low'",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "wait=0.8"),
            "bit error rate must be given for memories, layers or weight, window, constants, "
            "table, fifo, accumulator, not 'wait'",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "low.json"),
            "--voltage: low.json: cannot be read (No such file or directory) (run hwsim faults "
            "again if another version wrote it)",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.8", "--map", "cells.npy"),
            "cells.npy: cannot be read (No such file or directory)",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.8", "--protection", "secded"),
            "memory 'conv1.window': protection secded is evaluated but not built into Verilog for "
            "memories that are written; protect weight, constants, table, or nothing",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.5"),
            "voltage must be 0.75..1.176 of vmin (what the data covers), not 0.5",
        ),
        (
            ("--technology", "sram_14nm", "--voltage", "0.8", "--faulty", "weight,wait"),
            "memories must be of weight, window, constants, table, fifo, accumulator, or names as "
            "conv1.window, not 'wait'",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    done = command(tmp_path, *words)
    assert isinstance(done.exception, HwsimError)
    assert str(done.exception) == text
    assert not (tmp_path / "out").exists()
