"""The inputs that a model reads, and the labels that it gives."""

from __future__ import annotations

import numpy as np
import torch

from hwsim.models.networks import ConvNet


def network_input(pictures: np.ndarray, input_bits: int) -> np.ndarray:
    """Pictures uint8 0..255 -> unsigned network inputs of ``input_bits`` bits."""
    return pictures >> np.uint8(8 - input_bits)


@torch.no_grad()
def predict(model: ConvNet, pictures: np.ndarray, batch: int = 500) -> np.ndarray:
    """Labels [N] that the (fake-quantized or float) model gives to uint8 ``pictures``."""
    model.eval()
    device = next(model.parameters()).device
    labels = []
    for start in range(0, len(pictures), batch):
        x = network_input(pictures[start : start + batch], model.config.input_bits)
        labels.append(model(torch.from_numpy(x).to(device)).argmax(dim=1).cpu())
    return torch.cat(labels).numpy()
