"""Trainable layers: multiplexer convolution, dense convolution, norm with quantizer, linear.

Quantized layers pass integers (held in floats) to each other: convolutions multiply integers by
integers, ``NormAct`` turns accumulators into the next integers. Real scales live in the batch
norms alone. Every layer also has a float form, of which dense float twins are built.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.models.memory import Memory, TapMemory, WeightMemory
from hwsim.models.quantize import WEIGHT_REACH, floor_clamp, quantize_weight, straight_through
from hwsim.network import Alphabet, TensorType, hard_swish
from hwsim.network.tabulate import tabulate

INTEGER_NORM_EPSILON = 1.0
"""Added to the variance of integer accumulators.

An accumulator that varies at all has a variance near 1 or far above; a constant one would
otherwise get a huge multiplier, which takes the precision of all others in its requantizer.
"""


_BLOCK = 8
"""Channels that oneDNN handles at once with AVX2."""


def convolve(x: Tensor, kernels: Tensor, stride: tuple[int, int], pad: tuple[int, int]) -> Tensor:
    """Convolution of x [N, inputs, H, W] with kernels [outputs, inputs, kh, kw], zero-padded.

    The value is that of ``torch.nn.functional.conv2d``, [N, outputs, H', W'].
    """
    single = kernels.shape[2:] == (1, 1) and pad == (0, 0)
    if single and stride != (1, 1) and kernels.shape[1] % _BLOCK:
        # For the gradient of such kernels, oneDNN 3.12 (AVX2, channels last) copies the pixels in
        # whole blocks into a buffer without room for them: below 8 channels it broke the heap.
        x, stride = x[:, :, :: stride[0], :: stride[1]], (1, 1)
    return F.conv2d(x, kernels, stride=stride, padding=pad)


class MuxConv2d(nn.Module):
    """Convolution that learns which one weight of each k x k slice to keep (shift attention).

    While soft, slice (o, i) has the kernel ``softmax(beta * a) * q(w)``, where ``a`` is the
    standardised attention and ``q`` the weight quantizer; ``beta`` (inverse temperature) is
    raised from outside. ``freeze`` keeps the position of the largest attention and folds its
    probability into the weight; from then on the forward pass is exactly the exported one.
    After SAL (arXiv 1905.12300), with start temperatures that leave a choice, an epsilon for
    constant slices, and argmax in place of rounding.

    Input [N, inputs, H, W] -> accumulators [N, outputs, H', W']. reach: see ``quantize_weight``.
    """

    beta: Tensor
    frozen: Tensor
    tap: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        alphabet: Alphabet | None = None,
        reach: float = WEIGHT_REACH,
    ):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.pad = (kernel[0] // 2, kernel[1] // 2)
        self.alphabet, self.reach = alphabet or Alphabet("binary"), reach
        taps = kernel[0] * kernel[1]
        self.memory, self.tap_memory = WeightMemory(self.alphabet), TapMemory(taps)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, taps))
        nn.init.kaiming_normal_(self.weight)
        self.attention = nn.Parameter(torch.rand(outputs, inputs, taps))
        self.register_buffer("beta", torch.tensor(1.0))
        self.register_buffer("frozen", torch.tensor(taps == 1))
        self.register_buffer("tap", torch.zeros(outputs, inputs, dtype=torch.int64))

    def probabilities(self) -> Tensor:
        """[outputs, inputs, taps]: softmax of the standardised attention at ``beta``."""
        standardised = F.layer_norm(self.attention, self.attention.shape[2:])
        return (self.beta * standardised).softmax(dim=2)

    @torch.no_grad()
    def freeze(self) -> None:
        """Keep the likeliest position of every slice for good."""
        if self.frozen:
            return
        probability, tap = self.probabilities().max(dim=2, keepdim=True)
        self.tap.copy_(tap.squeeze(2))
        self.weight.scatter_(2, tap, self.weight.gather(2, tap) * probability)
        self.frozen.fill_(True)

    def kept(self) -> tuple[Tensor, Tensor]:
        """Integers [outputs, inputs] of the kept weights and scale [outputs]; frozen only."""
        weight = self.weight.gather(2, self.tap.unsqueeze(2)).squeeze(2)
        return quantize_weight(weight, self.alphabet, self.reach)

    def kernels(self) -> Tensor:
        """Dense kernels [outputs, inputs, kh, kw] of the current forward pass."""
        if self.frozen:
            integers, tap = self.memory(self.kept()[0]), self.tap_memory(self.tap)
            if tap is not self.tap:
                last = self.weight.shape[2] - 1
                integers, tap = integers * (tap <= last), tap.clamp_max(last)
            flat = torch.zeros_like(self.weight).scatter(2, tap.unsqueeze(2), integers.unsqueeze(2))
        else:
            integers, _ = quantize_weight(self.weight, self.alphabet, self.reach)
            flat = self.probabilities() * integers
        return flat.unflatten(2, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernels(), self.stride, self.pad)


class DenseConv2d(nn.Module):
    """Ordinary convolution, of quantized weights or (``alphabet`` None) of float ones."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        alphabet: Alphabet | None = None,
        reach: float = WEIGHT_REACH,
    ):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.pad = (kernel[0] // 2, kernel[1] // 2)
        self.alphabet, self.reach = alphabet, reach
        self.memory = None if alphabet is None else WeightMemory(alphabet)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *kernel))
        nn.init.kaiming_normal_(self.weight)

    def kernels(self) -> Tensor:
        """Kernels [outputs, inputs, kh, kw] of the current forward pass."""
        if self.alphabet is None or self.memory is None:
            return self.weight
        return self.memory(quantize_weight(self.weight, self.alphabet, self.reach)[0])

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.kernels(), self.stride, self.pad)


