"""How taps and weights are laid out in a stage's weight store, bit by bit.

One word per step: for each output lane, for each input lane: the tap (``MuxConv2d`` only, lowest
bits), then the weight code; a dense or depthwise convolution has one code per kernel position
instead. Lanes past the last channel hold weight 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsim.accelerator.stage import Stage
from hwsim.network import Linear, MuxConv2d, tap_bits
from hwsim.network.codes import WeightCode


@dataclass(frozen=True, eq=False)
class WeightStore:
    """Contents of a stage's weight store; ``hwsim.accelerator.fields`` packs them into words.

    weight: [words, output lanes, input lanes, positions] integers; tap: [words, output lanes,
    input lanes] or None. Depthwise stores have one input lane.
    """

    weight: np.ndarray
    tap: np.ndarray | None
    code: WeightCode
    tap_bits: int

    @property
    def words(self) -> int:
        return len(self.weight)

    @property
    def slot_bits(self) -> int:
        """Bits of one (output lane, input lane) pair."""
        return self.tap_bits + self.code.bits * self.weight.shape[3]

    @property
    def bits(self) -> int:
        """Width of a word."""
        return self.weight.shape[1] * self.weight.shape[2] * self.slot_bits


def arrange(stage: Stage, array: np.ndarray) -> np.ndarray:
    """Entries as they lie in the stage's store, 0 in lanes past the last channel.

    [outputs, inputs, positions] to [words, output lanes, input lanes, positions], int64.
    """
    return (_by_step if stage.kind.by_pe else _by_channel)(stage, array)


def _by_step(stage: Stage, array: np.ndarray) -> np.ndarray:
    x, timing = stage.inputs[0], stage.timing
    outputs, _, positions = array.shape
    if isinstance(stage.op, Linear) and x.flat:
        # Vector index is (channel, row, column); beats arrive pixel by pixel.
        pixels = x.type.height * x.type.width
        array = array.reshape(outputs, x.type.channels, pixels).transpose(0, 2, 1)
    else:
        array = array.transpose(0, 2, 1)
    lead = array.shape[:2]
    padded = np.zeros((*lead, x.beats * x.lanes), np.int64)
    padded[..., : array.shape[2]] = array
    if isinstance(stage.op, Linear):
        steps = padded.reshape(outputs, timing.steps, x.lanes, 1)
    else:
        steps = padded.reshape(outputs, positions, timing.steps, x.lanes).transpose(0, 2, 3, 1)
    whole = np.zeros((timing.groups * stage.fold.pe, *steps.shape[1:]), np.int64)
    whole[:outputs] = steps
    whole = whole.reshape(timing.groups, stage.fold.pe, *steps.shape[1:])
    return whole.transpose(0, 2, 1, 3, 4).reshape(-1, stage.fold.pe, *steps.shape[2:])


def _by_channel(stage: Stage, array: np.ndarray) -> np.ndarray:
    x = stage.inputs[0]
    padded = np.zeros((x.beats * x.lanes, array.shape[2]), np.int64)
    padded[: len(array)] = array[:, 0]
    return padded.reshape(x.beats, x.lanes, 1, -1)


@lru_cache(maxsize=256)
def weight_store(stage: Stage) -> WeightStore:
    """The weight store of a stage with weights; raises TypeError for all others."""
    op = stage.weighted
    tap, slot_tap_bits, weight = None, 0, op.weight
    if isinstance(op, MuxConv2d):
        slot_tap_bits = tap_bits(op.kernel[0] * op.kernel[1])
        tap = arrange(stage, op.tap[..., np.newaxis])[..., 0]
    weight = arrange(stage, weight.reshape(*weight.shape[:2], -1))
    code = WeightCode.choose(op.alphabet, weight)
    return WeightStore(weight, tap, code, slot_tap_bits)
