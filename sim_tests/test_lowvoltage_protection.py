"""Protected words against textbook decoders, exhaustively where errors can be enumerated."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hwsim.lowvoltage.protection import (
    NONE,
    Parity,
    Protection,
    ProtectionError,
    Secded,
    Tmr,
    parse_protection,
)
from hwsim.testing import ProtectionConformance
from hwsim.testing.faulty import PROTECTIONS

WIDTHS = (1, 2, 4, 8, 11, 26, 32, 57, 64)
CHECKS = {1: 3, 2: 4, 4: 4, 8: 5, 11: 5, 12: 6, 26: 6, 27: 7, 32: 7, 57: 7, 58: 8, 64: 8}

protections = st.one_of(
    st.sampled_from([NONE, Secded(), Secded(zero=True)]),
    st.integers(1, 20).map(Parity),
    st.builds(Tmr, st.integers(1, 9), st.one_of(st.none(), st.integers(1, 12))),
)


class TestProtections(ProtectionConformance):
    def protections(self) -> dict[str, Protection]:
        found = (NONE, Parity(1), Parity(5), Secded(), Secded(zero=True), Tmr(1), Tmr(9, 4))
        return {repr(code): code for code in (*found, *PROTECTIONS.values())}

    def corrects(self, protection: Protection, bits: int) -> np.ndarray:
        cells = bits + protection.check_bits(bits)
        if isinstance(protection, Secded):
            return np.ones(cells, bool)
        if isinstance(protection, Tmr):
            value = protection.value_bits or bits
            ends = [min(bits, n - n % value + value) for n in range(bits)]
            top = [n >= end - protection.top for n, end in enumerate(ends)]
            return np.array([*top, *[True] * (cells - bits)])
        return np.zeros(cells, bool)


def flips(protection: Protection, stored: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """What words read as when the cells in ``flip`` are inverted."""
    return protection.read(stored, np.ones_like(flip), flip)


def random_bits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 2, shape, dtype=np.uint8)


def errors(width: int, count: int) -> np.ndarray:
    """Every way to place ``count`` errors in ``width`` cells, one a row."""
    places = np.array(list(combinations(range(width), count)))
    found = np.zeros((len(places), width), np.uint8)
    np.put_along_axis(found, places, 1, axis=1)
    return found


@pytest.mark.parametrize(("bits", "checks"), CHECKS.items())
def test_check_bits_of_secded(bits: int, checks: int) -> None:
    assert Secded().check_bits(bits) == checks


@pytest.mark.parametrize(
    ("protection", "bits", "checks"),
    [
        (Secded(), 65, 7 + 7),
        (Secded(), 128, 8 + 8),
        (Secded(), 200, 7 * 4),
        (Parity(5), 40, 8),
        (Parity(2), 12, 2),
        (Parity(16), 40, 3),
        (Tmr(2, 8), 32, 16),
        (Tmr(2, 8), 33, 18),
        (Tmr(3), 32, 6),
        (Tmr(9, 4), 8, 16),
        (NONE, 7, 0),
    ],
)
def test_check_bits_of_long_words(protection: Protection, bits: int, checks: int) -> None:
    assert protection.check_bits(bits) == checks
    assert protection.storage(bits) == (bits + checks) / bits


@given(protections, st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_words_without_errors_read_as_stored(p: Protection, bits: int, seed: int) -> None:
    stored = random_bits(np.random.default_rng(seed), 9, bits)
    kept = stored.copy()
    clean = np.zeros((9, bits + p.check_bits(bits)), np.uint8)
    assert (flips(p, stored, clean) == stored).all()
    assert (stored == kept).all()


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("bits", WIDTHS)
def test_secded_corrects_every_single_error(bits: int, zero: bool) -> None:
    p = Secded(zero)
    flip = errors(bits + p.check_bits(bits), 1)
    stored = random_bits(np.random.default_rng(bits), len(flip), bits)
    assert (flips(p, stored, flip) == stored).all()


@pytest.mark.parametrize("bits", WIDTHS)
def test_secded_detects_every_double_error(bits: int) -> None:
    flip = errors(bits + Secded().check_bits(bits), 2)
    stored = random_bits(np.random.default_rng(bits), len(flip), bits)
    assert (flips(Secded(), stored, flip) == stored ^ flip[:, :bits]).all()
    assert (flips(Secded(zero=True), stored, flip) == 0).all()


def textbook(data: list[int], flip: np.ndarray, zero: bool) -> list[int]:
    """Hamming's code with positions counted from 1 and checks at powers of two, bit by bit."""
    r = next(r for r in range(2, 9) if 2**r >= len(data) + r + 1)
    places = [n for n in range(1, 2**r) if n & (n - 1)][: len(data)]
    word = dict(zip(places, data, strict=True))
    for i in range(r):
        word[2**i] = sum(bit for place, bit in word.items() if place >> i & 1) % 2
    order = [*places, *(2**i for i in range(r))]
    total = sum(word.values()) % 2 ^ int(flip[-1])
    word = {place: word[place] ^ int(f) for place, f in zip(order, flip[:-1], strict=True)}
    syndrome = 0
    for place, bit in word.items():
        syndrome ^= place * bit
    odd = (sum(word.values()) + total) % 2
    if odd and syndrome in word:
        word[syndrome] ^= 1
    elif syndrome and zero:
        return [0] * len(data)
    return [word[place] for place in places]


