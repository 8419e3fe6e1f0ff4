"""Chips: published failure rates, the subset property, honest statistics, the same cells always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2
from support import bernoulli
from support.bernoulli import TAIL

from hwsim.config.loader import load_config, parse_config, shipped_configs
from hwsim.errors import ConfigError
from hwsim.lowvoltage import (
    Chip,
    FaultList,
    FaultModel,
    MemoryTechnology,
    Spatial,
    VoltageError,
    load_technology,
)
from hwsim.lowvoltage.chip import ChipError, memory_number
from hwsim.lowvoltage.philox import philox

SRAM, BRAM = load_technology("sram_14nm"), load_technology("bram_virtex7")
CELLS = 1 << 20


def cells(found: FaultList) -> set[tuple[int, int]]:
    return set(zip(found.word.tolist(), found.bit.tolist(), strict=True))


def test_philox_gives_the_published_answers() -> None:
    """Known answers of the Random123 library for philox4x32, 10 rounds."""
    for words, answer in (
        ([0] * 6, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 6, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ):
        assert " ".join(f"{int(x):08x}" for x in philox(*map(np.uint64, words))) == answer


# --- technologies


@pytest.mark.parametrize("name", shipped_configs("memories"))
def test_law_goes_through_the_points(name: str) -> None:
    technology = load_technology(name)
    for point in technology.points:
        p = technology.probability(point.voltage / technology.vmin)
        assert p == pytest.approx(point.share, rel=1e-9, abs=1e-15)
        low, high = point.interval()
        assert low <= p <= high
    assert technology.probability(technology.nominal_rel) == 0


def test_published_sram_table_is_reproduced() -> None:
    """Failing cells of 50 chips of 2^20 cells: within the binomial interval of each point."""
    for point in SRAM.points:
        chips = [Chip(SRAM, seed) for seed in range(50)]
        counts = [len(c.faults("sram", 1 << 14, 64, point.voltage)) for c in chips]
        low, high = binom.ppf([TAIL / 2, 1 - TAIL / 2], 50 * CELLS, point.share)
        assert low <= sum(counts) <= high
        # And the chips differ as chips of independent cells do.
        spread = np.sum((np.array(counts) - np.mean(counts)) ** 2)
        variance = CELLS * point.share * (1 - point.share)
        if point.failed > 10:
            assert chi2.ppf(TAIL, 49) < spread / variance < chi2.ppf(1 - TAIL, 49)


@given(st.floats(0.75, 1.0), st.floats(0.75, 1.0))
def test_probability_falls_with_voltage(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert SRAM.probability(low) >= SRAM.probability(high)


@given(st.floats(1e-9, 0.2))
def test_voltage_for_a_bit_error_rate(p: float) -> None:
    v = SRAM.voltage_for(p)
    assert SRAM.probability(v) <= p
    assert v <= SRAM.lowest_rel or SRAM.probability(np.nextafter(v, 0)) > p


def test_energy_goes_with_the_square() -> None:
    """The published energies per access: shares of that at Vmin."""
    published = {23: 0.918403, 22: 0.840278, 21: 0.765625, 20: 0.694444, 19: 0.626736, 18: 0.5625}
    for n, energy in published.items():
        assert SRAM.energy_rel(n / 24) == pytest.approx(energy, abs=5e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: SRAM.probability(0.7),
            "voltage must be 0.75..1.176 of vmin (what the data covers), not 0.7",
        ),
        (
            lambda: BRAM.probability(0.88),
            "voltage must be 0.8852..1.639 of vmin (what the data covers), not 0.88",
        ),
        (lambda: SRAM.voltage_for(1.5), "bit error rate must be 0..1, not 1.5"),
        (
            lambda: BRAM.voltage_for(0.01),
            "bit error rate must be at most 0.000702 (that of the lowest voltage with data), "
            "not 0.01",
        ),
        (lambda: Chip(SRAM, 0).faults_at("m", 4, 4, -0.1), "bit error rate must be 0..1, not -0.1"),
        (
            lambda: FaultModel.asymmetric(0.7, 0.6),
            "p01 and p10 must be >= 0 with a sum in (0, 1], not 0.7, 0.6",
        ),
        (lambda: Chip(SRAM, -1), "seed must be 0..2^64 - 1, not -1"),
        (
            lambda: Spatial(column=0.6, row=0.5),
            "column, row and bank must be >= 0 with a sum < 1, not (0.6, 0.5, 0.0)",
        ),
    ],
)
def test_errors(call: object, message: str) -> None:
    with pytest.raises((VoltageError, ChipError)) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value) == message


OWN = """\
description: mine
source: my desk
vmin: 0.6
nominal: 0.9
nominal_source: my desk
law: {kind: exponential, at: 0.6, probability_at: 1e-6, decade: 0.02, source: my desk}
lowest: 0.5
faults: {kind: stuck, ones: 0.25}
"""


def test_own_technology() -> None:
    mine = parse_config(OWN, MemoryTechnology)
    assert mine.probability(0.56 / 0.6) == pytest.approx(1e-4)
    assert mine.voltage_for(1e-4) == pytest.approx(0.56 / 0.6)
    probit = OWN.replace(
        "{kind: exponential, at: 0.6, probability_at: 1e-6, decade: 0.02, source: my desk}",
        "{kind: probit, mean: 0.42, sigma: 0.04, source: my desk}",
    )
    # Two standard deviations above the mean.
    assert parse_config(probit, MemoryTechnology).probability(0.5 / 0.6) == pytest.approx(
        0.0227501319
    )
    again = parse_config(mine.model_dump_json(), MemoryTechnology)
    assert again == mine


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nominal: 0.9", "nominal: 0.5", "nominal must be at least vmin"),
        ("lowest: 0.5\n", "", "lowest is required where there are no points"),
        ("lowest: 0.5", "lowest: 0.7", "lowest must be at most vmin"),
        ("ones: 0.25", "ones: 1.25", "faults.ones: must be <= 1.0, not 1.25"),
        (
            "lowest: 0.5",
            "points: [{voltage: 0.5, failed: 3, cells: 2}]",
            "points[0]: failed must be <= cells",
        ),
        (
            "lowest: 0.5",
            "points: [{voltage: 0.6, failed: 3, cells: 20}]",
            "points must have no failures at vmin or above",
        ),
    ],
)
def test_wrong_technology(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(OWN.replace(old, new), MemoryTechnology, "mine.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_technologies_are_found_by_name() -> None:
    assert load_config("sram_14nm", MemoryTechnology, "memories") == SRAM


# --- chips


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**64 - 1),
    words=st.integers(1, 300),
    bits=st.integers(1, 20),
    a=st.floats(0, 1),
    b=st.floats(0, 1),
    column=st.sampled_from([0.0, 0.3]),
    interleave=st.integers(1, 5),
    offset=st.integers(0, 400),
)
def test_faults_at_a_lower_rate_are_a_subset(
    seed: int,
    words: int,
    bits: int,
    a: float,
    b: float,
    column: float,
    interleave: int,
    offset: int,
) -> None:
    spatial = Spatial(column=column, interleave=interleave, offset=offset)
    chip = Chip(SRAM, seed, spatial)
    low, high = sorted((a, b))
    few, many = (chip.faults_at("m", words, bits, p) for p in (low, high))
    assert cells(few) <= cells(many)
    part = many.below(low)
    assert cells(part) == cells(few)
    for name in ("word", "bit", "reads", "critical"):
        assert np.array_equal(getattr(part, name), getattr(few, name))
    assert len(chip.faults_at("m", words, bits, 1.0)) == words * bits
    assert len(chip.faults_at("m", words, bits, 0.0)) == 0


@settings(max_examples=100)
@given(
    words=st.integers(1, 200),
    bits=st.integers(1, 9),
    interleave=st.integers(1, 6),
    offset=st.integers(0, 300),
)
def test_every_cell_has_a_place_of_its_own(
    words: int, bits: int, interleave: int, offset: int
) -> None:
    spatial = Spatial(interleave=interleave, offset=offset)
    word, bit = (x.ravel() for x in np.mgrid[:words, :bits])
    place = spatial.cell(word, bit, words, bits)
    assert len(np.unique(place)) == words * bits
    assert place.min() >= 0
    assert place.max() < spatial.rows(words) * bits * interleave
    back = spatial.logical(place, words, bits)
    assert np.array_equal(back[0], word)
    assert np.array_equal(back[1], bit)


def test_neighbours_of_an_interleaved_word_are_other_words() -> None:
    spatial = Spatial(interleave=4)
    place = spatial.cell(np.arange(4), np.zeros(4, int), 8, 3)
    assert place.tolist() == [0, 1, 2, 3]


def test_a_chip_is_its_seed() -> None:
    """The cells of one chip, written down: they may never change."""
    found = Chip(BRAM, 2026).faults_at("conv2.weight", 64, 8, 0.02)
    assert [*zip(found.word.tolist(), found.bit.tolist(), strict=True)] == PINNED
    assert set(found.reads.tolist()) == {0}
    assert memory_number("conv2.weight") == PINNED_NUMBER


PINNED = [
    (8, 1), (26, 6), (28, 3), (28, 7), (32, 4), (32, 6), (38, 4), (41, 1), (47, 6), (50, 5),
    (56, 2),
]  # fmt: skip
PINNED_NUMBER = 3140827808


@pytest.mark.parametrize("p", bernoulli.CELLS)
@pytest.mark.parametrize("bits", [1, 8, 13])
def test_flips_per_word_bit_and_pair_of_words(p: float, bits: int) -> None:
    """Chi-square tests of independence and uniformity."""
    words = bernoulli.CELLS[p] // bits
    found = Chip(SRAM, 11).faults_at("m", words, bits, p)
    bernoulli.check_bernoulli(found.word, found.bit, words, bits, p)


def test_memories_and_seeds_are_independent() -> None:
    p = 0.1
    base = cells(Chip(SRAM, 1).faults_at("a", 4096, 16, p))
    for other in (
        Chip(SRAM, 1).faults_at("b", 4096, 16, p),
        Chip(SRAM, 2).faults_at("a", 4096, 16, p),
        Chip(SRAM, 1 << 32).faults_at("a", 4096, 16, p),
    ):
        both = len(base & cells(other))
        low, high = binom.ppf([TAIL / 2, 1 - TAIL / 2], 65536, p * p)
        assert low <= both <= high


@pytest.mark.parametrize("ones", [0.0, 0.3, 1.0])
def test_stuck_cells_prefer_as_told(ones: float) -> None:
    model = FaultModel(kind="stuck", ones=ones)
    chip = Chip(SRAM.model_copy(update={"faults": model}), 5)
    found = chip.faults_at("m", 1 << 14, 8, 0.2)
    assert set(found.reads.tolist()) <= {0, 1}
    low, high = binom.ppf([TAIL / 2, 1 - TAIL / 2], len(found), ones)
    assert low <= found.reads.sum() <= high
    # The preference belongs to the cell, not to the error rate.
    assert np.array_equal(chip.faults_at("m", 1 << 14, 8, 0.05).reads, found.below(0.05).reads)


@pytest.mark.parametrize("persistence", [1.0, 0.3])
def test_write_failures_at_a_higher_voltage_are_among_those_at_a_lower(persistence: float) -> None:
    """The cells, what they power up as, and the writes that fail; also of what is written once."""
    kinds = {
        kind: SRAM.model_copy(update={"faults": FaultModel(kind=kind, persistence=persistence)})
        for kind in ("write_failure", "stuck")
    }
    found = Chip(kinds["write_failure"], 5).faults_at("m", 4096, 8, 0.2)
    stuck = Chip(kinds["stuck"], 5).faults_at("m", 4096, 8, 0.2)
    assert found.on_write
    assert not stuck.on_write
    # The same cells as of any other kind.
    for key in ("word", "bit", "reads", "critical"):
        assert np.array_equal(getattr(found, key), getattr(stuck, key)), key
    assert (found.errs, found.key) == (stuck.errs, stuck.key)
    high = Chip(kinds["write_failure"], 5).faults_at("m", 4096, 8, 0.05)
    once, once_high = found.written_once(), high.written_once()
    assert 0 < len(once_high) < len(once) <= len(found)
    assert set(zip(once_high.word, once_high.bit, once_high.reads, strict=True)) < set(
        zip(once.word, once.bit, once.reads, strict=True)
    )
    assert cells(once_high) == cells(once.below(0.05))
    assert (once.errs, once.on_write) == (256, False)
    assert once.written_once() is once
    low, up = binom.ppf([TAIL / 2, 1 - TAIL / 2], len(found), found.errs / 256)
    assert low <= len(once) <= up


@pytest.mark.parametrize("axis", ["column", "row", "bank"])
def test_clusters_keep_the_rate_and_spread_wider(axis: str) -> None:
    """Counts per column, row or bank vary more than those of independent cells, sums do not."""
    shape = {"column": (512, 1024), "row": (1024, 512), "bank": (1024, 512)}[axis]
    counts, total = [], 0
    for seed in range(20):
        spatial = Spatial(**{axis: 0.4}, banks=64)
        found = Chip(SRAM, seed, spatial).faults_at("m", *shape, 0.1)
        group = {"column": found.bit, "row": found.word, "bank": found.word // 16}[axis]
        counts.append(np.bincount(group, minlength=64 if axis == "bank" else 1024))
        total += len(found)
    flat = np.concatenate(counts)
    size = shape[0] * shape[1] / len(counts[0])
    assert total / (20 * shape[0] * shape[1]) == pytest.approx(0.1, abs=0.01)
    assert flat.var() > 5 * size * 0.1 * 0.9


@pytest.mark.parametrize("spatial", [Spatial(interleave=4, offset=3), Spatial(row=0.6)])
def test_check_bits_lie_beside_the_data(spatial: Spatial) -> None:
    chip = Chip(SRAM, 8, spatial)
    bare, found = chip.faults_at("m", 2048, 16, 0.1), chip.faults_at("m", 2048, 16, 0.1, checks=6)
    assert (found.words, found.bits) == (2048, 22)
    assert (np.diff(found.word * 22 + found.bit) > 0).all()
    assert cells(found.where(found.bit < 16)) == cells(bare)
    data, checks = (
        np.bincount(found.word[kept], minlength=2048) for kept in (found.bit < 16, found.bit >= 16)
    )
    # Five standard deviations; the check bits of a word that lie in one weak row fail together.
    alike = 6 if spatial.row else 1
    assert abs(checks.sum() - 2048 * 6 * 0.1) < 5 * (2048 * 6 * alike * 0.1 * 0.9) ** 0.5
    # Rows are weak as a whole: data and check bits have that in common, and nothing else.
    common = np.corrcoef(data, checks)[0, 1]
    assert common > 0.4 if spatial.row else abs(common) < 0.1


def test_memory_does_not_grow_with_healthy_cells() -> None:
    import tracemalloc

    chip = Chip(SRAM, 3)
    chip.faults_at("m", 16, 16, 0.1)  # compiled
    tracemalloc.start()
    found = chip.faults_at("m", 1 << 20, 16, 1e-5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 100 < len(found) < 260
    assert peak < 1 << 18
