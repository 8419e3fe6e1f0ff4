"""JSON files: one line with file and key for everything that does not fit a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import StorageError
from hwsim.files import (
    Document,
    RelativePath,
    Share,
    Version1,
    inside,
    parse_json,
    read_json,
    write_json,
)
from hwsim.names import Line, OpName


class Inner(Document):
    number: int
    share: Share = 0.5


class Toy(Document):
    format: Version1
    name: Line
    op: OpName = "a"
    inner: Inner
    many: list[Inner] = []
    table: dict[str, Inner] = {}
    either: Inner | None = None
    file: RelativePath = "a/b.txt"
    notes: dict[str, Any] = {}


PLAIN: dict[str, Any] = {"format": 1, "name": "toy", "inner": {"number": 3}}


def changed(**values: Any) -> str:
    return json.dumps({**PLAIN, **values})


def test_what_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    write_json(path, {**PLAIN, "many": [{"number": -(2**63)}], "notes": {"a": [1, None, "é"]}})
    toy = read_json(path, Toy)
    assert (toy.name, toy.inner.number, toy.many[0].number) == ("toy", 3, -(2**63))
    assert toy.notes == {"a": [1, None, "é"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: is not JSON (Expecting value)"),
        ('{"a": 1,\n}', ":2: is not JSON (Expecting property name enclosed in double quotes)"),
        ("[]", ": must hold a mapping"),
        ('{"format": 1, "format": 1}', ": key 'format' is given twice"),
        ('{"a": ' + 100_000 * "[", ": is nested too deeply"),
        ('{"notes": {"a": ' + 300 * "[" + 300 * "]" + "}}", None),
        (changed(format=2, more=1), ": format: must be 1, not 2"),
        (changed(format=True), ": format: must be an integer, not true"),
        (changed(format=1.0), ": format: must be an integer, not 1.0"),
        (changed(inner={}), ": inner.number: is required"),
        (changed(inner=[]), ": inner: must be a mapping, not a list"),
        (changed(inner={"number": True}), ": inner.number: must be an integer, not true"),
        (changed(inner={"number": 1.0}), ": inner.number: must be an integer, not 1.0"),
        (changed(inner={"number": "1"}), ": inner.number: must be an integer, not '1'"),
        (changed(inner={"number": 2**63}), ": inner.number: must be an integer of at most 64 bits"),
        (changed(notes={"a": [10**30]}), ": notes.a[0]: must be an integer of at most 64 bits"),
        ('{"notes": -' + 5000 * "7" + "}", ": notes: must be an integer of at most 64 bits"),
        ('{"notes": {"a": NaN}}', ": notes.a: must be a finite number"),
        ('{"notes": [1e999]}', ": notes[0]: must be a finite number"),
        (changed(inner={"number": 1, "share": 7}), ": inner.share: must be <= 1.0, not 7"),
        (changed(inner={"number": 1, "share": -0.1}), ": inner.share: must be >= 0.0, not -0.1"),
        (
            changed(many=[{"number": 1, "nummer": 2}]),
            ": many[0].nummer: unknown key; allowed: number, share (did you mean 'number'?)",
        ),
        (
            changed(table={"x": {"more": 2}}),
            ": table.x.more: unknown key; allowed: number, share",
        ),
        (
            changed(either={"more": 2}),
            ": either.more: unknown key; allowed: number, share",
        ),
        (changed(**{"\x1b[2J": 1}), None),
        (
            changed(name="a\nb"),
            ": name: must be one line of at most 200 printable characters, not 'a\\nb'",
        ),
        (changed(name=201 * "x"), None),
        (changed(name="\u202egnp"), None),
        (changed(op="é"), None),
        (changed(file="../x"), ": file: must be a path inside the folder, not '../x'"),
        ('{"name": "\\ud800"}', None),
    ],
)
def test_what_does_not_is_one_line(text: str, message: str | None) -> None:
    with pytest.raises(StorageError) as caught:
        parse_json(text, Toy, "toy.json")
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) < 400
    assert line.startswith("toy.json:")
    if message is not None:
        assert line == f"toy.json{message}"


def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(changed())
    size = path.stat().st_size
    assert read_json(path, Toy, limit=size).name == "toy"
    with pytest.raises(StorageError, match=f"has {size} bytes, at most {size - 1} are allowed"):
        read_json(path, Toy, limit=size - 1)
    path.write_bytes(b"\xff")
    with pytest.raises(StorageError, match="is not UTF-8 text"):
        read_json(path, Toy)


# -- paths out of files ----------------------------------------------------------------------------


def test_paths_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    for name in ("a", "sub/a", "sub", "..a", "a..", "sub/é x.txt"):
        assert inside(folder, name) == folder / name
        assert inside(tmp_path / "link", name) == tmp_path / "link" / name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../x", "sub/../../x", "sub/..", "/etc/passwd", "//x", "sub//a", "sub/",
        "./a", "a\0b", "a\nb", "..\\x", "C:x", 401 * "x", "link", "link/x",
        "sub/out", "sub/out/x", "gone",
    ],
)  # fmt: skip
def test_paths_that_leave_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    (folder / "link").symlink_to("/etc")
    (folder / "gone").symlink_to("nowhere")
    (folder / "sub" / "out").symlink_to("../../x")
    with pytest.raises(StorageError) as caught:
        inside(folder, name)
    assert str(caught.value).isprintable()


@given(st.text(max_size=12) | st.lists(st.sampled_from(["..", ".", "", "a", "/"])).map("/".join))
def test_no_text_leaves(name: str) -> None:
    folder = Path("/nowhere/folder")
    try:
        path = inside(folder, name)
    except StorageError:
        return
    assert path.resolve().is_relative_to(folder)
    assert path != folder