@given(st.integers(1, 64), st.booleans(), st.integers(0, 2**32 - 1))
def test_secded_with_any_errors_is_the_textbooks(bits: int, zero: bool, seed: int) -> None:
    """Three and more errors may be miscorrected, but in the way of the code."""
    rng, p = np.random.default_rng(seed), Secded(zero)
    stored = random_bits(rng, 8, bits)
    flip = (rng.random((8, bits + p.check_bits(bits))) < rng.random((8, 1))).astype(np.uint8)
    expected = [textbook(list(map(int, s)), f, zero) for s, f in zip(stored, flip, strict=True)]
    assert flips(p, stored, flip).tolist() == expected


def test_chunks_of_a_word_are_protected_one_by_one() -> None:
    """130 bits are chunks of 44, 43 and 43; an error in each is corrected."""
    p, stored = Secded(), random_bits(np.random.default_rng(0), 1, 130)
    flip = np.zeros((1, 130 + p.check_bits(130)), np.uint8)
    flip[0, [43, 44, 129]] = 1
    assert (flips(p, stored, flip) == stored).all()
    flip[0, [42, 43]] = 1
    wrong = stored.copy()
    wrong[0, [42, 43]] ^= 1
    assert (flips(p, stored, flip) == wrong).all()
    wrong[0, :44] = 0
    assert (flips(Secded(zero=True), stored, flip) == wrong).all()


