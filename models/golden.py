"""Golden model: an integer network evaluated with PyTorch, apart from the NumPy reference.

Sums are taken in float64. Every tensor has at most 32 bits and so has the sum of the absolute
terms of any output at most 33, far below the 53 bits up to which float64 adds integers exactly in
any order. Convolutions are unfolded into matrix products, since a convolution library may choose
an algorithm (Winograd, FFT) whose intermediate values are no integers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    Lookup,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
)


class GoldenNetwork(nn.Module):
    """Evaluates ``network`` on the device that the module is moved to.

    The arrays of the ops are int64 buffers named ``<op>__<field>``; a multiplexer convolution
    holds its kernels unpacked to [outputs, inputs, kh, kw].
    """

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        for op in network:
            for key in op.arrays:
                self.register_buffer(f"{op.name}__{key}", torch.tensor(getattr(op, key)))
            if isinstance(op, MuxConv2d):
                self.register_buffer(f"{op.name}__kernels", _unpack(op))

    def forward(self, x: Tensor) -> Tensor:
        """Output int64 [images, ...] for integer images [images, channels, height, width].

        Raises NetworkError when ``x`` has another shape, is not of integers or leaves its range.
        """
        return self.tensors(x)[self.network.output]

    @torch.no_grad()
    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor by name, int64 [images, channels, height, width], the input included."""
        values = {INPUT: self._checked(x)}
        for op in self.network:
            values[op.name] = _MEANING[type(op)](self, op, *(values[name] for name in op.inputs))
        return values

    def _checked(self, x: Tensor) -> Tensor:
        t = self.network.input
        if x.dtype.is_floating_point or x.dtype.is_complex or x.dtype == torch.bool:
            raise NetworkError(f"input must hold integers, not {x.dtype}")
        if x.ndim != 4 or tuple(x.shape[1:]) != t.shape:
            raise NetworkError(
                f"input must be [images, {', '.join(map(str, t.shape))}], not {list(x.shape)}"
            )
        x = x.long()
        if x.numel() and not (t.lo <= int(x.min()) and int(x.max()) <= t.hi):
            raise NetworkError(
                f"input values must be {t.lo}..{t.hi}, not {int(x.min())}..{int(x.max())}"
            )
        return x

    def _array(self, op: Op, key: str) -> Tensor:
        return self.get_buffer(f"{op.name}__{key}")

    # -- the ops ------------------------------------------------------------------------------

    def _mux(self, op: MuxConv2d, x: Tensor) -> Tensor:
        return _convolve(x, self._array(op, "kernels"), op.stride, op.pad, 1)

    def _conv(self, op: Conv2d, x: Tensor) -> Tensor:
        return _convolve(x, self._array(op, "weight"), op.stride, op.pad, op.groups)

    def _linear(self, op: Linear, x: Tensor) -> Tensor:
        y = functional.linear(x[:, :, 0, 0].double(), self._array(op, "weight").double())
        return y.long()[:, :, None, None]

    def _add(self, op: Add, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def _max_pool(self, op: MaxPool2d, x: Tensor) -> Tensor:
        return functional.max_pool2d(x.double(), op.kernel, op.stride).long()

    def _avg_pool(self, op: AvgPool2d, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x.double(), op.kernel, op.stride, divisor_override=1).long()

    def _global_max(self, op: GlobalMaxPool, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3), keepdim=True)

    def _global_avg(self, op: GlobalAvgPool, x: Tensor) -> Tensor:
        return x.sum(dim=(2, 3), keepdim=True)

    def _flatten(self, op: Flatten, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :, None, None]

    def _argmax(self, op: ArgMax, x: Tensor) -> Tensor:
        return x.argmax(dim=1, keepdim=True)

    def _requantize(self, op: Requantize, x: Tensor) -> Tensor:
        multiplier = self._array(op, "multiplier")[:, None, None]
        bias = self._array(op, "bias")[:, None, None]
        return ((x * multiplier + bias) >> op.shift).clamp(op.lo, op.hi)

    def _lookup(self, op: Lookup, x: Tensor) -> Tensor:
        tables, entries = self._array(op, "table").shape
        first = torch.arange(x.shape[1])[:, None, None] * entries if tables > 1 else 0
        return self._array(op, "table").flatten()[x - op.lo + first]


_MEANING: dict[type[Op], Callable[..., Tensor]] = {
    MuxConv2d: GoldenNetwork._mux,
    Conv2d: GoldenNetwork._conv,
    Linear: GoldenNetwork._linear,
    Add: GoldenNetwork._add,
    MaxPool2d: GoldenNetwork._max_pool,
    AvgPool2d: GoldenNetwork._avg_pool,
    GlobalMaxPool: GoldenNetwork._global_max,
    GlobalAvgPool: GoldenNetwork._global_avg,
    Flatten: GoldenNetwork._flatten,
    ArgMax: GoldenNetwork._argmax,
    Requantize: GoldenNetwork._requantize,
    Lookup: GoldenNetwork._lookup,
}


def _unpack(op: MuxConv2d) -> Tensor:
    """Dense kernels [outputs, inputs, kh, kw] with each weight at its tap, 0 elsewhere."""
    taps = op.kernel[0] * op.kernel[1]
    chosen = functional.one_hot(torch.tensor(op.tap), taps)
    return (chosen * torch.tensor(op.weight)[:, :, None]).unflatten(2, op.kernel)


def _convolve(
    x: Tensor, kernels: Tensor, stride: tuple[int, int], pad: tuple[int, int], groups: int
) -> Tensor:
    """Exact convolution of integers: [N, C, H, W] with [O, C / groups, kh, kw]."""
    outputs, per_group, *_ = kernels.shape
    kernel = kernels.shape[2], kernels.shape[3]
    columns = functional.unfold(x.double(), kernel, padding=pad, stride=stride)
    columns = columns.unflatten(1, (groups, per_group * kernel[0] * kernel[1]))
    weight = kernels.double().reshape(groups, outputs // groups, -1)
    sums = (weight @ columns).flatten(1, 2).long()
    height = (x.shape[2] + 2 * pad[0] - kernel[0]) // stride[0] + 1
    return sums.unflatten(2, (height, -1))
