"""User's maps: the cells of the file fail where they lie, and wrong files are told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.lowvoltage import (
    Chip,
    FaultMap,
    FaultModel,
    FaultSource,
    Spatial,
    load_map,
    load_technology,
)
from hwsim.lowvoltage.cell_list import Shape
from hwsim.lowvoltage.chip import ChipError, FaultList
from hwsim.lowvoltage.technology import MemoryTechnology, VoltageError

SRAM = load_technology("sram_14nm")
NOT_NPY = "m.npy: is not an .npy file of one plain array, or is damaged"
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
        ("m.dat", text("1"), "fails", "m.dat: must be a .npy, .npz, .csv, .tsv or .txt file"),
        ("m.npy", text("1,0"), "fails", f"{NOT_NPY} (it does not begin as an .npy file does)"),
        ("m.npy", text(""), "fails", f"{NOT_NPY} (it does not begin as an .npy file does)"),
        ("m.npy", saved([[None]]), "fails", f"{NOT_NPY} (its header is not that of a plain array)"),
        (
            "m.npy",
            saved([["1"]]),
            "fails",
            "m.npy: must hold booleans or integers or floats, not <U1",
        ),
        (
            "m.npy",
            saved([[1j]]),
            "fails",
            "m.npy: must hold booleans or integers or floats, not complex128",
        ),
        (
            "m.npy",
            saved(np.zeros((2, 3, 4, 5))),
            "fails",
            "m.npy: map must be [rows, columns] with at least one cell, not 2 x 3 x 4 x 5",
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
            saved([[0.0, np.inf]]),
            "rate",
            "m.npy: cells must be 0..1, not inf (row 0, column 1)",
        ),
        (
            "m.npy",
            saved([[-0.1]]),
            "voltage",
            "m.npy: cells must be 0..1, not -0.1 (row 0, column 0); vmin of the technology is 1",
        ),
        (
            "m.csv",
            text("1,0\n1\n"),
            "fails",
            "m.csv:2: has 1 fields, the first line has 2 (separated by commas)",
        ),
        ("m.csv", text("1,0\n1,x\n"), "fails", "m.csv:2: cells must be numbers, not 'x'"),
        (
            "m.csv",
            text(""),
            "fails",
            "m.csv: holds no numbers",
        ),
        ("m.csv", lambda p: p.write_bytes(b"\xff\n"), "fails", "m.csv: is not text in UTF-8"),
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
        ("a\n", "r.csv: holds a header and no numbers"),
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


def bram() -> MemoryTechnology:
    return load_technology("bram_virtex7")


CELLS = [(0.56, 1, 2, 3), (0.55, 1, 2, 3), (0.55, 0, 3, 1), (0.54, 0, 3, 1), (0.54, 1, 2, 3)]


def lab_file(form: str, folder: Path) -> Path:
    """The same failing cells of 2 banks of 4 rows of 5 bits, as a laboratory may have them."""
    path = folder / ("m.npy" if form == "three axes" else "m.npz" if "npz" in form else "m.csv")
    # The lowest voltage at which each works: the next one of the list, at last vmin.
    works = np.full((2, 4, 5), np.nan)
    works[1, 2, 3], works[0, 3, 1] = 0.61, 0.56
    columns = dict(zip(("voltage", "bank", "row", "bit"), np.array(CELLS).T, strict=True))
    if form == "three axes":
        np.save(path, works)
    elif form == "npz":
        np.savez(path, cells=works)
    elif form == "npz list":
        np.savez_compressed(path, **columns)
    elif form == "list":
        lines = [f"{round(1000 * v)};{b};{r};{c}" for v, b, r, c in CELLS]
        path.write_text("\n".join(["voltage_mv;bram;row;column", *lines]))
    else:
        lines = [",".join(f"{v:g}" for v in row) for row in works.reshape(8, 5)]
        path.write_text("\n".join(["c0,c1,c2,c3,c4", *lines]))
    return path


@pytest.mark.parametrize("form", ["three axes", "npz", "npz list", "list", "header"])
def test_forms_that_laboratories_have(tmp_path: Path, form: str) -> None:
    path = lab_file(form, tmp_path)
    holds = None if "list" in form else "voltage"
    found = load_map(path, bram(), holds, shape=Shape(2, 4, 5))  # type: ignore[arg-type]
    assert found.holds == "voltage"
    failing = {
        v: {(w // 4, w % 4, b) for w, b, *_ in listed(found.faults("m", 8, 5, v / 0.61))}
        for v in (0.54, 0.55, 0.56, 0.565, 0.60, 0.61)
    }
    both, one = {(1, 2, 3), (0, 3, 1)}, {(1, 2, 3)}
    # At each voltage what the list says; the first cell fails up to vmin.
    assert failing == {0.54: both, 0.55: both, 0.56: one, 0.565: one, 0.60: one, 0.61: set()}


def test_lists_without_voltages(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("row,bit\n1,2\n3,0\n")
    found = load_map(tmp_path / "m.csv", SRAM, shape=Shape(1, 4, 5))
    assert found.holds == "fails"
    assert [cell[:2] for cell in listed(found.faults("m", 4, 5, 0.9))] == [(1, 2), (3, 0)]
    with pytest.raises(ChipError, match="lists cells, which holds fails, not rate"):
        load_map(tmp_path / "m.csv", SRAM, "rate", shape=Shape(1, 4, 5))


@pytest.mark.parametrize("holds", ["fails", "rate", "voltage"])
def test_cells_that_never_failed(holds: str) -> None:
    cells = np.array([[np.nan, 1.0 if holds == "fails" else 0.9]])
    found = FaultMap(SRAM, cells, holds)  # type: ignore[arg-type]
    assert [cell[:2] for cell in listed(found.faults_at("m", 1, 2, 1.0))] == [(0, 1)]


def test_cells_at_the_lowest_voltage() -> None:
    """A voltage is the lowest at which a cell works; the technology's lowest one is its edge."""
    lowest = SRAM.lowest_rel
    below = np.nextafter(lowest, 0)
    found = FaultMap(SRAM, np.array([[below, lowest, 0.9]]), "voltage")
    top = SRAM.probability(lowest)
    assert [cell[1] for cell in listed(found.faults("m", 1, 3, lowest))] == [2]
    assert [cell[1] for cell in listed(found.faults_at("m", 1, 3, top))] == [2]
    assert [cell[1] for cell in listed(found.faults_at("m", 1, 3, np.nextafter(top, 1)))] == [1, 2]
    assert [cell[1] for cell in listed(found.faults_at("m", 1, 3, 1.0))] == [1, 2]
    # The same at its own voltage: it works there, and fails below.
    assert [cell[1] for cell in listed(found.faults("m", 1, 3, 0.9))] == []
    assert [cell[1] for cell in listed(found.faults("m", 1, 3, np.nextafter(0.9, 0)))] == [2]


