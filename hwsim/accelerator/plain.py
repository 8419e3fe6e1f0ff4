"""A pipeline as plain data, which restore it from its network; the same in every file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from hwsim.accelerator.fold import FoldRecord
from hwsim.accelerator.pipeline import Pipeline, build_pipeline
from hwsim.errors import MappingError
from hwsim.files import Document
from hwsim.names import Line, OpName
from hwsim.network import Network


class PipelineRecord(Document):
    """A ``Pipeline`` in a file, besides its network: lanes by op, beats by FIFO."""

    kind: Literal["pipeline"]
    folding: dict[OpName, FoldRecord]
    fifo_depths: dict[Line, Annotated[int, Field(ge=1)]]

    def restore(self, network: Network) -> Pipeline:
        """The pipeline; raises MappingError if it does not belong to ``network``."""
        folding = {name: record.fold() for name, record in self.folding.items()}
        pipeline = build_pipeline(network, folding, self.fifo_depths)
        missing = [fifo.name for fifo in pipeline.fifos if fifo.name not in self.fifo_depths]
        if missing:
            raise MappingError(f"design.fifo_depths: FIFO '{missing[0]}' is missing")
        return pipeline


class Simulation(Document):
    """``simulation.json`` of an experiment: figures for people, and the design for Verilog."""

    model_config = ConfigDict(extra="allow")

    design: PipelineRecord
