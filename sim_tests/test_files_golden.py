"""One committed file of each format: read as users' files are, and written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.make import HERE, Toy, make, network

from hwsim.accelerator.plain import Simulation
from hwsim.files import read_json
from hwsim.history import History
from hwsim.models.checkpoint import load_checkpoint
from hwsim.network import Network, Requantize, evaluate, load, network_hash
from hwsim.network.container import read_container
from hwsim.result import load_result
from hwsim.rtl import emit
from hwsim.rtl.manifest import read_manifest
from hwsim.run.workspace import Workspace
from hwsim.studies.result import load_faults
from hwsim.studies.study import ChipRecords

HASH = "3fe08eeaf27b1db8236e07f4a3023ced8c7c27296340249138f0a6bf0a53034d"


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files, as they are written today."""
    folder = tmp_path_factory.mktemp("golden")
    make(folder)
    return folder


def shape(value: Any) -> Any:
    """Keys and types of plain data, without its values; lists by their first entry."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_every_file_has_a_test(again: Path) -> None:
    files = [
        sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*")) for root in (HERE, again)
    ]
    made = [name for name in files[0] if not name.endswith((".py", ".pyc"))]
    assert made == files[1]
    assert made == [
        "faults.json", "faults.jsonl", "final.pt", "network.hwnet", "report/result.json",
        "report/train/history.json", "run/state.json", "simulation.json", "verilog/cells.npz",
        "verilog/manifest.json", "verilog/vectors.npz",
    ]  # fmt: skip
    assert sum((HERE / name).stat().st_size for name in made) < 60_000


@pytest.mark.parametrize("name", ["network.hwnet", "run/state.json", "simulation.json"])
def test_bytes_are_what_they_were(again: Path, name: str) -> None:
    assert (again / name).read_bytes() == (HERE / name).read_bytes()


@pytest.mark.parametrize(
    "name",
    ["faults.json", "report/result.json", "report/train/history.json", "verilog/manifest.json"],
)
def test_keys_are_what_they_were(again: Path, name: str) -> None:
    """Of files whose values follow from models that get better; after a change: golden/make.py."""
    old, new = (json.loads((root / name).read_text()) for root in (HERE, again))
    assert shape(new) == shape(old)


def test_network() -> None:
    found = load(HERE / "network.hwnet")
    assert network_hash(found) == network_hash(network()) == HASH
    assert found.name == "golden: naïve"
    assert found.notes == network().notes
    x = np.random.default_rng(0).integers(0, 16, (20, 2, 2, 2))
    assert np.array_equal(evaluate(found, x)["answer"], evaluate(network(), x)["answer"])


def test_arrays_have_the_narrowest_type_that_holds_them() -> None:
    """Also where a value is exactly the least or the largest of its type, or one beyond."""
    _, arrays = read_container(HERE / "network.hwnet", "hwsim")
    assert {name: array.dtype.itemsize for name, array in arrays.items()} == {
        "mux.tap": 1, "mux.weight": 1, "fc.weight": 1,
        "q8.multiplier": 1, "q8.bias": 2, "q16.multiplier": 2, "q16.bias": 4,
        "q32.multiplier": 4, "q32.bias": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("op", "key", "value"),
    [("q8", "multiplier", -127), ("q8", "bias", -32767), ("q16", "bias", 1 - 2**31)],
)
def test_the_hash_sees_values_at_the_end_of_a_type(op: str, key: str, value: int) -> None:
    net = network()
    ops = list(net.ops)
    n = next(n for n, item in enumerate(ops) if item.name == op)
    old = ops[n]
    assert isinstance(old, Requantize)
    array = getattr(old, key).copy()
    array[0] = value
    arrays = {"multiplier": old.multiplier, "bias": old.bias, key: array}
    ops[n] = Requantize(op, old.inputs, **arrays, shift=old.shift, lo=old.lo, hi=old.hi)
    assert network_hash(Network(net.name, net.input, tuple(ops), net.notes)) != HASH


def test_state() -> None:
    workspace = Workspace(HERE / "run", "golden", [Toy()])
    assert workspace.figures("toy") == {"share": 0.5}
    assert workspace.seconds("toy") == 1.25
    assert workspace.outputs("toy").keys() == {"toy.txt"}


def test_mapping() -> None:
    design = read_json(HERE / "simulation.json", Simulation).design
    pipeline = design.restore(load(HERE / "network.hwnet"))
    assert pipeline.stage("mux").fold.pe == 2
    assert {fifo.depth for fifo in pipeline.fifos} == {40}


def test_generated_folder(again: Path) -> None:
    manifest = read_manifest(HERE / "verilog")
    assert manifest.network.hash == HASH
    assert manifest.faults is not None
    assert manifest.faults.map is not None
    design = read_json(HERE / "simulation.json", Simulation).design
    pipeline = design.restore(load(HERE / "network.hwnet"))
    for read in (lambda path: emit._vectors(path / "vectors.npz", pipeline, manifest),
                 lambda path: emit._cells(path / "cells.npz")):  # fmt: skip
        old, new = read(HERE / "verilog"), read(again / "verilog")
        assert old.keys() == new.keys()
        for name, array in old.items():
            assert array.dtype == new[name].dtype
            assert np.array_equal(array, new[name])


def test_checkpoint(again: Path) -> None:
    for root in (HERE, again):
        state = load_checkpoint(root / "final.pt")
        assert state["format"] == 2
        assert state["model"]["weight"].tolist() == [-2, -1, 0, 1]


def test_results() -> None:
    assert load_result(HERE / "report" / "result.json").network_sha256 == HASH
    history = read_json(HERE / "report" / "train" / "history.json", History)
    assert len(history.network) == 24
    faults = load_faults(HERE / "faults.json")
    assert faults.images == 40
    records = ChipRecords(HERE / "faults.jsonl")
    lines = (HERE / "faults.jsonl").read_text().splitlines()
    assert len(records) == len(lines) > 0
    line = json.loads(lines[0])
    assert records.get(line["key"], line["seed"]) == line["right"]
