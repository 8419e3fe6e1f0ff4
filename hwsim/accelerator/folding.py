"""Which ops have a stage of their own, and which folds they may have."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.accelerator.fold import Fold, is_mac
from hwsim.accelerator.kinds import kind_of
from hwsim.errors import MappingError
from hwsim.network import Flatten, Network, Op, Requantize
from hwsim.schema import suggestion


def fan(network: Network, op: Op) -> tuple[int, int]:
    """(input channels, output channels) of ``op`` as its stage sees them."""
    return network.types[op.inputs[0]].channels, network.types[op.name].channels


def rider(network: Network, op: Op) -> Requantize | None:
    """The Requantize in the stage of ``op``: the only reader of the tensor of ``op``."""
    if isinstance(op, Flatten) or not kind_of(op).takes_rider:
        return None
    readers = network.consumers(op.name)
    if len(readers) == 1 and isinstance(readers[0], Requantize):
        return readers[0]
    return None


def stage_ops(network: Network) -> list[Op]:
    """The ops that have a stage of their own: all ops except riders and Flatten."""
    riders = {r.name for op in network if (r := rider(network, op)) is not None}
    return [op for op in network if op.name not in riders and not isinstance(op, Flatten)]


def check_folding(network: Network, folding: Mapping[str, Fold]) -> None:
    """Raise MappingError for a fold without a stage, or with more lanes than channels."""
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
