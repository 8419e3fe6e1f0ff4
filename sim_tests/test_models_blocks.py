"""Blocks of errors within each other, and copies made in them."""

from __future__ import annotations

import copy

import pytest
import torch
from support.small_modules import CHIP, batch, body, stored
from torch import nn

from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    remove_memories,
    store_activations,
    store_weights,
)


def test_the_outer_block_goes_on_after_the_inner_one() -> None:
    model = stored(body()).eval()
    faults = FaultInjector(model, seed=4)
    clean = model(batch())
    with faults.errors(0.05):
        outer = model(batch())
        with faults.errors(0.2):
            inner = model(batch())
            with faults.chip(CHIP, rate=0.1):
                chip = model(batch())
            assert torch.equal(model(batch()), inner)
        assert torch.equal(model(batch()), outer)
        with pytest.raises(RuntimeError, match="stop"), faults.errors(0.3):
            raise RuntimeError("stop")
        assert torch.equal(model(batch()), outer)
    assert torch.equal(model(batch()), clean)
    different = [clean, outer, inner, chip]
    assert all(not torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_injectors_of_weights_and_activations_within_each_other_in_training() -> None:
    model = body(norm=True)
    store_weights(model)
    store_activations(model)
    for _ in range(3):
        model(batch())
    weights, activations = FaultInjector(model), FaultInjector(model, kinds="activation")
    kinds = [type(module) for module in model.modules()]
    statistics = {n: b.clone() for n, b in model.named_buffers()}
    with weights.errors(0.05), activations.errors(0.05):
        both = model(batch())
        with activations.errors(0.0):
            one = model(batch())
    weights.draws = 0
    with weights.errors(0.05):
        assert torch.equal(model(batch()), one)
    assert not torch.equal(both, one)
    assert [type(module) for module in model.modules()] == kinds
    assert all(torch.equal(b, statistics[n]) for n, b in model.named_buffers())
    assert list(statistics) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"] + [
        "2.activation_range"
    ]


def test_two_injectors_know_a_memory_by_names_of_their_own() -> None:
    model = nn.Sequential(body())
    store_weights(model)
    whole, part = FaultInjector(model), FaultInjector(model[0])
    assert list(whole.memories) == ["0.0.weight", "0.2.weight", "0.4.weight"]
    assert list(part.memories) == ["0.weight", "2.weight", "4.weight"]
    with whole.chip(CHIP, rate=0.1):
        expected = model(batch())
        with part.chip(CHIP, rate=0.1):
            assert not torch.equal(model(batch()), expected)
        assert torch.equal(model(batch()), expected)


def test_copies_made_in_a_block_are_healthy() -> None:
    model = stored(body())
    clean = model(batch())
    with FaultInjector(model).errors(0.2):
        twin = copy.deepcopy(model)
        with pytest.raises(FaultModelError, match=r"^memories cannot be removed within a block"):
            remove_memories(model)
        assert not torch.equal(model(batch()), clean)
        assert torch.equal(twin(batch()), clean)
    assert torch.equal(twin(batch()), clean)
