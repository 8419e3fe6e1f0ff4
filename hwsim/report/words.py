"""How stages and their lanes are put into words."""

from __future__ import annotations

from hwsim.accelerator import Stage, Stream
from hwsim.network import (
    Add,
    ArgMax,
    AvgPool2d,
    Conv2d,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Op,
    Requantize,
)

KIND_CLASS = {"mac": "f0", "depthwise": "f0", "add": "f3", "pool": "f2", "global_pool": "f2"}
"""Colour of a stage's kind; all others are grey."""


def what(stage: Stage) -> str:
    """The op in a few words: ``multiplexer convolution 3×3, stride 2, binary``."""
    op = stage.op
    if op is None:
        return "change of lanes" if stage.kind == "resize" else "fork"
    text = _op(op)
    return f"{text}, requantize" if stage.requantize is not None else text


def _op(op: Op) -> str:
    if isinstance(op, MuxConv2d):
        return f"multiplexer conv {_window(op)}, {op.alphabet.name}"
    if isinstance(op, Conv2d):
        depthwise = op.groups > 1 and op.groups == len(op.weight)
        return f"{'depthwise' if depthwise else 'dense'} conv {_window(op)}, {op.alphabet.name}"
    if isinstance(op, MaxPool2d):
        return f"max pool {_window(op)}"
    if isinstance(op, AvgPool2d):
        return f"sum pool {_window(op)}"
    if isinstance(op, Linear):
        return f"linear, {op.alphabet.name}"
    plain: dict[type[Op], str] = {
        Add: "add",
        ArgMax: "argmax",
        GlobalAvgPool: "global sum pool",
        GlobalMaxPool: "global max pool",
        Requantize: "requantize",
    }
    return plain[type(op)]


def _window(op: MuxConv2d | Conv2d | MaxPool2d | AvgPool2d) -> str:
    size = f"{op.kernel[0]}×{op.kernel[1]}"
    if op.stride == (1, 1):
        return size
    one = op.stride[0] == op.stride[1]
    return f"{size} / {op.stride[0] if one else f'{op.stride[0]}×{op.stride[1]}'}"


def shape(stream: Stream) -> str:
    """Shape and width of a tensor: ``64×8×8 u4`` (channels, height, width)."""
    t = stream.type
    return f"{t.channels}×{t.height}×{t.width} {'s' if t.signed else 'u'}{t.bits}"


def lanes(stage: Stage) -> str:
    """``pe × simd`` of a stage with weights, the lanes of others (in → out of a resize)."""
    if stage.kind == "mac":
        return f"{stage.fold.pe} × {stage.fold.simd}"
    if stage.kind == "resize":
        return f"{stage.inputs[0].lanes} → {stage.output.lanes}"
    return str(stage.inputs[0].lanes)


def has_weights(stage: Stage) -> bool:
    return stage.kind in ("mac", "depthwise")
