"""Batch-norm statistics for the present weights.

Running averages trail the weights, and binary weights that flip move them far: at the end of a
training they describe a network that is no more. ``settle_statistics`` measures them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from hwsim.models.layers import Norm
from hwsim.models.networks import ConvNet

_STATISTICS = ("running_mean", "running_var")


@torch.no_grad()
def settle_statistics(model: ConvNet, batches: Iterable[Tensor]) -> None:
    """Replace the statistics of every norm by their means over ``batches`` of network inputs.

    batches: integers [N, C, H, W], as ``model`` is trained on; at least one, of at least two
    values for each channel. A few thousand pictures are enough. Call it after the last step, and
    before the accuracy is taken; the training or evaluation mode is left as it was. Raises
    ValueError when there is no batch.
    """
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    before = [(norm.momentum, norm.deployed) for norm in norms]
    training = model.training
    count = 0
    model.train()
    try:
        for x in batches:
            count += 1
            for norm in norms:
                norm.momentum, norm.deployed = 1 / count, False
            model(x)
    finally:
        model.train(training)
        for norm, (momentum, deployed) in zip(norms, before, strict=True):
            norm.momentum, norm.deployed = momentum, deployed
    if not count:
        raise ValueError("statistics need at least one batch of inputs")
    model.settled.copy_(_digest(model))


def is_settled(model: ConvNet) -> bool:
    """Whether the statistics were settled for the weights that ``model`` now has."""
    return torch.equal(model.settled.cpu(), _digest(model))


def _digest(model: ConvNet) -> Tensor:
    """SHA-256, uint8 [32], of all that decides what the norms see."""
    digest = hashlib.sha256()
    for name, value in model.body.state_dict().items():
        if not name.endswith(_STATISTICS):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
