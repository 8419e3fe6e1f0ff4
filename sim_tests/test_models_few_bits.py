"""Stored values in every type of float, and models in 16 bit floats."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from support.foreign_modules import resnet
from support.small_modules import batch, body
from torch import nn

from hwsim.models.faults import (
    FaultInjector,
    StoredWeight,
    store_activations,
    store_weights,
)


@pytest.mark.parametrize("quantizer", ["robust", "symmetric"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_every_type_of_float_is_quantized_to_itself(
    dtype: torch.dtype, bits: int, quantizer: str
) -> None:
    layer = StoredWeight(bits, quantizer)
    generator = torch.Generator().manual_seed(bits)
    for scale, shift in ((1.0, 0.0), (1e-3, 0.0), (30.0, 7.0), (0.01, 1.0), (0.0, 0.5), (0.0, 0.0)):
        weight = (torch.randn(40, 30, generator=generator) * scale + shift).to(dtype)
        once = layer(weight)
        assert once.dtype == dtype
        assert torch.equal(layer(once), once)
        faults = FaultInjector(nn.ModuleDict({"w": layer}))
        with faults.errors(0.0):
            assert torch.equal(layer(weight), once)
        # Oracle: exact fractions; what is read is the nearest float, or next to it.
        exact = [Fraction(float(w)) for w in weight.ravel()[:50]]
        if quantizer == "robust":
            low, span = Fraction(float(weight.min())), (1 << bits) - 2
            reach = Fraction(float(weight.max())) - low
        else:
            low, span = Fraction(0), (1 << (bits - 1)) - 1
            reach = Fraction(float(weight.abs().max()))
        for w, value in zip(exact, once.ravel().tolist(), strict=False):
            unit = torch.finfo(dtype).eps * max(abs(float(w)), float(weight.abs().max()) * 2e-3)
            assert abs(w - Fraction(value)) <= reach / span / 2 + Fraction(unit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_few_bits(dtype: torch.dtype) -> None:
    layer = nn.Linear(4, 4).to(dtype)
    nn.init.constant_(layer.weight, 0.5)
    store_weights(layer)
    assert layer.weight.tolist() == [[0.5] * 4] * 4
    model = body().to(dtype)
    store_weights(model)
    faults = FaultInjector(model)
    clean = model(batch().to(dtype))
    assert clean.dtype == dtype
    with faults.errors(0.0):
        assert torch.equal(model(batch().to(dtype)), clean)
    with faults.errors(0.05):
        struck = model(batch().to(dtype))
    assert not torch.equal(struck, clean)
    struck.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_under_autocast(dtype: torch.dtype) -> None:
    model = resnet()
    store_weights(model)
    store_activations(model)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    faults = FaultInjector(model, kinds=("weight", "activation"))
    with torch.autocast("cpu", dtype):
        model(x)
        with faults.errors(0.01):
            loss = model(x).float().sum()
        loss.backward()
    assert loss.isfinite()
    assert all(
        module.activation_range.dtype == torch.float32
        for module in model.modules()
        if hasattr(module, "activation_range")
    )
