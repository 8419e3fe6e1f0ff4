"""The kinds of stages: one record for each. No other code tells the kinds apart."""

from __future__ import annotations

from hwsim.accelerator.kinds.kind import Accumulator, StageKind, Window
from hwsim.accelerator.kinds.mac import DEPTHWISE, MAC
from hwsim.accelerator.kinds.pointwise import ADD, ARGMAX, FORK, LOOKUP, REQUANTIZE
from hwsim.accelerator.kinds.pool import GLOBAL_POOL, POOL
from hwsim.accelerator.kinds.resize import RESIZE
from hwsim.errors import MappingError
from hwsim.network import Op

KINDS: dict[str, StageKind] = {
    kind.name: kind
    for kind in (
        MAC, DEPTHWISE, POOL, GLOBAL_POOL, ADD, REQUANTIZE, LOOKUP, ARGMAX, RESIZE, FORK,
    )
}  # fmt: skip
"""Every kind of stage, by its name in files."""


def kind_of(op: Op) -> StageKind:
    """The kind of stage for ``op``; raises MappingError if no kind takes it."""
    for kind in KINDS.values():
        if kind.takes(op):
            return kind
    raise MappingError(f"{op.kind} has no stage", op=op.name)


__all__ = [
    "ADD",
    "ARGMAX",
    "DEPTHWISE",
    "FORK",
    "GLOBAL_POOL",
    "KINDS",
    "LOOKUP",
    "MAC",
    "POOL",
    "REQUANTIZE",
    "RESIZE",
    "Accumulator",
    "StageKind",
    "Window",
    "kind_of",
]
