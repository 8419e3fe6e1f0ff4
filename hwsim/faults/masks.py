"""How failing cells change the fields of a memory's words, as masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.cells import failing_cells
from hwsim.design.fields import ONES, Fields
from hwsim.lowvoltage.chip import FaultList


@dataclass(frozen=True, eq=False)
class FieldMasks:
    """How failing cells change the fields of each word: int64 [words, fields] each.

    ``hwsim.cells`` says how a field reads.
    """

    keep: np.ndarray
    flip: np.ndarray

    @property
    def failing(self) -> np.ndarray:
        """Bits that fail, int64 [words, fields]."""
        return failing_cells(self.keep, self.flip)


def field_masks(fields: Fields, faults: FaultList) -> FieldMasks:
    """Masks of a bare memory; check bits, which lie above all fields, are left out."""
    data = faults.where(faults.bit < fields.bits)
    shape = faults.words, len(fields.width)
    start = fields.start
    field = np.searchsorted(start, data.bit, side="right") - 1
    at = data.word * shape[1] + field
    one = np.int64(1) << (data.bit - start[field])
    keep, flip = np.full(shape, ONES), np.zeros(shape, np.int64)
    stuck, inverted = data.reads >= 0, data.reads != 0
    np.bitwise_and.at(keep.reshape(-1), at[stuck], ~one[stuck])
    np.bitwise_or.at(flip.reshape(-1), at[inverted], one[inverted])
    return FieldMasks(keep, flip)
