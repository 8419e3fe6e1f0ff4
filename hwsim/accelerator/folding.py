"""Folding: how many lanes each stage has, hence how many cycles it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hwsim.errors import MappingError
from hwsim.files import Document
from hwsim.network import ArgMax, Conv2d, Flatten, Network, Op, Requantize, Weighted
from hwsim.schema import suggestion

WEIGHT_STYLES = ("memory", "constant")


@dataclass(frozen=True)
class Fold:
    """Parallelism of one stage.

    pe: output lanes; simd: input lanes. Stages that work channel by channel (pools, adds,
    depthwise convolutions, requantizers, argmax) have ``simd`` lanes and ignore ``pe``. Neither
    has to divide the channels. weights: ``memory`` (taps and weights in on-chip memory) or
    ``constant`` (in the fabric).
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


def fan(network: Network, op: Op) -> tuple[int, int]:
    """(input channels, output channels) of ``op`` as its stage sees them."""
    return network.types[op.inputs[0]].channels, network.types[op.name].channels


def rider(network: Network, op: Op) -> Requantize | None:
    """The Requantize that the stage of ``op`` does too: the only reader of what ``op`` yields."""
    if isinstance(op, (Requantize, ArgMax, Flatten)):
        return None
    readers = network.consumers(op.name)
    if len(readers) == 1 and isinstance(readers[0], Requantize):
        return readers[0]
    return None


def stage_ops(network: Network) -> list[Op]:
    """The ops that have a stage of their own: all but riders and Flatten."""
    riders = {r.name for op in network if (r := rider(network, op)) is not None}
    return [op for op in network if op.name not in riders and not isinstance(op, Flatten)]


def check_folding(network: Network, folding: Mapping[str, Fold]) -> None:
    """Raise MappingError for a fold of what is no stage, or with more lanes than channels."""
    stages = {op.name: rider(network, op) for op in stage_ops(network)}
    for name, fold in folding.items():
        if name not in stages:
            hosts = [host for host, guest in stages.items() if guest and guest.name == name]
            hint = f"'{name}' is done by the stage '{hosts[0]}': name that" if hosts else ""
            raise MappingError(
                f"folding: there is no stage '{name}'; "
                + (hint or f"there are {', '.join(stages)}{suggestion(name, stages)}")
            )
        op = network[name]
        inputs, outputs = fan(network, op)
        if fold.simd > inputs:
            raise MappingError(f"simd must be 1..{inputs} (its channels), not {fold.simd}", op=name)
        if is_mac(op) and fold.pe > outputs:
            raise MappingError(f"pe must be 1..{outputs} (its outputs), not {fold.pe}", op=name)
