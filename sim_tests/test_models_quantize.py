"""Quantizers: values stay in their alphabet, gradients pass straight through."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.quantize import floor_clamp, quantize_weight, weight_scale
from hwsim.network import Alphabet

ALPHABETS = [
    "binary",
    "ternary",
    *(f"int{n}" for n in range(2, 9)),
    *(f"pow2_{n}" for n in range(2, 5)),
]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ALPHABETS)
@given(seed=st.integers(0, 1000), size=st.sampled_from([1, 2, 9, 40]), log=st.floats(-6, 6))
def test_values_are_of_the_alphabet(name, seed, size, log):
    alphabet = Alphabet(name)
    integers, scale = quantize_weight(normal(3, size, seed=seed) * 10.0**log, alphabet)
    assert alphabet.contains(integers.numpy())
    assert bool((scale > 0).all())


@pytest.mark.parametrize("name", ALPHABETS)
def test_zero_weights_are_legal(name):
    alphabet = Alphabet(name)
    integers, _ = quantize_weight(torch.zeros(2, 4), alphabet)
    assert alphabet.contains(integers.numpy())


@pytest.mark.parametrize("name", ALPHABETS)
def test_gradient_passes_straight_through(name):
    weight = normal(4, 50).requires_grad_()
    alphabet = Alphabet(name)
    integers, scale = quantize_weight(weight, alphabet)
    upstream = normal(4, 50, seed=1)
    integers.backward(upstream)
    expected = upstream / weight_scale(weight, alphabet).unsqueeze(1)
    inside = weight.grad != 0
    assert float(inside.float().mean()) > 0.85
    assert torch.equal(weight.grad[inside], expected[inside])
    assert not scale.requires_grad


@pytest.mark.parametrize("bits", range(2, 9))
def test_more_bits_err_less(bits):
    weight = normal(8, 500)

    def error(name: str) -> float:
        integers, scale = quantize_weight(weight, Alphabet(name))
        return float((integers * scale.unsqueeze(1) - weight).square().mean())

    coarse = "ternary" if bits == 2 else f"int{bits - 1}"
    assert error(f"int{bits}") < (1.2 if bits == 2 else 1) * error(coarse)


def test_power_of_two_examples():
    weight = torch.tensor([[8.0, -4.1, 2.9, -0.3, 1.0, 0.0]])
    integers, scale = quantize_weight(weight, Alphabet("pow2_3"))
    assert scale.tolist() == [1.0]
    assert integers.tolist() == [[8.0, -4.0, 4.0, -1.0, 1.0, 1.0]]


def test_ternary_keeps_what_exceeds_half_the_mean():
    integers, _ = quantize_weight(torch.tensor([[1.0, -1.0, 0.2, 0.6, 0.7]]), Alphabet("ternary"))
    assert integers.tolist() == [[1.0, -1.0, 0.0, 1.0, 1.0]]


def test_floor_clamp():
    x = torch.tensor([-1.0, -0.2, 0.2, 1.0, 2.9, 3.1, 4.0, 9.0], requires_grad=True)
    y = floor_clamp(x, 0, 3)
    assert y.tolist() == [0, 0, 0, 1, 2, 3, 3, 3]
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
