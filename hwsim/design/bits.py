"""Words as integers and as rows of bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bits_to_ints(bits: np.ndarray) -> list[int]:
    """One integer per row of ``bits`` [rows, width], least significant bit first."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def ints_to_bits(values: Sequence[int], width: int) -> np.ndarray:
    """The inverse of ``bits_to_ints``: uint8 0/1 [values, width]; higher bits are dropped."""
    size = -(-width // 8)
    mask = (1 << width) - 1
    blob = b"".join((int(value) & mask).to_bytes(size, "little") for value in values)
    packed = np.frombuffer(blob, np.uint8).reshape(len(values), size)
    return np.unpackbits(packed, axis=1, count=width, bitorder="little")
