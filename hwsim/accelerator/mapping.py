"""From an ``AcceleratorConfig`` to a pipeline: lanes of every op, depths of every FIFO."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from hwsim.accelerator import (
    DEFAULT_DEPTH,
    Fold,
    Pipeline,
    auto_fold,
    build_pipeline,
    smallest_depths,
)
from hwsim.accelerator.fold import FoldRecord
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.errors import MappingError
from hwsim.files import Document
from hwsim.names import Line, OpName
from hwsim.network import Network

_NO_TARGET = 1 << 62
"""An interval that one lane everywhere keeps."""


def map_network(network: Network, config: AcceleratorConfig) -> Pipeline:
    """Pipeline of ``network`` as ``config`` asks; raises MappingError when it cannot be had."""
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
    return pipeline.with_depths(config.fifo_depths)


def mapping_of(pipeline: Pipeline) -> dict[str, Any]:
    """What ``restore_mapping`` needs besides the network, as plain JSON values."""
    return {
        "folding": {name: asdict(fold) for name, fold in pipeline.folding.items()},
        "fifo_depths": {fifo.name: fifo.depth for fifo in pipeline.fifos},
    }


class MappingRecord(Document):
    """What ``mapping_of`` says."""

    folding: dict[OpName, FoldRecord]
    fifo_depths: dict[Line, Annotated[int, Field(ge=1)]]


class Simulation(Document):
    """``simulation.json`` of an experiment: figures for people, and the mapping for Verilog."""

    model_config = ConfigDict(extra="allow")

    mapping: MappingRecord


def restore_mapping(network: Network, mapping: MappingRecord) -> Pipeline:
    """The pipeline that ``mapping_of`` described."""
    folding = {name: record.fold() for name, record in mapping.folding.items()}
    return build_pipeline(network, folding, mapping.fifo_depths)
