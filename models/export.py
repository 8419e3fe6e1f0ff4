"""Exports a trained network as integers: batch norms and ranges folded into ``Requantize``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.models.layers import DenseConv2d, MuxConv2d, Norm, NormAct, QuantLinear
from hwsim.models.networks import ConvLayer, ConvNet, MaxPool, ResidualBlock
from hwsim.network import (
    Add,
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    Network,
    Op,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.network import MuxConv2d as MuxOp

LOGITS = "logits"
"""Name of the tensor that ArgMax reads."""


def fixed_point(
    multiplier: np.ndarray, bias: np.ndarray, bits: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Integers (m, b, shift) with ``(x * m + b) >> shift = floor(x * multiplier + bias + 0.5)``
    but for the rounding of ``multiplier`` to ``bits`` bits (sign not counted).

    multiplier, bias: real, [channels]. One shift serves all channels: the finest at which the
    largest multiplier still fits, at most 62 - bits.
    """
    largest = float(np.abs(multiplier).max())
    shift = bits if largest == 0 else bits - 1 - int(np.floor(np.log2(largest)))
    if largest and round(largest * 2.0**shift) >= 1 << bits:
        shift -= 1
    shift = min(max(shift, 0), 62 - bits)
    top = (1 << bits) - 1
    m = np.clip(np.rint(multiplier * 2.0**shift), -top, top)
    b = np.rint((bias + 0.5) * 2.0**shift)
    return m.astype(np.int64), b.astype(np.int64), shift


class _Exporter:
    """Collects ops; ``last`` is the name of the tensor that the next op reads."""

    def __init__(self, bits: int):
        self.bits = bits
        self.ops: list[Op] = []
        self.last = "input"

    def add(self, op: Op) -> str:
        self.ops.append(op)
        self.last = op.name
        return op.name

    def requantize(
        self, name: str, affine: tuple[Tensor, Tensor], lo: int, hi: int, source: str
    ) -> str:
        m, b, shift = fixed_point(affine[0].cpu().numpy(), affine[1].cpu().numpy(), self.bits)
        return self.add(Requantize(name, (source,), m, b, shift, lo, hi))

    def conv(self, name: str, conv: MuxConv2d | DenseConv2d, source: str) -> str:
        assert conv.alphabet is not None
        if isinstance(conv, DenseConv2d):
            kernels = _integers(conv.kernels())
            return self.add(
                Conv2d(name, (source,), kernels, conv.stride, conv.pad, alphabet=conv.alphabet)
            )
        if not conv.frozen:
            raise ValueError("the positions are not frozen yet: call freeze_positions() first")
        return self.add(
            MuxOp(
                name,
                (source,),
                conv.tap.cpu().numpy(),
                _integers(conv.kept()[0]),
                conv.kernel,
                conv.stride,
                conv.pad,
                conv.alphabet,
            )
        )

    def layer(self, name: str, layer: ConvLayer, source: str) -> str:
        acc = self.conv(f"{name}_acc", layer.conv, source)
        return self.act(name, layer.act, acc)

    def act(self, name: str, act: NormAct, source: str) -> str:
        assert act.range is not None
        return self.requantize(name, act.norm.affine(act.range.step()), 0, act.range.hi, source)

    def pool(self, name: str, pool: MaxPool, source: str) -> str:
        return self.add(MaxPool2d(name, (source,), pool.kernel, pool.kernel))

    def block(self, name: str, block: ResidualBlock, source: str) -> str:
        assert block.range is not None
        lo, hi = -block.limit, block.limit - 1

        def branch(suffix: str, norm: Norm, acc: str) -> str:
            return self.requantize(f"{name}_{suffix}", norm.affine(block.unit()), lo, hi, acc)

        first = self.layer(f"{name}_a", block.first, source)
        left = branch("b", block.norm, self.conv(f"{name}_b_acc", block.conv, first))
        if block.shortcut is not None:
            acc = self.conv(f"{name}_s_acc", block.shortcut, source)
            right = branch("s", block.shortcut_norm, acc)
        else:
            channels = len(block.norm.gamma)
            ratio = block.ratio().double().expand(channels)
            right = self.requantize(f"{name}_s", (ratio, torch.zeros(channels)), lo, hi, source)
        total = self.add(Add(f"{name}_sum", (left, right)))
        one = np.ones(len(block.norm.gamma), np.int64)
        half = one * ((1 << block.fraction) >> 1)
        return self.add(Requantize(name, (total,), one, half, block.fraction, 0, block.range.hi))

    def head(self, head: QuantLinear, source: str) -> str:
        assert head.alphabet is not None
        integers, scale = head.integers()
        pooled = self.add(GlobalAvgPool("pooled", (source,)))
        acc = Linear("logits_acc", (pooled,), _integers(integers), head.alphabet)
        self.add(acc)
        bias = np.rint((head.bias.double() / scale.double()).cpu().numpy()).astype(np.int64)
        # The weights share one scale: adding the bias is all that the logits still need.
        reach = int(np.abs(acc.weight).sum(axis=1).max()) * self.pooled_top + int(
            np.abs(bias).max()
        )
        width = max(reach.bit_length(), 1)
        return self.add(
            Requantize(
                LOGITS, (acc.name,), np.ones_like(bias), bias, 0, -(1 << width), (1 << width) - 1
            )
        )

    pooled_top = 0
    """Largest value of the pooled tensor, set before ``head``."""


