"""Gradient checkpoints: what is computed again has the same errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.small_modules import CHIP, batch, body, stored
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hwsim.config.training import FaultTrainingConfig
from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    store_weights,
)
from hwsim.models.robust import RobustLoss

# What torch does to itself, in reentrant checkpoints within each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning"),
]


class Checkpointed(nn.Module):
    """Halves of a body, recomputed in the backward pass or not."""

    def __init__(self, inner: nn.Sequential, how: str):
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.inner[:3], self.inner[3:]
        if self.how == "plain":
            return second(first(x))
        if self.how == "plain nested":
            return second(torch.tanh(first(x * 1.0)))
        reentrant = self.how.startswith("reentrant")
        if self.how.endswith("nested"):

            def outer(x: Tensor) -> Tensor:
                y = torch.tanh(checkpoint(first, x, use_reentrant=reentrant))
                return checkpoint(second, y, use_reentrant=reentrant)

            return checkpoint(outer, x * 1.0, use_reentrant=reentrant)
        y = checkpoint(first, x, use_reentrant=reentrant)
        return checkpoint(second, y, use_reentrant=reentrant)


Step = Callable[[nn.Module, FaultInjector, Tensor], None]


def after(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        loss = model(x).square().sum()
    loss.backward()


def inside(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        model(x).square().sum().backward()


def in_another(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        loss = model(x).square().sum()
        with faults.errors(0.2):
            second = model(x).sum()
    with faults.errors(0.3):
        (loss + second).backward()


def clean_inside(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    loss = model(x).square().sum()
    with faults.errors(0.1):
        loss = loss + model(x).sum()
        loss.backward()


def clean_after(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    loss = model(x).square().sum()
    with faults.chip(CHIP, rate=0.1):
        loss = loss + model(x).sum()
    loss.backward()


def gradients(how: str, step: Step, norm: bool = False) -> list[Tensor]:
    model = Checkpointed(body(norm), how)
    store_weights(model)
    step(model, FaultInjector(model, seed=1), batch().requires_grad_())
    return [p.grad for p in model.parameters() if p.grad is not None]


STEPS = [after, inside, in_another, clean_inside, clean_after]


@pytest.mark.parametrize("how", ["reentrant", "tape", "tape nested"])
@pytest.mark.parametrize("step", STEPS)
def test_what_a_checkpoint_computes_again_has_the_same_errors(how: str, step: Step) -> None:
    expected = gradients("plain nested" if how.endswith("nested") else "plain", step)
    found = gradients(how, step)
    assert len(found) == len(expected) == 6
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("how", "step", "norm", "where"),
    [
        ("reentrant", after, True, "with batch norms: call backward in the block of errors too"),
        ("tape", after, True, "with batch norms: call backward in the block of errors too"),
        ("tape", clean_inside, True, "made before the block of errors, with batch norms"),
        ("reentrant nested", after, False, "^reentrant checkpoints lie within each other"),
    ],
)
def test_what_cannot_be_computed_again_gets_one_line(
    how: str, step: Step, norm: bool, where: str
) -> None:
    with pytest.raises(FaultModelError, match=where):
        gradients(how, step, norm)


@pytest.mark.parametrize("how", ["reentrant", "tape", "reentrant nested", "tape nested"])
def test_checkpoints_within_a_block_are_no_matter(how: str) -> None:
    expected = gradients("plain nested" if how.endswith("nested") else "plain", inside)
    found = gradients(how, inside)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", ["randbet", "deviation", "single"])
def test_robust_losses_and_checkpoints(method: str) -> None:
    def found(how: str) -> list[Tensor]:
        model = Checkpointed(body(), how)
        store_weights(model)
        config = FaultTrainingConfig(bit_error_rate=0.1, method=method, memories=("weight",))  # type: ignore[arg-type]
        robust = RobustLoss(model, config, seed=1)
        x = batch().requires_grad_()
        for forward in robust.passes(x, lambda y: y.square().sum(), 1, 1.0):
            forward()[0].backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    expected = found("plain")
    assert len(expected) == 6
    assert all(torch.equal(a, b) for a, b in zip(found("tape"), expected, strict=True))


def test_a_memory_forgets_old_blocks() -> None:
    model = stored(body())
    faults = FaultInjector(model)
    memory = faults.memories["0.weight"]
    for _ in range(3):
        with torch.no_grad(), faults.errors(0.1):
            pass
    assert len(memory.blocks) == 0
    for _ in range(1100):
        with faults.errors({"0.weight": 0.1}):
            model[0](batch(1))  # type: ignore[operator]
    assert len(memory.blocks) == 1000
