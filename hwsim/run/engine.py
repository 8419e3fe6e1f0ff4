"""Stages in order: a stage is done if its inputs or its code changed, otherwise it is kept."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hwsim.files import remove
from hwsim.hashes import value_hash
from hwsim.progress import Progress
from hwsim.run.workspace import Workspace
from hwsim.sources import code_hash
from hwsim.version import __version__

Figures = dict[str, Any]
"""Plain JSON values that a stage reports; units are in the keys."""


@dataclass(frozen=True)
class StageRun:
    """The arguments of a stage: the configuration, folders to read and to write, progress.

    folder: the experiment's folder with the outputs of earlier stages, to read.
    work: the folder to write this stage's outputs to.
    figures: what the finished earlier stages reported, by stage.
    """

    config: Any
    folder: Path
    work: Path
    progress: Progress
    figures: dict[str, Figures]


@dataclass(frozen=True)
class ExperimentStage:
    """One step of an experiment.

    work: does it; the code that decides its result is that of the module which defines ``work``
    and of all that this module imports of hwsim. sections: keys of the configuration that it
    reads. needs: earlier stages whose outputs it reads. outputs: files and folders that ``work``
    leaves. inputs: hash of what it reads from outside the folder (a data set, a table).
    resumable: what it wrote before an interruption is of use to the next attempt. schema: of the
    figures that it reports.
    """

    name: str
    work: Callable[[StageRun], Figures]
    outputs: tuple[str, ...]
    sections: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    inputs: Callable[[Any], str] | None = None
    resumable: bool = False
    schema: type[BaseModel] | None = None

    def key(self, config: BaseModel, workspace: Workspace) -> str:
        """Hash of everything that the stage's result depends on."""
        sections = config.model_dump(mode="json", include=set(self.sections))
        needed = {name: workspace.outputs(name) for name in self.needs}
        outside = self.inputs(config) if self.inputs else None
        code = code_hash(Path(inspect.getfile(self.work)))
        return value_hash([__version__, self.name, sections, needed, outside, code])


@dataclass(frozen=True)
class StageReport:
    """The outcome of a stage: ``seconds`` is the time of the run that made the outputs."""

    name: str
    cached: bool
    seconds: float
    figures: Figures


def run_stages(
    stages: Sequence[ExperimentStage],
    config: BaseModel,
    workspace: Workspace,
    progress: Progress,
    on_stage: Callable[[StageReport], None] = lambda report: None,
    derived: Sequence[str] = (),
) -> dict[str, StageReport]:
    """Bring every stage up to date, in order; ``on_stage`` hears of each when it is.

    derived: files of the folder that were made from all stages; they go as soon as one is redone.
    The caller holds ``workspace.locked()``. A stage that fails or is interrupted leaves nothing,
    unless it is resumable; the ones before it stay finished.
    """
    reports: dict[str, StageReport] = {}
    for stage in stages:
        key = stage.key(config, workspace)
        cached = workspace.is_current(stage.name, key)
        if not cached:
            for name in derived:
                remove(workspace.folder / name)
            work = workspace.begin(stage.name, key, resumable=stage.resumable)
            figures = {name: report.figures for name, report in reports.items()}
            run = StageRun(config, workspace.folder, work, progress, figures)
            start = time.perf_counter()
            try:
                result = stage.work(run)
            except BaseException:
                if not stage.resumable:
                    workspace.abandon(stage.name)
                raise
            seconds = time.perf_counter() - start
            workspace.finish(stage.name, key, stage.outputs, result, seconds)
        report = StageReport(
            stage.name, cached, workspace.seconds(stage.name), workspace.figures(stage.name)
        )
        reports[stage.name] = report
        on_stage(report)
    return reports
