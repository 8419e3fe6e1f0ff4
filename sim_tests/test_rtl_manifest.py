"""``manifest.json`` from strangers: one line with file and key, or what it says is so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.emitted import tiny_images, tiny_network, tiny_pipeline

from hwsim.accelerator import build_pipeline
from hwsim.errors import HwsimError, NetworkError, OutputError, StorageError
from hwsim.network import Network
from hwsim.rtl import emit
from hwsim.rtl.emit import generate, read_folder
from hwsim.rtl.manifest import MANIFEST, VECTORS
from hwsim.schema import Key, dotted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manifest") / "tiny"
    generate(tiny_pipeline(), folder, tiny_images(), np.array([0, 1, 2]))
    return folder


@pytest.fixture
def manifest(folder: Path) -> Iterator[dict[str, Any]]:
    """What the manifest holds; the file is as it was afterwards."""
    whole = (folder / MANIFEST).read_bytes()
    yield json.loads(whole)
    (folder / MANIFEST).write_bytes(whole)


def refusal(folder: Path, manifest: Any) -> str:
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StorageError) as caught:
        read_folder(folder)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{folder / MANIFEST}: ")
    return line.removeprefix(f"{folder / MANIFEST}: ")


def keys(value: Any, key: Key = ()) -> Iterator[Key]:
    """Every key of plain data, the first entries of lists only."""
    inner = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        inner = enumerate(value[:1])
    for part, item in inner:
        yield (*key, part)
        yield from keys(item, (*key, part))


def at(data: Any, key: Key) -> Any:
    for part in key:
        data = data[part]
    return data


def test_every_key_is_needed(folder: Path, manifest: dict[str, Any]) -> None:
    needed = [key for key in keys(manifest) if isinstance(key[-1], str)]
    needed = [k for k in needed if k[0] != "tools" and k[:2] != ("design", "folding")]
    needed = [k for k in needed if k[:2] != ("design", "fifo_depths")]  # by name
    needed = [k for k in needed if k[0] != "stages" or len(k) < 4]  # of timing
    assert len(needed) > 70
    named = [("design", "folding"), ("design", "fifo_depths"), ("design", "folding", "conv1", "pe")]
    for key in (*needed, *named, ("tools",)):
        whole = at(manifest, key[:-1])
        left = whole.pop(key[-1])
        assert refusal(folder, manifest) == f"{dotted(key)}: is required"
        whole[key[-1]] = left


def test_every_value_has_a_type(folder: Path, manifest: dict[str, Any]) -> None:
    wrong: list[Any] = [{"": []}, [{"": 1}], -1.5, "\x1b", 10**30]
    count = 0
    for key in keys(manifest):
        whole, value = at(manifest, key[:-1]), at(manifest, key)
        if "timing" in key[:-1]:  # of several types
            continue
        for other in (*wrong, 1 if type(value) is bool else True):
            whole[key[-1]] = other
            assert refusal(folder, manifest).startswith(dotted(key)), (key, other)
            count += 1
        whole[key[-1]] = value
    assert count > 500


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "notes.txt"])
def test_files_are_those_of_a_generated_folder(
    folder: Path, manifest: dict[str, Any], name: str
) -> None:
    manifest["files"][name] = 64 * "0"
    assert refusal(folder, manifest).startswith(f"files.{name}: unknown key; allowed: ")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (("format",), "other", "format: must be 'hwsim accelerator', not 'other'"),
        (("format_version",), True, "format_version: must be an integer, not true"),
        (("format_version",), 3, "format_version: must be 2, not 3"),
        (("format_version",), 1, "format_version 1 is of an earlier version of hwsim; run hwsim g"),
        (("network", "file"), "../network.hwnet", "network.file: must be 'network.hwnet'"),
        (("ports", 0, "name"), "clk; endmodule", "ports[0].name: must be text of the form"),
        (("cycles", "frames"), 10**6, "cycles.frames: must be <= 1000, not 1000000"),
        (("design", "kind"), "chip", "design.kind: must be 'pipeline'"),
        (("design", "folding", "conv1", "pe"), 10**18, "op 'conv1': pe must be 1..3 (its outputs)"),
        (
            ("design", "folding", "conv9"),
            {"pe": 1, "simd": 1, "weights": "memory"},
            "folding: there is no",
        ),
        (("design", "fifo_depths"), {"other": 16}, "no FIFO is called 'other'; there are "),
        (("design", "fifo_depths"), {}, "design.fifo_depths: FIFO 'input__conv1' is missing"),
        (("fifos", 0, "depth"), 0, "fifos[0].depth: must be >= 1, not 0"),
    ],
)
def test_what_does_not_fit_the_network(
    folder: Path, manifest: dict[str, Any], key: Key, value: Any, text: str
) -> None:
    at(manifest, key[:-1])[key[-1]] = value
    assert refusal(folder, manifest).startswith(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"images": tiny_images(4)}, "images: must be [3, 1, 5, 6], not [4, 1, 5, 6]"),
        ({"images": tiny_images() * 1.0}, "images: must hold integers, not float64"),
        ({"images": tiny_images() + 99}, "images: input values must be 0..15"),
        ({"labels": np.zeros((3, 1), int)}, "labels: must be [3], not [3, 1]"),
        ({"labels": np.array([{}, {}, {}])}, "is not an .npz file, or is damaged"),
        ({"expected": np.zeros(3, int)}, "expected: must be [3, 4, 1, 1], not [3]"),
        ({"more": np.zeros(3, int)}, "holds 'more.npy'; expected once each: images, expected"),
    ],
)
def test_vectors_that_are_not_the_manifests(
    folder: Path, change: dict[str, np.ndarray], text: str
) -> None:
    path = folder / VECTORS
    whole = path.read_bytes()
    with np.load(path) as arrays:
        np.savez_compressed(path, **{**arrays, **change}, allow_pickle=True)
    try:
        with pytest.raises(StorageError) as caught:
            read_folder(folder)
    finally:
        path.write_bytes(whole)
    assert text in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_labels_that_were_promised(folder: Path, manifest: dict[str, Any]) -> None:
    whole = (folder / VECTORS).read_bytes()
    with np.load(folder / VECTORS) as arrays:
        np.savez(folder / VECTORS, images=arrays["images"], expected=arrays["expected"])
    try:
        with pytest.raises(StorageError, match="lacks the array 'labels'"):
            read_folder(folder)
        manifest["vectors"]["labels"] = False
        (folder / MANIFEST).write_text(json.dumps(manifest))
        assert read_folder(folder).labels is None
    finally:
        (folder / VECTORS).write_bytes(whole)


@pytest.mark.parametrize("name", ["waves.thesis", "accelerator.v", "simulation"])
def test_folders_that_hold_more_are_not_replaced(tmp_path: Path, folder: Path, name: str) -> None:
    """Work that is called as hwsim's own files are: in folders, and behind links."""
    out = tmp_path / "out"
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    (out / name).unlink(missing_ok=True)
    if name == "simulation":
        (tmp_path / "work").mkdir()
        (out / name).symlink_to(tmp_path / "work")
    else:
        (out / name).mkdir()
        (out / name / "thesis.tex").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=f"out: holds '{name}', not only an accelerator"):
        generate(tiny_pipeline(), out)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    for images, labels in ((tiny_images()[:0], None), (tiny_images(), np.zeros((3, 1)))):
        with pytest.raises(NetworkError, match="test vectors must be|labels must be"):
            generate(tiny_pipeline(), tmp_path / "out", images, labels)
    assert list(tmp_path.iterdir()) == []


