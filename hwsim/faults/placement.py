"""Where the weights and taps of an op lie: which bits of which word of which memory.

Training, for example, holds weights and taps as plain arrays. This module says how the failing
cells of a chip change each element of such arrays. The layout is that of
``hwsim.accelerator.fields``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hwsim.accelerator import Pipeline, memory_list
from hwsim.accelerator.fields import store_fields, weight_places
from hwsim.accelerator.weights import weight_store
from hwsim.design.roles import Role, Style
from hwsim.lowvoltage.chip import FaultList, FaultSource
from hwsim.network.codes import WeightCode

StoredArray = Literal["weight", "tap"]


@dataclass(frozen=True, eq=False)
class ArrayPlace:
    """Where an array lies in a memory.

    memory: name of the memory. words, bits: size of the memory. start: lowest bit of each field of
    a word, int64 [fields]. element: element of the flattened array that each field holds, int64
    [words, fields]; -1 for fields without an element. size: number of elements of the array. width:
    bits of an element. code: meaning of the bits; None: an unsigned number.
    """

    memory: str
    words: int
    bits: int
    start: np.ndarray
    element: np.ndarray
    size: int
    width: int
    code: WeightCode | None

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Word and lowest bit of each element, int64 [size] each."""
        word, field = np.nonzero(self.element >= 0)
        order = np.argsort(self.element[word, field])
        return word[order], self.start[field[order]]

    def faults(self, chip: FaultSource, probability: float) -> FaultList:
        """The failing cells of ``chip``, in the form of a memory with one element in each word.

        Write failures are those of the one write that fills the store.
        probability: bit error rate, 0..1. Raises VoltageError for another one.
        """
        found = chip.faults_at(self.memory, self.words, self.bits, probability).written_once()
        field = np.searchsorted(self.start, found.bit, side="right") - 1
        element = self.element[found.word, field]
        moved = replace(
            found, words=self.size, bits=self.width, word=element, bit=found.bit - self.start[field]
        ).where(element >= 0)
        return moved.where(np.lexsort((moved.bit, moved.word)))


def array_place(pipeline: Pipeline, op: str, array: StoredArray) -> ArrayPlace | None:
    """Where ``weight`` or ``tap`` of the op named ``op`` lies in ``pipeline``.

    None if the array has no cells: in the fabric (style ``constant``), and for taps of one
    position. Raises KeyError if no op with weights has this name.
    """
    stage = next((s for s in pipeline.stages if s.op is not None and s.op.name == op), None)
    if stage is None or stage.weights is None:
        raise KeyError(op)
    store = weight_store(stage)
    memory = next(
        m for m in memory_list(pipeline) if (m.layer, m.role) == (stage.name, Role.WEIGHT)
    )
    if memory.style is Style.CONSTANT or (array == "tap" and not store.tap_bits):
        return None
    # Of each slot of a word the tap is the first field, the weights are the others.
    weights = weight_places(stage)
    taps = bool(store.tap_bits)
    element = np.full((*weights.shape[:3], taps + weights.shape[3]), -1)
    if array == "tap":
        element[..., 0] = weights[..., 0]
    else:
        element[..., taps:] = weights
    weight = array == "weight"
    return ArrayPlace(
        memory.name,
        memory.words,
        memory.bits,
        store_fields(stage, Role.WEIGHT).start,
        element.reshape(len(element), -1),
        int(weights.max()) + 1,
        store.code.bits if weight else store.tap_bits,
        store.code if weight else None,
    )
