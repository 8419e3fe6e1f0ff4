"""The network at the end of the training stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import FINAL, TRAINING
from hwsim.cli.stages.pictures import dataset

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.models.networks import ConvNet
    from hwsim.run.engine import StageRun


def trained_network(run: StageRun) -> ConvNet:
    """The network as the training stage left it."""
    from hwsim.models.checkpoint import load_checkpoint
    from hwsim.models.networks import build_network

    config: ExperimentConfig = run.config
    data = dataset(config.data)
    model = build_network(config.model, data.shape, data.classes, seed=config.seed)
    model.load_state_dict(load_checkpoint(run.folder / TRAINING / FINAL)["model"])
    return model.eval()
