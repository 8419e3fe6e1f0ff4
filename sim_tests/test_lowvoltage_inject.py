"""Errors in arrays: bit by bit what the fault list says, and gone again after undo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.lowvoltage import Chip, FaultModel, load_technology
from hwsim.lowvoltage.chip import ChipError, FaultList
from hwsim.lowvoltage.inject import Masks, inject, make_masks, undo

SRAM = load_technology("sram_14nm")


def read_bit_by_bit(value: int, bits: int, signed: bool, faults: dict[int, int]) -> int:
    """What a word reads: every bit by itself."""
    pattern = value & ((1 << bits) - 1)
    out = 0
    for n in range(bits):
        bit = pattern >> n & 1
        reads = faults.get(n)
        if reads is not None:
            bit = 1 - bit if reads < 0 else reads
        out |= bit << n
    return out - (1 << bits) if signed and out >> (bits - 1) else out


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1000),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    words=st.integers(1, 60),
    p=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    kind=st.sampled_from(["flip", "stuck"]),
    ones=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_word_reads_as_its_cells_do(
    seed: int, bits: int, signed: bool, words: int, p: float, kind: str, ones: float
) -> None:
    technology = SRAM.model_copy(update={"faults": FaultModel(kind=kind, ones=ones)})
    faults = Chip(technology, seed).faults_at("m", words, bits, p)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    before = np.random.default_rng(seed).integers(low, high, words).astype(dtype)
    array = before.copy()
    masks = make_masks(faults, dtype)
    stored = inject(array, masks)
    for n in range(words):
        mine = faults.word == n
        cells = dict(zip(faults.bit[mine].tolist(), faults.reads[mine].tolist(), strict=True))
        assert array[n] == read_bit_by_bit(int(before[n]), bits, signed, cells)
    undo(array, masks, stored)
    assert np.array_equal(array, before)


def test_an_array_of_any_shape() -> None:
    faults = Chip(SRAM, 1).faults_at("m", 24, 8, 0.3)
    flat = np.arange(24, dtype=np.uint8)
    cube = flat.reshape(2, 3, 4).copy()
    for array in (flat, cube):
        inject(array, make_masks(faults, np.uint8))
    assert np.array_equal(flat, cube.ravel())


def found(words: int = 6, bits: int = 8) -> FaultList:
    return Chip(SRAM, 1).faults_at("m", words, bits, 0.2)


@pytest.mark.parametrize(
    ("array", "faults", "message"),
    [
        (np.zeros(6), found(), "arrays must be of 8 or 16 bit integers, not float64"),
        (np.zeros(6, np.int8), found(bits=9), "words of 9 bits do not fit into int8"),
        (np.zeros(7, np.int8), found(), "array must have 6 elements, not 7"),
        (np.zeros((3, 4), np.int8)[:, ::2], found(), "array must be C-contiguous and writeable"),
    ],
)
def test_arrays_that_do_not_match(array: np.ndarray, faults: FaultList, message: str) -> None:
    with pytest.raises(ChipError) as caught:
        inject(array, make_masks(faults, array.dtype))
    assert str(caught.value) == message


def test_masks_of_another_width() -> None:
    with pytest.raises(ChipError, match="masks were made for 1 byte words, not 2"):
        inject(np.zeros(6, np.uint16), make_masks(found(), np.uint8))


def test_faults_out_of_order() -> None:
    faults = found()
    backwards = FaultList(
        faults.words,
        faults.bits,
        faults.word[::-1],
        faults.bit[::-1],
        faults.reads,
        faults.critical,
    )
    with pytest.raises(ChipError, match=r"faults must be in the order of \(word, bit\)"):
        make_masks(backwards, np.uint8)


def test_masks_for_every_word() -> None:
    """Any masks may be given for all words at once."""
    masks = make_masks(found(bits=7), np.int8)
    every = Masks(slice(None), np.full(6, 255, np.uint8), np.zeros(6, np.uint8), 7, 6)
    every.keep[masks.word], every.flip[masks.word] = masks.keep, masks.flip
    assert 0 < len(masks) < len(every) == 6
    array, other = np.arange(-3, 3, dtype=np.int8), np.arange(-3, 3, dtype=np.int8)
    inject(array, masks)
    stored = inject(other, every)
    assert np.array_equal(array, other)
    undo(other, every, stored)
    assert np.array_equal(other, np.arange(-3, 3))
