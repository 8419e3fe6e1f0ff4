"""``.hwnet`` files: round trips, the hash, and every way in which a file can be wrong."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as st_load
from safetensors.numpy import save as st_save

from hwsim.errors import HwsimError, StorageError
from hwsim.network import (
    INPUT,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
    evaluate,
    load,
    network_hash,
    save,
    storage,
)
from hwsim.testing import Limits, random_input, random_network

FOREIGN = "is not a .hwnet file, or is truncated"
Change = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]
EDITED = "content does not match its hash; the file was edited"


def small(name: str = "small", notes: dict[str, Any] | None = None) -> Network:
    conv = MuxConv2d(
        "conv", (INPUT,), np.array([[4, 0], [8, 2]]), np.array([[1, -1], [0, 1]]), (3, 3),
        pad=(1, 1),
    )  # fmt: skip
    return Network(name, TensorType(2, 5, 4, 4), (conv,), notes or {})


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_arrays_have_the_narrowest_type(tmp_path: Path, bits: int) -> None:
    """At both ends of a type and one beyond them; the type is part of the hash."""
    top = 1 << (bits - 1)
    for value, wanted in ((-top, bits), (top - 1, bits), (-top - 1, 2 * bits), (top, 2 * bits)):
        op = Requantize("y", (INPUT,), np.array([1, 2]), np.array([value, 0]), 0, -1, 1)
        save(Network("n", TensorType(2, 1, 1, 1), (op,)), tmp_path / "n.hwnet")
        bias = st_load((tmp_path / "n.hwnet").read_bytes())["y.bias"]
        assert bias.dtype == f"int{wanted}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.hwnet"
    save(small(), path)
    return path


def assert_refused(path: Path, text: str) -> None:
    with pytest.raises(StorageError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: {text}"


def rewrite(path: Path, change: Change) -> None:
    """Change header and arrays of a file and give it a fitting hash, as a forger would."""
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["hwsim"])
    arrays = st_load(blob)
    header.pop("content_hash")
    change(header, arrays)
    header["content_hash"] = storage._digest(header, arrays)
    path.write_bytes(st_save(arrays, metadata={"hwsim": json.dumps(header)}))


# -- what works ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    network = random_network(seed, Limits(channels=8, mappable=False))
    path = tmp_path_factory.mktemp("round") / "n.hwnet"
    save(network, path)
    again = load(path)
    assert network_hash(again) == network_hash(network)
    assert again.types == network.types
    assert [op.attributes() for op in again] == [op.attributes() for op in network]
    x = random_input(network, seed)
    assert np.array_equal(evaluate(again, x)[again.output], evaluate(network, x)[network.output])


def test_name_and_notes_travel(tmp_path: Path) -> None:
    notes = {"seed": 3, "scales": [0.5, 1e-3], "text": "naïve"}
    path = tmp_path / "n.hwnet"
    save(small("my net", notes), path)
    again = load(str(path))
    assert again.name == "my net"
    assert again.notes == notes


def test_saving_twice_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(small(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.hwnet"
    save(small(), path)
    before = path.read_bytes()

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        save(small("other"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- the hash --------------------------------------------------------------------------------------


def test_hash_is_stable() -> None:
    """A change of this value makes every stored network and result of users obsolete."""
    expected = "5df66285188e53636b450809c5be0db92a968c5bc7599739b46485df98ec9240"
    assert network_hash(small()) == expected


def test_hash_ignores_name_and_notes() -> None:
    assert network_hash(small("x", {"a": 1})) == network_hash(small())


def test_hash_sees_every_number() -> None:
    def linear(weight: Any, bits: int = 4) -> str:
        op = Linear("y", (INPUT,), np.array(weight))
        return network_hash(Network("n", TensorType(2, 1, 1, bits), (op,)))

    hashes = {linear([[1, 2]]), linear([[2, 1]]), linear([[1, 2]], 5), linear([[1, 2], [1, 2]])}
    assert len(hashes) == 4


# -- what does not ---------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    assert_refused(tmp_path / "no.hwnet", "cannot be read (No such file or directory)")


def test_folder(tmp_path: Path) -> None:
    assert_refused(tmp_path, "is not a file")


def test_every_truncation(file: Path) -> None:
    blob = file.read_bytes()
    for length in range(len(blob)):
        file.write_bytes(blob[:length])
        assert_refused(file, FOREIGN)


def test_every_flipped_bit(file: Path) -> None:
    """One bit anywhere: refused, or (in the padding of the container) without effect."""
    blob = file.read_bytes()
    for position in range(len(blob)):
        damaged = bytearray(blob)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        with contextlib.suppress(StorageError):  # any other error fails the test
            assert network_hash(load(file)) == network_hash(small())


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"hello",
        b"\x7fELF" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"\xff" * 64,
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (1).to_bytes(8, "little") + b"7",
        st_save({"a": np.zeros(3)}),
        st_save({"a": np.zeros(3)}, metadata={"other": "x"}),
        (1 << 40).to_bytes(8, "little") + b"{}",
        (1 << 63).to_bytes(8, "little") + b"{}",
    ],
    ids=range(12),
)
def test_foreign_files(tmp_path: Path, blob: bytes) -> None:
    path = tmp_path / "n.hwnet"
    path.write_bytes(blob)
    assert_refused(path, FOREIGN)


def test_edited_weight(file: Path) -> None:
    blob = file.read_bytes()
    file.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    assert_refused(file, EDITED)


def test_edited_header(file: Path) -> None:
    blob = file.read_bytes()
    assert blob.count(b"small") == 1
    file.write_bytes(blob.replace(b"small", b"SMALL"))
    assert_refused(file, EDITED)


def test_other_version(file: Path) -> None:
    rewrite(file, lambda header, arrays: header.update(spec_version=2))
    assert_refused(file, "spec_version: must be 1, not 2")


FORGED: list[tuple[Change, str]] = [
    (lambda h, a: h["ops"][0].update(kind="Exec"), "op 'conv': unknown kind of op 'Exec'"),
    (lambda h, a: h["ops"][0].update(kind="_Pool2d"), "op 'conv': unknown kind of op '_Pool2d'"),
    (lambda h, a: h["ops"][0].update(kind=["a"]), "ops[0].kind: must be text, not a list"),
    (lambda h, a: h["ops"][0].pop("kind"), "ops[0].kind: is required"),
    (lambda h, a: h["ops"][0].pop("stride"), ""),
    (
        lambda h, a: h["ops"][0].update(groups=1),
        "header is malformed (ops[0]: unknown key 'groups')",
    ),
    (lambda h, a: h["ops"][0].update(tap=[[1]]), "header is malformed (ops[0]: unknown key 'tap')"),
    (lambda h, a: h["ops"][0].pop("kernel"), "header is malformed (MuxConv2d.__init__() missing"),
    (lambda h, a: h["ops"][0].update(alphabet="int99"), "alphabet must be binary"),
    (lambda h, a: h["ops"][0].update(kernel="33"), "op 'conv': kernel must be two integers"),
    (lambda h, a: h["ops"][0].update(kernel=[3.5, 3]), "op 'conv': kernel must be two integers"),
    (lambda h, a: h["ops"][0].update(inputs=[["input"]]), "ops[0].inputs[0]: must be text"),
    (lambda h, a: h["ops"][0].update(inputs=None), "ops[0].inputs: must be a list"),
    (lambda h, a: h["ops"][0].update(name=7), "ops[0].name: must be text"),
    (lambda h, a: h.update(ops="ab"), "ops: must be a list, not 'ab'"),
    (lambda h, a: h.update(ops=7), "ops: must be a list, not 7"),
    (lambda h, a: h.update(ops=[]), "array 'conv.tap' belongs to no op"),
    (lambda h, a: h.update(notes=[1]), "notes: must be a mapping, not a list"),
    (lambda h, a: h.update(name=5), "name: must be text, not 5"),
    (lambda h, a: h.pop("input"), "input: is required"),
    (lambda h, a: h["input"].update(bits="4"), "input.bits: must be an integer, not '4'"),
    (lambda h, a: h["input"].update(bits=True), "input.bits: must be an integer, not true"),
    (lambda h, a: h["input"].update(signed="no"), "input.signed: must be true or false"),
    (lambda h, a: h["input"].update(depth=1), "input.depth: unknown key; allowed: channels,"),
    (lambda h, a: a.pop("conv.tap"), "header is malformed (there is no array 'conv.tap')"),
    (lambda h, a: h.update(spec_version=True), "spec_version: must be an integer, not true"),
    (lambda h, a: h.update(spec_version=1.0), "spec_version: must be an integer, not 1.0"),
    (lambda h, a: h.update(name="net\nmodule spy;"), "name: must be one line of at most 200"),
    (lambda h, a: h.update(more=1), "more: unknown key; allowed: spec_version, name, input"),
    (lambda h, a: h.update(notes={"a": [10**19]}), "notes.a[0]: must be an integer of at most 64"),
    (lambda h, a: h["ops"][0].update(name="é"), "ops[0].name: names of ops are ASCII"),
    (lambda h, a: h["ops"][0].update(pad=[2**70, 1]), "ops[0].pad[0]: must be an integer of at"),
    (
        lambda h, a: h["input"].update(height=2**40),
        "tensor of 2 x 1099511627776 x 4 values: at most",
    ),
    (lambda h, a: a.update(extra=np.zeros(2, np.int8)), "array 'extra' belongs to no op"),
    (
        lambda h, a: a.update({"conv.tap": np.full((2, 2), 9, np.int8)}),
        "op 'conv': tap must be 0..8, not 9..9",
    ),
    (
        lambda h, a: a.update({"conv.weight": np.ones((2, 2), np.float32)}),
        "array 'conv.weight': must hold integers of 8 to 64 bits, signed, not F32",
    ),
    (
        lambda h, a: a.update({"conv.weight": np.full((2, 2), 2**64 - 1, np.uint64)}),
        "array 'conv.weight': must hold integers of 8 to 64 bits, signed, not U64",
    ),
]


def container(header: bytes, values: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + values


def with_text(text: str) -> bytes:
    return container(json.dumps({"__metadata__": {"hwsim": text}}).encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", ": must hold a mapping"),
        (100_000 * "[", ": is nested too deeply"),
        ('{"spec_version": 1, "spec_version": 1}', ": key 'spec_version' is given twice"),
        ('{"notes": {"a": NaN}}', ": notes.a: must be a finite number"),
        (
            '{"notes": {"a": ' + 5000 * "9" + "}}",
            ": notes.a: must be an integer of at most 64 bits",
        ),
        ("{}", ": spec_version: is required"),
        ("{", ":1: is not JSON ("),
    ],
)
def test_headers_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "n.hwnet"
    path.write_bytes(with_text(text))
    with pytest.raises(StorageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert len(str(caught.value)) < 300


PLACES: list[tuple[dict[str, Any], str]] = [
    ({"shape": [4], "data_offsets": [0, 3]}, "its bytes are not those of its shape [4]"),
    ({"shape": [3], "data_offsets": [1, 4]}, "its bytes are not those of its shape [3]"),
    ({"shape": [1 << 32, 1 << 32]}, "its bytes are not those of its shape"),
    ({"shape": [0, 1 << 62], "data_offsets": [0, 0]}, "has 4 bytes too many"),
    ({"shape": [3], "data_offsets": [0, 3]}, "has 1 bytes too many"),
    ({"shape": [5], "data_offsets": [0, 5]}, "is not a .hwnet file, or is truncated"),
    ({"shape": [-4]}, "is not a .hwnet file, or is truncated"),
    ({"shape": [True, 4]}, "is not a .hwnet file, or is truncated"),
    ({"dtype": "O"}, "must hold integers of 8 to 64 bits, signed, not O"),
]


@pytest.mark.parametrize(("change", "text"), PLACES, ids=range(len(PLACES)))
def test_arrays_that_are_not_where_they_are_said_to_be(
    tmp_path: Path, change: dict[str, Any], text: str
) -> None:
    entry = {"dtype": "I8", "shape": [4], "data_offsets": [0, 4], **change}
    header = json.dumps({"__metadata__": {"hwsim": "{}"}, "a": entry}).encode()
    path = tmp_path / "n.hwnet"
    path.write_bytes(container(header, bytes(4)))
    with pytest.raises(StorageError, match=re.escape(text)):
        load(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "n.hwnet"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)
    assert_refused(path, "has 268435457 bytes, at most 268435456 are allowed")


@pytest.mark.parametrize(("change", "text"), FORGED, ids=range(len(FORGED)))
def test_forged_files(file: Path, change: Change, text: str) -> None:
    """A file with a right hash and wrong content: a one-line error of ours, never another one."""
    rewrite(file, change)
    if not text:  # what is left out has a default
        assert load(file).name == "small"
        return
    with pytest.raises(HwsimError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {text}")
    assert "\n" not in str(caught.value)


def test_a_saved_network_may_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "n.hwnet"
    save(random_network(np.random.default_rng(0)), path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
