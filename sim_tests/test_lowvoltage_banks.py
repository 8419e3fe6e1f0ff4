"""Banks that differ: what made a list of failing cells is found in it, and chips are made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, norm
from typer.testing import CliRunner

from hwsim.cli.main import app
from hwsim.lowvoltage import Chip, ChipError, ProbitLaw, Spatial, load_technology
from hwsim.lowvoltage.banks import _Likelihood, bank_rows, fit_banks, pair_rows
from hwsim.lowvoltage.cell_list import CellList, Shape, parse_shape, read_cells
from hwsim.lowvoltage.fit import FitError, technology_of
from hwsim.lowvoltage.tables import TableError

MEAN, SIGMA = 0.40, 0.036
VOLTAGES = np.array([0.50, 0.51, 0.52, 0.53, 0.54])
SHAPE = Shape(200, 64, 8)


def memory(share: float, seed: int, shape: Shape = SHAPE) -> CellList:
    """Cells that fail below critical voltages of their own, a part of which their banks share."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.standard_normal(shape.banks), shape.rows * shape.bits)
    own = rng.standard_normal(shape.cells)
    critical = MEAN + SIGMA * (np.sqrt(share) * common + np.sqrt(1 - share) * own)
    fails = critical[:, np.newaxis] > VOLTAGES
    cell = np.flatnonzero(fails[:, 0])
    return CellList(shape, tuple(VOLTAGES.tolist()), cell, fails[cell])


def written(cells: CellList, path: Path, banks: str = "bram") -> Path:
    lines = [f"voltage_v,{banks},row,bit"]
    for n, voltage in enumerate(cells.voltages):
        for cell in cells.cell[cells.fails[:, n]].tolist():
            bank, row, bit = np.unravel_index(cell, cells.shape)
            lines.append(f"{voltage},{bank},{row},{bit}")
    path.write_text("\n".join(lines))
    return path


