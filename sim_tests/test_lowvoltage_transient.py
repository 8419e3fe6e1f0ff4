"""Errors that come and go: in the accesses that the formula says, and as often as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from support.bernoulli import TAIL, assert_count, check_bernoulli

from hwsim.lowvoltage import Chip, FaultModel, load_technology
from hwsim.lowvoltage.chip import ChipError, FaultList
from hwsim.lowvoltage.inject import inject, make_masks
from hwsim.lowvoltage.transient import errs_now, transient_key

SRAM = load_technology("sram_14nm")
M = (1 << 32) - 1


def by_formula(key: int, access: int, bit: int, errs: int) -> bool:
    """The documented formula, in Python's integers."""
    x = (access * 0x9E3779B9 + (key ^ (bit // 4 * 0x85EBCA6B & M))) & M
    x = (x ^ x >> 16) * 0x7FEB352D & M
    x = (x ^ x >> 15) * 0x846CA68B & M
    x ^= x >> 16
    return x.to_bytes(4, "little")[bit % 4] < errs


@given(
    key=st.integers(0, M),
    access=st.integers(0, M),
    bit=st.integers(0, 1023),
    errs=st.integers(1, 256),
)
def test_kernel_follows_the_formula(key: int, access: int, bit: int, errs: int) -> None:
    assert errs_now(*map(np.uint64, (key, access, bit, errs))) == by_formula(key, access, bit, errs)


def errors(key: int, first: int, accesses: int, bits: int, errs: int) -> np.ndarray:
    """Which of the cells err, bool [accesses, bits]."""
    return np.array(
        [
            [errs_now(np.uint64(key), np.uint64(a), np.uint64(b), np.uint64(errs))
             for b in range(bits)]
            for a in range(first, first + accesses)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("errs", [1, 26, 128, 255])
def test_cells_err_independently_in_their_share_of_accesses(errs: int) -> None:
    accesses, bits = 1 << 13, 16
    found = errors(transient_key(5, "m"), 1 << 20, accesses, bits, errs)
    assert_count(int(found.sum()), found.size, errs / 256)
    for bit in range(bits):
        assert_count(int(found[:, bit].sum()), accesses, errs / 256)
    check_bernoulli(*np.nonzero(found), accesses, bits, errs / 256)
    # The lanes of one hash, and those of two.
    for a, b in ((0, 1), (0, 3), (2, 6), (3, 4)):
        together = np.bincount(2 * found[:, a] + found[:, b], minlength=4)
        p = errs / 256
        shares = np.array([(1 - p) ** 2, p * (1 - p), p * (1 - p), p * p])
        seen = shares * accesses >= 5
        observed = np.append(together[seen], together[~seen].sum())
        expected = np.append(shares[seen], shares[~seen].sum()) * accesses
        assert chisquare(observed[expected > 0], expected[expected > 0]).pvalue > TAIL


def test_keys_tell_memories_banks_and_chips_apart() -> None:
    keys = {
        transient_key(seed, memory, bank)
        for seed in (1, 12)
        for memory in ("a", "2 a")
        for bank in (0, 1)
    }
    assert len(keys) == 8
    base = errors(transient_key(1, "a"), 0, 4096, 8, 64)
    for key in (transient_key(1, "b"), transient_key(2, "a"), transient_key(1, "a", 1)):
        assert_count(int((base & errors(key, 0, 4096, 8, 64)).sum()), base.size, 1 / 16)


def test_errs_of_technologies() -> None:
    assert FaultModel().errs == 256
    assert FaultModel(persistence=0.1).errs == 26
    assert FaultModel(persistence=1 / 256).errs == 1


# --- in arrays


def faults(persistence: float, words: int, bits: int, kind: str = "flip") -> FaultList:
    model = FaultModel(kind=kind, persistence=persistence)
    return Chip(SRAM.model_copy(update={"faults": model}), 3).faults_at("m", words, bits, 0.3)


@settings(max_examples=100)
@given(
    words=st.integers(1, 40),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    kind=st.sampled_from(["flip", "stuck"]),
    persistence=st.sampled_from([1 / 256, 0.3, 0.9, 1.0]),
    access=st.sampled_from([0, 1, 1000, M - 5, M, M + 1]),
)
def test_an_array_is_read_access_after_access(
    words: int, bits: int, signed: bool, kind: str, persistence: float, access: int
) -> None:
    listed = faults(persistence, words, bits, kind)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    stored = np.random.default_rng(1).integers(low, high, words).astype(dtype)
    expected = [int(value) & ((1 << bits) - 1) for value in stored]
    for word, bit, reads in zip(listed.word, listed.bit, listed.reads, strict=True):
        if by_formula(listed.key, (access + int(word)) & M, int(bit), listed.errs):
            old = expected[word] >> int(bit) & 1
            expected[word] ^= (1 if reads < 0 else old ^ int(reads)) << int(bit)
    array = stored.copy()
    inject(array, make_masks(listed, dtype, access=access))
    assert [int(value) & ((1 << bits) - 1) for value in array] == expected
    assert array.min() >= low
    assert array.max() < high


def test_over_many_passes_each_failing_cell_errs_in_its_share() -> None:
    listed, passes = faults(0.25, 64, 8), 4000
    counts = np.zeros((64, 8), np.int64)
    for n in range(passes):
        array = np.zeros(64, np.uint8)
        inject(array, make_masks(listed, np.uint8, access=n * listed.words))
        counts += array[:, None] >> np.arange(8).astype(np.uint8) & 1
    failing = np.zeros((64, 8), bool)
    failing[listed.word, listed.bit] = True
    assert not counts[~failing].any()
    for count in counts[failing].tolist():
        assert_count(count, passes, 0.25)


def test_the_access_must_be_told_where_it_matters() -> None:
    with pytest.raises(ChipError) as caught:
        make_masks(faults(0.5, 8, 8), np.int8)
    assert (
        str(caught.value) == "cells err in some accesses only: masks need the number of an access"
    )
    always = faults(1.0, 8, 8)
    plain, told = make_masks(always, np.int8), make_masks(always, np.int8, access=7)
    assert np.array_equal(plain.flip, told.flip)


def test_masks_of_write_failures_are_those_of_stuck_cells_or_refused() -> None:
    model = FaultModel(kind="write_failure", ones=0.5)
    written = Chip(SRAM.model_copy(update={"faults": model}), 3).faults_at("m", 64, 8, 0.3)
    masks, stuck = make_masks(written, np.int8), make_masks(faults(1.0, 64, 8, "stuck"), np.int8)
    for key in ("word", "keep", "flip"):
        assert np.array_equal(getattr(masks, key), getattr(stuck, key))
    some = faults(0.5, 64, 8, "write_failure")
    with pytest.raises(ChipError) as caught:
        make_masks(some, np.int8, access=3)
    assert str(caught.value) == (
        "some writes fail: masks do not know what was written before; arrays that are written once "
        "read as the faults of FaultList.written_once()"
    )
    assert 0 < len(make_masks(some.written_once(), np.int8)) < len(masks)
