"""From an ``AcceleratorConfig`` to a pipeline: lanes of every op, depths of every FIFO."""

from __future__ import annotations

from hwsim.accelerator import (
    DEFAULT_DEPTH,
    Fold,
    Pipeline,
    auto_fold,
    build_pipeline,
    smallest_depths,
)
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.design import verify_design
from hwsim.errors import MappingError
from hwsim.network import Network

_NO_TARGET = 1 << 62
"""An interval so long that one lane in each stage keeps it."""


def map_network(network: Network, config: AcceleratorConfig) -> Pipeline:
    """Pipeline of ``network`` for ``config``; raises MappingError if there is no such pipeline."""
    target = config.frame_interval_cycles
    fixed = {
        name: Fold(asked.pe, asked.simd, asked.weights or config.weights)
        for name, asked in config.folding.items()
    }
    folding = auto_fold(network, target or _NO_TARGET, config.weights, fixed)
    depth = DEFAULT_DEPTH if config.fifo_depth == "auto" else config.fifo_depth
    pipeline = build_pipeline(network, folding, depth)
    if target is not None and pipeline.ideal_interval > target:
        slowest = max(pipeline.stages, key=lambda stage: stage.timing.ideal_interval)
        raise MappingError(
            f"takes {pipeline.ideal_interval} cycles a frame with the lanes that folding gives it, "
            f"more than frame_interval_cycles ({target})",
            op=slowest.name,
        )
    if config.fifo_depth == "auto":
        pipeline = pipeline.with_depths(smallest_depths(pipeline, target))
    pipeline = pipeline.with_depths(config.fifo_depths)
    verify_design(pipeline)
    return pipeline
