"""Data sets: formats, the usual places, and errors that say what is wrong with which file."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from hwsim.config.training import DataConfig
from hwsim.errors import DataError, HwsimWarning
from hwsim.models.data import Dataset, load_data, warn_of_empty_classes

IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim])
    return header + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_idx_set(folder: Path, *, zipped: bool = False) -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = []
    for name in IDX:
        count = 6 if name.startswith("train") else 4
        shape = (count, 28, 28) if "images" in name else (count,)
        arrays.append(rng.integers(0, 10, shape, dtype=np.uint8))
        blob = idx(arrays[-1])
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(blob))
        else:
            (folder / name).write_bytes(blob)
    return arrays


def test_digits_split_is_fixed_and_stratified():
    data = load_data(DataConfig())
    assert data.shape == (1, 8, 8)
    assert (len(data.train_x), len(data.test_x)) == (1442, 355)
    assert data.train_x.max() == 255
    assert data.train_x.min() == 0
    share = np.bincount(data.test_y) / np.bincount(np.r_[data.train_y, data.test_y])
    assert share.min() > 0.19
    assert share.max() <= 0.2
    assert np.array_equal(load_data(DataConfig()).test_x, data.test_x)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx(tmp_path, zipped, name):
    arrays = write_idx_set(tmp_path, zipped=zipped)
    data = load_data(DataConfig(set=name, path=str(tmp_path)))
    assert data.classes == 10
    assert np.array_equal(data.train_x[:, 0], arrays[0])
    assert np.array_equal(data.test_y, arrays[3])
    assert data.test_y.dtype == np.int64


def test_usual_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HWSIM_DATA", raising=False)
    write_idx_set(tmp_path / "data" / "mnist")
    assert len(load_data(DataConfig(set="mnist")).train_x) == 6
    monkeypatch.setenv("HWSIM_DATA", str(tmp_path / "elsewhere"))
    assert len(load_data(DataConfig(set="mnist")).train_x) == 6
    arrays = write_idx_set(tmp_path / "elsewhere" / "mnist")
    (tmp_path / "data" / "mnist" / IDX[0]).unlink()
    assert np.array_equal(load_data(DataConfig(set="mnist")).train_x[:, 0], arrays[0])


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_missing_set_says_what_goes_where(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HWSIM_DATA", raising=False)
    with pytest.raises(DataError, match=rf"{name} not found: put .* into data/{name} or set "):
        load_data(DataConfig(set=name))


def test_incomplete_set_names_the_missing_file(tmp_path):
    write_idx_set(tmp_path)
    (tmp_path / IDX[3]).unlink()
    with pytest.raises(DataError, match=rf"{tmp_path} lacks {IDX[3]}"):
        load_data(DataConfig(set="mnist", path=str(tmp_path)))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "is not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01", "is not an IDX file of unsigned bytes"),
        (idx(np.zeros((6, 28, 28), np.uint8))[:-1], "its header asks for 4720"),
        (idx(np.zeros((6, 28, 28), np.uint8)) + b"\0", "its header asks for 4720"),
        (b"\0\0\x08\x03" + 12 * b"\xff", "at most 4294967296 are read"),
        (idx(np.zeros(6, np.uint8)), "has 1 dimensions"),
        (idx(np.zeros((5, 28, 28), np.uint8)), r"train_y must be int64 \[5\]"),
    ],
)
def test_malformed_idx(tmp_path, blob, message):
    write_idx_set(tmp_path)
    (tmp_path / IDX[0]).write_bytes(blob)
    with pytest.raises(DataError, match=message):
        load_data(DataConfig(set="mnist", path=str(tmp_path)))


def test_truncated_gzip(tmp_path):
    write_idx_set(tmp_path, zipped=True)
    path = tmp_path / f"{IDX[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is truncated"):
        load_data(DataConfig(set="mnist", path=str(tmp_path)))


def test_label_out_of_range(tmp_path):
    write_idx_set(tmp_path)
    (tmp_path / IDX[1]).write_bytes(idx(np.full(6, 10, np.uint8)))
    with pytest.raises(DataError, match=r"train_y must be 0\.\.9, not 10\.\.10"):
        load_data(DataConfig(set="mnist", path=str(tmp_path)))


@pytest.mark.parametrize(("name", "labels", "files"), [("cifar10", 1, 6), ("cifar100", 2, 2)])
def test_cifar_binary_version(tmp_path, name, labels, files):
    names = {
        "cifar10": [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"],
        "cifar100": ["train.bin", "test.bin"],
    }[name]
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 10, (files, 3, labels + 3072), dtype=np.uint8)
    for file, part in zip(names, rows, strict=True):
        (tmp_path / file).write_bytes(part.tobytes())
    data = load_data(DataConfig(set=name, path=str(tmp_path)))
    assert data.shape == (3, 32, 32)
    assert data.classes == (10 if name == "cifar10" else 100)
    assert np.array_equal(data.test_x.reshape(3, -1), rows[-1, :, labels:])
    assert np.array_equal(data.test_y, rows[-1, :, labels - 1])
    assert np.array_equal(data.train_y, rows[:-1, :, labels - 1].ravel())
    (tmp_path / names[0]).write_bytes(rows[0].tobytes()[:-1])
    with pytest.raises(DataError, match=f"not a multiple of {labels + 3072}"):
        load_data(DataConfig(set=name, path=str(tmp_path)))


def npz_arrays() -> dict[str, np.ndarray]:
    x = np.arange(2 * 5 * 7, dtype=np.uint8).reshape(2, 5, 7)
    y = np.array([0, 1])
    return {"train_x": x, "train_y": y, "test_x": x, "test_y": y}


def test_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **npz_arrays())
    data = load_data(DataConfig(set="npz", path=str(path)))
    assert (data.name, data.shape, data.classes) == ("mine", (1, 5, 7), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_y": None}, "lacks the array 'test_y'"),
        ({"train_x": np.zeros((2, 5, 7))}, r"train_x must be uint8 .*\(scale floats to 0..255"),
        (
            {"train_x": np.zeros((2, 32, 32, 3), np.uint8)},
            r"train_x \[2, 32, 32, 3\] has its channels last; it must be \[count, channels, ",
        ),
        (
            {"test_x": np.zeros((2, 9, 7, 1), np.uint8), "train_x": np.zeros((2, 9, 7), np.uint8)},
            r"test_x \[2, 9, 7, 1\] has its channels last",
        ),
        (
            {"train_x": np.zeros((1, 5, 7), np.uint8), "train_y": np.array([1])},
            "train_x must hold at least 2 pictures, not 1",
        ),
        ({"train_y": np.zeros(2, int), "test_y": np.zeros(2, int)}, "at least 2 classes, not 1"),
        ({"train_y": np.array([0.0, np.nan])}, "train_y: must hold integers, not float64"),
        ({"train_y": np.array([0, -1])}, r"train_y must be 0\.\.0, not -1\.\.0"),
        ({"train_y": np.zeros(2)}, "train_y: must hold integers, not float64"),
        ({"test_y": np.array([0, 4])}, r"test_y must be 0\.\.1, not 0\.\.4"),
        ({"test_x": np.zeros((2, 5, 6), np.uint8)}, "pictures of one shape"),
        ({"test_x": np.array([{}, {}], object)}, "is not an .npz file, or is damaged"),
    ],
)
def test_malformed_npz(tmp_path, change, message):
    path = tmp_path / "mine.npz"
    arrays = {k: v for k, v in {**npz_arrays(), **change}.items() if v is not None}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message):
        load_data(DataConfig(set="npz", path=str(path)))


def test_npz_with_more_in_it(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **npz_arrays(), valid_x=np.array([{}], object), allow_pickle=True)
    assert load_data(DataConfig(set="npz", path=str(path))).classes == 2


def test_gzip_that_unpacks_to_more_than_its_header_says(tmp_path):
    """What follows the pictures is not unpacked, so it takes no memory."""
    arrays = write_idx_set(tmp_path, zipped=True)
    path = tmp_path / f"{IDX[0]}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(idx(arrays[0]))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="has more bytes, its header asks for 4720"):
            load_data(DataConfig(set="mnist", path=str(tmp_path)))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("blob", [b"", b"PK\x03\x04 nonsense", b"\x93NUMPY"])
def test_npz_that_is_none(tmp_path, blob):
    path = tmp_path / "mine.npz"
    path.write_bytes(blob)
    with pytest.raises(DataError, match="is not an .npz file, or is damaged"):
        load_data(DataConfig(set="npz", path=str(path)))


def test_missing_npz(tmp_path):
    with pytest.raises(DataError, match="npz not found: put a file with train_x"):
        load_data(DataConfig(set="npz", path=str(tmp_path / "none.npz")))
    with pytest.raises(ValidationError, match="path must name"):
        DataConfig(set="npz")


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([1, 2], r"^mine: no picture to train on is of class 0 \(do the labels start at 1\?\)$"),
        ([0, 3], r"^mine: no picture to train on is of class 1, 2$"),
        ([0, 9], r"of class 1, 2, 3, 4, 5 and 3 more$"),
    ],
)
def test_classes_without_a_picture(tmp_path, labels, line):
    np.savez(tmp_path / "mine.npz", **{**npz_arrays(), "train_y": np.array(labels)})
    data = load_data(DataConfig(set="npz", path=str(tmp_path / "mine.npz")))
    with pytest.warns(HwsimWarning, match=line):
        warn_of_empty_classes(data)
    assert data.classes == labels[1] + 1


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 3, 32, 2), (2, 6, 1, 3), (2, 4, 4, 4)])
def test_channels_first_is_not_taken_for_last(shape):
    x, y = np.zeros(shape, np.uint8), np.array([0, 1])
    assert Dataset("d", x, y, x, y, 2).shape == shape[1:]


def test_dataset_checks_itself():
    x, y = np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64)
    with pytest.raises(DataError, match="test_x must be uint8"):
        Dataset("d", x, y, x[0], y, 2)
