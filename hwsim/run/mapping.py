"""From an ``AcceleratorConfig`` to a pipeline: lanes of every op, depths of every FIFO."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hwsim.accelerator import (
    DEFAULT_DEPTH,
    Fold,
    Pipeline,
    build_pipeline,
    is_depthwise,
    is_mac,
)
from hwsim.accelerator.depths import smallest_depths
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.errors import MappingError
from hwsim.network import Flatten, Linear, Network, Op


def map_network(network: Network, config: AcceleratorConfig) -> Pipeline:
    """Pipeline of ``network`` as ``config`` asks; raises MappingError when it cannot be had."""
    folding = choose_folding(network, config)
    depth = DEFAULT_DEPTH if config.fifo_depth == "auto" else config.fifo_depth
    pipeline = build_pipeline(network, folding, depth)
    target = config.frame_interval_cycles
    if target is not None and pipeline.ideal_interval > target:
        slowest = max(pipeline.stages, key=lambda stage: stage.timing.ideal_interval)
        given = slowest.name in config.folding
        raise MappingError(
            f"takes {pipeline.ideal_interval} cycles a frame with "
            f"{'the lanes that folding gives it' if given else 'all the lanes it can have'}; "
            f"frame_interval_cycles must be >= {pipeline.ideal_interval}, not {target}",
            op=slowest.name,
        )
    if config.fifo_depth == "auto":
        pipeline = pipeline.with_depths(smallest_depths(pipeline, target))
    return pipeline.with_depths(config.fifo_depths)


def mapping_of(pipeline: Pipeline) -> dict[str, Any]:
    """What ``restore_mapping`` needs besides the network, as plain JSON values."""
    return {
        "folding": {name: asdict(fold) for name, fold in pipeline.folding.items()},
        "fifo_depths": {fifo.name: fifo.depth for fifo in pipeline.fifos},
    }


def restore_mapping(network: Network, mapping: dict[str, Any]) -> Pipeline:
    """The pipeline that ``mapping_of`` described."""
    folding = {name: Fold(**fold) for name, fold in mapping["folding"].items()}
    return build_pipeline(network, folding, mapping["fifo_depths"])


def choose_folding(network: Network, config: AcceleratorConfig) -> dict[str, Fold]:
    """Lanes by op name.

    Ops named in ``config.folding`` get what it says. Of the others, those with weights get the
    fewest lanes that keep ``config.frame_interval_cycles`` (of equals, those that divide the
    channels, then those with ``pe`` and ``simd`` nearest to each other), or one output lane
    without such a target; the rest take their producer's lanes where those are enough.
    """
    folding: dict[str, Fold] = {}
    lanes = {"input": 1}
    for name, asked in config.folding.items():
        folding[name] = Fold(asked.pe, asked.simd, asked.weights or config.weights)
    target = config.frame_interval_cycles
    for op in network:
        given = lanes[op.inputs[0]]
        if op.name not in folding and is_mac(op):
            pe, simd = (1, given) if target is None else _fewest_lanes(network, op, target, given)
            folding[op.name] = Fold(pe, simd, config.weights)
        elif op.name not in folding and not isinstance(op, Flatten):
            simd = given if target is None else max(given, _fewest_channels(network, op, target))
            if simd > given or is_depthwise(op):
                folding[op.name] = Fold(1, simd, config.weights)
        if op.name not in folding:
            lanes[op.name] = given
        else:
            lanes[op.name] = folding[op.name].pe if is_mac(op) else folding[op.name].simd
    return folding


def _fewest_channels(network: Network, op: Op, target: int) -> int:
    """Lanes with which an op that works channel by channel takes ``target`` cycles a frame."""
    x, y = network.types[op.inputs[0]], network.types[op.name]
    beats = max(1, target // max(x.height * x.width, y.height * y.width))
    return -(-x.channels // beats)


def _fewest_lanes(network: Network, op: Op, target: int, given: int) -> tuple[int, int]:
    """(pe, simd) of the fewest lanes that compute a frame in ``target`` cycles, all if none do."""
    x, y = network.types[op.inputs[0]], network.types[op.name]
    pixels_in, pixels_out = x.height * x.width, y.height * y.width
    source = next((o for o in network if o.name == op.inputs[0]), None)
    if isinstance(op, Linear) and isinstance(source, Flatten):
        # A flattened map streams pixel by pixel: lanes are lanes of its channels.
        x = network.types[source.inputs[0]]
        pixels_in, pixels_out = x.height * x.width, x.height * x.width
    best: tuple[tuple[int, bool, int, bool], tuple[int, int]] | None = None
    for simd in range(1, x.channels + 1):
        beats = -(-x.channels // simd)
        groups = target // (pixels_out * beats)
        if groups == 0 or pixels_in * beats > target:
            continue
        pe = -(-y.channels // min(groups, y.channels))
        uneven = bool(x.channels % simd or y.channels % pe)
        rank = (pe * simd, uneven, abs(pe - simd), simd != given)
        if best is None or rank < best[0]:
            best = rank, (pe, simd)
    return best[1] if best else (y.channels, x.channels)
