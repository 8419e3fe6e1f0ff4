"""Arrays of files: what is read, what is refused before anything is unpacked."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import StorageError
from hwsim.files import ArraySpec, read_array, read_arrays

ANY = ArraySpec("biuf")


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, blob in members.items():
            file.writestr(name, blob)
    return path


def refusal(path: Path, spec: ArraySpec = ANY, limit: int = 1000) -> str:
    """What is said about array ``a`` of the file."""
    with pytest.raises(StorageError) as caught:
        read_arrays(path, {"a": spec}, limit=limit)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text[len(str(path)) :]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(-3, 3, dtype=np.int8).reshape(2, 3),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(4, dtype=">u2"),
        np.array([True, False]),
        np.array(7),
        np.zeros((0, 3), np.int64),
    ],
)
def test_whatever_numpy_writes_is_read(
    tmp_path: Path, array: np.ndarray, version: tuple[int, int]
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(array, version))
    packed = archive(tmp_path / "a.npz", {"a.npy": npy(array, version)})
    for found in (
        read_array(path, ANY, limit=1000),
        read_arrays(packed, {"a": ANY}, limit=1000)["a"],
    ):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert found.flags.writeable


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    save(tmp_path / "a.npz", a=np.arange(5), b=np.ones((2, 2)))
    expected = {
        "a": ArraySpec("i", (5,)),
        "b": ArraySpec("f", (2, None)),
        "c": ArraySpec("i", (), True),
    }
    found = read_arrays(tmp_path / "a.npz", expected, limit=72)
    assert found.keys() == {"a", "b"}
    with pytest.raises(StorageError, match="takes 40 bytes, at most 39 are allowed"):
        read_arrays(tmp_path / "a.npz", expected, limit=39)


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_not_unpacked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros(64 << 20, np.int8))})
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        assert "unpacks to 67108992 bytes, at most 1000 are allowed" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_large_archive_is_no_larger_than_measured_data_would_be(tmp_path: Path) -> None:
    """Noise of 65 MiB is read; as many zeros, which shrink a thousandfold, are not."""
    expected, limit = {"a": ArraySpec()}, 128 << 20
    noise = np.random.default_rng(0).integers(0, 4, 65 << 20, np.uint8)
    path = archive(tmp_path / "noise.npz", {"a.npy": npy(noise)})
    assert (read_arrays(path, expected, limit=limit)["a"] == noise).all()
    path = archive(tmp_path / "zeros.npz", {"a.npy": npy(0 * noise)})
    with pytest.raises(StorageError, match="zeros.npz: unpacks to [0-9]* bytes, over 200 times"):
        read_arrays(path, expected, limit=limit)
    path = archive(tmp_path / "small.npz", {"a.npy": npy(0 * noise[: 63 << 20])})
    assert not read_arrays(path, expected, limit=limit)["a"].any()


def test_all_arrays_together_are_bounded(tmp_path: Path) -> None:
    blob = npy(np.zeros(1 << 20, np.int8))
    path = archive(tmp_path / "a.npz", {f"{name}.npy": blob for name in "abcd"})
    expected = dict.fromkeys("abcd", ANY)
    with pytest.raises(StorageError, match="unpacks to"):
        read_arrays(path, expected, limit=2 << 20)
    assert len(read_arrays(path, expected, limit=4 << 20)) == 4


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    blob = npy(np.zeros(8, np.int8))
    for old, new in ((b"(8,)", b"(9,)"), (b"(8,), ", b"(800,)"), (b"(8,)", b"(7,)")):
        path = archive(tmp_path / "a.npz", {"a.npy": blob.replace(old, new)})
        assert "is not an .npz file, or is damaged" in refusal(path)
    huge = blob[:6] + b"\2\0" + (1 << 31).to_bytes(4, "little") + blob[10:]
    assert "its header has 2147483648 bytes" in refusal(archive(path, {"a.npy": huge}))


def test_lengths_whose_product_wraps_around(tmp_path: Path) -> None:
    blob = npy(np.zeros((1, 1), np.int8))
    wrapped = blob.replace(b"(1, 1), }" + 34 * b" ", b"(4294967296, 4294967296), }" + 16 * b" ")
    assert wrapped != blob
    assert "takes 18446744073709551616 bytes" in refusal(
        archive(tmp_path / "a.npz", {"a.npy": wrapped})
    )


def test_objects_and_structures_are_refused(tmp_path: Path) -> None:
    texts = np.array(["a"])
    objects = np.array([{}], object)
    fields = np.zeros(2, [("x", "i4"), ("y", "i4")])
    dates = np.zeros(2, "M8[s]")
    for array in (objects, fields, dates):
        assert "is not that of a plain array" in refusal(
            archive(tmp_path / "a.npz", {"a.npy": npy(array)})
        )
    path = archive(tmp_path / "a.npz", {"a.npy": npy(texts)})
    assert refusal(path) == ": a: must hold booleans or integers or floats, not <U1"


def test_shape_and_kind_are_compared(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"a.npy": npy(np.zeros((2, 3)))})
    assert refusal(path, ArraySpec("iu")) == ": a: must hold integers, not float64"
    assert refusal(path, ArraySpec("f", (2, 4))) == ": a: must be [2, 4], not [2, 3]"
    assert refusal(path, ArraySpec("f", (None,))) == ": a: must be [any], not [2, 3]"
    assert read_arrays(path, {"a": ArraySpec("f", (None, 3))}, limit=48)["a"].shape == (2, 3)


@pytest.mark.parametrize("name", ["../a.npy", "a", "b.npy", "a.npy/", "x/a.npy", "a.NPY"])
def test_members_of_other_names_are_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.npz", {name: b"", "a.npy": npy(np.zeros(1))})
    assert refusal(path) == f": holds {name!r}; expected once each: a"


def test_members_twice_and_too_many(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy(np.zeros(1)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", npy(np.zeros(1)))
    assert "expected once each: a" in refusal(path)
    many = archive(path, {f"{n}.npy": b"" for n in range(65)})
    assert refusal(many) == ": holds 65 arrays, at most 64 are allowed"
    assert refusal(archive(path, {})) == ": lacks the array 'a'"


def test_others_are_passed_over(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"b.npy": b"?", "a.npy": npy(np.ones(1)), "../c": b""})
    assert list(read_arrays(path, {"a": ANY}, limit=8, others=True)) == ["a"]


def test_one_format_in_the_place_of_the_other(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "b.npz")
    assert "is not an .npz file, or is damaged" in refusal(tmp_path / "b.npz")
    path = archive(tmp_path / "c.npy", {"a.npy": npy(np.zeros(3))})
    with pytest.raises(StorageError, match="is not an .npy file of one plain array"):
        read_array(path, ANY, limit=1000)


def test_what_is_no_file(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device", "."):
        assert "is not a file" in refusal(tmp_path / name)
    assert refusal(tmp_path / "no") == ": cannot be read (No such file or directory)"
    assert refusal(tmp_path / ("n" * 300)) == ": cannot be read (File name too long)"
    (tmp_path / "large").write_bytes(bytes(2 << 20))
    assert "has 2097152 bytes; arrays of at most 1000 are allowed" in refusal(tmp_path / "large")
