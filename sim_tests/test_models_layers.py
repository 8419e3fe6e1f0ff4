"""Layers: what the multiplexer convolution learns is exactly what it exports."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwsim.models.layers import DenseConv2d, LearnedRange, MuxConv2d, Norm, NormAct, QuantLinear
from hwsim.network import Alphabet, Network, TensorType, evaluate
from hwsim.network import MuxConv2d as MuxOp


def pictures(*shape: int, bits: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 1 << bits, shape, generator=generator).float()


def layer(kernel: tuple[int, int] = (3, 3), alphabet: str = "binary", **keys) -> MuxConv2d:
    torch.manual_seed(0)
    return MuxConv2d(3, 5, kernel, alphabet=Alphabet(alphabet), **keys)


def test_probabilities_sharpen_with_beta():
    mux = layer()
    largest = []
    for beta in (0.15, 1.0, 5.0, 20.0, 70.0):
        mux.beta.fill_(beta)
        p = mux.probabilities().detach()
        assert torch.allclose(p.sum(dim=2), torch.ones(5, 3))
        largest.append(float(p.amax(dim=2).mean()))
    assert largest == sorted(largest)
    assert largest[0] < 0.2
    assert largest[-1] > 0.9


def test_constant_slice_is_finite():
    mux = layer()
    with torch.no_grad():
        mux.attention.fill_(0.5)
    mux(pictures(1, 3, 6, 6)).sum().backward()
    assert torch.isfinite(mux.attention.grad).all()
    assert torch.equal(mux.probabilities(), torch.full((5, 3, 9), 1 / 9))


def test_attention_and_weights_learn_while_soft_and_weights_alone_when_frozen():
    mux = layer()
    mux(pictures(2, 3, 6, 6)).square().sum().backward()
    assert bool((mux.attention.grad != 0).any())
    mux.zero_grad()
    mux.freeze()
    mux(pictures(2, 3, 6, 6)).square().sum().backward()
    assert mux.attention.grad is None
    moved = mux.weight.grad != 0
    assert bool((moved.sum(dim=2) <= 1).all())


def test_freeze_takes_the_likeliest_position_and_folds_its_probability():
    mux = layer(alphabet="int8")
    mux.beta.fill_(2.0)
    p, before = mux.probabilities().detach(), mux.weight.detach().clone()
    mux.freeze()
    assert torch.equal(mux.tap, p.argmax(dim=2))
    kept = mux.weight.gather(2, mux.tap.unsqueeze(2))
    assert torch.equal(kept, (before * p).gather(2, mux.tap.unsqueeze(2)))
    again = mux.weight.detach().clone()
    mux.freeze()
    assert torch.equal(mux.weight, again)


def test_frozen_state_survives_a_checkpoint():
    mux = layer()
    mux.freeze()
    other = MuxConv2d(3, 5, (3, 3))
    other.load_state_dict(mux.state_dict())
    assert bool(other.frozen)
    assert torch.equal(other.kernels(), mux.kernels())


@pytest.mark.parametrize("alphabet", ["binary", "ternary", "int4", "pow2_3"])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), (1, 1)), ((5, 5), (2, 2)), ((1, 3), (1, 2)), ((1, 1), (1, 1))]
)
def test_frozen_forward_equals_the_integer_op(alphabet, kernel, stride):
    mux = layer(kernel, alphabet, stride=stride)
    mux.freeze()
    height = 1 if kernel[0] == 1 and kernel[1] > 1 else 7
    x = pictures(2, 3, height, 8)
    op = MuxOp(
        "y", ("input",), mux.tap.numpy(), mux.kept()[0].detach().long().numpy(),
        kernel, stride, mux.pad, mux.alphabet,
    )  # fmt: skip
    network = Network("one", TensorType(3, height, 8, 4), (op,))
    expected = evaluate(network, x.long().numpy())["y"]
    assert np.array_equal(mux(x).detach().numpy(), expected)


def test_dense_kernels_are_quantized_or_float():
    torch.manual_seed(0)
    binary = DenseConv2d(2, 3, (3, 3), alphabet=Alphabet("binary")).kernels()
    assert set(binary.detach().unique().tolist()) == {-1.0, 1.0}
    real = DenseConv2d(2, 3, (3, 3))
    assert real.kernels() is real.weight


def test_norm_affine_is_its_forward():
    norm = Norm(4, 1.0)
    torch.manual_seed(0)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    norm(torch.randn(8, 4, 5, 5) * 20)
    norm.eval()
    x = torch.randn(2, 4, 3, 3) * 20
    m, b = (v.view(1, 4, 1, 1) for v in norm.affine(0.3))
    assert torch.allclose(norm(x, 0.3), (x * m + b).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_activation_range_is_learned(bits):
    act = NormAct(3, bits)
    torch.manual_seed(0)
    y = act(torch.randn(4, 3, 6, 6) * 30)
    assert y.min() == 0
    assert y.max() <= (1 << bits) - 1
    assert torch.equal(y, y.round())
    y.square().sum().backward()
    assert float(act.range.log_range.grad) != 0
    assert LearnedRange(bits).step().item() > 0


def test_linear_shares_one_scale():
    torch.manual_seed(0)
    head = QuantLinear(6, 4, Alphabet("int8"), 0.1)
    integers, scale = head.integers()
    assert scale.shape == ()
    x = pictures(3, 6)
    assert torch.allclose(head(x), x @ integers.T * scale + head.bias)
