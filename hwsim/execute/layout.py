"""How a block of images of one tensor lies in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.execute.kernels import LANES, PIXELS
from hwsim.network import TensorType

Storage = type[np.signedinteger]

STORAGE: tuple[Storage, ...] = (np.int8, np.int16, np.int32, np.int64)
"""Types of tensors and accumulators; only signed types, so that there are few kernels."""


def storage_for(lo: int, hi: int) -> Storage:
    """Narrowest signed NumPy type that holds ``lo..hi``."""
    for dtype in STORAGE:
        info = np.iinfo(dtype)
        if info.min <= lo and hi <= info.max:
            return dtype
    raise ValueError(f"{lo}..{hi} does not fit 64 bits")


def fits_32(lo: int, hi: int) -> bool:
    """Whether 32 bits, signed, hold ``lo..hi``."""
    return storage_for(lo, hi) is not np.int64


@dataclass(frozen=True)
class Layout:
    """A block [channels, rows, columns, LANES] with ``pad`` zeros around each channel.

    type: shape and range of the tensor. dtype: type of an element. pad: (vertical, horizontal),
    the largest that any reader needs. stride: largest horizontal stride of any reader, which
    decides how far a tile of output pixels that sticks out of its row reads past the end.
    """

    type: TensorType
    dtype: Storage
    pad: tuple[int, int] = (0, 0)
    stride: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """With borders: (channels, rows, columns, LANES)."""
        return (
            self.type.channels,
            self.type.height + 2 * self.pad[0],
            self.type.width + 2 * self.pad[1],
            LANES,
        )

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return self.shape[2] * LANES

    @property
    def channel(self) -> int:
        """Elements from one channel to the next."""
        return self.shape[1] * self.row

    @property
    def first(self) -> int:
        """Index of the first element inside the borders."""
        return self.pad[0] * self.row + self.pad[1] * LANES

    def offset(self, channel: Any, dy: Any, dx: Any, pad: tuple[int, int] = (0, 0)) -> Any:
        """Index of element (dy, dx) of a reader's window for output (0, 0), if it pads by ``pad``.

        channel, dy, dx: integers or arrays of them.
        """
        y, x = self.pad[0] - pad[0] + dy, self.pad[1] - pad[1] + dx
        return channel * self.channel + y * self.row + x * LANES

    def allocate(self) -> np.ndarray:
        """A flat zeroed buffer, aligned to a cache line, with room to read past the end."""
        count = int(np.prod(self.shape)) + PIXELS * self.stride * LANES
        size = count * np.dtype(self.dtype).itemsize
        memory = np.zeros(size + 64, np.uint8)
        skip = -memory.ctypes.data % 64
        return memory[skip : skip + size].view(self.dtype)

    def inside(self, flat: np.ndarray) -> np.ndarray:
        """View [channels, height, width, LANES] of a buffer, without its borders."""
        whole = flat[: int(np.prod(self.shape))].reshape(self.shape)
        y, x = self.pad
        return whole[:, y : y + self.type.height, x : x + self.type.width]

    def write(self, flat: np.ndarray, images: np.ndarray) -> None:
        """Fill a buffer from images [at most LANES, channels, height, width]."""
        self.inside(flat)[..., : len(images)] = images.transpose(1, 2, 3, 0)

    def read(self, flat: np.ndarray, count: int) -> np.ndarray:
        """The first ``count`` images of a buffer, as a view [count, channels, height, width]."""
        return self.inside(flat)[..., :count].transpose(3, 0, 1, 2)
