"""Damaged and hostile files of every format: read, or one line of ours, never another error."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.make import HERE, Toy, network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as st_save

from hwsim.accelerator import Fold, build_pipeline
from hwsim.accelerator.plain import Simulation
from hwsim.cli.main import main
from hwsim.errors import HwsimError
from hwsim.files import ArraySpec, read_array, read_arrays, read_json
from hwsim.history import History
from hwsim.models.checkpoint import load_checkpoint
from hwsim.models.data import read_idx
from hwsim.network import load, save
from hwsim.network import storage as network_storage
from hwsim.network.container import read_container
from hwsim.report import build_report, read_report
from hwsim.result import load_result
from hwsim.rtl.emit import generate, read_folder
from hwsim.rtl.manifest import read_manifest
from hwsim.run.workspace import Workspace
from hwsim.studies.result import load_faults
from hwsim.studies.study import ChipRecords

Reader = Callable[[Path], Any]

FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "../x", "/etc/passwd", "a\nb", "\0", "\ud800", 5000 * "é", [], {}, [[]],
    [None], {"": 0}, {"a": {"a": {"a": []}}}, [2**62, 2**62], "\x1b[2J", "int8", "input",
]  # fmt: skip
TEXTS = [b"NaN", 5000 * b"9", b"-" + 25 * b"9", 3000 * b"[", b'{"a": 1, "a": 2}', b"1e999", b"\xff"]


def tame(error: HwsimError) -> None:
    text = str(error)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 2000


def attempt(read: Reader, path: Path) -> None:
    """Read; every error but ours fails the test."""
    try:
        read(path)
    except HwsimError as error:
        tame(error)


def keys(value: Any, key: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [k for part, item in inner for k in ((*key, part), *keys(item, (*key, part)))]


def mutated(document: Any, rng: random.Random) -> Any:
    """One to three changes of structure or value."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.randint(1, 3)):
        places = keys(document)
        if not places:
            return deepcopy(rng.choice(VALUES))
        *above, last = rng.choice(places)
        whole = document
        for part in above:
            whole = whole[part]
        match rng.randrange(5):
            case 0:
                del whole[last]
            case 1 if isinstance(whole, dict):
                whole[rng.choice(["x", "", "../x", "é", "format", last + "_"])] = whole.pop(last)
            case 2 if isinstance(whole, list):
                whole.extend(whole[last : last + 1] * rng.randint(1, 9))
            case 3 if isinstance(whole[last], int | float) and not isinstance(whole[last], bool):
                whole[last] = whole[last] * rng.choice([-1, 0, 2, 1000, 2**40]) + rng.choice([0, 1])
            case _:
                whole[last] = deepcopy(rng.choice(VALUES))
    return document


def damaged(blob: bytes, rng: random.Random) -> bytes:
    """Bytes cut off, changed, put in or taken out."""
    data = bytearray(blob)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 20))
            case 3:
                del data[at : at + rng.randint(1, 40)]
            case _:
                data[at : at + 8] = rng.choice([b"\xff", b"\0", b"\x7f"]) * 8
    return bytes(data)


def state(path: Path) -> None:
    Workspace(path.parent, "golden", [Toy()])


def simulation(path: Path) -> None:
    read_json(path, Simulation).design.restore(network())


JSON: dict[str, Reader] = {
    "run/state.json": state,
    "simulation.json": simulation,
    "faults.json": load_faults,
    "report/result.json": load_result,
    "report/train/history.json": lambda path: read_json(path, History),
    "verilog/manifest.json": lambda path: read_manifest(path.parent),
}


@pytest.mark.parametrize("name", JSON)
@FUZZ
@given(st.randoms(use_true_random=False))
def test_json_files(tmp_path: Path, name: str, rng: random.Random) -> None:
    path = tmp_path / Path(name).name
    text = json.dumps(mutated(json.loads((HERE / name).read_text()), rng)).encode()
    if rng.random() < 0.1:
        numbers = list(re.finditer(rb"\d+", text))
        if numbers:
            found = rng.choice(numbers)
            text = text[: found.start()] + rng.choice(TEXTS) + text[found.end() :]
    path.write_bytes(text)
    attempt(JSON[name], path)
    path.write_bytes(damaged(text, rng))
    attempt(JSON[name], path)


@FUZZ
@given(st.randoms(use_true_random=False))
def test_records(tmp_path: Path, rng: random.Random) -> None:
    """Lines that are none are passed over."""
    path = tmp_path / "records.jsonl"
    lines = (HERE / "faults.jsonl").read_bytes().splitlines()
    bad = json.dumps(mutated(json.loads(lines[0]), rng)).encode()
    path.write_bytes(b"\n".join([damaged(bad, rng), bad, *lines[1:]]) + b"\n")
    assert len(ChipRecords(path)) >= len(lines) - 1
    path.write_bytes(damaged(b"\n".join(lines), rng))
    attempt(ChipRecords, path)


