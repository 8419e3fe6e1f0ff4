"""Simulate the Verilog against the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import VERIFICATION, VERILOG
from hwsim.files import write_json

if TYPE_CHECKING:
    from hwsim.rtl.verify import VerificationResult
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.rtl.verify import verify

    v = run.config.verification
    result = verify(
        run.folder / VERILOG,
        simulator=v.simulator,
        images=v.images,
        gap_probability=v.gap_probability,
        stall_probability=v.stall_probability,
        seed=v.seed,
        progress=run.progress,
    )
    figures = verification_figures(result)
    write_json(run.work / VERIFICATION, result.to_json())
    return figures


def verification_figures(result: VerificationResult) -> Figures:
    """The ``verification`` section of results."""
    return {
        "passed": result.passed,
        "simulator": result.simulator,
        "tests": result.tests,
        "images": result.images,
        "directed": result.directed,
        "correct": result.correct,
        "outputs_equal": result.outputs_equal,
        "cycles_equal": result.cycles_equal,
        "disturbed": result.disturbed,
        "not_seen": list(result.coverage.not_seen),
        "notes": list(result.notes),
        "cycles_simulated": result.cycles_simulated,
        "failures": [failure.text for failure in result.failures],
        "figures": [
            {"test": run.test, "figure": name, "predicted": predicted, "measured": measured}
            for run in result.runs
            for name, (predicted, measured) in run.figures.items()
        ],
    }
