"""Fresh errors: exactly the bits that the definition says, and these are honest coin tosses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from support.bernoulli import CELLS, TAIL, assert_count, check_bernoulli

from hwsim.lowvoltage import FaultModel
from hwsim.lowvoltage.chip import ChipError, memory_number
from hwsim.lowvoltage.fresh import GAPS, MOST_CELLS, PREFERENCES, fresh_masks
from hwsim.lowvoltage.inject import Masks, inject, undo
from hwsim.lowvoltage.philox import philox
from hwsim.lowvoltage.technology import VoltageError


def cells_of(masks: Masks) -> tuple[np.ndarray, np.ndarray]:
    """Word and bit of every failing cell, ascending."""
    failing = masks.flip | ~masks.keep
    row, bit = np.nonzero(failing[:, None] >> np.arange(masks.bits).astype(failing.dtype) & 1)
    word = row if isinstance(masks.word, slice) else masks.word[row]
    return word, bit


# --- the definition


def by_definition(
    memory: str, words: int, bits: int, p: float, seed: int, step: int, model: FaultModel
) -> dict[tuple[int, int], int]:
    """(word, bit) -> what it reads, one number after the other, with Python's logarithm."""

    def numbers(stream: int, block: int) -> list[int]:
        counter = block, step, memory_number(memory), stream
        lanes = [int(n) for n in philox(*map(np.uint64, (*counter, seed % (1 << 32), seed >> 32)))]
        return [lanes[0] + (lanes[1] << 32), lanes[2] + (lanes[3] << 32)]

    found: dict[tuple[int, int], int] = {}
    cell, block = -1, 0
    while p > 0:
        for n, prefers in zip(numbers(GAPS, block), numbers(PREFERENCES, block), strict=True):
            uniform = ((n >> 11) + 1) / 2**53
            gap = -math.log(uniform) / -math.log1p(-p) if p < 1 else 0
            cell += min(int(gap), words * bits) + 1
            if cell >= words * bits:
                return found
            one = (prefers >> 32) / 2**32 < model.ones
            found[divmod(cell, bits)] = -1 if model.kind == "flip" else int(one)
        block += 1
    return found


