"""Modules that hwsim knows nothing of: torch's own, and networks as others write them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune


@dataclass(frozen=True)
class Case:
    """make: the module. inputs: of one pass. bake: makes computed weights parameters, in place.

    words: of matrices that are stored; left_out: of those that cannot be.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    words: int
    left_out: int = 0
    bake: Callable[[nn.Module], object] | None = None
    trains: bool = True


def randn(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(*shape, generator=torch.Generator().manual_seed(3)),)


def tokens(*shape: int, top: int = 11) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randint(top, shape, generator=torch.Generator().manual_seed(3)),)


def both(*shapes: tuple[int, ...]) -> Callable[[], tuple[Tensor, ...]]:
    def make() -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(3)
        return tuple(torch.randn(*shape, generator=generator) for shape in shapes)

    return make


class Functional(nn.Module):
    """Parameters that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(7, 6))
        self.kernel = nn.Parameter(torch.randn(2, 1, 3))
        self.bias = nn.Parameter(torch.randn(7))

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.w, self.bias)
        return F.conv1d(y.unsqueeze(1), self.kernel).flatten(1)


class Attention(nn.Module):
    """Attention with raw parameters."""

    def __init__(self, width: int = 8, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Parameter(torch.randn(3 * width, width) / math.sqrt(width))
        self.out = nn.Parameter(torch.randn(width, width) / math.sqrt(width))
        self.place = nn.Parameter(torch.randn(1, 5, width))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        parts = (x + self.place) @ self.qkv.T
        q, k, v = (p.reshape(n, t, self.heads, -1).transpose(1, 2) for p in parts.chunk(3, -1))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(n, t, c) @ self.out


class Lists(nn.Module):
    """Parameters and modules in torch's containers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ParameterList(torch.randn(6, 6) for _ in range(2))
        self.named = nn.ParameterDict({"mix": torch.randn(6, 6), "shift": torch.randn(6)})
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.heads = nn.ModuleDict({"a": nn.Linear(6, 2), "b": nn.Linear(6, 3)})

    def forward(self, x: Tensor) -> Tensor:
        for step, layer in zip(self.steps, self.layers, strict=True):
            x = torch.tanh(layer(x @ step))
        x = x @ self.named["mix"] + self.named["shift"]
        return torch.cat([head(x) for head in self.heads.values()], 1)


class LanguageModel(nn.Module):
    """Embedding and head share one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.body = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.body(self.embedding(x), src_mask=mask))


class Tagger(nn.Module):
    def __init__(self, kind: Callable[..., nn.Module], **keys: object):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.rnn = kind(5, 6, **keys)
        self.head = nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0])


def tagger(kind: Callable[..., nn.Module], **keys: object) -> nn.Module:
    model = Tagger(kind, **keys)
    model(torch.zeros(3, 4, dtype=torch.int64))
    return model


class Cells(nn.Module):
    """Recurrent cells called step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.RNNCell(4, 5), nn.GRUCell(5, 5), nn.LSTMCell(5, 4)])

    def forward(self, x: Tensor) -> Tensor:
        a = b = None
        c = None
        for step in x:
            a = self.cells[0](step, a)
            b = self.cells[1](a, b)
            c = self.cells[2](b, c)
        assert c is not None
        return c[0]


