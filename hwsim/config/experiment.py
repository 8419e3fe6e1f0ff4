"""The experiment: one file that says everything from data set to verification."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hwsim.config.accelerator import AcceleratorConfig, EnergyConfig, VerificationConfig
from hwsim.config.loader import StrictModel
from hwsim.config.training import DataConfig, ModelConfig, TrainingConfig


class ExperimentConfig(StrictModel):
    """One experiment. ``name`` is also the default output folder's; ``seed`` feeds the training."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    accelerator: AcceleratorConfig = AcceleratorConfig()
    energy: EnergyConfig = EnergyConfig()
    verification: VerificationConfig = VerificationConfig()
