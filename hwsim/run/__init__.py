"""The experiment runner: a stage runs again only if its inputs or its code changed."""

from hwsim.run.engine import ExperimentStage, StageReport, StageRun, run_stages
from hwsim.run.workspace import Workspace

__all__ = ["ExperimentStage", "StageReport", "StageRun", "Workspace", "run_stages"]
