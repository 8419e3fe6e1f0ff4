"""Builds trainable networks from ``ModelConfig``: plain CNNs, residual networks, 1-D CNNs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsim.config.training import ModelConfig
from hwsim.errors import ConfigError
from hwsim.models.layers import (
    INTEGER_NORM_EPSILON,
    DenseConv2d,
    LearnedRange,
    MuxConv2d,
    Norm,
    NormAct,
    NormTable,
    QuantLinear,
)
from hwsim.models.memory import Memory
from hwsim.models.quantize import floor_clamp
from hwsim.network import Alphabet


class _Factory:
    """Makes convolutions and norms in the formats of one config; ``twin``: dense and float."""

    def __init__(self, config: ModelConfig, twin: bool):
        self.config, self.twin = config, twin
        self.bits = None if twin else config.activation_bits
        self.flat = config.network == "cnn1d"

    def conv(
        self, inputs: int, outputs: int, kernel: int, stride: int, stem: bool = False
    ) -> MuxConv2d | DenseConv2d:
        c = self.config
        shape = (1, kernel) if self.flat else (kernel, kernel)
        steps = (1, stride) if self.flat else (stride, stride)
        if self.twin:
            return DenseConv2d(inputs, outputs, shape, steps)
        alphabet = Alphabet((c.stem_weights if stem else None) or c.weights)
        mux = (c.stem if stem else c.convolution) == "mux"
        kind = MuxConv2d if mux else DenseConv2d
        return kind(inputs, outputs, shape, steps, alphabet, c.weight_reach)

    def layer(
        self, inputs: int, outputs: int, kernel: int, stride: int, stem: bool = False
    ) -> ConvLayer:
        return ConvLayer(self.conv(inputs, outputs, kernel, stride, stem), self.act(outputs))

    def act(self, channels: int) -> NormAct | NormTable:
        kind = NormTable if self.config.activation == "hard_swish" else NormAct
        return kind(channels, self.bits)

    def head(self, inputs: int, classes: int, pixels: int) -> QuantLinear:
        c = self.config
        if self.twin:
            return QuantLinear(inputs, classes, None, 1 / pixels)
        unit = 2.0 / ((1 << c.activation_bits) - 1)
        alphabet = Alphabet(c.head_weights or c.weights)
        return QuantLinear(inputs, classes, alphabet, unit / pixels, c.weight_reach)


class ConvLayer(nn.Module):
    """Convolution, norm, activation."""

    def __init__(self, conv: MuxConv2d | DenseConv2d, act: NormAct | NormTable):
        super().__init__()
        self.conv, self.act = conv, act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class MaxPool(nn.Module):
    """Max pool of 2 x 2 (1 x 2 for 1-D signals); an odd last row or column is left out."""

    def __init__(self, kernel: tuple[int, int]):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut (identity, or 1 x 1 convolution where the shape changes).

    Quantized, both branches are brought to one signed grid of ``residual_bits`` bits whose unit
    is ``2**-fraction`` of an output unit, added, rounded and clamped.
    """

    def __init__(self, make: _Factory, inputs: int, outputs: int, stride: int):
        super().__init__()
        kernel, bits = make.config.kernel, make.bits
        epsilon = INTEGER_NORM_EPSILON if bits else 1e-5
        self.first = make.layer(inputs, outputs, kernel, stride)
        self.conv = make.conv(outputs, outputs, kernel, 1)
        self.norm = Norm(outputs, epsilon)
        self.shortcut: MuxConv2d | DenseConv2d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = make.conv(inputs, outputs, 1, stride)
            self.shortcut_norm = Norm(outputs, epsilon)
        self.range = LearnedRange(bits) if bits else None
        self.memory = Memory(bits, signed=False, kind="activation") if bits else None
        self.limit = 1 << (make.config.residual_bits - 1)
        self.fraction = make.config.residual_bits - 1 - make.config.activation_bits
        if bits and self.shortcut is None:
            # Real value of one unit of the block's input, relative to one unit of its output.
            self.log_ratio = nn.Parameter(torch.tensor(0.0))

    def unit(self) -> Tensor:
        """Real value of one unit of the common grid."""
        assert self.range is not None
        return self.range.step() / (1 << self.fraction)

    def ratio(self) -> Tensor:
        """Units of the common grid for one unit of the block's input (identity shortcut)."""
        return self.log_ratio.exp() * (1 << self.fraction)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(self.first(x))
        if self.range is None or self.memory is None:
            y = self.norm(y)
            y = y + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x)))
            return F.relu(y, inplace=True)
        unit, grid = self.unit(), (-self.limit, self.limit - 1)
        y = floor_clamp(self.norm(y, unit, 0.5), *grid)
        if self.shortcut is None:
            z = x * self.ratio() + 0.5
        else:
            z = self.shortcut_norm(self.shortcut(x), unit, 0.5)
        total = y + floor_clamp(z, *grid)
        return self.memory(floor_clamp(total * 2.0**-self.fraction + 0.5, 0, self.range.hi))


