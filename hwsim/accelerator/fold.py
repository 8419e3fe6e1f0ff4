"""A fold: the number of lanes of a stage, which decides its number of cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hwsim.errors import MappingError
from hwsim.files import Document
from hwsim.network import Conv2d, Op, Weighted

WEIGHT_STYLES = ("memory", "constant")


@dataclass(frozen=True)
class Fold:
    """Parallelism of one stage.

    pe: output lanes; simd: input lanes. Stages that work channel by channel (pools, adds,
    depthwise convolutions, requantizers, lookups, argmax) have ``simd`` lanes and ignore
    ``pe``. Neither has to divide the channels. weights: ``memory`` (taps, weights and lookup tables
    of the stage in on-chip memory) or ``constant`` (in the fabric).
    """

    pe: int = 1
    simd: int = 1
    weights: str = "memory"

    def __post_init__(self) -> None:
        for key in ("pe", "simd"):
            value = getattr(self, key)
            if type(value) is not int or value < 1:
                raise MappingError(f"{key} must be a positive integer, not {value!r}")
        if self.weights not in WEIGHT_STYLES:
            raise MappingError(
                f"weights must be one of {', '.join(WEIGHT_STYLES)}, not {self.weights!r}"
            )


class FoldRecord(Document):
    """A ``Fold`` in a file."""

    pe: Annotated[int, Field(ge=1)]
    simd: Annotated[int, Field(ge=1)]
    weights: Literal["memory", "constant"]

    def fold(self) -> Fold:
        return Fold(self.pe, self.simd, self.weights)


def is_depthwise(op: Op) -> bool:
    """True for a convolution of one input and one output channel per group."""
    return isinstance(op, Conv2d) and op.depthwise


def is_mac(op: Op) -> bool:
    """True for ops that sum over input channels and so fold by ``pe`` and ``simd``."""
    return isinstance(op, Weighted) and not is_depthwise(op)