class LearnedRange(nn.Module):
    """The largest real value that activations of ``bits`` bits stand for; learned (PACT).

    Kept as a logarithm, so that it stays positive. ``step()`` is the value of one unit.
    """

    def __init__(self, bits: int):
        super().__init__()
        self.hi = (1 << bits) - 1
        # Near the range of least squared error for the positive half of a unit normal.
        self.log_range = nn.Parameter(torch.tensor(0.9 + 0.45 * bits).log())

    def step(self) -> Tensor:
        return self.log_range.exp() / self.hi


class _Deployed(torch.autograd.Function):
    """See ``normalize_as_deployed``."""

    @staticmethod
    def forward(ctx, x, mean, variance, weight, bias, epsilon):  # type: ignore[no-untyped-def]
        # The copies make the statistics of the batch come in their precision; they stay as is.
        seen = torch.ops.aten.batch_norm_update_stats(x, mean.clone(), variance.clone(), 0.0)
        ctx.save_for_backward(x, mean, variance, weight, *seen)
        ctx.epsilon = epsilon
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        x, mean, variance, weight, centre, spread = ctx.saved_tensors
        inverse, used = (spread + ctx.epsilon).rsqrt(), (variance + ctx.epsilon).rsqrt()
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight * used / inverse, None, None, centre, inverse, True, ctx.epsilon,
            [True, True, True],
        )  # fmt: skip
        to_weight = to_weight * used / inverse + to_bias * (centre - mean) * used
        return to_x, None, None, to_weight, to_bias, None


