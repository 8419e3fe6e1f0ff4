"""How errors are trained against, and how a model is judged under them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.lowvoltage.chip import Chip
from hwsim.lowvoltage.technology import MemoryTechnology
from hwsim.models.attributes import FaultModelError
from hwsim.models.injector import FaultInjector
from hwsim.models.memory import Memory
from hwsim.models.stored import (
    ACTIVATIONS,
    stored_activations,
    stored_weights,
    weights_read_once,
)
from hwsim.progress import NoProgress, Progress
from hwsim.studies.curve import CurvePoint, VoltageCurve
from hwsim.studies.statistics import Bound, StopRule


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


# -- judging ---------------------------------------------------------------------------------------


def voltage_curve(
    faults: FaultInjector,
    technology: MemoryTechnology,
    accuracy: Callable[[], float],
    voltages: Iterable[float],
    *,
    chips: int | None = None,
    loss: float = 0.01,
    goal: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> VoltageCurve:
    """Accuracy of a model against the voltage of its memories, over many chips.

    accuracy: evaluates the model as it is and returns a share 0..1; it is called once for each
    chip (seeds ``seed`` ..., the same at every voltage) and once without errors. voltages:
    relative to vmin; vmin itself is added. chips: how many; default: until the intervals decide
    (``StopRule``). loss: of the clean accuracy, that is acceptable, in the mean, or, with a goal,
    to that share of the chips: ``lowest`` of the result is the lowest voltage that is shown to
    keep it. A mean takes 500 chips to show a loss of 0.01. For networks on an accelerator use
    ``hwsim faults``, which knows their memories word by word.

    Raises VoltageError outside the technology's data, FaultModelError for fewer than 2 chips and
    StatisticsError for a loss or goal outside 0..1.
    """
    if chips is not None and chips < 2:
        raise FaultModelError(f"chips must be at least 2, not {chips}")
    Bound(1.0, loss, goal)
    rule = StopRule() if chips is None else StopRule.fixed(chips)
    rates = {v: technology.probability(v) for v in sorted({*voltages, 1.0})}
    was_training = faults.model.training
    faults.model.eval()
    try:
        with (progress or NoProgress()).task("chips at voltages", len(rates) * rule.most) as task:
            clean = accuracy()
            bound = Bound(clean, loss, goal)
            points = []
            for voltage, rate in rates.items():
                found: list[float] = []
                count = rule if rate else StopRule.fixed(rule.least)
                while not count.done(found, bound):
                    if rate:
                        number = seed + len(found)
                        # The weights are read once, not for every batch.
                        with (
                            weights_read_once(faults.model),
                            faults.chip(Chip(technology, number), rate=rate),
                        ):
                            found.append(accuracy())
                    else:
                        found.append(clean)
                    task.advance()
                task.advance(rule.most - len(found))
                points.append(CurvePoint(voltage, rate, tuple(found), len(rule.looks)))
    finally:
        faults.model.train(was_training)
    return VoltageCurve(tuple(points), bound)
