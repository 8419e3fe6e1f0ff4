"""Runs the stages of an experiment, and shows the outcome of each stage on the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.cli.checks import check_experiment
from hwsim.cli.common import Output, make_console, mark, styled
from hwsim.errors import HwsimWarning

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.run import ExperimentStage, StageReport, Workspace
    from hwsim.run.engine import Figures


LOW_AGREEMENT = 0.98
"""Share of equal predictions below which the export is suspected."""


def load_experiment(source: str, settings: Sequence[str] | None = None) -> ExperimentConfig:
    """The experiment of a YAML file or of a shipped name, with ``--set`` values."""
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.config.loader import load_config

    return load_config(source, ExperimentConfig, settings=settings or ())


@contextmanager
def open_workspace(config: ExperimentConfig, output: Path | None) -> Iterator[Workspace]:
    """The experiment's folder (default ``runs/<name>``), locked for this process alone."""
    from hwsim.cli.stages import STAGES, report_stage
    from hwsim.run import Workspace

    folder = output or Path("runs") / config.name
    workspace = Workspace(folder, config.name, (*STAGES, report_stage(folder)))
    with workspace.locked():
        yield workspace


def bring_up_to_date(
    stages: Sequence[ExperimentStage], config: ExperimentConfig, workspace: Workspace, out: Output
) -> dict[str, StageReport]:
    """Run ``stages``, one line each on stderr; all possible checks come before training."""
    from hwsim.cli.stages.names import REPORT, RESULT
    from hwsim.run import run_stages

    def show(report: StageReport) -> None:
        if report.name == "evaluate":
            warn_of_agreement(report.figures["agreement"])
        if out.quiet:
            return
        console = make_console(stderr=True)
        time = "cached" if report.cached else f"{report.seconds:.1f} s"
        sign = mark(report.figures.get("passed", True), stderr=True)
        text = _summary(report.name, report.figures)
        style = "dim" if report.cached else "none"
        console.print(styled("  ", sign, " ", (f"{report.name:<9}{time:>8}", style), f"   {text}"))

    first = stages[0]
    if first.name == "train" and not workspace.is_current("train", first.key(config, workspace)):
        with out.progress.task("check the experiment"):
            check_experiment(config, {stage.name for stage in stages})
    derived = (RESULT, REPORT) if first.name != "report" else ()
    return run_stages(stages, config, workspace, out.progress, show, derived)


def warn_of_agreement(share: float) -> None:
    """Warn if the integers give other answers than the trained network."""
    if share < LOW_AGREEMENT:
        warnings.warn(
            f"integers and training model agree on {percent(share)} of the test images only: "
            "accuracy was lost in the export (raise model.multiplier_bits; sums above 2^24 are "
            "rounded in training)",
            HwsimWarning,
            stacklevel=2,
        )


def percent(share: float | None) -> str:
    """A fraction as people read it: ``98.61 %``."""
    return "-" if share is None else f"{100 * share:.2f} %"


def _summary(stage: str, f: Figures) -> str:
    """One line with the result of ``stage``."""
    if stage == "train":
        twin = f"float {percent(f['float'])}, " if f["float"] is not None else ""
        return (
            f"{twin}quantized {percent(f['quantized'])} of the test images "
            f"({f['precision']} on {f['machine']['device']})"
        )
    if stage == "export":
        return f"{f['ops']} ops, {f['weights']:,} weights in {f['weight_bits']:,} bits"
    if stage == "evaluate":
        return (
            f"integer {percent(f['integer'])}, torch on the same integers {percent(f['golden'])}; "
            f"{percent(f['agreement'])} of the answers as in training"
        )
    if stage == "simulate":
        cycles = f["accelerator"]
        return (
            f"a frame every {cycles['frame_interval_cycles']:,} cycles, "
            f"latency {cycles['frame_latency_cycles']:,}"
        )
    if stage == "generate":
        return f"{f['lines']:,} lines of Verilog"
    if stage == "verify":
        return verification_line(f)
    return ""


def verification_line(f: Figures) -> str:
    """One line about a verification."""
    made = f" and {f['directed']} made ones" if f["directed"] else ""
    what = f"{f['tests']} tests, {f['images']} images{made} in {f['simulator']}: "
    if f["passed"]:
        return what + "every output and every cycle count equal"
    outputs = "equal" if f["outputs_equal"] else "different"
    cycles = "equal" if f["cycles_equal"] else "different"
    idle = "" if f["disturbed"] else "; a disturbance changed nothing"
    return what + f"outputs {outputs}, cycle counts {cycles}{idle}"
