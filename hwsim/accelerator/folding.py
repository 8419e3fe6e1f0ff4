"""Which ops have a stage of their own, and which folds they may have."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.accelerator.fold import Fold, is_mac
from hwsim.accelerator.kinds import kind_of
from hwsim.errors import MappingError
from hwsim.network import Flatten, Network, Op
from hwsim.schema import suggestion


def fan(network: Network, op: Op) -> tuple[int, int]:
    """(input channels, output channels) of ``op`` as its stage sees them."""
    return network.types[op.inputs[0]].channels, network.types[op.name].channels


def riders(network: Network, op: Op) -> tuple[Op, ...]:
    """The ops that the stage of ``op`` does too: each the only reader of the one before."""
    found: list[Op] = []
    if isinstance(op, Flatten):
        return ()
    for kind in kind_of(op).riders:
        readers = network.consumers(found[-1].name if found else op.name)
        if len(readers) == 1 and isinstance(readers[0], kind):
            found.append(readers[0])
    return tuple(found)


def stages_of(network: Network) -> dict[str, tuple[Op, ...]]:
    """What each stage does, by name of the stage: its op, then the riders."""
    stages: dict[str, tuple[Op, ...]] = {}
    riding: set[str] = set()
    for op in network:
        if op.name not in riding and not isinstance(op, Flatten):
            stages[op.name] = (op, *riders(network, op))
            riding |= {rider.name for rider in stages[op.name][1:]}
    return stages


def check_folding(network: Network, folding: Mapping[str, Fold]) -> None:
    """Raise MappingError for a fold of what is no stage, or with more lanes than channels."""
    stages = stages_of(network)
    for name, fold in folding.items():
        if name not in stages:
            hosts = [host for host, ops in stages.items() if name in {op.name for op in ops}]
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
