"""The experiment runner: stages that are not redone when nothing changed."""

from hwsim.run.engine import ExperimentStage, StageReport, StageRun, run_stages
from hwsim.run.workspace import Workspace

__all__ = ["ExperimentStage", "StageReport", "StageRun", "Workspace", "run_stages"]
