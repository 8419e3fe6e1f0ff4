"""Fitted failure laws: they find what made the data, with intervals that cover it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from hwsim.cli.main import main
from hwsim.errors import OutputError
from hwsim.lowvoltage import Chip, ExponentialLaw, Point, ProbitLaw, load_technology
from hwsim.lowvoltage.fit import (
    Fit,
    FitError,
    LineData,
    added_up,
    fit_law,
    read_points,
    technology_of,
    write_technology,
)

VOLTAGES = np.linspace(0.75, 0.95, 6)
LAWS = {
    "probit": ProbitLaw(kind="probit", mean=0.7055, sigma=0.0553, source="x"),
    "exponential": ExponentialLaw(
        kind="exponential", at=0.85, probability_at=2e-3, decade=0.08, source="x"
    ),
}


def counts(law: ProbitLaw | ExponentialLaw, rng: np.random.Generator, cells: int) -> list[Point]:
    return [
        Point(voltage=v, failed=int(rng.binomial(cells, law.probability(v))), cells=cells)
        for v in VOLTAGES
    ]


@pytest.mark.parametrize("kind", LAWS)
def test_intervals_cover_the_truth_as_often_as_they_say(kind: str) -> None:
    rng = np.random.default_rng(0)
    law, runs = LAWS[kind], 200
    covered = dict.fromkeys(("mean", "sigma") if kind == "probit" else ("decade",), 0)
    for _ in range(runs):
        found = fit_law(counts(law, rng, 1 << 18), kind, "x")
        for name in covered:
            low, high = found.intervals[name]
            covered[name] += low <= getattr(law, name) <= high
    # Intervals are never narrower than counting noise asks for, so they may cover more often.
    least = binom.ppf(1e-4, runs, 0.95)
    assert min(covered.values()) >= least


def arrays(how: str, scatter: float, rng: np.random.Generator) -> list[Point]:
    """Eight arrays at each voltage, whose offsets in probits scatter as ``how`` says.

    ``none``; ``voltages``: all arrays alike; ``rows``: each at each voltage anew; ``arrays``: an
    array has the same at all voltages, and cells that fail at one also do at lower ones.
    """
    cells, count = 1 << 15, 1 if how == "voltages" else 8
    law = LAWS["probit"]
    assert isinstance(law, ProbitLaw)
    found = []
    shared = scatter * rng.standard_normal(len(VOLTAGES))
    for _ in range(count):
        offset = {
            "none": np.zeros(len(VOLTAGES)),
            "voltages": shared,
            "rows": scatter * rng.standard_normal(len(VOLTAGES)),
            "arrays": np.full(len(VOLTAGES), scatter * rng.standard_normal()),
        }[how]
        p = ndtr((law.mean - VOLTAGES) / law.sigma + offset)
        failed = cells * (8 if count == 1 else 1)
        size, above = failed, 1.0
        for voltage, share in zip(VOLTAGES, p, strict=True):
            if how == "arrays":
                failed, above = int(rng.binomial(failed, share / above)), share
            else:
                failed = int(rng.binomial(size, share))
            found.append(Point(voltage=voltage, failed=failed, cells=size))
    return sorted(found, key=lambda point: point.voltage)


def check_coverage(how: str, scatter: float, runs: int, chance: float) -> None:
    """Intervals hold as often as they say, and are no wider than a few times what is needed."""
    rng = np.random.default_rng(4)
    law = LAWS["probit"]
    assert isinstance(law, ProbitLaw)
    inside, widths, values = np.zeros(2), [], []
    for _ in range(runs):
        found = fit_law(arrays(how, scatter, rng), "probit", "x")
        assert isinstance(found.law, ProbitLaw)
        ends = np.array([found.intervals["mean"], found.intervals["sigma"]])
        # Arrays of different offsets together have a wider distribution of critical voltages.
        wider = np.sqrt(1 + scatter**2) if how in ("rows", "arrays") else 1.0
        truth = np.array([law.mean, law.sigma * wider])
        inside += (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        widths.append(ends[:, 1] - ends[:, 0])
        values.append([found.law.mean, found.law.sigma])
    assert inside.min() >= binom.ppf(chance, runs, 0.95)
    needed = 2 * 1.96 * np.std(values, axis=0)
    assert (np.median(widths, axis=0) < 4 * needed).all()
    assert (np.median(widths, axis=0) > 0.8 * needed).all()


SCATTERS = [("none", 0.0), ("voltages", 0.05), ("rows", 0.1), ("arrays", 0.1)]


@pytest.mark.parametrize(("how", "scatter"), SCATTERS)
def test_intervals_know_what_scatters(how: str, scatter: float) -> None:
    check_coverage(how, scatter, 40, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "scatter"), SCATTERS)
def test_intervals_cover_in_93_of_100_cases(how: str, scatter: float) -> None:
    """465 of 500 is what the 2nd of 100 sets of 500 would have at 95 %."""
    check_coverage(how, scatter, 500, 0.025)


def test_scatter_of_arrays_widens() -> None:
    rng = np.random.default_rng(5)
    alike = fit_law(arrays("arrays", 0.0, rng), "probit", "x")
    differing = fit_law(arrays("arrays", 0.3, rng), "probit", "x")
    assert alike.between_arrays is not None
    assert differing.between_arrays is not None
    assert alike.between_arrays < 0.05
    assert 0.12 < differing.between_arrays < 0.7
    low, high = alike.intervals["mean"]
    wide_low, wide_high = differing.intervals["mean"]
    assert 3 < (wide_high - wide_low) / (high - low) < 100


def test_a_voltage_at_which_every_cell_failed() -> None:
    """It says that the law is high there, and no more; the others lie on a line of their own."""
    law = LAWS["probit"]
    failing = [round(1e6 * law.probability(v)) for v in VOLTAGES]
    rows = [Point(voltage=v, failed=f, cells=10**6) for v, f in zip(VOLTAGES, failing, strict=True)]
    found = fit_law([Point(voltage=0.3, failed=10**6, cells=10**6), *rows], "probit", "x").law
    assert isinstance(found, ProbitLaw)
    assert (found.mean, found.sigma) == pytest.approx((0.7055, 0.0553), abs=1e-3)


@pytest.mark.parametrize("kind", LAWS)
def test_width_follows_students_t(kind: str) -> None:
    """Six voltages and five arrays of each: four degrees of freedom in all that is uncertain."""
    rng = np.random.default_rng(7)
    table = sorted(
        (
            Point(voltage=p.voltage, failed=round(p.failed * factor), cells=p.cells)
            for factor in (0.3, 0.5, 0.6, 0.9, 1.0)
            for p in counts(LAWS[kind], rng, 1 << 16)
        ),
        key=lambda point: point.voltage,
    )
    differing = fit_law(table, kind, "x").between_arrays
    assert differing is not None
    assert differing > 0.05
    for given in (added_up(table), table):
        half = {}
        for confidence in (0.5, 0.95, 0.99):
            found = fit_law(given, kind, "x", confidence)
            half[confidence] = np.array([high - low for low, high in found.intervals.values()]) / 2
        for confidence, ratio in ((0.95, 2.7764 / 0.7407), (0.99, 4.6041 / 0.7407)):
            assert half[confidence] / half[0.5] == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("kind", LAWS)
def test_a_law_and_its_line(kind: str) -> None:
    data = LineData.of(counts(LAWS[kind], np.random.default_rng(0), 1 << 18))
    line = data.line_of(LAWS[kind])
    predictor = line[0] + line[1] * (VOLTAGES - VOLTAGES.mean()) / VOLTAGES.std()
    share = np.array([LAWS[kind].probability(v) for v in VOLTAGES])
    assert predictor == pytest.approx(ndtri(share) if kind == "probit" else np.log(share))


def test_scatter_between_arrays_solves_its_equation() -> None:
    """Paule and Mandel: weighted squares are as many as the degrees of freedom."""
    rng = np.random.default_rng(3)
    sizes = (300, 1000, 3000, 500)
    rows = [
        Point(voltage=v, cells=n, failed=int(rng.binomial(n, ndtr((0.7 - v) / 0.1 + offset))))
        for v in (0.6, 0.65, 0.7, 0.75)
        for n, offset in zip(sizes, 0.1 * rng.standard_normal(4), strict=True)
    ]
    between = fit_law(rows, "probit", "x").between_arrays
    assert between is not None
    assert between > 0.05
    squares = 0.0
    for v in (0.6, 0.65, 0.7, 0.75):
        same = [p for p in rows if p.voltage == v]
        share = sum(p.failed for p in same) / sum(sizes)
        probits = [ndtri((p.failed + 0.5) / (p.cells + 1)) for p in same]
        weights = [
            1 / (share * (1 - share) / p.cells / norm.pdf(ndtri(share)) ** 2 + between**2)
            for p in same
        ]
        centre = np.average(probits, weights=weights)
        squares += sum(w * (y - centre) ** 2 for w, y in zip(weights, probits, strict=True))
    assert squares == pytest.approx(4 * (len(sizes) - 1))


def test_scatter_between_voltages_is_the_likeliest() -> None:
    """Restricted likelihood with the matrices of the textbook, at the line that was found."""
    # The highest voltages weigh little: few cells failed there.
    rng, cells = np.random.default_rng(6), 1 << 14
    offset = 0.1 * rng.standard_normal(len(VOLTAGES))
    share = ndtr((0.72 - VOLTAGES) / 0.06 + offset)
    given = [
        Point(voltage=v, failed=round(cells * p), cells=cells)
        for v, p in zip(VOLTAGES, share, strict=True)
    ]
    found = fit_law(given, "probit", "x")
    assert isinstance(found.law, ProbitLaw)
    level = (found.law.mean - VOLTAGES) / found.law.sigma
    p, slope = ndtr(level), norm.pdf(level)
    response = level + (np.array([point.failed for point in given]) / cells - p) / slope
    counting = p * (1 - p) / cells / slope**2
    design = np.stack([np.ones_like(VOLTAGES), VOLTAGES], axis=1)

    def loss(deviation: float) -> float:
        inverse = np.diag(1 / (counting + deviation**2))
        information = design.T @ inverse @ design
        line = np.linalg.solve(information, design.T @ inverse @ response)
        residual = response - design @ line
        logs = np.linalg.slogdet(inverse)[1] - np.linalg.slogdet(information)[1]
        return float(residual @ inverse @ residual - logs)

    best = minimize_scalar(loss, bounds=(1e-3, 2), method="bounded").x
    assert 0.03 < best < 0.5
    assert found.between_voltages == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize("kind", LAWS)
def test_many_cells_determine_the_law(kind: str) -> None:
    law = LAWS[kind]
    found = fit_law(counts(law, np.random.default_rng(1), 1 << 40), kind, "x")
    for v in VOLTAGES:
        assert found.law.probability(v) == pytest.approx(law.probability(v), rel=2e-3)
    assert 0.0 < found.dispersion < 8


def test_published_sram_agrees_with_a_least_squares_fit() -> None:
    """mean 0.7055 and sigma 0.0553 by least squares on the probit of the same points."""
    found = fit_law(load_technology("sram_14nm").points, "probit", "x")
    for name, value in (("mean", 0.7055), ("sigma", 0.0553)):
        low, high = found.intervals[name]
        assert low < value < high
    # The points scatter far more than counts would: intervals must have been widened.
    assert found.dispersion > 10


def test_a_chip_is_made_of_the_law_that_is_found_in_it() -> None:
    technology = load_technology("sram_14nm")
    law = LAWS["probit"]
    own = technology.model_copy(update={"law": law})
    chip = Chip(own, 4)
    points = [
        Point(voltage=v, failed=len(chip.faults("m", 1 << 15, 32, v)), cells=1 << 20)
        for v in VOLTAGES
    ]
    found = fit_law(points, "probit", "x")
    assert isinstance(found.law, ProbitLaw)
    assert found.law.mean == pytest.approx(0.7055, abs=0.003)
    assert found.law.sigma == pytest.approx(0.0553, abs=0.003)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v,failed,cells\n", "m.csv: lacks the column voltage; needed are voltage, failed, cells"),
        (
            "voltage,failed,cells\nhigh,1,2\n",
            "m.csv:2: voltage must be a number, not 'high'",
        ),
        (
            "voltage,failed,cells\n0.5,1,20\n0.6,1.5,20\n",
            "m.csv:3: failed must be an integer, not '1.5'",
        ),
        ("voltage,failed,cells\n0.5,3,2\n", "m.csv:2: failed: failed must be <= cells, not 3"),
        (
            "voltage,failed,cells\n0.5,-3,2\n",
            "m.csv:2: failed: Input should be greater than or equal to 0, not -3",
        ),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(text)
    with pytest.raises(FitError) as caught:
        read_points("m.csv")
    assert str(caught.value) == message


def points(*failed: int) -> list[Point]:
    return [Point(voltage=0.5 + 0.1 * n, failed=f, cells=100) for n, f in enumerate(failed)]


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (points(5, 1), "probit", "at least 3 voltages are needed, there are 2"),
        (
            points(5, 0, 0),
            "probit",
            "at least 2 voltages with failures in some but not all cells are needed, there are 1",
        ),
        (points(1, 5, 20), "probit", "the failures do not fall as the voltage rises: no law fits"),
        (points(9, 5, 1), "linear", "law must be one of probit, exponential, not 'linear'"),
    ],
)
def test_measurements_that_tell_nothing(given: list[Point], kind: str, message: str) -> None:
    with pytest.raises(FitError) as caught:
        fit_law(given, kind, "x")
    assert str(caught.value) == message


def fitted(*failed: int) -> Fit:
    return fit_law(points(*failed), "probit", "x")


def test_technology_needs_a_voltage_without_failures(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="say with vmin where none does"):
        technology_of(fitted(50, 20, 3), nominal=1.0)
    assert technology_of(fitted(50, 20, 3), nominal=1.0, vmin=0.9).vmin == 0.9
    technology = technology_of(fitted(50, 20, 3, 0), nominal=1.0)
    assert technology.vmin == pytest.approx(0.8)
    with pytest.raises(FitError, match="nominal must be at least vmin"):
        technology_of(fitted(50, 20, 3, 0), nominal=0.7)
    write_technology(technology, tmp_path / "t.yaml")
    assert load_technology(tmp_path / "t.yaml") == technology
    with pytest.raises(OutputError, match=r"t.yaml: exists; choose another file with -o"):
        write_technology(technology, tmp_path / "t.yaml")
    with pytest.raises(OutputError, match="is not a folder"):
        write_technology(technology, tmp_path / "no" / "t.yaml")


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(str(caught.value.code)), out, err


def test_command_line(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{p.voltage},{p.failed},{p.cells}" for p in load_technology("bram_virtex7").points]
    Path("m.csv").write_text("\n".join(["voltage,failed,cells", *rows[::-1], ""]))
    code, out, _ = call(capsys, "memory", "fit", "m.csv", "--nominal", 1, "-o", "t.yaml", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["command"] == "memory fit"
    assert document["points"] == 8
    low, high = document["intervals"]["mean"]
    assert low < document["law"]["mean"] < high
    code, out, _ = call(capsys, "memory", "show", "t.yaml", "--json", "--steps", 7)
    assert code == 0
    curve = json.loads(out)["curve"]
    assert len(curve) == 9
    assert curve[0]["voltage_rel"] == pytest.approx(0.54 / 0.61)
    assert curve[-2] == {
        "voltage_rel": 1.0,
        "bit_error_rate": 0.0,
        "energy_rel_vmin": 1.0,
        "energy_rel_nominal": pytest.approx(0.61**2),
    }
    code, out, _ = call(capsys, "memory", "show", "sram_14nm")
    assert code == 0
    assert "14 nm FinFET SRAM" in out
    assert call(capsys, "memory", "show", "sram_15nm") == (
        2,
        "",
        "hwsim: sram_15nm: is neither a file nor one of the shipped memories: bram_virtex7, "
        "sram_14nm (did you mean 'sram_14nm'?)\n",
    )
    code, out, err = call(capsys, "memory", "fit", "m.csv", "--nominal", 0.3)
    assert (code, out, err) == (2, "", "hwsim: nominal must be at least vmin\n")
