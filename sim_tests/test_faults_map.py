"""User's maps: the cells of the file fail where they lie, and wrong files are told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.faults import Chip, FaultMap, FaultModel, FaultSource, Spatial, load_map, load_technology
from hwsim.faults.chip import ChipError, FaultList
from hwsim.faults.technology import VoltageError

SRAM = load_technology("sram_14nm")
STUCK = SRAM.model_copy(update={"faults": FaultModel(kind="stuck", ones=0.5)})


def listed(found: FaultList) -> list[tuple[int, int, int, float]]:
    fields = (found.word, found.bit, found.reads, found.critical)
    return list(zip(*(field.tolist() for field in fields), strict=True))


def same(a: FaultList, b: FaultList) -> bool:
    return listed(a) == listed(b) and (a.words, a.bits) == (b.words, b.bits)


@given(
    words=st.integers(1, 40),
    bits=st.integers(1, 16),
    interleave=st.integers(1, 5),
    p=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    start=st.integers(0, 9),
)
def test_map_of_a_chip_is_that_chip(
    words: int, bits: int, interleave: int, p: float, start: int
) -> None:
    """Every cell's critical error rate, and what it reads, taken from a chip."""
    spatial = Spatial(interleave=interleave)
    chip = Chip(STUCK, 3, spatial)
    every = chip.faults_at("m", words, bits, 1.0)
    at = spatial.cell(every.word, every.bit, words, bits) + start
    size = spatial.rows(words) * bits * interleave + start
    cells, reads = np.zeros(size), np.zeros(size, np.int8)
    cells[at], reads[at] = every.critical, every.reads
    mine = FaultMap(
        SRAM, cells[None], "rate", reads[None], offset={"m": start}, interleave=interleave
    )
    assert same(mine.faults_at("m", words, bits, p), chip.faults_at("m", words, bits, p))


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    words=st.integers(0, 12),
    bits=st.integers(1, 6),
    offset=st.integers(0, 35),
    seed=st.integers(0, 99),
)
def test_memories_lie_linearly_over_a_repeated_map(
    rows: int, columns: int, words: int, bits: int, offset: int, seed: int
) -> None:
    cells = np.random.default_rng(seed).integers(0, 2, (rows, columns)).astype(bool)
    offset %= cells.size
    mine = FaultMap(SRAM, cells, offset=offset, repeat=True)
    expected = []
    for word in range(words):
        for bit in range(bits):
            cell = (offset + word * bits + bit) % cells.size
            if cells[cell // columns, cell % columns]:
                expected.append((word, bit, -1, 0.0))
    assert listed(mine.faults_at("any", words, bits, 1e-9)) == expected
    assert len(mine.faults_at("any", words, bits, 0.0)) == 0


def test_a_row_of_the_map_is_a_row_of_an_interleaved_memory() -> None:
    cells = np.zeros((3, 8), np.int8)
    cells[1, 5] = 1  # word 4 + 5 % 4, bit 5 // 4
    found = FaultMap(SRAM, cells, interleave=4).faults_at("m", 12, 2, 0.1)
    assert listed(found) == [(5, 1, -1, 0.0)]


def test_critical_voltages() -> None:
    """A cell works at its critical voltage and fails below it, if the data reaches there."""
    volts = load_technology("bram_virtex7")
    assert volts.vmin == 0.61
    cells = np.array([[0.61, 0.58, 0.56], [0.54, 0.3, 0.0]])
    mine = FaultMap(volts, cells, "voltage")
    for voltage, failing in (
        (0.61, 0), (0.6099, 1), (0.58, 1), (0.5799, 2), (0.56, 2), (0.5599, 3), (0.5401, 3)
    ):  # fmt: skip
        assert len(mine.faults("m", 6, 1, voltage / 0.61)) == failing
    with pytest.raises(VoltageError, match="voltage must be 0.8852..1.639 of vmin"):
        mine.faults("m", 6, 1, 0.5 / 0.61)
    with pytest.raises(VoltageError, match=r"bit error rate must be 0..1, not 1.5"):
        mine.faults_at("m", 6, 1, 1.5)


def test_memories_have_offsets_of_their_own() -> None:
    cells = np.array([[1, 0, 0, 1]])
    mine = FaultMap(SRAM, cells, offset={"a": 0, "b": 2})
    assert listed(mine.faults_at("a", 2, 1, 0.1)) == [(0, 0, -1, 0.0)]
    assert listed(mine.faults_at("b", 2, 1, 0.1)) == [(1, 0, -1, 0.0)]
    with pytest.raises(ChipError, match="map has no offset for memory 'c'; it has a, b"):
        mine.faults_at("c", 2, 1, 0.1)


def test_placed_memories_lie_one_after_another_from_a_cell_of_the_seed() -> None:
    cells = np.random.default_rng(2).random((5, 7))
    mine = FaultMap(SRAM, cells, "rate")
    size, firsts = cells.size, set[int]()
    for seed in range(300):
        placed = mine.placed({"a": 0, "b": 6, "c": 80}, seed)
        assert isinstance(placed.offset, dict)
        first = placed.offset["a"]
        assert placed.offset == {"a": first, "b": (first + 6) % size, "c": (first + 80) % size}
        assert placed.seed == mine.seed
        firsts.add(first)
        for name, place in (("a", 0), ("b", 6), ("c", 80)):
            flat = np.roll(cells.reshape(-1), -(first + place))
            expected = [(n, 0, -1, flat[n % size]) for n in range(40) if flat[n % size] < 0.3]
            assert listed(placed.faults_at(name, 40, 1, 0.3)) == expected
    assert firsts == set(range(size))
    # The same on every machine.
    assert [mine.placed({"a": 0}, n).offset["a"] for n in range(6)] == [30, 11, 33, 22, 31, 16]  # type: ignore[index]


def test_share_of_failing_cells() -> None:
    mine = FaultMap(SRAM, np.array([[0.0, 0.1, 0.2, 1.0]]), "rate")
    assert [mine.share(p) for p in (0.0, 0.1, 0.15, 1.0)] == [0, 0.25, 0.5, 0.75]
    assert FaultMap(SRAM, np.array([[0, 1, 1, 1]])).share(1e-9) == 0.75


def test_cells_read_as_the_technology_says_where_the_map_does_not() -> None:
    cells = np.ones((64, 64), bool)
    flips = FaultMap(SRAM, cells).faults_at("m", 512, 8, 0.1)
    assert set(flips.reads.tolist()) == {-1}
    stuck = FaultMap(STUCK, cells).faults_at("m", 512, 8, 0.1)
    assert set(stuck.reads.tolist()) == {0, 1}
    assert 1900 < int(stuck.reads.sum()) < 2200
    # The cell decides, not the memory that lies there.
    moved = FaultMap(STUCK, cells, offset=8).faults_at("n", 511, 8, 0.1)
    assert np.array_equal(moved.reads, stuck.reads[8:])


def test_the_content_is_the_identity() -> None:
    cells = np.eye(4)
    seeds = {
        FaultMap(SRAM, cells).seed,
        FaultMap(SRAM, cells, "rate").seed,
        FaultMap(SRAM, cells.reshape(2, 8)).seed,
        FaultMap(SRAM, 1 - cells).seed,
        FaultMap(SRAM, cells, reads=np.zeros((4, 4))).seed,
    }
    assert len(seeds) == 5
    assert FaultMap(SRAM, cells.astype(bool), offset=3).seed == FaultMap(SRAM, cells).seed
    source: FaultSource = FaultMap(SRAM, cells)
    assert 0 <= source.seed < 1 << 64


def test_files(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).random((5, 7))
    reads = np.random.default_rng(1).integers(-1, 2, (5, 7))
    own = FaultMap(SRAM, cells, "rate", reads, offset=2)
    np.save(tmp_path / "c.npy", cells)
    np.save(tmp_path / "big.npy", cells.astype(">f8"))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(cells))
    (tmp_path / "c.csv").write_text("\n".join(",".join(map(repr, r)) for r in cells.tolist()))
    np.save(tmp_path / "r.npy", reads)
    np.savetxt(tmp_path / "r.csv", reads, fmt="%d", delimiter=",")
    for name in ("c.npy", "big.npy", "fortran.npy", "c.csv"):
        for direction in ("r.npy", "r.csv"):
            found = load_map(tmp_path / name, SRAM, "rate", reads=tmp_path / direction, offset=2)
            assert found.seed == own.seed
            assert same(found.faults_at("m", 4, 8, 0.4), own.faults_at("m", 4, 8, 0.4))


