"""How the constants of a requantizer are laid out in its store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.accelerator.pipeline import Stage
from hwsim.network import bits_for


@dataclass(frozen=True, eq=False)
class RequantizeStore:
    """One word per beat position: for each lane the multiplier, then the bias, both signed.

    index: the step counter that addresses the store. multiplier_bits is 0 when every multiplier
    is 1. sum_bits: width that holds ``x * multiplier + bias``. Lanes past the last channel hold
    multiplier 0 (1 where none is stored) and bias 0.
    """

    index: str
    multiplier_bits: int
    bias_bits: int
    sum_bits: int
    bits: int
    words: tuple[int, ...]


def _signed_bits(values: np.ndarray) -> int:
    lo, hi = int(values.min()), int(values.max())
    bits, signed = bits_for(lo, hi)
    return bits if signed else bits + 1


@lru_cache(maxsize=256)
def requantize_store(stage: Stage) -> RequantizeStore | None:
    """The store of the requantizer in ``stage``, or None when it has none."""
    op = stage.rider
    if op is None:
        return None
    x, y = stage.accumulator, stage.output
    multiplier, bias = op.multiplier, op.bias
    plain = bool((multiplier == 1).all())
    lo, hi = op.sum_range(x)
    # The product alone passes through the same register.
    ends = [int(m) * v for m in multiplier for v in (x.lo, x.hi)]
    bits, signed = bits_for(min(lo, 0, *ends), max(hi, 0, *ends))
    sum_bits = bits if signed else bits + 1
    multiplier_bits = 0 if plain else _signed_bits(multiplier)
    bias_bits = _signed_bits(bias)
    channels = stage.output.type.channels
    pixels = len(bias) // channels
    words = []
    for pixel in range(pixels):
        for beat in range(y.beats):
            value = at = 0
            for lane in range(y.lanes):
                c = beat * y.lanes + lane
                k = c * pixels + pixel if c < channels else None
                m, b = (0, 0) if k is None else (int(multiplier[k]), int(bias[k]))
                if not plain:
                    value |= (m & ((1 << multiplier_bits) - 1)) << at
                    at += multiplier_bits
                value |= (b & ((1 << bias_bits) - 1)) << at
                at += bias_bits
            words.append(value)
    # An op that walks its output channels in groups counts them in `group`, all others in `n`;
    # a flattened map has constants of its own in every pixel.
    index = "group" if stage.kind == "mac" else "n"
    if pixels > 1:
        index = "beat"
    return RequantizeStore(
        index,
        multiplier_bits,
        bias_bits,
        sum_bits,
        y.lanes * (multiplier_bits + bias_bits),
        tuple(words),
    )