class BasicBlock(nn.Module):
    """As in torchvision: one ReLU at two places."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        same = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + same)


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        BasicBlock(4, 4), BasicBlock(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 5),
    )  # fmt: skip


class InvertedResidual(nn.Module):
    def __init__(self, width: int, grown: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, grown, 1, bias=False), nn.BatchNorm2d(grown), nn.ReLU6(inplace=True),
            nn.Conv2d(grown, grown, 3, 1, 1, groups=grown, bias=False), nn.BatchNorm2d(grown),
            nn.Hardswish(), nn.Conv2d(grown, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.silu(self.down1(x))
        b = F.silu(self.down2(a))
        return self.last(torch.cat([a, self.up(b)], 1))


def pictures_norm() -> nn.Module:
    norm = nn.LayerNorm([2, 4, 4])
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(nn.Conv2d(1, 2, 3), norm)


def generator() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(6, 4, 3, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Conv2d(1, 4, 3)), nn.LeakyReLU(0.2), nn.Flatten(),
        parametrizations.spectral_norm(nn.Linear(64, 1)),
    )  # fmt: skip


def convolutions() -> nn.Module:
    """Every kind, from one dimension to three."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"), nn.ConvTranspose1d(4, 2, 2, 2),
        nn.Unflatten(2, (4, 4)), nn.Conv2d(2, 4, 3, groups=2, padding="same"),
        nn.ConvTranspose2d(4, 2, 3, 1, 1), nn.Unflatten(3, (2, 2)), nn.Conv3d(2, 3, (3, 1, 1)),
        nn.ConvTranspose3d(3, 1, 2), nn.Flatten(),
    )  # fmt: skip


class Symmetric(nn.Module):
    """A parametrization of one's own, without a way back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


class LowRank(nn.Module):
    """One with matrices of its own, which are not stored: their sum with the weight is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 2)), nn.Parameter(torch.randn(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a @ self.b


def parametrized(*steps: Callable[[nn.Module], object]) -> Callable[[], nn.Module]:
    """A linear layer that ``steps`` changed, and a plain one."""

    def make() -> nn.Module:
        layer = nn.Linear(6, 6)
        for step in steps:
            step(layer)
        return nn.Sequential(layer, nn.Tanh(), nn.Linear(6, 2))

    return make


def bake(model: nn.Module) -> None:
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def bake_hooks(model: nn.Module) -> None:
    """weight_norm, spectral_norm and pruning that work by hooks."""
    for module in model.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            name = getattr(hook, "name", None) or hook._tensor_name
            weight = getattr(module, name).detach().clone()
            del module._forward_pre_hooks[key]
            for source in (f"{name}_g", f"{name}_v", f"{name}_orig"):
                module._parameters.pop(source, None)
            delattr(module, name)
            module.register_parameter(name, nn.Parameter(weight))


def old_weight_norm(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer)


class Traced(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(6, 6))
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU())

    def forward(self, x):  # type: ignore[no-untyped-def]  # torch cannot save annotated traces
        return self.body(x @ self.mix)


def half_scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return nn.Sequential(torch.jit.script(nn.Linear(6, 5)), nn.Linear(5, 4))


class ComplexMix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4))
        self.b = nn.Parameter(torch.randn(4, 2) + 0.5j)

    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.a).to(self.b.dtype) @ self.b).abs()


def attention(**keys: int) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(8, 2, batch_first=True, **keys)  # type: ignore[arg-type]


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def transformer() -> nn.Module:
    return nn.Transformer(8, 2, 1, 1, 12, dropout=0.0, batch_first=True)


ATTENTION = 3 * 8 * 8 + 8 * 8
LAYER = ATTENTION + 2 * 8 * 12