def normalize_as_deployed(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> Tensor:
    """Batch norm in training with the values of batch norm in use.

    The result is that of the running ``mean`` and ``variance`` [channels], as hardware computes
    it. The gradient to x [N, channels, ...] is that of batch statistics: with the running ones
    taken as constants it would push weights for ever in directions that batch norm undoes.
    """
    return _Deployed.apply(x, mean, variance, weight, bias, epsilon)


class Norm(nn.Module):
    """Batch norm whose affine part is given in units of ``step``: the real form of Requantize.

    deployed: use the running statistics in training too, see ``normalize_as_deployed``.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, epsilon: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.epsilon = epsilon
        self.momentum = 0.1
        self.deployed = False

    def forward(self, x: Tensor, step: Tensor | float = 1.0, offset: float = 0.0) -> Tensor:
        """``norm(x) / step + offset`` for x [N, channels, H, W]."""
        mean, variance = self.running_mean, self.running_var
        weight, bias = self.gamma / step, self.beta / step + offset
        if self.training and self.deployed:
            return normalize_as_deployed(x, mean, variance, weight, bias, self.epsilon)
        return F.batch_norm(
            x, mean, variance, weight, bias, self.training, self.momentum, self.epsilon
        )

    @torch.no_grad()
    def affine(self, step: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """(multiplier, bias), float64 [channels]: what ``forward`` computes after training."""
        sigma = (self.running_var.double() + self.epsilon).sqrt()
        multiplier = self.gamma.double() / sigma
        bias = self.beta.double() - multiplier * self.running_mean.double()
        return multiplier / step, bias / step


class NormAct(nn.Module):
    """Batch norm, ReLU and quantizer: accumulators -> integers 0 .. 2**bits - 1.

    Without ``bits``: batch norm and ReLU in float.
    """

    def __init__(self, channels: int, bits: int | None):
        super().__init__()
        self.norm = Norm(channels, INTEGER_NORM_EPSILON if bits else 1e-5)
        self.range = LearnedRange(bits) if bits else None
        self.memory = Memory(bits, signed=False, kind="activation") if bits else None

    def forward(self, x: Tensor) -> Tensor:
        if self.range is None or self.memory is None:
            return F.relu(self.norm(x), inplace=True)
        return self.memory(floor_clamp(self.norm(x, self.range.step(), 0.5), 0, self.range.hi))


class NormTable(nn.Module):
    """Batch norm, quantizer and lookup table of hard swish: accumulators -> signed integers.

    The norm's result is rounded to ``INDEX`` of steps of ``INDEX_STEP``; the table has a value of
    ``bits`` for each. Without ``bits``: batch norm and hard swish in float.
    """

    INDEX = TensorType(1, 1, 1, 8, signed=True)
    INDEX_STEP = 1 / 16

    def __init__(self, channels: int, bits: int | None):
        super().__init__()
        self.norm = Norm(channels, INTEGER_NORM_EPSILON if bits else 1e-5)
        self.range = self.memory = self.output = None
        if bits:
            self.range = LearnedRange(bits - 1)
            self.memory = Memory(bits, signed=True, kind="activation")
            self.output = TensorType(1, 1, 1, bits, signed=True)

    @torch.no_grad()
    def table(self) -> np.ndarray:
        """Entries for all values of ``INDEX``, int64 [1, entries]."""
        assert self.range is not None
        assert self.output is not None
        step = float(self.range.step())
        return tabulate(hard_swish, self.INDEX, self.INDEX_STEP, self.output, step)

    def forward(self, x: Tensor) -> Tensor:
        if self.range is None or self.memory is None or self.output is None:
            return F.hardswish(self.norm(x))
        lo, hi = self.INDEX.lo, self.INDEX.hi
        index = floor_clamp(self.norm(x, self.INDEX_STEP, 0.5), lo, hi)
        smooth = F.hardswish(index * self.INDEX_STEP) / self.range.step() + 0.5
        table = torch.from_numpy(self.table()[0]).to(index)
        entries = table[(index.detach() - lo).long()]
        # The gradient is that of the function; what counts forward is the table alone.
        rounded = floor_clamp(smooth, self.output.lo, self.output.hi)
        return self.memory(straight_through(rounded, entries))


class QuantLinear(nn.Module):
    """Linear layer on integers; its weights share one scale, so that logits compare as integers.

    [N, inputs] -> real logits [N, outputs]. ``input_scale`` only sets the real size of the
    inputs at the start of training. ``alphabet`` None: float.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        alphabet: Alphabet | None,
        input_scale: float = 1.0,
        reach: float = WEIGHT_REACH,
    ):
        super().__init__()
        self.alphabet, self.reach = alphabet, reach
        self.memory = None if alphabet is None else WeightMemory(alphabet)
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = nn.Parameter(torch.tensor(input_scale).log())

    def integers(self) -> tuple[Tensor, Tensor]:
        """Integer weights [outputs, inputs] and the real scale of one accumulator unit, []."""
        assert self.alphabet is not None
        flat, scale = quantize_weight(self.weight.reshape(1, -1), self.alphabet, self.reach)
        return flat.reshape(self.weight.shape), scale[0] * self.gain.exp()

    def forward(self, x: Tensor) -> Tensor:
        if self.memory is None:
            return F.linear(x * self.gain.exp(), self.weight, self.bias)
        integers, scale = self.integers()
        return F.linear(x, self.memory(integers)) * scale + self.bias
