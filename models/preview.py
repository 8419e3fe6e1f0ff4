"""The integer network of a configuration, before any training."""

from __future__ import annotations

from pathlib import Path

import torch

from hwsim.config.experiment import ExperimentConfig
from hwsim.errors import NetworkError
from hwsim.models.data import Dataset
from hwsim.models.export import export_network
from hwsim.models.inference import network_input
from hwsim.models.networks import build_network
from hwsim.models.settle import settle_statistics
from hwsim.models.train import load_initial
from hwsim.network import Network

_PICTURES = 64


@torch.no_grad()
def preview_network(config: ExperimentConfig, data: Dataset) -> Network:
    """Network with the ops, names and shapes of the trained one, of the weights before training.

    Quantizers scale weights by their mean, so its widths are about those after training. Raises
    ConfigError and NetworkError for what the trained network could not be either, OutputError
    when ``training.initial`` does not fit it.
    """
    model = build_network(config.model, data.shape, data.classes, seed=config.seed)
    if config.training.initial is not None:
        load_initial(model, Path(config.training.initial), torch.device("cpu"))
    model.freeze_positions()
    # Statistics of some pictures, as training would have them; multipliers follow from them.
    pictures = network_input(data.train_x[:_PICTURES], config.model.input_bits)
    settle_statistics(model, [torch.from_numpy(pictures)])
    try:
        return export_network(model.eval(), config.name)
    except NetworkError as error:
        raise NetworkError(f"{error} (before training; its weights set the width)") from None
