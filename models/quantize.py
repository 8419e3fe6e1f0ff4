"""Quantizers with straight-through gradients: weights to alphabets, activations to integers.

Weights become integers of an ``Alphabet`` times one real scale for each output; activations
become integers 0 .. 2**bits - 1. The network computes on those integers in training already
(every real scale is absorbed by the batch norm that follows), so that export has only to fold
batch norms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwsim.network import Alphabet

_TINY = 1e-8

WEIGHT_REACH = 4.0
"""Default end of the range of integer weights, in units of the mean |w| of an output."""


class _StraightThrough(torch.autograd.Function):
    """Forward: ``quantized``; backward: the gradient passes to ``x`` unchanged."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, quantized: Tensor) -> Tensor:
        return quantized

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(x: Tensor, quantized: Tensor) -> Tensor:
    """``quantized``, whose gradient passes to ``x`` unchanged."""
    return _StraightThrough.apply(x, quantized)


def weight_scale(weight: Tensor, alphabet: Alphabet, reach: float = WEIGHT_REACH) -> Tensor:
    """Real scale [outputs] for ``weight`` [outputs, terms]; detached, > 0.

    binary and ternary: mean |w| (BWN; BitNet b1.58). int: ``reach`` mean |w| maps to the end
    of the range (clipping the tail pays at few bits), or the largest |w| where that is smaller.
    pow2: the largest |w| maps to the largest power, but mean |w| to at least 1.
    """
    magnitude = weight.detach().abs()
    mean = magnitude.mean(dim=1)
    if alphabet.name in ("binary", "ternary"):
        scale = mean
    elif alphabet.is_pow2:
        scale = torch.minimum(magnitude.amax(dim=1) / alphabet.values[-1], mean)
    else:
        top = alphabet.values[-1]
        scale = torch.minimum(magnitude.amax(dim=1) / top, reach * mean / (top + 1))
    return scale.clamp_min(_TINY)


def _nearest(x: Tensor, alphabet: Alphabet) -> Tensor:
    """Alphabet entry nearest to each entry of ``x`` (powers of two: nearest exponent)."""
    if alphabet.name == "binary":
        return torch.where(x >= 0, 1.0, -1.0)
    if alphabet.is_pow2:
        top = alphabet.values[-1].bit_length() - 1
        exponent = x.abs().clamp_min(_TINY).log2().round().clamp(0, top)
        return torch.where(x >= 0, 1.0, -1.0) * torch.exp2(exponent)
    return x.round().clamp(alphabet.values[0], alphabet.values[-1])


def quantize_weight(
    weight: Tensor, alphabet: Alphabet, reach: float = WEIGHT_REACH
) -> tuple[Tensor, Tensor]:
    """Integers of ``alphabet`` (as floats, shaped as ``weight`` [outputs, ...]) and scale.

    reach: end of the range of integer weights, in units of the mean |w| of an output. The smaller
    it is, the less one wrong bit weighs against the others (weight clipping, in a form that batch
    norms cannot undo by scaling).

    ``integers * scale`` approximates ``weight``; the gradient passes straight through the
    rounding, and is cut where a weight is further than one step outside the alphabet. The scale
    [outputs] carries no gradient.
    """
    flat = weight.flatten(1)
    scale = weight_scale(flat, alphabet, reach)
    x = flat / scale.unsqueeze(1)
    # Binary weights drift far beyond 1 before they may flip back; 4 steps bound that drift.
    limit = 4.0 if alphabet.name == "binary" else alphabet.values[-1] + 1.0
    x = x.clamp(-limit, limit)
    integers = _StraightThrough.apply(x, _nearest(x.detach(), alphabet))
    return integers.reshape(weight.shape), scale


class _FloorClamp(torch.autograd.Function):
    """``clamp(floor(x), lo, hi)``; the gradient passes where ``lo < x < hi + 1``."""

    @staticmethod
    def forward(ctx, x: Tensor, lo: int, hi: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.limits = (float(lo), float(hi + 1))
        return x.floor().clamp_(lo, hi)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.limits), None, None


def floor_clamp(x: Tensor, lo: int, hi: int) -> Tensor:
    """``clamp(floor(x), lo, hi)`` with a straight-through gradient inside the range.

    The caller adds the rounding constant 0.5 beforehand, as ``Requantize`` does in its bias.
    """
    return _FloorClamp.apply(x, lo, hi)