@given(protections, st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_stuck_cells_that_agree_do_no_harm(p: Protection, bits: int, seed: int) -> None:
    """Whatever share of the cells is stuck: here at what an error-free word would hold."""
    rng = np.random.default_rng(seed)
    stored = random_bits(rng, 6, bits)
    code = np.concatenate((stored, p._encode(stored)), axis=1)
    stuck = random_bits(rng, *code.shape)
    read = p.read(stored, 1 - stuck, stuck & code)
    assert (read == stored).all()


def test_a_stuck_cell_that_disagrees_is_corrected() -> None:
    stored = random_bits(np.random.default_rng(0), 39, 32)
    one = np.eye(39, dtype=np.uint8)
    for reads in (one, 0 * one):
        read = Secded().read(stored, 1 - one, reads)
        assert (read == stored).all()


@pytest.mark.parametrize(("bits", "rate"), [(64, 1e-3), (64, 1e-2), (32, 3e-3), (8, 3e-2)])
def test_share_of_words_that_secded_cannot_correct(bits: int, rate: float) -> None:
    """Harm comes from two errors and more; two in check bits alone are detected and do none."""
    rng, p, words = np.random.default_rng(0), Secded(), 400_000
    checks = p.check_bits(bits)
    n, stored = bits + checks, random_bits(rng, words, bits)
    flip = (rng.random((words, n), np.float32) < rate).astype(np.uint8)
    harmed = (flips(p, stored, flip) != stored).any(axis=1).sum()
    several = 1 - (1 - rate) ** n - n * rate * (1 - rate) ** (n - 1)
    harmless = comb(checks, 2) * rate**2 * (1 - rate) ** (n - 2)
    # Three and more errors in check bits alone are too rare to matter here.
    assert comb(checks, 3) * rate**3 < 0.005 * several
    assert binomtest(int(harmed), words, several - harmless).pvalue > 0.01


def test_parity_reads_zero_after_an_odd_number_of_errors() -> None:
    p, bits = Parity(4), 12
    rng = np.random.default_rng(0)
    flip = np.array(list(product((0, 1), repeat=bits + 2)), np.uint8)
    stored = random_bits(rng, len(flip), bits)
    wanted = stored ^ flip[:, :bits]
    # Two groups: values 0 and 1 in 8 bits, then value 2.
    wanted[(flip[:, :8].sum(axis=1) + flip[:, 12]) % 2 == 1, :8] = 0
    wanted[(flip[:, 8:12].sum(axis=1) + flip[:, 13]) % 2 == 1, 8:] = 0
    assert (flips(p, stored, flip) == wanted).all()


def test_tmr_reads_the_majority_of_three() -> None:
    """Values of 3 bits, the last one of 1 bit, two top bits of each; all errors of 13 cells."""
    p, bits = Tmr(2, 3), 4
    assert p.protected(bits).tolist() == [1, 2, 3]
    cells = bits + p.check_bits(bits)
    flip = np.array(list(product((0, 1), repeat=cells)), np.uint8)
    stored = random_bits(np.random.default_rng(0), len(flip), bits)
    wanted = stored.copy()
    wanted[:, 0] ^= flip[:, 0]
    for n, bit in enumerate((1, 2, 3)):
        wrong = flip[:, bit].astype(int) + flip[:, bits + n] + flip[:, bits + 3 + n]
        wanted[:, bit] ^= (wrong >= 2).astype(np.uint8)
    assert (flips(p, stored, flip) == wanted).all()


@pytest.mark.parametrize("name", ["none", "parity", "secded", "secded:zero", "tmr:1", "tmr:12"])
def test_names(name: str) -> None:
    assert parse_protection(name).name == name
    assert parse_protection(name).for_values(7).name == name


@pytest.mark.parametrize("name", ["", "ecc", "tmr", "tmr:0", "tmr:-1", "tmr:x", "secded:1"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ProtectionError) as caught:
        parse_protection(name)
    assert str(caught.value) == (
        "protection must be none, parity, secded, secded:zero or tmr:N (N >= 1 top bits of each "
        f"value), not {name!r}"
    )


def test_masks_of_another_shape() -> None:
    stored, mask = np.zeros((3, 8), np.uint8), np.zeros((3, 8), np.uint8)
    text = r"^secded: keep and flip must be \[3, 13\] for words of 8 bits$"
    with pytest.raises(ProtectionError, match=text):
        Secded().read(stored, mask, mask)
    with pytest.raises(ProtectionError, match="^tmr: must protect at least 1 bit of each value"):
        Tmr(0)


def test_gates() -> None:
    """Of the (8,4) code by hand: check bits cover 3 data bits each, the parity all seven others."""
    assert Secded().gates(4).encode == 3 * 2 + 6
    # Syndrome: 3 trees over 4 bits and one over 8; an XOR that may flip each of 4 data bits.
    assert Secded().gates(4).decode == 3 * 3 + 7 + 4
    assert Secded(zero=True).gates(4).decode == 3 * 3 + 7 + 4 + 4
    assert Secded().gates(128).decode == 2 * Secded().gates(64).decode
    assert (Parity(4).gates(12).encode, Parity(4).gates(12).decode) == (7 + 3, 12 + 12)
    assert (Tmr(2, 8).gates(16).encode, Tmr(2, 8).gates(16).decode) == (0, 4 * 4)
    assert (NONE.gates(16).encode, NONE.gates(16).decode) == (0, 0)