@settings(max_examples=150)
@given(
    words=st.integers(0, 400),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    p=st.sampled_from([0.0, 1e-300, 1e-9, 1e-3, 0.01, 0.02, 0.1, 0.5, 0.999, 1.0]),
    seed=st.sampled_from([0, 1, 1 << 32, (1 << 64) - 1]),
    step=st.sampled_from([0, 1, (1 << 32) - 1]),
    kind=st.sampled_from(["flip", "stuck"]),
    ones=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_masks_are_as_defined(
    words: int, bits: int, signed: bool, p: float, seed: int, step: int, kind: str, ones: float
) -> None:
    model = FaultModel(kind=kind, ones=ones)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    masks = fresh_masks("m", words, bits, p, dtype, seed=seed, step=step, model=model)
    expected = by_definition("m", words, bits, p, seed, step, model)
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    stored = np.random.default_rng(seed).integers(low, high, words).astype(dtype)
    array = stored.copy()
    before = inject(array, masks)
    for word in range(words):
        pattern = int(stored[word]) & ((1 << bits) - 1)
        for bit in range(bits):
            reads = expected.get((word, bit))
            if reads is not None:
                value = 1 - (pattern >> bit & 1) if reads < 0 else reads
                pattern = pattern & ~(1 << bit) | value << bit
        value = pattern - (1 << bits) if signed and pattern >> (bits - 1) else pattern
        assert array[word] == value
    undo(array, masks, before)
    assert np.array_equal(array, stored)


@pytest.mark.parametrize("p", [1e-4, 1e-2, 0.3])
def test_long_runs_are_as_defined(p: float) -> None:
    """Over many blocks of the generator; a million cells or 20,000 errors."""
    words = int(min(1 << 20, 20_000 / p) // 8)
    found = cells_of(fresh_masks("m", words, 8, p, np.int8, seed=9, step=4))
    expected = by_definition("m", words, 8, p, 9, 4, FaultModel())
    assert list(zip(*(x.tolist() for x in found), strict=True)) == list(expected)


def test_room_is_found_where_there_are_more_errors_than_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = fresh_masks("m", 4096, 8, 0.01, np.int8, seed=1)
    assert len(once) > 250
    # Now there is room for less than 200 words.
    monkeypatch.setattr("hwsim.lowvoltage.fresh._SPARE", -5.0)
    again = fresh_masks("m", 4096, 8, 0.01, np.int8, seed=1)
    assert np.array_equal(once.word, again.word)
    assert np.array_equal(once.flip, again.flip)


# --- statistics


@pytest.mark.parametrize("p", CELLS)
@pytest.mark.parametrize("bits", [1, 8, 13, 16])
def test_flips_are_independent(p: float, bits: int) -> None:
    dtype = np.int8 if bits <= 8 else np.uint16
    words = CELLS[p] // bits
    masks = fresh_masks("m", words, bits, p, dtype, seed=11, step=5)
    check_bernoulli(*cells_of(masks), words, bits, p)


@pytest.mark.parametrize("p", CELLS)
def test_steps_together_have_as_many_flips_as_they_should(p: float) -> None:
    n = CELLS[p]
    counts = [
        len(cells_of(fresh_masks("m", n // 8, 8, p, np.int8, seed=2, step=k))[0])
        for k in range(100)
    ]
    assert_count(sum(counts), 100 * n, p)
    spread = np.sum((np.array(counts) - np.mean(counts)) ** 2) / (n * p * (1 - p))
    assert chi2.ppf(TAIL, 99) < spread < chi2.ppf(1 - TAIL, 99)


def with_replacement(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    """Where two flips meet there is one: too few."""
    return np.unique(rng.integers(0, cells, rng.binomial(cells, p)))


def one_bit_per_word(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    word = np.flatnonzero(rng.random(cells // 8) < 8 * p)
    return word * 8 + rng.integers(0, 8, len(word))


def honest(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    return np.flatnonzero(rng.random(cells) < p)


def too_many(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    return honest(rng, cells, 1.05 * p)


def halves_alike(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    half = honest(rng, cells // 2, p)
    return np.concatenate([half, half + cells // 2])


def neighbours_alike(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    first = honest(rng, cells // 2, p)
    pair = np.concatenate([first // 8 * 16 + first % 8, first // 8 * 16 + first % 8 + 8])
    return np.sort(pair)


def top_bit_is_safe(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    found = honest(rng, cells, 8 / 7 * p)
    return found[found % 8 != 7]


def never_next_to_each_other(rng: np.random.Generator, cells: int, p: float) -> np.ndarray:
    """Gaps that start at 2, their mean being right."""
    gaps = 1 + rng.geometric(1 / (1 / p - 1), int(cells * p * 1.2))
    found = np.cumsum(gaps) - 1
    return found[found < cells]


@pytest.mark.parametrize(
    "wrong",
    [
        with_replacement,
        one_bit_per_word,
        too_many,
        halves_alike,
        neighbours_alike,
        top_bit_is_safe,
        never_next_to_each_other,
    ],
)
def test_the_tests_reject_wrong_generators(wrong: Callable[..., np.ndarray]) -> None:
    rng, n, p = np.random.default_rng(0), 1 << 20, 0.1
    cell = honest(rng, n, p)
    check_bernoulli(cell // 8, cell % 8, n // 8, 8, p)
    cell = wrong(rng, n, p)
    with pytest.raises(AssertionError):
        check_bernoulli(cell // 8, cell % 8, n // 8, 8, p)


# --- what tells draws apart


def test_memories_seeds_and_steps_are_independent() -> None:
    def drawn(memory: str = "a", seed: int = 1, step: int = 1) -> set[tuple[int, int]]:
        masks = fresh_masks(memory, 8192, 8, 0.1, np.int8, seed=seed, step=step)
        return set(zip(*(x.tolist() for x in cells_of(masks)), strict=True))

    base = drawn()
    assert drawn() == base
    for other in (
        drawn("b"), drawn(seed=2), drawn(seed=1 + (1 << 32)), drawn(step=0), drawn(step=2)
    ):  # fmt: skip
        assert_count(len(base & other), 65536, 0.01)


@pytest.mark.parametrize(("p01", "p10"), [(0.02, 0.005), (0.0, 0.1), (1.0, 0.0), (0.2, 0.7)])
def test_asymmetric_errors(p01: float, p10: float) -> None:
    model, share = FaultModel.asymmetric(p01, p10)
    n = 1 << 15
    for stored, p in ((0, p01), (-1, p10)):
        array = np.full(n, stored, np.int8)
        inject(array, fresh_masks("m", n, 8, share, np.int8, seed=3, model=model))
        assert_count(int(np.bitwise_count((array ^ stored).view(np.uint8)).sum()), 8 * n, p)


def test_cells_that_err_in_some_accesses_only() -> None:
    """Of the failing cells a quarter errs in this access."""
    model = FaultModel(persistence=0.25)
    some = fresh_masks("m", 4096, 8, 0.2, np.int8, seed=3, model=model)
    same = fresh_masks("m", 4096, 8, 0.05, np.int8, seed=3)
    assert all(np.array_equal(x, y) for x, y in zip(cells_of(some), cells_of(same), strict=True))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"probability": -0.1}, VoltageError, "bit error rate must be 0..1, not -0.1"),
        ({"probability": math.nan}, VoltageError, "bit error rate must be 0..1, not nan"),
        ({"bits": 9}, ChipError, "words of 9 bits do not fit into int8"),
        ({"bits": 0}, ChipError, "words of 0 bits do not fit into int8"),
        (
            {"dtype": np.float32},
            ChipError,
            "arrays must be of 8 or 16 bit integers, not float32",
        ),
        (
            {"seed": -1},
            ChipError,
            "seed must be 0..2^64 - 1 and step 0..2^32 - 1, not -1 and 0",
        ),
        (
            {"step": 1 << 32},
            ChipError,
            "seed must be 0..2^64 - 1 and step 0..2^32 - 1, not 1 and 4294967296",
        ),
        (
            {"words": MOST_CELLS},
            ChipError,
            "a memory must have 0..8589934592 cells, not 8589934592 x 8",
        ),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given_ = {
        "memory": "m", "words": 4, "bits": 8, "probability": 0.1, "dtype": np.int8, "seed": 1
    }  # fmt: skip
    with pytest.raises(error) as caught:
        fresh_masks(**(given_ | change))
    assert str(caught.value) == message
