"""How stages and their lanes are put into words."""

from __future__ import annotations

from hwsim.accelerator import Stage, Stream

KIND_CLASS = {"mac": "f0", "depthwise": "f0", "add": "f3", "pool": "f2", "global_pool": "f2"}
"""Colour of a stage's kind; all others are grey."""


def what(stage: Stage) -> str:
    """The op in a few words: ``multiplexer convolution 3×3, stride 2, binary``."""
    op = stage.op
    if op is None:
        return "change of lanes" if stage.kind == "resize" else "fork"
    return f"{op.words}, requantize" if stage.requantize is not None else op.words


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