def _integers(weight: Tensor) -> np.ndarray:
    return np.rint(weight.detach().double().cpu().numpy()).astype(np.int64)


@torch.no_grad()
def export_network(
    model: ConvNet, name: str = "network", notes: dict[str, object] | None = None
) -> Network:
    """Integer network of a quantized ``model`` whose positions are frozen.

    Ends with ArgMax; the tensor before it holds the logits. Multipliers have
    ``model.config.multiplier_bits`` bits; everything else is exact. Raises ValueError for a
    float twin and for positions that are not frozen, NetworkError when a tensor gets too wide.
    """
    if model.twin:
        raise ValueError("the float twin has no integers to export")
    out = _Exporter(model.config.multiplier_bits)
    kinds: dict[type[nn.Module], tuple[str, Callable[..., str]]] = {
        ConvLayer: ("conv", out.layer),
        MaxPool: ("pool", out.pool),
        ResidualBlock: ("block", out.block),
    }
    for index, module in enumerate(model.body):
        prefix, emit = kinds[type(module)]
        emit(f"{prefix}{index}", module, out.last)
    input_type = TensorType(*model.shape, model.config.input_bits)
    body = Network(name, input_type, tuple(out.ops))
    features = body.output_type
    out.pooled_top = features.hi * features.height * features.width
    out.head(model.head, out.last)
    out.add(ArgMax("label", (LOGITS,)))
    return Network(name, input_type, tuple(out.ops), notes or {})


def network_input(pictures: np.ndarray, input_bits: int) -> np.ndarray:
    """Pictures uint8 0..255 -> unsigned network inputs of ``input_bits`` bits."""
    return pictures >> np.uint8(8 - input_bits)


@torch.no_grad()
def predict(model: ConvNet, pictures: np.ndarray, batch: int = 500) -> np.ndarray:
    """Labels [N] that the (fake-quantized or float) model gives to uint8 ``pictures``."""
    model.eval()
    device = next(model.parameters()).device
    labels = []
    for start in range(0, len(pictures), batch):
        x = network_input(pictures[start : start + batch], model.config.input_bits)
        labels.append(model(torch.from_numpy(x).to(device)).argmax(dim=1).cpu())
    return torch.cat(labels).numpy()


def agreement(
    model: ConvNet,
    network: Network,
    pictures: np.ndarray,
    run: Callable[[np.ndarray], np.ndarray] | None = None,
) -> float:
    """Share of uint8 ``pictures`` to which model and integer network give the same label.

    ``run`` maps network inputs to labels [N, 1, 1, 1] (an Executor's ``run``); default: the slow
    reference.
    """
    x = network_input(pictures, model.config.input_bits)
    labels = evaluate(network, x)[network.output] if run is None else run(x)
    return float(np.mean(labels.reshape(len(x)) == predict(model, pictures)))
