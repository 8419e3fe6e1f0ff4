"""Recipes for training against errors, and for judging a model with errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.models.attributes import FaultModelError
from hwsim.models.memory import Memory
from hwsim.models.stored import (
    ACTIVATIONS,
    stored_activations,
    stored_weights,
)


@torch.no_grad()
def clip_weights(model: nn.Module, limit: float) -> None:
    """Clip the float weights behind every stored weight to +-limit; call it after each step.

    Weight clipping of arXiv 2006.13977, section 4.2. Raises FaultModelError for weights that are
    computed from others (``weight_norm``, pruning).
    """
    for place, module, name, _ in stored_weights(model):
        parameter = module._parameters.get(name)
        if parameter is None:
            raise FaultModelError(f"{place} is computed from others, it cannot be clipped")
        parameter.clamp_(-limit, limit)


def margin_cross_entropy(
    logits: Tensor, labels: Tensor, margin: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy that asks the right class to win by ``margin``: its logit counts as that less.

    A classifier that wins clearly keeps winning when errors move its logits. In the spirit of
    margin losses for bit error tolerance (arXiv 2603.05048); additive, in units of the logits.
    """
    if margin:
        logits = logits - margin * F.one_hot(labels, logits.shape[1])
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class Curriculum:
    """Bit error rate over a training: 0 until ``start``, then rising linearly to ``rate``.

    start: share of the steps; ramp: share of the steps that the rise takes.
    """

    rate: float
    start: float = 0.0
    ramp: float = 0.25

    def __call__(self, share: float) -> float:
        """Bit error rate when ``share`` (0..1) of the steps is done."""
        if share < self.start:
            return 0.0
        if self.ramp <= 0:
            return self.rate
        return self.rate * min(1.0, (share - self.start) / self.ramp)


class Deviation:
    """Measures how far errors move the activations of a model.

    Of every layer: sum of squared differences over the sum of squares, both of one batch;
    ``penalty`` is the mean over layers. Gradients flow through the clean and the faulty
    activations, not through the denominator.

    layers: modules to look at; default: stored activations where the model has any, else
    those of the types in ACTIVATIONS. Raises FaultModelError when there are none.
    """

    def __init__(self, model: nn.Module, layers: Iterable[nn.Module] | None = None):
        if layers is None:
            modules = list(model.modules())
            stored = [activation.memory for _, _, activation in stored_activations(model)]
            stored += [m for m in modules if isinstance(m, Memory) and m.kind == "activation"]
            layers = stored or [m for m in modules if isinstance(m, ACTIVATIONS)]
        self.layers = list(layers)
        if not self.layers:
            raise FaultModelError("model has no activations to compare; name layers")

    @contextmanager
    def watch(self) -> Iterator[list[Tensor]]:
        """Collects what the layers yield within the block."""
        seen: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
            for layer in self.layers
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def penalty(self, clean: list[Tensor], faulty: list[Tensor]) -> Tensor:
        """Mean relative squared deviation of ``faulty`` from ``clean`` activations."""
        terms = [
            (b.float() - a.float()).square().sum() / (a.detach().float().square().sum() + 1e-6)
            for a, b in zip(clean, faulty, strict=True)
        ]
        return torch.stack(terms).mean()