def test_lists_are_read_as_they_are(tmp_path: Path) -> None:
    cells = memory(0.3, 0)
    path = written(cells, tmp_path / "cells.csv")
    for text in (path.read_text(), "# shape: 200x64x8\n" + path.read_text()):
        path.write_text(text)
        found = read_cells(path, SHAPE)
        assert found.voltages == cells.voltages
        assert np.array_equal(found.cell, cells.cell)
        assert np.array_equal(found.fails, cells.fails)
    assert read_cells(path).shape == SHAPE
    counts = cells.counts()
    assert counts.shape == (200, 5)
    assert counts.sum() == cells.fails.sum()
    assert np.array_equal(counts[7], cells.fails[(cells.cell // 512) == 7].sum(axis=0))


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("bram,row,bit\n1,1,1\n", None, "lists failing cells; give the shape of all cells"),
        ("bram,row,bit\n1,9,1\n", "2x8x8", r":2: row must be 0..7 in 2 x 8 x 8 cells, not 9"),
        ("row,bit\n1,1\n", "2x8x8", "lacks the column bank"),
        ("# shape: 4x8x8\nbram,row,bit\n1,1,1\n", "2x8x8", "says that it is of 4 x 8 x 8 cells"),
        ("1,2,3\n", "2x8x8", "has 3 columns and no header"),
        ("row,bit,column\n1,1,1\n", "8x8", "columns 'bit' and 'column' both say bit"),
    ],
)
def test_lists_that_cannot_be_read(
    tmp_path: Path, text: str, shape: str | None, message: str
) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(TableError, match=message):
        read_cells(tmp_path / "c.csv", None if shape is None else parse_shape(shape))


@pytest.mark.parametrize("text", ["890x1024", "1024 X 8", "3x4x5"])
def test_shapes(text: str) -> None:
    sizes = [int(word) for word in text.lower().split("x")]
    assert tuple(parse_shape(text)) == ((1, *sizes) if len(sizes) == 2 else tuple(sizes))


@pytest.mark.parametrize("text", ["8", "0x8x8", "axb", "9999999x9999x99", "1x2x3x4"])
def test_no_shapes(text: str) -> None:
    with pytest.raises(TableError, match="^shape must"):
        parse_shape(text)


def test_likelihood_is_the_integral_over_offsets() -> None:
    """By another quadrature, of one bank at a time."""
    cells = memory(0.3, 1, Shape(3, 64, 8))
    x = (VOLTAGES - VOLTAGES.mean()) / VOLTAGES.std()
    line, spread = np.array([-2.4, -0.35]), 0.7
    model = _Likelihood.of(cells, x, "probit")
    z, own = line[0] + line[1] * x, np.sqrt(1 + spread**2)

    def of_bank(first: np.ndarray) -> float:
        def joint(u: float) -> float:
            below = norm.cdf(own * z + spread * u)
            cells_at = np.append(below[:-1] - below[1:], below[-1])
            healthy = (1 - below[0]) ** (512 - first.sum())
            return float(np.prod(cells_at**first) * healthy * np.exp(-u * u / 2))

        scale = joint(0.0)
        whole, _ = quad(lambda u: joint(u) / scale, -9, 9, limit=400, epsabs=0, epsrel=1e-11)
        return float(np.log(whole * scale))

    counts = np.zeros((3, 5), int)
    np.add.at(counts, (cells.bank, cells.highest), 1)
    exact = [of_bank(first) for first in counts]
    losses = [
        model.loss(np.array([*line, s])) - model.loss(np.array([*line, spread]))
        for s in (spread, 0.4)
    ]
    assert losses[0] == 0
    spread, own = 0.4, np.sqrt(1 + 0.4**2)
    other = [of_bank(first) for first in counts]
    assert losses[1] == pytest.approx(sum(exact) - sum(other), rel=1e-6)


def test_what_made_the_cells_is_found() -> None:
    found = fit_banks(memory(0.3, 2), "probit", "x")
    assert isinstance(found.law, ProbitLaw)
    assert found.banks is not None
    truth = {"mean": MEAN, "sigma": SIGMA, "bank_share": 0.3}
    widths = {"mean": 0.04, "sigma": 0.012, "bank_share": 0.3}
    for name, value in truth.items():
        low, high = found.intervals[name]
        assert low <= value <= high
        assert high - low < widths[name]
    assert found.banks.cells == 512


def test_independent_cells_have_no_share() -> None:
    found = fit_banks(memory(0.0, 3), "probit", "x")
    assert found.banks is not None
    assert found.intervals["bank_share"][0] == 0
    assert found.banks.share < 0.03


@pytest.mark.slow
def test_intervals_of_banks_cover() -> None:
    runs, shape = 150, Shape(100, 64, 8)
    truth = {"mean": MEAN, "sigma": SIGMA, "bank_share": 0.3}
    covered, widths = dict.fromkeys(truth, 0), []
    for run in range(runs):
        found = fit_banks(memory(0.3, 100 + run, shape), "probit", "x")
        for name, value in truth.items():
            low, high = found.intervals[name]
            covered[name] += low <= value <= high
        widths.append(np.diff(found.intervals["bank_share"])[0])
    assert min(covered.values()) >= binom.ppf(1e-3, runs, 0.95)
    assert np.median(widths) < 0.3


def test_figures_of_banks_and_pairs() -> None:
    cells = memory(0.3, 4)
    found = fit_banks(cells, "probit", "x")
    rows = bank_rows(cells, found, memories=100)
    assert [row.voltage for row in rows] == list(cells.voltages)
    for n, row in enumerate(rows):
        per_bank = [int(cells.fails[cells.bank == b, n].sum()) for b in range(200)]
        assert row.failed == sum(per_bank)
        assert row.seen.clean == per_bank.count(0) / 200
        assert row.seen.worst == max(per_bank)
        spread = np.var(per_bank, ddof=1)
        assert row.seen.dispersion * np.mean(per_bank) == pytest.approx(spread)
        assert row.kept == (None if n == 0 or not row.failed else 1.0)
    low, high = rows[0].fitted
    assert low.dispersion < rows[0].seen.dispersion < high.dispersion
    assert rows[0].independent[1].dispersion < low.dispersion
    failing = [np.unravel_index(c, cells.shape) for c in cells.cell[cells.fails[:, 0]]]
    for pair in pair_rows(cells):
        seen = sum(
            a[0] == b[0]
            and (a[1] == b[1] if pair.distance == 0 else a[2] == b[2])
            and b[1] - a[1] == pair.distance
            for i, a in enumerate(failing)
            for b in failing[:i] + failing[i + 1 :]
        )
        assert pair.pairs == (seen // 2 if pair.distance == 0 else seen)


def test_cells_that_come_back_are_told() -> None:
    cells = memory(0.3, 5)
    fails = cells.fails.copy()
    top = np.flatnonzero(fails[:, 2])[:3]
    fails[top, 1] = False
    found = CellList(cells.shape, cells.voltages, cells.cell, fails)
    row = bank_rows(found, fit_banks(found, "probit", "x"), memories=2)[2]
    assert row.kept == 1 - 3 / fails[:, 2].sum()


def test_too_few_banks() -> None:
    with pytest.raises(FitError, match="at least 3 banks are needed"):
        fit_banks(memory(0.3, 6, Shape(2, 64, 8)), "probit", "x")


def test_chips_have_the_banks_of_their_technology() -> None:
    found = fit_banks(memory(0.4, 7), "probit", "x")
    technology = technology_of(found, nominal=1.0, vmin=0.6)
    assert technology.banks == found.banks
    chip = Chip(technology, 3)
    assert chip.clusters == Spatial.of(technology)
    assert chip.clusters.bank == technology.banks.share  # type: ignore[union-attr]
    words = 400 * 64
    counts = np.bincount(chip.faults_at("m", words, 8, 0.01).word // 64, minlength=400)
    plain = Chip(technology, 3, Spatial()).faults_at("m", words, 8, 0.01)
    alone = np.bincount(plain.word // 64, minlength=400)
    assert counts.mean() == pytest.approx(alone.mean(), rel=0.4)
    assert alone.var() / alone.mean() < 1.4
    assert counts.var() / counts.mean() > 3
    # Banks of whole rows: of 24 bits a word, 21 words have at most 512 cells.
    assert np.array_equal(chip.clusters.bank_of(50, 24), np.arange(50) // 21)
    assert np.array_equal(chip.clusters.bank_of(3, 1000), np.arange(3))
    with pytest.raises(ChipError, match="bank_cells must be >= 0, and 0 where banks are counted"):
        Spatial(banks=2, bank_cells=8)


def test_check_bits_lie_in_the_banks_of_their_words() -> None:
    spatial = Spatial(bank=0.9, bank_cells=64)
    found = Chip(load_technology("sram_14nm"), 1, spatial).faults_at("m", 3200, 8, 0.05, 5)
    data = np.bincount(found.word[found.bit < 8] // 8, minlength=400)
    check = np.bincount(found.word[found.bit >= 8] // 8, minlength=400)
    assert np.corrcoef(data, check)[0, 1] > 0.8


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_command_line(tmp_path: Path) -> None:
    path = written(memory(0.3, 8), tmp_path / "cells.csv")
    words = ("memory", "fit", path, "--nominal", "1000 mV", "--vmin", 0.6, "--reads", 0)
    done = call(*words, "--shape", "200x64x8", "-o", tmp_path / "t.yaml", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [row["voltage"] for row in document["banks"]["voltages"]] == VOLTAGES.tolist()
    technology = load_technology(tmp_path / "t.yaml")
    assert technology.banks is not None
    assert technology.banks.share == document["banks"]["share"]
    assert technology.nominal == 1.0
    assert (technology.faults.kind, technology.faults.ones) == ("stuck", 0.0)
    done = call(*words, "--shape", "200x64x8")
    assert "pairs in a bank by rows between them" in done.stdout
    for extra, message in (
        ((), "lists failing cells; give the shape of all cells"),
        (("--shape", "8"), "shape must be BANKSxROWSxBITS"),
        (("--shape", "200x64x8", "--reads", "2"), "--reads: must be flip, 0, 1, not '2'"),
        (("--nominal", "1000"), "--nominal: must be above 0 and at most 10"),
    ):
        assert message in str(call(*words, *extra).exception)


@pytest.mark.slow
def test_the_measured_memory() -> None:
    """Facts that were found in the same file by other means."""
    path = os.environ.get("HWSIM_KC705_FAULTS", "")
    if not Path(path).is_file():
        pytest.skip(
            "HWSIM_KC705_FAULTS must name kc705_bram_faults.csv: columns voltage_v, bram, row, "
            "bit, made of the raw maps in github.com/behzadsalami/FPGA-BRAMs-Undervoltig-Study"
        )
    cells = read_cells(path, parse_shape("890x1024x8"))
    rows = bank_rows(cells, fit_banks(cells, "probit", "x"))
    assert [row.failed for row in rows] == [1137, 345, 126, 31, 13, 4, 1]
    assert [row.seen.worst for row in rows] == [61, 26, 12, 3, 2, 1, 1]
    assert round(100 * rows[0].seen.clean) == 72
    assert round(rows[0].seen.dispersion, 1) == 17.1
    for row in rows:
        low, high = row.fitted
        for name in ("clean", "dispersion", "worst"):
            assert getattr(low, name) <= getattr(row.seen, name) <= getattr(high, name)
    assert rows[0].seen.clean > rows[0].independent[1].clean
    pairs = {pair.distance: pair.pairs for pair in pair_rows(cells)}
    assert (pairs[1], pairs[2], pairs[3], pairs[4]) == (0, 86, 0, 69)
