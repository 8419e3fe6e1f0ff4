"""Folding: how many lanes each stage has, hence how many cycles it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.errors import MappingError
from hwsim.network import Conv2d, Linear, MuxConv2d, Network, Op

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


def is_depthwise(op: Op) -> bool:
    """True for a convolution of one input and one output channel per group."""
    return isinstance(op, Conv2d) and op.groups == len(op.weight) and op.weight.shape[1] == 1


def is_mac(op: Op) -> bool:
    """True for ops that sum over input channels and so fold by ``pe`` and ``simd``."""
    return isinstance(op, (MuxConv2d, Linear)) or (isinstance(op, Conv2d) and not is_depthwise(op))


def fan(network: Network, op: Op) -> tuple[int, int]:
    """(input channels, output channels) of ``op`` as its stage sees them."""
    return network.types[op.inputs[0]].channels, network.types[op.name].channels


def check_folding(network: Network, folding: Mapping[str, Fold]) -> None:
    """Raise MappingError for a fold of an unknown op or with more lanes than channels."""
    names = {op.name for op in network.ops}
    for name, fold in folding.items():
        if name not in names:
            raise MappingError(f"folding names op '{name}', which the network does not have")
        op = network[name]
        inputs, outputs = fan(network, op)
        if fold.simd > inputs:
            raise MappingError(f"simd must be 1..{inputs} (its channels), not {fold.simd}", op=name)
        if is_mac(op) and fold.pe > outputs:
            raise MappingError(f"pe must be 1..{outputs} (its outputs), not {fold.pe}", op=name)