def test_voltages_in_another_unit(tmp_path: Path) -> None:
    volts = np.array([[0.0, 0.53, 0.59]])
    with pytest.raises(ChipError, match=r"no cell fails at any voltage.*0\.53\.\.0\.59.*vmin is 1"):
        FaultMap(SRAM, volts, "voltage")
    with pytest.raises(ChipError, match=r"cells must be 0\.\.0\.61, not 530.*vmin .* is 0\.61"):
        FaultMap(bram(), 1000 * volts, "voltage")
    (tmp_path / "m.csv").write_text("voltage,row,bit\n0.53,0,0\n0.59,0,1\n")
    with pytest.raises(ChipError, match=r"failed at 0\.53\.\.0\.59; the technology has failures"):
        load_map(tmp_path / "m.csv", SRAM, shape=Shape(1, 2, 2))
    (tmp_path / "m.csv").write_text("voltage,row,bit\n0.55,0,0\n0.61,0,1\n")
    with pytest.raises(ChipError, match=r"to below its vmin, 0\.61"):
        load_map(tmp_path / "m.csv", bram(), shape=Shape(1, 2, 2))


def test_archives_that_hold_something_else(tmp_path: Path) -> None:
    for arrays, message in (
        ({"cells": np.zeros((2, 2)), "row": np.zeros(2)}, "must hold the array cells"),
        ({"cells": np.zeros((2, 2)), "arr_0": np.zeros((2, 2))}, "it holds cells, arr_0"),
        ({"row": np.zeros(2)}, "must hold the array cells"),
        ({"row": np.zeros(2), "bit": np.zeros(3)}, "must be lists of one length"),
        ({"row": np.zeros(2), "bit": np.array([0, 5])}, "entry 1: bit must be 0..1"),
        ({"other": np.zeros(2)}, "holds 'other.npy'"),
    ):
        np.savez(tmp_path / "m.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(ChipError, match=message):
            load_map(tmp_path / "m.npz", SRAM, shape=Shape(1, 2, 2))


def test_maps_of_write_failures_say_what_cells_power_up_as() -> None:
    model = FaultModel(kind="write_failure")
    technology = SRAM.model_copy(update={"faults": model})
    cells, reads = np.ones((2, 4), np.int8), np.array([[0, 1, 1, 0], [1, 0, 0, 1]], np.int8)
    found = FaultMap(technology, cells, "fails", reads).faults_at("m", 2, 4, 0.1)
    assert found.on_write
    assert found.reads.tolist() == reads.ravel().tolist()
    text = (
        r"^reads must be 0 or 1 where writes fail \(the technology's faults.kind is "
        r"write_failure\): what each cell powers up as, not -1$"
    )
    with pytest.raises(ChipError, match=text):
        FaultMap(technology, cells, "fails", -reads)