# -- names that mean something else in Verilog -----------------------------------------------------

NAMES = [
    "*/ endmodule",
    "`include `define x \\",
    "x' // verilator lint_off",
    "naïve ﬁlter \u00ad"[:-1],
    "/* synthesis translate_off",
    "%s $display(1); \"",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_networks_change_nothing_but_a_comment(name: str) -> None:
    """Only the line that tells the name differs, and that line is a comment of plain ASCII."""
    plain = tiny_pipeline()
    depths = {fifo.name: fifo.depth for fifo in plain.fifos}
    named = build_pipeline(replace(tiny_network(), name=name), plain.folding, depths)
    lines, others = (emit._header(pipeline, None).splitlines() for pipeline in (named, plain))
    assert lines[1:] == others[1:]
    first = lines[0]
    assert first != others[0]
    assert first.startswith("// accelerator: the network '")
    assert first.endswith("' as a pipelined stream processor.")
    assert first.isascii()
    assert first.isprintable()
    assert "`" not in first


def test_the_header_is_nothing_but_comments(folder: Path) -> None:
    text = (folder / "accelerator.v").read_text()
    header = emit._header(tiny_pipeline(), None)
    assert text.startswith(header)
    assert all(line.startswith("//") or not line for line in header.splitlines())


def test_names_with_line_breaks_reach_nothing() -> None:
    """As the network cannot be made, so it cannot be generated either."""
    spy = "net\nmodule spy; initial $display(1); endmodule\n//"
    with pytest.raises(HwsimError, match="one line of at most 200 printable characters"):
        Network(spy, tiny_network().input, tiny_network().ops)
