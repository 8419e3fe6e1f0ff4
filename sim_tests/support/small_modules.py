"""A small module with stored weights, its inputs, and a chip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwsim.lowvoltage import Chip, load_technology
from hwsim.models.faults import store_weights

SRAM = load_technology("sram_14nm")
CHIP = Chip(SRAM, 3)


def stored(model: nn.Module, bits: int = 8) -> nn.Module:
    """``model`` with its weights in memories of ``bits`` bits."""
    return store_weights(model, bits).model


def body(norm: bool = False) -> nn.Sequential:
    """Three linear layers, 6 inputs and 3 outputs, always with the same weights."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*layers[:1], *([nn.BatchNorm1d(8)] if norm else []), *layers[1:])


def batch(count: int = 5) -> Tensor:
    """[count, 6], always the same."""
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
