"""Draw the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import REPORT

if TYPE_CHECKING:
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.report import build_report

    with run.progress.task("report"):
        build_report(run.folder, run.work / REPORT)
    return {}
