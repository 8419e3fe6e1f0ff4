"""``hwsim run``: an experiment from training to report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hwsim.cli.common import (
    Experiment,
    Json,
    Output,
    OutputFolder,
    Quiet,
    Sections,
    Settings,
    example,
    make_console,
    mark,
    styled,
)
from hwsim.cli.experiment import (
    bring_up_to_date,
    load_experiment,
    open_workspace,
    percent,
    verification_line,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.config.experiment import ExperimentConfig
    from hwsim.result import Result
    from hwsim.run import StageReport, Workspace


@example("hwsim run quickstart -o runs/quickstart")
def run(
    experiment: Experiment,
    settings: Settings = None,
    output: OutputFolder = None,
    sections: Sections = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment: train, export, evaluate, simulate, generate, verify and report.

    A stage is skipped if its inputs did not change, and an interrupted run resumes. The folder
    gets network.hwnet, verilog/, result.json and report.html.
    """
    from hwsim.report.own import load_sections

    config = load_experiment(experiment, settings)
    load_sections(sections or ())
    out = Output("run", as_json=as_json, quiet=quiet)
    with open_workspace(config, output) as workspace:
        if not quiet:
            heading = styled((config.name, "bold"), f" in {workspace.folder}")
            make_console(stderr=True).print(heading)
        result = run_experiment(config, workspace, out, sections or ())
    document = {"folder": str(workspace.folder), **_document(result)}
    out.finish(document, lambda: _summary(result, workspace.folder))
    if not result.accelerator.verification.passed:
        raise typer.Exit(1)


def _document(result: Result) -> dict[str, Any]:
    """``result.json`` and the accelerator's figures, in the form of ``simulate`` and ``verify``."""
    from hwsim.accelerator.energy import KINDS
    from hwsim.accelerator.energy import QUANTITY as ENERGY

    target = result.accelerator
    return {
        **result.model_dump(mode="json"),
        "accelerator": target.cycles.model_dump(mode="json"),
        "energy": {
            **target.energy.model_dump(mode="json"),
            "total_pj": target.costs.total(ENERGY),
            "by_kind": target.costs.by_kind(ENERGY, KINDS),
            "by_stage": target.costs.by_part(ENERGY),
            "by_stage_and_kind": target.costs.by_part_and_kind(ENERGY, KINDS),
        },
        "verification": target.verification.model_dump(mode="json"),
    }


def run_experiment(
    config: ExperimentConfig, workspace: Workspace, out: Output, sections: Sequence[Path] = ()
) -> Result:
    """Bring every stage, ``result.json`` and the report up to date.

    sections: files whose sections were loaded into the report.
    """
    from hwsim.cli.stages import STAGES, report_stage
    from hwsim.cli.stages.names import RESULT
    from hwsim.files import write_json

    reports = bring_up_to_date(STAGES, config, workspace, out)
    result = make_result(config, reports, workspace.folder)
    write_json(workspace.folder / RESULT, result.model_dump(mode="json"))
    bring_up_to_date((report_stage(workspace.folder, sections),), config, workspace, out)
    return result


def make_result(config: ExperimentConfig, reports: dict[str, StageReport], folder: Path) -> Result:
    """The results of all stages in ``folder``, in the schema of ``result.json``."""
    from hwsim.cli.provenance import tool_versions
    from hwsim.cli.stages.names import NETWORK, REPORT, VERILOG
    from hwsim.config.loader import config_hash
    from hwsim.result import accelerator_target, check_result
    from hwsim.run.workspace import STATE
    from hwsim.version import __version__

    f = {name: report.figures for name, report in reports.items()}
    verification = f["verify"]
    correct = verification["correct"]
    document: dict[str, Any] = {
        "hwsim_version": __version__,
        "experiment": config.name,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "config_sha256": config_hash(config),
        "network_sha256": f["export"]["network_sha256"],
        "tools": tool_versions(),
        "machine": f["train"]["machine"],
        "accuracy": {
            "float": f["train"]["float"],
            "quantized": f["train"]["quantized"],
            **{k: v for k, v in f["evaluate"].items() if k != "confusion"},
            "rtl": None if correct is None else correct / verification["images"],
        },
        "confusion": f["evaluate"]["confusion"],
        "training": {key: f["train"][key] for key in ("precision", "epochs")},
        "network": {k: v for k, v in f["export"].items() if k != "network_sha256"},
        "targets": [accelerator_target(f["simulate"], f["generate"], verification)],
        "files": {"network": NETWORK, "verilog": VERILOG, "report": REPORT},
        "times": [{"name": r.name, "seconds": r.seconds} for r in reports.values()],
    }
    return check_result(document, folder / STATE)


def _summary(result: Result, folder: Path) -> Iterator[RenderableType]:
    from rich import box
    from rich.table import Table

    a, target = result.accuracy, result.accelerator
    c, v = target.cycles, target.verification
    table = Table(box=box.ROUNDED, show_header=False, title=None, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column()
    twin = f"{percent(a.float)} float twin, " if a.float is not None else ""
    table.add_row(
        "accuracy",
        styled(
            f"{twin}{percent(a.quantized)} quantized, ",
            (f"{percent(a.integer)} integer", "bold"),
            f" ({a.test_images:,} test images)",
        ),
    )
    table.add_row(
        "network",
        f"{result.network.weights:,} weights in {result.network.weight_bits:,} bits",
    )
    table.add_row(
        "cycles",
        styled(
            f"first output after {c.first_output_cycles:,}, "
            f"frame latency {c.frame_latency_cycles:,}, ",
            (f"a frame every {c.frame_interval_cycles:,}", "bold"),
        ),
    )
    table.add_row(
        "speed",
        f"{c.frames_per_second:,.0f} frames/s, {c.frame_latency_us:,.1f} us latency "
        f"at {c.clock_mhz:g} MHz",
    )
    bits = int(target.costs.total("memory_bits"))
    table.add_row("memories", f"{len(target.memories)} memories, {bits:,} bits")
    e, pj = target.energy, target.costs.total("energy_pj")
    table.add_row(
        "energy",
        styled(
            (f"{pj / 1e3:,.2f} nJ a frame", "bold"),
            f" ({e.table}: {e.node_nm:g} nm memories at {e.voltage_v:g} V)",
        ),
    )
    table.add_row("Verilog", styled(mark(v.passed), " ", verification_line(v.model_dump())))
    for failure in v.failures[:5]:
        table.add_row("", styled((failure, "red")))
    table.add_row("report", str(folder / result.files.report))
    yield table