class ConvNet(nn.Module):
    """Body (layers, pools, blocks), global average pool, linear head.

    forward: integer pictures [N, C, H, W], any dtype -> logits [N, classes]. ``shape`` is that
    of the input, ``twin`` says whether this is the dense float twin. ``settled`` belongs to
    ``hwsim.models.settle``.
    """

    settled: Tensor

    def __init__(self, config: ModelConfig, shape: Sequence[int], classes: int, twin: bool = False):
        super().__init__()
        self.config, self.classes, self.twin = config, classes, twin
        self.shape = (shape[0], shape[1], shape[2])
        self.register_buffer("settled", torch.zeros(32, dtype=torch.uint8))
        make = _Factory(config, twin)
        self.body = nn.Sequential(*(_resnet if config.network == "resnet" else _cnn)(make, shape))
        with torch.no_grad():
            features = self.body.eval()(torch.zeros(1, *shape))
        self.train()
        self.head = make.head(features.shape[1], classes, features[0, 0].numel())

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x.to(torch.float32, memory_format=torch.channels_last))
        return self.head(y.float().sum(dim=(2, 3)))

    def mux_layers(self) -> list[MuxConv2d]:
        return [module for module in self.modules() if isinstance(module, MuxConv2d)]

    def set_beta(self, beta: float) -> None:
        """Set the inverse temperature of every multiplexer layer."""
        for layer in self.mux_layers():
            layer.beta.fill_(beta)

    def freeze_positions(self) -> None:
        """Keep one weight of every slice for good, in every multiplexer layer."""
        for layer in self.mux_layers():
            layer.freeze()


def weighted_layers(model: ConvNet) -> dict[str, MuxConv2d | DenseConv2d | QuantLinear]:
    """The layers with weights, by the name of the op that each becomes in ``export_network``."""
    found: dict[str, MuxConv2d | DenseConv2d | QuantLinear] = {}
    for index, module in enumerate(model.body):
        if isinstance(module, ConvLayer):
            found[f"conv{index}_acc"] = module.conv
        elif isinstance(module, ResidualBlock):
            found[f"block{index}_a_acc"] = module.first.conv
            found[f"block{index}_b_acc"] = module.conv
            if module.shortcut is not None:
                found[f"block{index}_s_acc"] = module.shortcut
    return {**found, "logits_acc": model.head}


def _cnn(make: _Factory, shape: Sequence[int]) -> list[nn.Module]:
    c = make.config
    if make.flat and shape[1] != 1:
        raise ConfigError(
            f"cnn1d needs signals of height 1, the data has {list(shape)}", key="model.network"
        )
    size = list(shape[1:])
    strides = c.strides or (1,) * len(c.channels)
    modules: list[nn.Module] = []
    inputs = shape[0]
    for index, (outputs, stride) in enumerate(zip(c.channels, strides, strict=True)):
        kernel = c.stem_kernel if index == 0 else c.kernel
        modules.append(make.layer(inputs, outputs, kernel, stride, stem=index == 0))
        inputs = outputs
        size = [1 if make.flat and axis == 0 else -(-n // stride) for axis, n in enumerate(size)]
        if index in c.pools:
            window = (1, 2) if make.flat else (2, 2)
            if any(n < k for n, k in zip(size, window, strict=True)):
                raise ConfigError(
                    f"no room for the pool after convolution {index}: its output is "
                    f"{size[0]}x{size[1]}",
                    key="model.pools",
                )
            modules.append(MaxPool(window))
            size = [n // k for n, k in zip(size, window, strict=True)]
    return modules


def _resnet(make: _Factory, shape: Sequence[int]) -> list[nn.Module]:
    c = make.config
    modules: list[nn.Module] = [
        make.layer(shape[0], c.channels[0], c.stem_kernel, c.stem_stride, stem=True)
    ]
    inputs = c.channels[0]
    for stage, outputs in enumerate(c.channels):
        for block in range(c.blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            modules.append(ResidualBlock(make, inputs, outputs, stride))
            inputs = outputs
    return modules


def build_network(
    config: ModelConfig, shape: Sequence[int], classes: int, *, seed: int, twin: bool = False
) -> ConvNet:
    """Network of ``config`` for pictures of ``shape`` (channels, height, width).

    ``twin``: the dense float network of the same shape. The same seed gives the same weights,
    and the caller's random state is left alone. Raises ConfigError when the shape does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvNet(config, shape, classes, twin)
