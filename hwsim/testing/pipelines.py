"""Random accelerators: lanes, weight styles and FIFO depths of networks."""

from __future__ import annotations

import numpy as np

from hwsim.accelerator import DeadlockError, Fold, Pipeline, build_pipeline, is_mac, simulate
from hwsim.accelerator.folding import stages_of
from hwsim.errors import MappingError
from hwsim.network import Network
from hwsim.testing.random_networks import Limits, random_network


def random_folding(network: Network, rng: np.random.Generator) -> dict[str, Fold]:
    """Any lanes, dividing the channels or not, any weight style."""
    folding = {}
    for op in network.ops:
        inputs = network.types[op.inputs[0]].channels
        outputs = network.types[op.name].channels
        folding[op.name] = Fold(
            int(rng.integers(1, outputs + 1)) if is_mac(op) else 1,
            int(rng.integers(1, min(inputs, 12) + 1)),
            str(rng.choice(["memory", "constant"])),
        )
    return {name: folding[name] for name in stages_of(network)}


def random_depths(network: Network, folding: dict[str, Fold], rng: np.random.Generator) -> Pipeline:
    """A pipeline with random FIFO depths, shallow and deep."""
    pipeline = build_pipeline(network, folding)
    return pipeline.with_depths(
        {fifo.name: int(rng.choice([1, 2, 3, 5, 9, 40])) for fifo in pipeline.fifos}
    )


def random_pipeline(seed: int, limits: Limits, frames: int) -> Pipeline | None:
    """Random network, folding and FIFO depths; None when it cannot be mapped."""
    rng = np.random.default_rng(seed)
    network = random_network(seed, limits)
    try:
        drawn = random_depths(network, random_folding(network, rng), rng)
    except MappingError:
        return None
    try:
        simulate(drawn, frames)
    except DeadlockError:
        return drawn.with_depths({fifo.name: 300 for fifo in drawn.fifos})
    return drawn
