"""How the constants of a requantizer are laid out in its store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.accelerator.stage import Stage
from hwsim.network import bits_for


@dataclass(frozen=True, eq=False)
class RequantizeStore:
    """The store of one requantizer; ``hwsim.accelerator.fields`` packs its words.

    One word per beat position: for each lane the multiplier, then the bias, both signed.

    index: the step counter that addresses the store. multiplier_bits is 0 when every multiplier
    is 1. sum_bits: width that holds ``x * multiplier + bias``. Lanes past the last channel hold
    multiplier 0 (1 where none is stored) and bias 0.
    """

    index: str
    multiplier_bits: int
    bias_bits: int
    sum_bits: int
    words: int
    bits: int


def _signed_bits(values: np.ndarray) -> int:
    lo, hi = int(values.min()), int(values.max())
    bits, signed = bits_for(lo, hi)
    return bits if signed else bits + 1


@lru_cache(maxsize=256)
def requantize_store(stage: Stage) -> RequantizeStore:
    """The store of the requantizer in ``stage``; raises TypeError for a stage without one."""
    op = stage.requantizer
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
    return RequantizeStore(
        stage.beat_counter,
        multiplier_bits,
        bias_bits,
        sum_bits,
        pixels * y.beats,
        y.lanes * (multiplier_bits + bias_bits),
    )