def saved(array: object) -> Callable[[Path], None]:
    return lambda path: np.save(path, array, allow_pickle=True)  # type: ignore[arg-type]


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("name", "write", "holds", "message"),
    [
        ("m.txt", text("1"), "fails", "m.txt: must be a .npy or .csv file"),
        ("m.npy", text("1,0"), "fails", "m.npy: is not a .npy file of an array of numbers"),
        ("m.npy", text(""), "fails", "m.npy: is not a .npy file of an array of numbers"),
        ("m.npy", saved([[None]]), "fails", "m.npy: is not a .npy file of an array of numbers"),
        (
            "m.npy",
            saved([["1"]]),
            "fails",
            "m.npy: map must hold booleans, integers or floats, not <U1",
        ),
        (
            "m.npy",
            saved([[1j]]),
            "fails",
            "m.npy: map must hold booleans, integers or floats, not complex128",
        ),
        (
            "m.npy",
            saved(np.zeros((2, 3, 4))),
            "fails",
            "m.npy: map must be [rows, columns] with at least one cell, not 2 x 3 x 4",
        ),
        (
            "m.npy",
            saved(1.0),
            "fails",
            "m.npy: map must be [rows, columns] with at least one cell, not a single number",
        ),
        (
            "m.npy",
            saved([[0, 1], [1, 2]]),
            "fails",
            "m.npy: cells must be 0, 1, not 2 (row 1, column 1)",
        ),
        (
            "m.npy",
            saved([[0.0, 0.5]]),
            "fails",
            "m.npy: cells must be 0, 1, not 0.5 (row 0, column 1)",
        ),
        (
            "m.npy",
            saved([[0.0, np.nan]]),
            "rate",
            "m.npy: cells must be 0..1, not nan (row 0, column 1)",
        ),
        (
            "m.npy",
            saved([[-0.1]]),
            "voltage",
            "m.npy: cells must be 0..1, not -0.1 (row 0, column 0)",
        ),
        ("m.csv", text("1,0\n1\n"), "fails", "m.csv:2: has 1 cells, the first row has 2"),
        ("m.csv", text("1,0\n1,x\n"), "fails", "m.csv:2: cells must be numbers, not 'x'"),
        (
            "m.csv",
            text(""),
            "fails",
            "m.csv: map must be [rows, columns] with at least one cell, not 0",
        ),
        ("m.csv", lambda p: p.write_bytes(b"\xff\n"), "fails", "m.csv: is not a CSV file in UTF-8"),
        ("no.csv", lambda p: None, "fails", "no.csv: cannot be read (No such file or directory)"),
        (
            "m.csv",
            text("1"),
            "probability",
            "m.csv: holds must be one of fails, rate, voltage, not 'probability'",
        ),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None],
    holds: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    with pytest.raises(ChipError) as caught:
        load_map(name, SRAM, holds)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_directions_that_do_not_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("1,0\n")
    for content, message in (
        ("1\n", "r.csv: reads must have the shape of cells, 1 x 2, not 1 x 1"),
        ("1,-2\n", "r.csv: cells must be -1, 0, 1, not -2.0 (row 0, column 1)"),
        ("1,0.5\n", "r.csv: cells must be -1, 0, 1, not 0.5 (row 0, column 1)"),
        ("a\n", "r.csv:1: cells must be numbers, not 'a'"),
    ):
        Path("r.csv").write_text(content)
        with pytest.raises(ChipError) as caught:
            load_map("m.csv", SRAM, reads="r.csv")
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 4}, "offset must be 0..3, not 4"),
        ({"offset": {"a": 0, "b": -1}}, "offset must be 0..3, not -1"),
        ({"interleave": 0}, "interleave must be >= 1, not 0"),
        (
            {"offset": 1},
            "map of 2 x 2 cells is too small for memory 'm': 2 words of 2 bits from cell 1 need 5; "
            "repeat=True repeats the map",
        ),
    ],
)
def test_maps_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ChipError) as caught:
        FaultMap(SRAM, np.ones((2, 2)), **options).faults_at("m", 2, 2, 0.1)
    assert str(caught.value) == message
