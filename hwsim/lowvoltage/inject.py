"""Puts errors into integer arrays, and takes them out again.

An array element holds one memory word of 1 to 16 bits, in two's complement if the type is signed.
The masks ``keep`` and ``flip`` (``hwsim.cells``) give the value that is read. Only words with
errors have masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.cells import read_cells, read_cells_jit
from hwsim.jit import njit
from hwsim.lowvoltage.chip import ChipError, FaultList
from hwsim.lowvoltage.transient import ALWAYS, errs_now

UNSIGNED: dict[int, np.dtype] = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16)}
"""Type of masks, by the bytes of an array element."""


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of the words with errors.

    word: int64 [faulty], ascending; or slice(None), if every word has masks. keep, flip:
    [faulty], unsigned of the array's item size. bits: width of a word. words: of the whole
    memory.
    """

    word: np.ndarray | slice
    keep: np.ndarray
    flip: np.ndarray
    bits: int
    words: int

    def __len__(self) -> int:
        return len(self.flip)


def make_masks(faults: FaultList, dtype: np.dtype | type, access: int | None = None) -> Masks:
    """Masks for arrays of ``dtype`` (8 or 16 bits, signed or not) that hold one word per element.

    access: if cells err in some accesses only, the number of the access that reads word 0;
    word i is read in access ``access + i`` (modulo 2**32), so reading the whole memory for the
    k-th time is ``access=k * faults.words``. Cells that always err ignore it.

    Where every write to a failing cell fails, the cell reads what it powered up as. Raises
    ChipError for another type, for words that do not fit into it, for faults that are not in the
    order of (word, bit), where ``access`` is missing, and where some writes fail: what is read
    then depends on earlier writes.
    """
    unsigned = mask_type(dtype, faults.bits)
    if faults.on_write and faults.errs < ALWAYS and len(faults):
        raise ChipError(
            "some writes fail: masks do not know what was written before; arrays that are written "
            "once read as the faults of FaultList.written_once()"
        )
    faults = faults.written_once()
    if faults.errs < ALWAYS and access is None:
        raise ChipError("cells err in some accesses only: masks need the number of an access")
    n = len(faults)
    word, keep, flip = np.empty(n, np.int64), np.empty(n, unsigned), np.empty(n, unsigned)
    numbers = [np.uint64(x % (1 << 32)) for x in (faults.errs, faults.key, access or 0)]
    count = _merge(faults.word, faults.bit, faults.reads, *numbers, word, keep, flip)
    if count < 0:
        raise ChipError("faults must be in the order of (word, bit), each cell once")
    return Masks(word[:count], keep[:count], flip[:count], faults.bits, faults.words)


def inject(array: np.ndarray, masks: Masks) -> np.ndarray:
    """Put errors into ``array``, in place; returns the stored values, for ``undo``.

    array: C-contiguous, one element per word, of the type that the masks were made for. Values
    must fit the words' bits. Returns an array of ``array``'s type, [faulty]. Raises ChipError
    if the array does not match.
    """
    flat = _flat(array, masks)
    copies = sign_copies(masks, array.dtype.kind == "i", array.itemsize)
    keep, flip = masks.keep.view(flat.dtype), masks.flip.view(flat.dtype)
    if isinstance(masks.word, slice):
        stored = flat.copy()
        flat[:] = read(flat, keep, flip, copies)
    else:
        stored = np.empty(len(masks), flat.dtype)
        _inject(flat, masks.word, keep, flip, copies, stored)
    return stored.view(array.dtype)


def undo(array: np.ndarray, masks: Masks, stored: np.ndarray) -> None:
    """Put the stored values back that ``inject`` returned."""
    flat = _flat(array, masks)
    if isinstance(masks.word, slice):
        flat[:] = stored.view(flat.dtype)
    else:
        _put(flat, masks.word, stored.view(flat.dtype))


def read(value: Any, keep: Any, flip: Any, copies: int) -> Any:
    """The values that words read, for signed arrays or tensors; ``copies``: ``sign_copies``."""
    seen = read_cells(value, keep, flip)
    return (seen << copies) >> copies if copies else seen


def sign_copies(masks: Masks, signed: bool, size: int) -> int:
    """Bits of an element of ``size`` bytes that copy the word's highest bit, its sign."""
    return 8 * size - masks.bits if signed else 0


def mask_type(dtype: np.dtype | type, bits: int) -> np.dtype:
    """Type of the masks for arrays of ``dtype``; raises ChipError unless ``bits`` fit into it."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu" or dtype.itemsize not in UNSIGNED:
        raise ChipError(f"arrays must be of 8 or 16 bit integers, not {dtype}")
    if not 1 <= bits <= 8 * dtype.itemsize:
        raise ChipError(f"words of {bits} bits do not fit into {dtype}")
    return UNSIGNED[dtype.itemsize]


def check_array(masks: Masks, dtype: np.dtype, size: int) -> None:
    """Raise ChipError unless the masks are for arrays of ``dtype`` with ``size`` elements."""
    if masks.flip.dtype != mask_type(dtype, masks.bits):
        raise ChipError(
            f"masks were made for {masks.flip.dtype.itemsize} byte words, not {dtype.itemsize}"
        )
    if size != masks.words:
        raise ChipError(f"array must have {masks.words} elements, not {size}")


def _flat(array: np.ndarray, masks: Masks) -> np.ndarray:
    """The words as signed integers, sharing memory with ``array``."""
    check_array(masks, array.dtype, array.size)
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ChipError("array must be C-contiguous and writeable")
    return array.view(f"i{array.itemsize}").reshape(-1)


@njit
def _merge(cell_word, cell_bit, reads, errs, key, access, word, keep, flip):  # type: ignore[no-untyped-def]
    """Masks of the cells that err, word by word; how many words, -1 if cells are not in order."""
    low, always = np.uint64(0xFFFFFFFF), np.uint64(ALWAYS)
    count, last_word, last_bit = 0, -1, -1
    for i in range(len(cell_word)):
        w, b = cell_word[i], cell_bit[i]
        if w < last_word or (w == last_word and b <= last_bit):
            return -1
        last_word, last_bit = w, b
        now = (access + np.uint64(w)) & low
        if errs < always and not errs_now(key, now, np.uint64(b), errs):
            continue
        if count == 0 or word[count - 1] != w:
            word[count], keep[count], flip[count] = w, ~keep.dtype.type(0), 0
            count += 1
        one = 1 << b
        if reads[i] >= 0:
            keep[count - 1] &= ~one
        if reads[i] != 0:
            flip[count - 1] |= one
    return count


@njit
def _inject(flat, word, keep, flip, copies, stored):  # type: ignore[no-untyped-def]
    """As ``read``, for single words."""
    shift = 64 - 8 * flat.itemsize + copies
    for i in range(np.uintp(len(word))):
        at = np.uintp(word[i])
        value = flat[at]
        stored[i] = value
        seen = np.int64(read_cells_jit(value, keep[i], flip[i]))
        if copies:
            seen = (seen << shift) >> shift
        flat[at] = seen


@njit
def _put(flat, word, stored):  # type: ignore[no-untyped-def]
    for i in range(np.uintp(len(word))):
        flat[np.uintp(word[i])] = stored[i]
