"""Data sets behind one interface: digits, MNIST, Fashion-MNIST, CIFAR-10/100 and npz."""

from __future__ import annotations

import gzip
import math
import os
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsim.config.training import DataConfig
from hwsim.errors import DataError, HwsimWarning, StorageError
from hwsim.files import ArraySpec, read_arrays

LIMIT = 4 << 30
"""Bytes of a data set's file, unpacked."""
_IDX_FILES = {
    "train_x": "train-images-idx3-ubyte",
    "train_y": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte",
    "test_y": "t10k-labels-idx1-ubyte",
}
_SYSTEM_FOLDERS = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
_CIFAR = {
    # set: label bytes before each picture, classes, training files, test files, usual folder
    "cifar10": (1, 10, [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"],
                "cifar-10-batches-bin"),
    "cifar100": (2, 100, ["train.bin"], ["test.bin"], "cifar-100-binary"),
}  # fmt: skip
_HELP = {
    "mnist": "the four MNIST IDX files (train-images-idx3-ubyte, ..., with or without .gz)",
    "fashion_mnist": "the four Fashion-MNIST IDX files (train-images-idx3-ubyte, ..., with or "
    "without .gz; Debian: apt install dataset-fashion-mnist)",
    "cifar10": "the CIFAR-10 binary version (data_batch_1.bin .. 5.bin, test_batch.bin)",
    "cifar100": "the CIFAR-100 binary version (train.bin, test.bin)",
}


_COLOURS = 4
"""Most channels of pictures as photographs have them."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures [count, channels, height, width] uint8 0..255, labels [count] int64 0..classes-1.

    One-dimensional signals have height 1. At least two pictures to train on and two classes.
    Construction checks shapes, types and labels; raises DataError.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: int

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            if x.dtype != np.uint8 or x.ndim != 4 or 0 in x.shape:
                scaled = " (scale floats to 0..255 and round)" if x.dtype.kind == "f" else ""
                raise DataError(
                    f"{self.name}: {part}_x must be uint8 [count, channels, height, width], "
                    f"not {x.dtype} {list(x.shape)}{scaled}"
                )
            if x.shape[3] <= _COLOURS < min(x.shape[1:3]):
                raise DataError(
                    f"{self.name}: {part}_x {list(x.shape)} has its channels last; it must be "
                    "[count, channels, height, width] (numpy.moveaxis(x, -1, 1))"
                )
            if y.dtype != np.int64 or y.shape != (len(x),):
                raise DataError(
                    f"{self.name}: {part}_y must be int64 [{len(x)}], not {y.dtype} {list(y.shape)}"
                )
            if y.min() < 0 or y.max() >= self.classes:
                raise DataError(
                    f"{self.name}: {part}_y must be 0..{self.classes - 1}, not {y.min()}..{y.max()}"
                )
        if len(self.train_x) < 2:
            raise DataError(f"{self.name}: train_x must hold at least 2 pictures, not 1")
        if self.classes < 2:
            raise DataError(f"{self.name}: there must be at least 2 classes, not {self.classes}")
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise DataError(
                f"{self.name}: train_x and test_x must hold pictures of one shape, "
                f"not {list(self.train_x.shape[1:])} and {list(self.test_x.shape[1:])}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one picture."""
        return self.train_x.shape[1:]


def _listed(numbers: np.ndarray) -> str:
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return ", ".join(str(number) for number in numbers[:5]) + more


def warn_of_empty_classes(data: Dataset) -> None:
    """Warn of classes that have no picture to train on."""
    empty = np.flatnonzero(np.bincount(data.train_y, minlength=data.classes) == 0)
    if empty.size:
        hint = " (do the labels start at 1?)" if empty.tolist() == [0] else ""
        warnings.warn(
            f"{data.name}: no picture to train on is of class {_listed(empty)}{hint}",
            HwsimWarning,
            stacklevel=3,
        )


def load_data(config: DataConfig) -> Dataset:
    """Load the data set of ``config``; raises DataError saying which file goes where."""
    if config.set == "digits":
        return _digits()
    if config.set == "npz":
        assert config.path is not None
        return _npz(Path(config.path))
    if config.set in _CIFAR:
        return _cifar(config)
    return _idx_set(config)


def _digits() -> Dataset:
    """scikit-learn's 1,797 digits, 8 x 8: every fifth picture of each class is for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, np.newaxis]
    y = bunch.target.astype(np.int64)
    test = np.zeros(len(y), bool)
    for digit in range(10):
        test[np.flatnonzero(y == digit)[4::5]] = True
    return Dataset("digits", x[~test], y[~test], x[test], y[test], 10)


def _folder(config: DataConfig, names: list[list[str]], usual: str) -> Path:
    """First usual place that holds, for each entry of ``names``, one of its spellings."""
    if config.path is not None:
        places = [Path(config.path), Path(config.path) / usual]
    else:
        roots = [Path(os.environ["HWSIM_DATA"])] if os.environ.get("HWSIM_DATA") else []
        roots.append(Path("data"))
        places = [root / sub for root in roots for sub in (config.set, usual)]
        if config.set in _SYSTEM_FOLDERS:
            places.append(_SYSTEM_FOLDERS[config.set])
    places = list(dict.fromkeys(places))
    for place in places:
        if all(any((place / name).is_file() for name in spellings) for spellings in names):
            return place
    for place in places:
        missing = [s[0] for s in names if not any((place / n).is_file() for n in s)]
        if len(missing) < len(names):
            raise DataError(f"{config.set}: {place} lacks {', '.join(missing)}")
    tried = ", ".join(str(place) for place in places)
    raise DataError(
        f"{config.set} not found: put {_HELP[config.set]} into {places[0]} "
        f"or set data.path or HWSIM_DATA (looked in {tried})"
    )


def _read(path: Path, count: int = -1) -> bytes:
    """The first ``count`` bytes, or all of a file that may have LIMIT; unpacked where it ends in
    .gz. Raises DataError."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: is not a file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            blob = file.read(LIMIT + 1 if count < 0 else count)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read or is truncated ({error})") from None
    if len(blob) > LIMIT:
        raise DataError(f"{path}: has more than {LIMIT} bytes")
    return blob


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes, gzipped when it ends in .gz; raises DataError."""
    head = _read(path, 20)
    if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
        raise DataError(f"{path}: is not an IDX file of unsigned bytes")
    header = 4 + 4 * head[3]
    shape = [int.from_bytes(head[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + math.prod(shape)
    if expected > LIMIT:
        raise DataError(f"{path}: its header asks for {expected} bytes, at most {LIMIT} are read")
    # One byte more tells whether there are more.
    blob = _read(path, expected + 1)
    if len(blob) != expected:
        size = len(blob) if len(blob) < expected else "more"
        raise DataError(f"{path}: has {size} bytes, its header asks for {expected}")
    return np.frombuffer(blob, np.uint8, offset=header).reshape(shape)


def _idx_set(config: DataConfig) -> Dataset:
    names = [[name, f"{name}.gz"] for name in _IDX_FILES.values()]
    folder = _folder(config, names, config.set.replace("_", "-"))
    arrays = {}
    for key, name in _IDX_FILES.items():
        path = folder / name
        path = path if path.is_file() else folder / f"{name}.gz"
        array = read_idx(path)
        if array.ndim != (3 if key.endswith("x") else 1):
            raise DataError(f"{path}: has {array.ndim} dimensions, {key} needs another number")
        arrays[key] = array[:, np.newaxis] if key.endswith("x") else array.astype(np.int64)
    return Dataset(config.set, classes=10, **arrays)


def _cifar(config: DataConfig) -> Dataset:
    labels, classes, train, test, usual = _CIFAR[config.set]
    folder = _folder(config, [[name] for name in train + test], usual)
    size = labels + 3 * 32 * 32

    def records(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for name in names:
            blob = _read(folder / name)
            if not blob or len(blob) % size:
                raise DataError(
                    f"{folder / name}: has {len(blob)} bytes, not a multiple of {size} "
                    f"({config.set} binary version)"
                )
            parts.append(np.frombuffer(blob, np.uint8).reshape(-1, size))
        rows = np.concatenate(parts)
        # CIFAR-100 gives the coarse label first, the fine one last.
        return rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, labels - 1].astype(np.int64)

    return Dataset(config.set, *records(train), *records(test), classes)


def _npz(path: Path) -> Dataset:
    """``.npz`` with train_x, train_y, test_x, test_y; pictures may lack the channel axis."""
    if not path.exists():
        raise DataError(
            f"npz not found: put a file with train_x, train_y, test_x, test_y at {path}"
        )
    pictures, labels = ArraySpec("biuf"), ArraySpec("iu", (None,))
    expected = {key: pictures if key.endswith("x") else labels for key in _IDX_FILES}
    try:
        arrays = read_arrays(path, expected, limit=LIMIT, others=True)
    except StorageError as error:
        raise DataError(str(error)) from None
    for key in ("train_x", "test_x"):
        if arrays[key].ndim == 3:
            arrays[key] = arrays[key][:, np.newaxis]
    for key in ("train_y", "test_y"):
        arrays[key] = arrays[key].astype(np.int64)
    classes = int(arrays["train_y"].max(initial=0)) + 1
    return Dataset(path.stem, classes=classes, **arrays)
