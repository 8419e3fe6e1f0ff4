"""Rates, voltages, seeds and modules as callers write them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign_modules import encoder
from support.small_modules import CHIP, batch, body, stored
from torch import nn

from hwsim.lowvoltage import VoltageError
from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    store_weights,
)


@pytest.mark.parametrize(
    "rate",
    [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25), Fraction(1, 4)],
    ids=lambda rate: type(rate).__name__,
)
def test_rates_of_other_libraries(rate: Any) -> None:
    model = stored(body())
    with FaultInjector(model).errors(0.25):
        expected = model(batch())
    with FaultInjector(model).errors(rate):
        assert torch.equal(model(batch()), expected)
    with FaultInjector(model).errors({"0.weight": rate}):
        assert not torch.equal(model(batch()), expected)
    for one in (1, np.int64(1), torch.tensor(1)):
        with FaultInjector(model).errors(one):
            assert not torch.equal(model(batch()), expected)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (95.0, "bit error rate must be 0..1, not 95"),
        (-0.1, "bit error rate must be 0..1, not -0.1"),
        (np.float32("nan"), "bit error rate must be 0..1, not nan"),
        (torch.tensor(float("inf")), "bit error rate must be 0..1, not inf"),
        (True, "bit error rate must be a number 0..1, not True"),
        (np.True_, "bit error rate must be a number 0..1, not True"),
        ("0.1", "bit error rate must be a number 0..1, not '0.1'"),
        (1j, "bit error rate must be a number 0..1, not 1j"),
        (None, "bit error rate must be a number 0..1, not None"),
        ([0.1], "bit error rate must be a number 0..1, not [0.1]"),
        (torch.zeros(2), "bit error rate must be a number 0..1, not tensor([0., 0.])"),
    ],
    ids=str,
)
def test_other_rates_get_one_line(rate: Any, text: str) -> None:
    faults = FaultInjector(stored(body()))
    for given in (rate, {"2.weight": rate}):
        with pytest.raises(FaultModelError) as caught, faults.errors(given):
            pass
        assert str(caught.value) == text
    assert faults.draws == 0


def test_voltages_of_other_libraries() -> None:
    model = stored(body())
    faults = FaultInjector(model)
    with faults.chip(CHIP, voltage_rel=0.8):
        expected = model(batch())
    for voltage in (np.float64(0.8), torch.tensor(0.8, dtype=torch.float64)):
        with faults.chip(CHIP, voltage_rel=voltage):  # type: ignore[arg-type]
            assert torch.equal(model(batch()), expected)
    for voltage in (80.0, float("nan")):
        with pytest.raises(VoltageError), faults.chip(CHIP, voltage_rel=voltage):
            pass
    with (
        pytest.raises(FaultModelError, match="^voltage_rel must be a number, not '0.8'$"),
        faults.chip(CHIP, voltage_rel="0.8"),  # type: ignore[arg-type]
    ):
        pass


@pytest.mark.parametrize("seed", [-1, 1 << 64, 0.5, "a"])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(FaultModelError, match=r"^seed must be an integer, 0\.\.2\^64 - 1, not "):
        FaultInjector(stored(body()), seed)


def test_numbers_of_other_libraries() -> None:
    model = store_weights(body(), np.int64(5)).model  # type: ignore[arg-type]
    faults = FaultInjector(model, seed=np.int64(3), kinds="weight")  # type: ignore[arg-type]
    assert [memory.bits for memory in faults.memories.values()] == [5, 5, 5]
    with faults.errors(0.1):
        expected = model(batch())
    again = FaultInjector(model, seed=3)
    with again.errors(0.1):
        assert torch.equal(model(batch()), expected)
    with pytest.raises(FaultModelError, match=r"^bits must be 2\.\.16, not True$"):
        store_weights(body(), True)
    with pytest.raises(
        FaultModelError, match=r"^model must be an nn\.Module, not a StoredWeights$"
    ):
        FaultInjector(store_weights(body()))  # type: ignore[arg-type]


def test_layers_may_have_bits_of_their_own() -> None:
    model = encoder()
    first = store_weights(model, 4, layers=nn.MultiheadAttention)
    assert len(first.words) == 2
    assert set(first.left_out.values()) == {"its module is not of the types in layers"}
    second = store_weights(model, 8)
    assert not second.left_out
    assert set(second.words) == set(first.left_out)
    assert {m.bits for n, m in FaultInjector(model).memories.items() if n in first.words} == {4}
    with pytest.raises(FaultModelError, match="^model has no matrix of float weights to store$"):
        store_weights(model)


def test_a_tie_is_one_memory_wherever_it_is_found_first() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Embedding(4, 4)})
    model["b"].weight = model["c"].weight = model["a"].weight
    report = store_weights(model, layers=nn.Embedding)
    assert report.words == {"a.weight": 16}
    faults = FaultInjector(model)
    with faults.errors(0.2):
        assert torch.equal(model["a"].weight, model["c"].weight)
        assert torch.equal(model["a"].weight, model["b"].weight)
    assert list(faults.memories) == ["a.weight"]


def test_lazy_modules_are_named_until_they_have_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    why = "no shape yet: run the model once before"
    text = rf"^store_weights leaves out 0\.weight \({why}\); 0\.bias \({why}\)$"
    with pytest.warns(UserWarning, match=text) as caught:
        report = store_weights(model)
    assert len(caught) == 1
    assert list(report.left_out) == ["0.weight", "0.bias"]
    model(batch())
    assert store_weights(model).words == {"0.weight": 24}
