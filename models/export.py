"""Exports a trained network as integers: norms and ranges folded into requantizers and tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.errors import HwsimWarning, NetworkError
from hwsim.models.fixed_point import fixed_point
from hwsim.models.inference import network_input, predict
from hwsim.models.layers import DenseConv2d, MuxConv2d, Norm, NormAct, NormTable, QuantLinear
from hwsim.models.networks import ConvLayer, ConvNet, MaxPool, ResidualBlock, weighted_layers
from hwsim.models.settle import is_settled
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    Lookup,
    MaxPool2d,
    Network,
    Op,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.network import MuxConv2d as MuxOp
from hwsim.network.ops import sum_ranges

LOGITS = "logits"
"""Name of the tensor that ArgMax reads."""


class _Exporter:
    """Collects ops; ``last`` is the name of the tensor that the next op reads.

    bits: significant bits of multipliers. names: of the ops that layers with weights become.
    types: of the tensors so far. sums: ends [channels] of each accumulator's channels.
    """

    def __init__(self, model: ConvNet, input_type: TensorType):
        self.bits = model.config.multiplier_bits
        self.names = {layer: name for name, layer in weighted_layers(model).items()}
        self.ops: list[Op] = []
        self.types = {INPUT: input_type}
        self.sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.last = INPUT

    def add(self, op: Op) -> str:
        try:
            self.types[op.name] = op.infer([self.types[name] for name in op.inputs])
        except NetworkError as error:
            raise error if error.op else NetworkError(str(error), op=op.name) from None
        if isinstance(op, (Conv2d, MuxOp, Linear)):
            weight = op.weight.reshape(len(op.weight), -1)
            self.sums[op.name] = sum_ranges(weight, self.types[op.inputs[0]])
        self.ops.append(op)
        self.last = op.name
        return op.name

    def requantize(
        self, name: str, affine: tuple[Tensor, Tensor], lo: int, hi: int, source: str
    ) -> str:
        multiplier, bias = (part.double().cpu().numpy() for part in affine)
        t = self.types[source]
        every = np.ones(t.channels, np.int64)
        x_lo, x_hi = self.sums.get(source, (every * t.lo, every * t.hi))
        try:
            m, b, shift = fixed_point(multiplier, bias, x_lo, x_hi, lo, hi, self.bits)
        except NetworkError as error:
            raise NetworkError(str(error), op=name) from None
        return self.add(Requantize(name, (source,), m, b, shift, lo, hi))

    def conv(self, conv: MuxConv2d | DenseConv2d, source: str) -> str:
        assert conv.alphabet is not None
        name = self.names[conv]
        if isinstance(conv, DenseConv2d):
            kernels = _integers(name, conv.kernels())
            return self.add(
                Conv2d(name, (source,), kernels, conv.stride, conv.pad, alphabet=conv.alphabet)
            )
        return self.add(
            MuxOp(
                name,
                (source,),
                conv.tap.cpu().numpy(),
                _integers(name, conv.kept()[0]),
                conv.kernel,
                conv.stride,
                conv.pad,
                conv.alphabet,
            )
        )

    def layer(self, name: str, layer: ConvLayer, source: str) -> str:
        acc = self.conv(layer.conv, source)
        return self.act(name, layer.act, acc)

    def act(self, name: str, act: NormAct | NormTable, source: str) -> str:
        assert act.range is not None
        if isinstance(act, NormTable):
            x = act.INDEX
            index = act.norm.affine(act.INDEX_STEP)
            norm = self.requantize(f"{name}_norm", index, x.lo, x.hi, source)
            return self.add(Lookup(name, (norm,), act.table(), x.lo))
        return self.requantize(name, act.norm.affine(act.range.step()), 0, act.range.hi, source)

    def pool(self, name: str, pool: MaxPool, source: str) -> str:
        return self.add(MaxPool2d(name, (source,), pool.kernel, pool.kernel))

    def block(self, name: str, block: ResidualBlock, source: str) -> str:
        assert block.range is not None
        lo, hi = -block.limit, block.limit - 1

        def branch(suffix: str, norm: Norm, acc: str) -> str:
            return self.requantize(f"{name}_{suffix}", norm.affine(block.unit()), lo, hi, acc)

        first = self.layer(f"{name}_a", block.first, source)
        left = branch("b", block.norm, self.conv(block.conv, first))
        if block.shortcut is not None:
            acc = self.conv(block.shortcut, source)
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
        features = self.types[source]
        pooled = self.add(GlobalAvgPool("pooled", (source,)))
        name = self.names[head]
        weight = _integers(name, integers)
        acc = self.add(Linear(name, (pooled,), weight, head.alphabet))
        # The weights share one scale: adding the bias is all that the logits still need.
        bias = _integers(LOGITS, head.bias.double() / scale.double())
        top = max(-features.lo, features.hi) * features.height * features.width
        reach = int(np.abs(weight).sum(axis=1).max()) * top + int(np.abs(bias).max())
        width = max(reach.bit_length(), 1)
        return self.add(
            Requantize(LOGITS, (acc,), np.ones_like(bias), bias, 0, -(1 << width), (1 << width) - 1)
        )


def _integers(name: str, values: Tensor) -> np.ndarray:
    """``values`` rounded; raises NetworkError naming the op when they are no numbers of 62 bits."""
    values = values.detach().double()
    if not bool((values.abs() < 2.0**62).all()):
        raise NetworkError("values must be finite (did the training diverge?)", op=name)
    return np.rint(values.cpu().numpy()).astype(np.int64)


@torch.no_grad()
def export_network(
    model: ConvNet, name: str = "network", notes: dict[str, object] | None = None
) -> Network:
    """Integer network of a quantized ``model`` whose positions are frozen.

    Ends with ArgMax; the tensor before it holds the logits. Multipliers keep
    ``model.config.multiplier_bits`` significant bits (``hwsim.models.fixed_point``); everything
    else is exact. Raises ValueError for a float twin and for positions that are not frozen,
    NetworkError naming the op when a number is not finite or a tensor gets too wide. Warns when
    the statistics of the norms were last settled for other weights.
    """
    if model.twin:
        raise ValueError("the float twin has no integers to export")
    if not all(layer.frozen for layer in model.mux_layers()):
        raise ValueError("the positions are not frozen yet: call freeze_positions() first")
    if not is_settled(model):
        warnings.warn(
            "the batch-norm statistics do not belong to these weights: "
            "call settle_statistics(model, batches) before export_network",
            HwsimWarning,
            stacklevel=3,
        )
    input_type = TensorType(*model.shape, model.config.input_bits)
    out = _Exporter(model, input_type)
    kinds: dict[type[nn.Module], tuple[str, Callable[..., str]]] = {
        ConvLayer: ("conv", out.layer),
        MaxPool: ("pool", out.pool),
        ResidualBlock: ("block", out.block),
    }
    for index, module in enumerate(model.body):
        prefix, emit = kinds[type(module)]
        emit(f"{prefix}{index}", module, out.last)
    out.head(model.head, out.last)
    out.add(ArgMax("label", (LOGITS,)))
    return Network(name, input_type, tuple(out.ops), notes or {})


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
