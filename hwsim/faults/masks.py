"""What failing cells do to the fields of a memory's words, as masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.accelerator.fields import ONES, Fields
from hwsim.lowvoltage.chip import FaultList


@dataclass(frozen=True, eq=False)
class FieldMasks:
    """What failing cells do to the fields of each word: int64 [words, fields] each.

    A field reads ``((stored & keep) | put) ^ flip``.
    """

    keep: np.ndarray
    put: np.ndarray
    flip: np.ndarray

    @property
    def failing(self) -> np.ndarray:
        """Bits that fail, int64 [words, fields]."""
        return ~self.keep | self.flip

    def read(self, stored: np.ndarray) -> np.ndarray:
        """``stored`` [words, ...], as many fields as there are masks, as it is read."""
        shape = stored.shape
        flat = stored.reshape(len(stored), -1)
        return (((flat & self.keep) | self.put) ^ self.flip).reshape(shape)


def field_masks(fields: Fields, faults: FaultList) -> FieldMasks:
    """Masks of a bare memory; check bits, which lie above all fields, are left out."""
    data = faults.where(faults.bit < fields.bits)
    shape = faults.words, len(fields.width)
    start = fields.start
    field = np.searchsorted(start, data.bit, side="right") - 1
    at = data.word * shape[1] + field
    one = np.int64(1) << (data.bit - start[field])
    keep = np.full(shape, ONES)
    put, flip = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for masks, chosen in ((put, data.reads == 1), (flip, data.reads < 0)):
        np.bitwise_or.at(masks.reshape(-1), at[chosen], one[chosen])
    stuck = data.reads >= 0
    np.bitwise_and.at(keep.reshape(-1), at[stuck], ~one[stuck])
    return FieldMasks(keep, put, flip)
