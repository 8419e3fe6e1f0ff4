"""The results of ``hwsim faults``: a section of the report, or a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from hwsim.files import whole_file
from hwsim.lowvoltage.chip import Spatial
from hwsim.report.plots import Pin, Series, Whisker, pins, plot, whiskers
from hwsim.report.templates import render, render_page
from hwsim.studies.result import FaultsResult, Method, PartLoss, PerMemory, Supply

PAGE = "faults.html"
TITLE = "Memories at low voltage"
_CLOSE = 10
"""How many acceptable losses the picture of energy shows."""


def method_name(protection: str) -> str:
    """A protection in words."""
    kind, _, count = protection.partition(":")
    plain = {
        "none": "no protection",
        "parity": "parity, zero on error",
        "secded": "SECDED",
        "secded:zero": "SECDED, zero on double error",
    }
    bits = "bit" if count == "1" else f"{count} bits"
    return plain.get(protection) or f"{kind.upper()} of the top {bits}"


def points(share: float) -> str:
    """A share of images in points of accuracy: ``1.0 points``."""
    text = f"{100 * share:.4g}"
    return f"{text if '.' in text else text + '.0'} points"


def answer(result: FaultsResult, found: Method) -> str:
    """How low the voltage can go and what that saves, in one line."""
    row = found.lowest
    asked = bound(result)
    if found.next_lower_voltage_rel is None:
        where = f"runs at {row.voltage_rel:.3f} of Vmin, the lowest voltage asked for,"
    elif row.voltage_rel < 1:
        where = f"runs at {row.voltage_rel:.3f} of Vmin"
    else:
        where = f"needs {row.voltage_rel:.3f} of Vmin to run"
    return f"{where} {asked}: memory energy {_saved(found)} (95 % intervals over chips)"


def bound(result: FaultsResult, clean: float | None = None) -> str:
    """What is asked of chips, in words."""
    clean = result.accuracy_clean if clean is None else clean
    within = f"within {points(result.within)} of {100 * clean:.2f} %"
    if result.yield_goal is None:
        return f"{within} in the mean"
    return f"with {100 * result.yield_goal:.4g} % of chips or more {within}"


def open_question(result: FaultsResult, found: Method) -> str | None:
    """What the chips leave open, and how many would say more, in one line; None: nothing."""
    voltages = found.undecided_voltages_rel
    if not voltages:
        return None
    names = (
        f"{voltages[0]:.3f}" if len(voltages) == 1 else f"{voltages[-1]:.3f} to {voltages[0]:.3f}"
    )
    if result.chips_most < result.chips_needed:
        return (
            f"{names} of Vmin may do: {result.chips_most:,} chips are too few to show it, it takes "
            f"{result.chips_needed:,} even where none loses anything"
        )
    return (
        f"{names} of Vmin: {result.chips_most:,} chips leave it open; more may bring the voltage "
        "down (--max-chips)"
    )


def own_answer(result: FaultsResult, found: PerMemory) -> str:
    """What a voltage for each memory saves against one for all, in one line, as judged."""

    def judged(supply: Supply) -> str:
        verdict = {True: "is", False: "is not", None: "is not shown to be"}[supply.kept]
        seen = f"{100 * supply.accuracy_mean:.2f} % in the mean"
        if result.yield_goal is not None:
            seen = f"{100 * supply.share_good:.1f} % of chips within {points(result.within)}"
        return f"{_saved(supply)}; {seen}, which {verdict} enough ({supply.chips:,} chips)"

    return (
        f"with a voltage for each memory: memory energy {judged(found.own)}; with "
        f"{found.single_voltage_rel:.3f} of Vmin for all: {judged(found.single)}; judged on "
        f"other chips and {found.images:,} other images, where "
        f"{100 * found.accuracy_clean:.2f} % are right without faults"
    )


def _saved(found: Method | Supply) -> str:
    return (
        f"{-100 * found.energy_saved_vs_vmin:+.1f} % against Vmin, "
        f"{-100 * found.energy_saved_vs_nominal:+.1f} % against nominal"
    )


def lost(share: float) -> str:
    """A difference of accuracies in points, without a sign before 0: ``0.15``."""
    return f"{round(100 * share, 2) + 0.0:.2f}"


def write_faults_page(folder: Path, result: FaultsResult) -> Path:
    """Write ``faults.html`` into ``folder``; the file needs no other file and no network."""
    path = folder / PAGE
    text = render_page(
        f"{result.network}: {TITLE.lower()}", result.hwsim_version, [("faults", "", draw(result))]
    )
    with whole_file(path) as file:
        file.write(text.encode())
    return path


def draw(result: FaultsResult) -> Markup:
    """Figures and tables of ``result``."""
    clean, loss = 100 * result.accuracy_clean, 100 * result.within
    level = clean - loss, f"{points(result.within)} below the clean {clean:.2f} %"
    named = [(method_name(found.protection), found) for found in result.methods]
    several = len(result.methods) > 1
    curves = [_over_voltage(n, found, several) for n, found in enumerate(result.methods)]
    yields = [_yields(n, found, several) for n, found in enumerate(result.methods)]
    goal = None
    if result.yield_goal is not None:
        goal = 100 * result.yield_goal, f"{100 * result.yield_goal:.4g} % of chips"
    energy = [_over_energy(n, found, several) for n, found in enumerate(result.methods)]
    places, supplies = result.sensitivity, result.per_memory
    return render(
        "faults.html",
        f=result,
        clusters=_clusters(result.spatial),
        answers=[
            (name, answer(result, found), open_question(result, found)) for name, found in named
        ],
        bound=bound(result),
        loss=points(result.within),
        methods=named,
        name=method_name,
        lost=lost,
        curves=plot(
            curves, "Accuracy against voltage", "supply of the memories / Vmin", "accuracy, %",
            level=level, y_most=100,
        ),
        yields=plot(
            yields, "Yield against voltage", "supply of the memories / Vmin", "chips, %",
            level=goal, y_most=100,
        ),
        energy=plot(
            energy, "Accuracy against energy", "energy of the memories / bare memories at Vmin",
            "accuracy, %", level=level, y_least=clean - _CLOSE * loss, y_most=100,
        ),
        memories=_losses(places.memories, "Accuracy lost by memory") if places else None,
        bits=_losses(places.bits, "Accuracy lost by bit") if places else None,
        own=own_answer(result, supplies) if supplies else None,
        voltages=_voltages(supplies) if supplies else None,
    )  # fmt: skip


def _clusters(spatial: Mapping[str, float]) -> str:
    """What differs from independent cells: ``column=0.3, banks=4``."""
    plain = vars(Spatial())
    return ", ".join(f"{key}={value:g}" for key, value in spatial.items() if value != plain[key])


def _over_voltage(n: int, found: Method, several: bool) -> Series:
    rows = found.curve
    return Series(
        method_name(found.protection) if several else "",
        n,
        [(r.voltage_rel, 100 * r.accuracy_mean) for r in rows],
        [(r.voltage_rel, 100 * r.accuracy_low, 100 * r.accuracy_high) for r in rows],
        # With several methods worst chips would hide the means.
        () if several else [(r.voltage_rel, 100 * r.accuracy_worst) for r in rows],
        (found.lowest.voltage_rel, 100 * found.lowest.accuracy_mean),
    )


def _yields(n: int, found: Method, several: bool) -> Series:
    rows = found.curve
    return Series(
        method_name(found.protection) if several else "",
        n,
        [(r.voltage_rel, 100 * r.share_good) for r in rows],
        [(r.voltage_rel, 100 * r.yield_low, 100 * r.yield_high) for r in rows],
        chosen=(found.lowest.voltage_rel, 100 * found.lowest.share_good),
    )


def _over_energy(n: int, found: Method, several: bool) -> Series:
    rows = found.curve
    return Series(
        method_name(found.protection) if several else "",
        n,
        [(r.energy_rel_vmin, 100 * r.accuracy_mean) for r in rows],
        [(r.energy_rel_vmin, 100 * r.accuracy_low, 100 * r.accuracy_high) for r in rows],
        chosen=(found.lowest.energy_rel_vmin, 100 * found.lowest.accuracy_mean),
    )


def _losses(parts: Sequence[PartLoss], title: str) -> Markup:
    rows = [
        Whisker(
            part.name,
            100 * part.loss_mean,
            100 * part.loss_low,
            100 * part.loss_high,
            lost(part.loss_mean),
        )
        for part in parts
    ]
    return whiskers(rows, title)


def _voltages(found: PerMemory) -> Markup:
    rows = [
        Pin(memory.name, memory.voltage_rel, f"{memory.voltage_rel:.3f}, {100 * share:.1f} %")
        for memory, share in found.shares
    ]
    return pins(
        rows, "Voltages by memory", "supply of the memory / Vmin",
        start=1.0, mark=(found.single_voltage_rel, f"one for all: {found.single_voltage_rel:.3f}"),
    )  # fmt: skip