@FUZZ
@given(st.randoms(use_true_random=False))
def test_headers_of_networks(tmp_path: Path, rng: random.Random) -> None:
    """With a hash that fits, as a forger would write them."""
    text, arrays = read_container(HERE / "network.hwnet", "hwsim")
    header = mutated(json.loads(text), rng)
    arrays = dict(arrays)
    if rng.random() < 0.5:
        name = rng.choice(sorted(arrays))
        wrong = rng.choice(
            [arrays[name][:0], arrays[name].T, arrays[name] * 127, arrays[name][..., None]]
        )
        arrays[name] = np.ascontiguousarray(wrong)
    if isinstance(header, dict):
        header.pop("content_hash", None)
        header["content_hash"] = network_storage._digest(header, arrays)
    path = tmp_path / "n.hwnet"
    path.write_bytes(st_save(arrays, metadata={"hwsim": json.dumps(header)}))
    attempt(load, path)


def arrays_of_vectors(path: Path) -> None:
    names = ("images", "expected", "labels")
    read_arrays(path, dict.fromkeys(names, ArraySpec("iu")), limit=1 << 20)


BINARY: dict[str, Reader] = {
    "network.hwnet": load,
    "verilog/vectors.npz": arrays_of_vectors,
    "final.pt": load_checkpoint,
    "array.npy": lambda path: read_array(path, ArraySpec("biuf"), limit=1 << 20),
    "pictures": read_idx,
    "pictures.gz": read_idx,
}


def whole(name: str, folder: Path) -> bytes:
    import gzip

    pictures = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + bytes(24)
    if name == "array.npy":
        np.save(folder / name, np.arange(12.0).reshape(3, 4))
        return (folder / name).read_bytes()
    if name.startswith("pictures"):
        return gzip.compress(pictures) if name.endswith(".gz") else pictures
    return (HERE / name).read_bytes()


@pytest.mark.parametrize("name", BINARY)
@FUZZ
@given(st.randoms(use_true_random=False))
def test_binary_files(tmp_path: Path, name: str, rng: random.Random) -> None:
    path = tmp_path / Path(name).name
    blob = whole(name, tmp_path)
    path.write_bytes(blob)
    BINARY[name](path)
    path.write_bytes(damaged(blob, rng))
    attempt(BINARY[name], path)


# -- whole folders ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verilog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "verilog"
    pipeline = build_pipeline(network(), {"mux": Fold(2, 1)}, 40)
    generate(pipeline, folder, np.arange(16).reshape(2, 2, 2, 2), np.array([0, 1]))
    return folder


@settings(FUZZ, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_generated_folders(verilog: Path, rng: random.Random) -> None:
    """One file is damaged; the others are as they were."""
    name = rng.choice(["manifest.json", "manifest.json", "network.hwnet", "vectors.npz"])
    path = verilog / name
    before = path.read_bytes()
    try:
        if name == "manifest.json":
            path.write_text(json.dumps(mutated(json.loads(before), rng)))
        else:
            path.write_bytes(damaged(before, rng))
        attempt(read_folder, verilog)
    finally:
        path.write_bytes(before)
    read_folder(verilog)


@settings(FUZZ, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_folders_of_experiments(tmp_path: Path, rng: random.Random) -> None:
    shutil.copytree(HERE / "report", tmp_path, dirs_exist_ok=True)
    shutil.copy(HERE / "faults.json", tmp_path)
    save(network(), tmp_path / "network.hwnet")
    read_report(tmp_path)
    path = tmp_path / rng.choice(["result.json", "result.json", "train/history.json"])
    whole = path.read_text()
    path.write_text(json.dumps(mutated(json.loads(whole), rng)))
    attempt(build_report if rng.random() < 0.3 else read_report, tmp_path)
    path.write_text(whole)


@pytest.mark.parametrize("seed", range(8))
def test_the_command_line_says_one_line(
    tmp_path: Path, verilog: Path, capsys: Any, seed: int
) -> None:
    rng = random.Random(seed)
    save(network(), tmp_path / "network.hwnet")
    for name in ("run", "report"):
        shutil.copytree(HERE / name, tmp_path / name)
    for words, path in (
        (["inspect", "network.hwnet"], "network.hwnet"),
        (["report", "report"], "report/result.json"),
        (["train", "quickstart", "-q", "-s", "name=golden", "-o", "run"], "run/state.json"),
    ):
        blob = damaged((tmp_path / path).read_bytes(), rng)
        (tmp_path / path).write_bytes(blob[: rng.randint(1, len(blob) - 1)])
        with pytest.raises(SystemExit) as caught:
            main([str(tmp_path / word) if (tmp_path / word).exists() else word for word in words])
        out, err = capsys.readouterr()
        assert (caught.value.code, out) == (2, ""), err
        assert err.startswith("hwsim: ")
        assert err.count("\n") == 1