CASES: dict[str, Case] = {
    "linear": Case(lambda: nn.Linear(6, 5), randn(3, 6), 30),
    "convolutions": Case(convolutions, randn(2, 2, 8), 24 + 16 + 36 + 72 + 18 + 24),
    "bilinear": Case(lambda: nn.Bilinear(4, 5, 3), both((2, 4), (2, 5)), 60),
    "embedding": Case(lambda: nn.Embedding(11, 4, padding_idx=0), tokens(3, 4), 44),
    "embedding_of_a_norm": Case(lambda: nn.Embedding(11, 4, max_norm=1.0), tokens(3, 4), 44),
    "sparse_embedding": Case(lambda: nn.Embedding(11, 4, sparse=True), tokens(3, 4), 44),
    "embedding_bag": Case(lambda: nn.EmbeddingBag(11, 4), tokens(3, 4), 44),
    "attention": Case(attention(), both(*[(2, 5, 8)] * 3), ATTENTION),
    "attention_of_other_widths": Case(
        attention(kdim=6, vdim=4), both((2, 5, 8), (2, 3, 6), (2, 3, 4)), 8 * (8 + 6 + 4) + 64
    ),
    "attention_with_biases": Case(
        lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True),
        both(*[(5, 2, 8)] * 3),
        ATTENTION + 16,
    ),
    "encoder": Case(encoder, randn(2, 5, 8), 2 * LAYER),
    "transformer": Case(transformer, both((2, 5, 8), (2, 3, 8)), 2 * LAYER + ATTENTION),
    "lstm": Case(lambda: nn.LSTM(4, 6), randn(5, 2, 4), 24 * 10),
    "lstm_both_ways": Case(
        lambda: nn.LSTM(4, 6, 2, bidirectional=True), randn(5, 2, 4), 2 * 24 * (10 + 18)
    ),
    "gru": Case(lambda: nn.GRU(4, 6, 2, bias=False), randn(5, 2, 4), 18 * (10 + 12)),
    "rnn": Case(lambda: nn.RNN(4, 6, nonlinearity="relu"), randn(5, 2, 4), 60),
    "cells": Case(Cells, randn(3, 2, 4), 5 * 9 + 15 * 10 + 16 * 9),
    "tagger": Case(
        lambda: tagger(nn.LSTM, bidirectional=True), tokens(3, 4), 55 + 2 * 24 * 11 + 36
    ),
    "tagger_gru": Case(lambda: tagger(nn.GRU), tokens(3, 4), 55 + 18 * 11 + 18),
    "functional": Case(Functional, randn(3, 6), 42 + 6),
    "own_attention": Case(Attention, randn(2, 5, 8), 192 + 64 + 40),
    "containers": Case(Lists, randn(3, 6), 5 * 36 + 30),
    "language_model": Case(LanguageModel, tokens(2, 4), 88 + LAYER),
    "resnet": Case(resnet, randn(2, 3, 8, 8), 108 + 288 + 216 + 324 + 24 + 30),
    "mobilenet": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), InvertedResidual(4, 8)),
        randn(2, 3, 6, 6),
        108 + 32 + 72 + 32,
    ),
    "unet": Case(UNet, randn(2, 1, 8, 8), 36 + 216 + 96 + 16),
    "generator": Case(generator, randn(2, 6, 1, 1), 216 + 64),
    "layer_norm_of_pictures": Case(
        pictures_norm,
        randn(2, 1, 6, 6),
        18 + 64,
    ),
    "discriminator": Case(discriminator, randn(2, 1, 6, 6), 36 + 64, bake=bake, trains=False),
    "weight_norm": Case(
        parametrized(parametrizations.weight_norm), randn(3, 6), 36 + 12, bake=bake
    ),
    "weight_norm_and_more": Case(
        parametrized(
            parametrizations.weight_norm,
            lambda m: parametrize.register_parametrization(m, "weight", Symmetric()),
        ),
        randn(3, 6),
        36 + 12,
        bake=bake,
    ),
    "orthogonal": Case(parametrized(parametrizations.orthogonal), randn(3, 6), 48, bake=bake),
    "low_rank": Case(
        parametrized(lambda m: parametrize.register_parametrization(m, "weight", LowRank())),
        randn(3, 6),
        48,
        bake=bake,
    ),
    "old_weight_norm": Case(parametrized(old_weight_norm), randn(3, 6), 48, bake=bake_hooks),
    "old_spectral_norm": Case(
        parametrized(nn.utils.spectral_norm), randn(3, 6), 48, bake=bake_hooks, trains=False
    ),
    "pruned": Case(
        parametrized(lambda m: prune.l1_unstructured(m, "weight", 0.5)),
        randn(3, 6),
        48,
        bake=bake_hooks,
    ),
    "traced": Case(lambda: torch.fx.symbolic_trace(Traced()), randn(3, 6), 36 + 48),
    "half_scripted": Case(half_scripted, randn(3, 6), 20, left_out=30),
    "complex": Case(ComplexMix, randn(2, 3), 12, left_out=8),
}
