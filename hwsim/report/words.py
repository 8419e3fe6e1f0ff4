"""Words for stages and their lanes."""

from __future__ import annotations

from hwsim.accelerator import Stage, Stream


def shape(stream: Stream) -> str:
    """Shape and width of a tensor: ``64×8×8 u4`` (channels, height, width)."""
    t = stream.type
    return f"{t.channels}×{t.height}×{t.width} {'s' if t.signed else 'u'}{t.bits}"


def lanes(stage: Stage) -> str:
    """``pe × simd`` where outputs are folded, the lanes of other stages (in → out of a resize)."""
    if stage.kind.by_pe:
        return f"{stage.fold.pe} × {stage.fold.simd}"
    x, y = stage.inputs[0].lanes, stage.output.lanes
    return str(x) if stage.op is not None or x == y else f"{x} → {y}"
