"""Puts a chip's errors into integer arrays, and takes them out again.

An array element holds one memory word of 1 to 16 bits, two's complement where it is signed. What is
read is ``((stored & keep) | put) ^ flip``, masks that only words with failing cells have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.faults.chip import ChipError, FaultList
from hwsim.jit import njit

_UNSIGNED: dict[int, np.dtype] = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16)}


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of the words that have failing cells.

    word: int64 [faulty], ascending. keep, put, flip: [faulty], unsigned of the array's item
    size. bits: width of a word. words: of the whole memory.
    """

    word: np.ndarray
    keep: np.ndarray
    put: np.ndarray
    flip: np.ndarray
    bits: int
    words: int

    def __len__(self) -> int:
        return len(self.word)


def make_masks(faults: FaultList, dtype: np.dtype | type) -> Masks:
    """Masks for arrays of ``dtype`` (8 or 16 bits, signed or not) that hold one word per element.

    Raises ChipError for another type and for words that do not fit into it.
    """
    size = _item_size(np.dtype(dtype))
    if faults.bits > 8 * size:
        raise ChipError(f"words of {faults.bits} bits do not fit into {np.dtype(dtype)}")
    unsigned = _UNSIGNED[size]
    word, at = np.unique(faults.word, return_inverse=True)
    one = (np.ones(len(faults), np.uint32) << faults.bit.astype(np.uint32)).astype(unsigned)
    keep = ~np.zeros(len(word), unsigned)
    put, flip = np.zeros(len(word), unsigned), np.zeros(len(word), unsigned)
    stuck, flips = faults.reads >= 0, faults.reads < 0
    np.bitwise_and.at(keep, at[stuck], ~one[stuck])
    np.bitwise_or.at(put, at[faults.reads == 1], one[faults.reads == 1])
    np.bitwise_or.at(flip, at[flips], one[flips])
    return Masks(word, keep, put, flip, faults.bits, faults.words)


def inject(array: np.ndarray, masks: Masks) -> np.ndarray:
    """Let ``array`` be read with errors, in place; returns what was stored, for ``undo``.

    array: C-contiguous, one element per word, of the type that the masks were made for. Values
    must fit the words' bits. Raises ChipError when the array does not match.
    """
    flat = _flat(array, masks)
    stored = np.empty(len(masks), flat.dtype)
    extend = 8 * array.itemsize - masks.bits if array.dtype.kind == "i" else -1
    _inject(flat, masks.word, masks.keep, masks.put, masks.flip, extend, stored)
    return stored


def undo(array: np.ndarray, masks: Masks, stored: np.ndarray) -> None:
    """Put back what ``inject`` returned."""
    _flat(array, masks)[masks.word] = stored


def _item_size(dtype: np.dtype) -> int:
    if dtype.kind not in "iu" or dtype.itemsize not in _UNSIGNED:
        raise ChipError(f"arrays must be of 8 or 16 bit integers, not {dtype}")
    return dtype.itemsize


def _flat(array: np.ndarray, masks: Masks) -> np.ndarray:
    """The words as unsigned integers, sharing memory with ``array``."""
    size = _item_size(array.dtype)
    if masks.keep.dtype != _UNSIGNED[size]:
        raise ChipError(f"masks were made for {masks.keep.dtype.itemsize} byte words, not {size}")
    if array.size != masks.words:
        raise ChipError(f"array must have {masks.words} elements, not {array.size}")
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ChipError("array must be C-contiguous and writeable")
    return array.view(_UNSIGNED[size]).reshape(-1)


@njit
def _inject(flat, word, keep, put, flip, extend, stored):  # type: ignore[no-untyped-def]
    """extend: bits above the word in a signed element, -1 for unsigned ones."""
    for i in range(len(word)):
        value = flat[word[i]]
        stored[i] = value
        read = ((value & keep[i]) | put[i]) ^ flip[i]
        if extend > 0:
            # The word's highest bit is the sign, whose copies lie above it.
            width = 8 * flat.itemsize - extend
            sign = (int(read) >> (width - 1)) & 1
            low = int(read) & ((1 << width) - 1)
            read = low - (sign << width)
        flat[word[i]] = read
    return stored
