"""Golden model: the exported integers evaluated with PyTorch ops, apart from the NumPy reference.

Sums run in float64, which is exact here: the verifier bounds every accumulator to 32 bits, far
below the 53 bits of a double's significand, so every partial sum is an integer that it holds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.errors import NetworkError
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
)


class GoldenNetwork(nn.Module):
    """Evaluates ``network`` on any device; constants are buffers and move with the module."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        for op in network.ops:
            for key, value in _constants(op).items():
                self.register_buffer(f"{op.name}__{key}", value)

    def forward(self, x: Tensor) -> Tensor:
        """Output [images, channels, height, width] (int64) of integer images ``x``."""
        return self.tensors(x)[self.network.output]

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor by name, int64 [images, channels, height, width], the input included.

        Raises NetworkError when ``x`` has another shape, is not of integers or leaves the
        input's range.
        """
        t = self.network.input
        if x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool:
            raise NetworkError(f"input must hold integers, not {x.dtype}")
        if x.dim() != 4 or tuple(x.shape[1:]) != t.shape:
            raise NetworkError(
                f"input must be [images, {', '.join(map(str, t.shape))}], not {list(x.shape)}"
            )
        if x.numel() and (int(x.min()) < t.lo or int(x.max()) > t.hi):
            raise NetworkError(f"input values must be {t.lo}..{t.hi}")
        values = {INPUT: x.to(torch.int64)}
        for op in self.network.ops:
            constants = {key: self.get_buffer(f"{op.name}__{key}") for key in _KEYS[type(op)]}
            arguments = (values[name] for name in op.inputs)
            values[op.name] = _MEANING[type(op)](op, *arguments, **constants)
        return values


def _constants(op: Op) -> dict[str, Tensor]:
    if isinstance(op, MuxConv2d):
        taps = op.kernel[0] * op.kernel[1]
        place = F.one_hot(torch.tensor(op.tap), taps).double()
        dense = place * torch.tensor(op.weight).double().unsqueeze(-1)
        return {"weight": dense.reshape(*op.weight.shape, *op.kernel)}
    if isinstance(op, (Conv2d, Linear)):
        return {"weight": torch.tensor(op.weight).double()}
    if isinstance(op, Requantize):
        return {
            key: torch.tensor(getattr(op, key)).reshape(1, -1, 1, 1)
            for key in ("multiplier", "bias")
        }
    return {}


def _mux(op: MuxConv2d, x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x.double(), weight, stride=op.stride, padding=op.pad).round().long()


def _conv(op: Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    y = F.conv2d(x.double(), weight, stride=op.stride, padding=op.pad, groups=op.groups)
    return y.round().long()


def _linear(op: Linear, x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x.flatten(1).double(), weight).round().long()[..., None, None]


def _average(op: AvgPool2d, x: Tensor) -> Tensor:
    return F.avg_pool2d(x.double(), op.kernel, op.stride, divisor_override=1).round().long()


def _largest(op: MaxPool2d, x: Tensor) -> Tensor:
    return F.max_pool2d(x.double(), op.kernel, op.stride).long()


def _argmax(op: ArgMax, x: Tensor) -> Tensor:
    # torch does not say which of equal values it returns; the first one has the smallest index.
    indices = torch.arange(x.shape[1], device=x.device).reshape(1, -1, 1, 1)
    is_best = x == x.amax(dim=1, keepdim=True)
    return torch.where(is_best, indices, x.shape[1]).amin(dim=1, keepdim=True)


def _requantize(op: Requantize, x: Tensor, multiplier: Tensor, bias: Tensor) -> Tensor:
    total = x * multiplier + bias
    return torch.bitwise_right_shift(total, op.shift).clamp(op.lo, op.hi)


_KEYS: dict[type[Op], tuple[str, ...]] = {
    MuxConv2d: ("weight",),
    Conv2d: ("weight",),
    Linear: ("weight",),
    Requantize: ("multiplier", "bias"),
    Add: (),
    MaxPool2d: (),
    AvgPool2d: (),
    GlobalMaxPool: (),
    GlobalAvgPool: (),
    Flatten: (),
    ArgMax: (),
}

_MEANING: dict[type[Op], Callable[..., Tensor]] = {
    MuxConv2d: _mux,
    Conv2d: _conv,
    Linear: _linear,
    Requantize: _requantize,
    Add: lambda op, a, b: a + b,
    MaxPool2d: _largest,
    AvgPool2d: _average,
    GlobalMaxPool: lambda op, x: x.amax(dim=(2, 3), keepdim=True),
    GlobalAvgPool: lambda op, x: x.sum(dim=(2, 3), keepdim=True),
    Flatten: lambda op, x: x.reshape(len(x), -1, 1, 1),
    ArgMax: _argmax,
}
