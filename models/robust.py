"""The loss of a training step under bit errors, as ``FaultTrainingConfig`` describes it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hwsim.config.training import FaultTrainingConfig
from hwsim.models.faults import Curriculum, Deviation, FaultInjector

Loss = Callable[[Tensor], Tensor]
"""Logits [N, classes] -> scalar."""

Pass = Callable[[], tuple[Tensor, Tensor]]
"""A forward pass: a term of the loss, and the logits."""


def clean_pass(model: nn.Module, x: Tensor, loss: Loss) -> Pass:
    """The pass of a step without errors."""

    def forward() -> tuple[Tensor, Tensor]:
        logits = model(x).float()
        return loss(logits), logits

    return forward


class RobustLoss:
    """Clean and faulty passes through ``model``; each step's errors follow from seed and step."""

    def __init__(self, model: nn.Module, config: FaultTrainingConfig, seed: int):
        self.model, self.config = model, config
        self.faults = FaultInjector(model, seed, config.memories)
        self.curriculum = Curriculum(config.bit_error_rate, config.start, config.ramp)
        self.deviation = Deviation(model) if config.method == "deviation" else None

    def passes(self, x: Tensor, loss: Loss, step: int, share: float) -> list[Pass]:
        """The passes of step ``step``, when ``share`` (0..1) of the training is done.

        The loss is the sum of their terms, the answers are the logits of the first one. Take the
        gradient of each term before the next pass: then one pass's activations live at a time.
        """
        rate = self.curriculum(share)
        self.faults.draws = step
        clean = clean_pass(self.model, x, loss)

        def faulty() -> tuple[Tensor, Tensor]:
            with self.faults.errors(rate):
                term, logits = clean()
            return self.config.weight * term, logits

        def faulty_alone() -> tuple[Tensor, Tensor]:
            with self.faults.errors(rate, as_deployed=False):
                return clean()

        if rate == 0:
            return [clean]
        if self.config.method == "single":
            return [faulty_alone]
        if self.deviation is None:
            return [clean, faulty]
        return [self._both(x, loss, rate, self.deviation)]

    def _both(self, x: Tensor, loss: Loss, rate: float, deviation: Deviation) -> Pass:
        """Clean loss and deviation of the faulty activations, which needs both passes at once."""

        def both() -> tuple[Tensor, Tensor]:
            with deviation.watch() as clean:
                logits = self.model(x).float()
            with deviation.watch() as faulty, self.faults.errors(rate):
                self.model(x)
            return loss(logits) + self.config.weight * deviation.penalty(clean, faulty), logits

        return both
