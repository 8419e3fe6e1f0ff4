"""The loss of a training step under bit errors, as ``FaultTrainingConfig`` describes it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hwsim.config.training import FaultTrainingConfig
from hwsim.models.faults import Curriculum, Deviation, FaultInjector

Loss = Callable[[Tensor], Tensor]
"""Logits [N, classes] -> scalar."""


class RobustLoss:
    """Clean and faulty passes through ``model``; each step's errors follow from seed and step."""

    def __init__(self, model: nn.Module, config: FaultTrainingConfig, seed: int):
        self.model, self.config = model, config
        self.faults = FaultInjector(model, seed, config.memories)
        self.curriculum = Curriculum(config.bit_error_rate, config.start, config.ramp)
        self.deviation = Deviation(model) if config.method == "deviation" else None

    def __call__(self, x: Tensor, loss: Loss, step: int, share: float) -> tuple[Tensor, Tensor]:
        """(loss, logits) of step ``step``, when ``share`` (0..1) of the training is done."""
        rate = self.curriculum(share)
        self.faults.draws = step
        if rate == 0:
            logits = self.model(x).float()
            return loss(logits), logits
        if self.config.method == "single":
            with self.faults.errors(rate, as_deployed=False):
                logits = self.model(x).float()
            return loss(logits), logits
        if self.deviation is None:
            logits = self.model(x).float()
            with self.faults.errors(rate):
                extra = loss(self.model(x).float())
        else:
            with self.deviation.watch() as clean:
                logits = self.model(x).float()
            with self.deviation.watch() as faulty, self.faults.errors(rate):
                self.model(x)
            extra = self.deviation.penalty(clean, faulty)
        return loss(logits) + self.config.weight * extra, logits
