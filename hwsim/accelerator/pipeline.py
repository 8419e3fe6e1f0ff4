"""From an integer network to a pipeline: stages linked by FIFOs.

Every op becomes one stage, except that a ``Requantize`` and then a ``Lookup`` ride at the end of
the stage that feeds them (``StageKind.riders``), and that ``Flatten`` only relabels the stream.
Where a stage's lanes differ from those of its producer, a ``resize`` stage stands between. A tensor
with several readers leaves its stage through one FIFO per reader, which is how residual branches
fork.

A stage has the name of its op; a name that hwsim adds differs from all names of ops (``_Names``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim.accelerator.fields import memory_content, memory_fields
from hwsim.accelerator.fold import Fold
from hwsim.accelerator.folding import check_folding, stages_of
from hwsim.accelerator.kinds import FORK, RESIZE, StageKind, Window, kind_of
from hwsim.accelerator.kinds.kind import riders_latency
from hwsim.accelerator.memories import memory_list
from hwsim.accelerator.operations import count_operations
from hwsim.accelerator.ring import size_ring
from hwsim.accelerator.stage import Fifo, Stage, Stream
from hwsim.config.accelerator import MOST_FIFO_BEATS
from hwsim.design.design import Design, verify_design
from hwsim.design.fields import Fields
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation
from hwsim.errors import MappingError
from hwsim.network import INPUT, Flatten, Lookup, Network, Op, Requantize
from hwsim.schema import suggestion

if TYPE_CHECKING:
    from hwsim.accelerator.cycles import CycleReport

DEFAULT_DEPTH = 16


@dataclass(frozen=True, eq=False)
class Pipeline(Design):
    """A mapped network: stages in topological order, and the FIFOs that link them.

    Names of stages and of the two ends are unique, and names of FIFOs are unique, too. The input
    enters the first FIFO, and the output leaves the last FIFO.
    """

    kind = "pipeline"
    network: Network
    stages: tuple[Stage, ...]
    fifos: tuple[Fifo, ...]
    folding: Mapping[str, Fold] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Name of the end that fills the first FIFO; no stage has it."""
        return self.fifos[0].producer

    @property
    def sink(self) -> str:
        """Name of the end that reads the last FIFO; no stage has it."""
        return self.fifos[-1].consumer

    @property
    def input(self) -> Stream:
        return self.fifos[0].stream

    @property
    def output(self) -> Stream:
        return self.fifos[-1].stream

    @cached_property
    def _stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.stages}

    def stage(self, name: str) -> Stage:
        return self._stages[name]

    def inputs_of(self, name: str) -> list[Fifo]:
        """FIFOs that stage ``name`` reads, in the order of the stage's inputs."""
        return [fifo for fifo in self.fifos if fifo.consumer == name]

    def outputs_of(self, name: str) -> list[Fifo]:
        return [fifo for fifo in self.fifos if fifo.producer == name]

    @property
    def ideal_interval(self) -> int:
        """Cycles per frame of the slowest stage, if no stage ever waits."""
        return max(stage.timing.ideal_interval for stage in self.stages)

    # -- as a design -------------------------------------------------------------------------------

    def memories(self) -> tuple[MemoryInfo, ...]:
        """``memory_list``, made once."""
        return self._memories

    @cached_property
    def _memories(self) -> tuple[MemoryInfo, ...]:
        return memory_list(self)

    def fields(self, memory: MemoryInfo) -> Fields:
        return memory_fields(self, memory)

    def stored(self, memory: MemoryInfo) -> np.ndarray | None:
        return memory_content(self, memory)

    def operations(self) -> dict[str, Counter[Operation]]:
        """Operations of a frame by stage."""
        return {stage.name: count_operations(stage) for stage in self.stages}

    def cycles(self, workload: int) -> CycleReport:
        """Cycles of so many frames that follow each other without a break; see ``simulate``."""
        from hwsim.accelerator.cycles import simulate

        return simulate(self, workload)

    def to_plain(self) -> dict[str, Any]:
        """See ``PipelineRecord``, which restores the pipeline."""
        return {
            "kind": self.kind,
            "folding": {name: asdict(fold) for name, fold in sorted(self.folding.items())},
            "fifo_depths": {fifo.name: fifo.depth for fifo in self.fifos},
        }

    # -- other depths ------------------------------------------------------------------------------

    def with_depths(self, depths: Mapping[str, int]) -> Pipeline:
        """The same pipeline with other FIFO depths, by FIFO name; raises MappingError."""
        unknown = set(depths) - {fifo.name for fifo in self.fifos}
        if unknown:
            known = ", ".join(fifo.name for fifo in self.fifos)
            hint = suggestion(min(unknown), (fifo.name for fifo in self.fifos))
            raise MappingError(f"no FIFO is called '{min(unknown)}'; there are {known}{hint}")
        for name, depth in depths.items():
            _check_depth(f"depth of FIFO '{name}'", depth)
        fifos = tuple(replace(f, depth=depths.get(f.name, f.depth)) for f in self.fifos)
        return replace(self, fifos=fifos)


def _check_depth(what: str, depth: int) -> None:
    if type(depth) is not int or not 1 <= depth <= MOST_FIFO_BEATS:
        raise MappingError(f"{what} must be 1..{MOST_FIFO_BEATS} beats, not {depth!r}")


def build_pipeline(
    network: Network,
    folding: Mapping[str, Fold] | None = None,
    depths: Mapping[str, int] | int = DEFAULT_DEPTH,
) -> Pipeline:
    """Map ``network`` to stages and FIFOs.

    folding: fold by op name; ops left out get the lanes of their producer (1 lane for the
    first). depths: one depth for every FIFO, or depths by FIFO name, 1..MOST_FIFO_BEATS. Raises
    MappingError naming the op, why it cannot be mapped and what to do.
    """
    folding = dict(folding or {})
    check_folding(network, folding)
    builder = _Builder(network, folding, depths if isinstance(depths, int) else DEFAULT_DEPTH)
    pipeline = builder.build()
    verify_design(pipeline)
    return pipeline if isinstance(depths, int) else pipeline.with_depths(depths)


class _Names:
    """Names that differ from each other, for tools that ignore case, too."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}

    def new(self, wish: str) -> str:
        """``wish``, with ``_b`` behind it as often as it takes."""
        while wish.casefold() in self._taken:
            wish += "_b"
        self._taken.add(wish.casefold())
        return wish


class _Builder:
    def __init__(self, network: Network, folding: dict[str, Fold], depth: int) -> None:
        _check_depth("FIFO depth", depth)
        self.network, self.folding, self.depth = network, folding, depth
        self.stages: list[Stage] = []
        self.fifos: list[Fifo] = []
        self.stage_names = _Names(network.types)
        self.fifo_names = _Names()
        self.source, self.sink = self.stage_names.new("source"), self.stage_names.new("sink")
        self.streams: dict[str, tuple[str, Stream]] = {}

    def build(self) -> Pipeline:
        network = self.network
        lanes = self._input_lanes()
        self.streams[INPUT] = (self.source, Stream(INPUT, network.input, lanes))
        if self._reads(INPUT) > 1 or all(isinstance(op, Flatten) for op in network.ops):
            self._fork_input()
        ops_of = stages_of(network)
        for op in network.ops:
            if isinstance(op, Flatten):
                producer, stream = self.streams[op.inputs[0]]
                flat = stream.flat or network.types[op.inputs[0]].height > 1
                flat = flat or network.types[op.inputs[0]].width > 1
                self.streams[op.name] = (producer, replace(stream, tensor=op.name, flat=flat))
            elif op.name in ops_of:
                self._add_stage(op, ops_of[op.name][1:])
        producer, stream = self.streams[network.output]
        self._link(producer, self.sink, stream)
        interval = max(stage.timing.ideal_interval for stage in self.stages)
        stages = tuple(_with_ring(stage, interval) for stage in self.stages)
        return Pipeline(network, stages, tuple(self.fifos), self.folding)

    def _input_lanes(self) -> int:
        """The accelerator's input has the lanes of its first reader."""
        readers = self.network.consumers(INPUT)
        while readers and isinstance(readers[0], Flatten):
            readers = self.network.consumers(readers[0].name)
        return self.folding.get(readers[0].name, Fold()).simd if readers else 1

    def _reads(self, tensor: str) -> int:
        """Links that ``tensor`` needs, seen through Flatten."""
        reads = int(tensor == self.network.output)
        for op in self.network.consumers(tensor):
            reads += self._reads(op.name) if isinstance(op, Flatten) else op.inputs.count(tensor)
        return reads

    def _fork_input(self) -> None:
        """The input enters one FIFO only: behind it, a stage hands it to all who read it."""
        _, stream = self.streams[INPUT]
        name = self.stage_names.new("fork")
        self._link(self.source, name, stream)
        self._between(name, FORK, stream, stream)
        self.streams[INPUT] = (name, stream)

    def _between(self, name: str, kind: StageKind, x: Stream, y: Stream) -> None:
        """A stage of no op, from ``x`` to ``y``."""
        fold = Fold(1, y.lanes)
        timing = kind.timing(None, fold, x, y, 0)
        self.stages.append(Stage(name, kind, None, (), fold, (x,), x.type, y, timing))

    def _link(self, producer: str, consumer: str, stream: Stream) -> None:
        name = self.fifo_names.new(f"{stream.tensor}__{consumer}")
        self.fifos.append(Fifo(name, producer, consumer, stream, self.depth))

    def _read(self, tensor: str, consumer: str, lanes: int) -> Stream:
        """Link ``tensor`` to ``consumer`` with ``lanes`` lanes, through a resize if necessary."""
        producer, stream = self.streams[tensor]
        lanes = min(lanes, stream.type.channels)
        if lanes == stream.lanes:
            self._link(producer, consumer, stream)
            return stream
        narrow = replace(stream, lanes=lanes)
        name = self.stage_names.new(f"resize_{consumer}")
        self._link(producer, name, stream)
        self._between(name, RESIZE, stream, narrow)
        self._link(name, consumer, narrow)
        return narrow

    def _add_stage(self, op: Op, riders: tuple[Op, ...]) -> None:
        fold = self.folding.get(op.name)
        if fold is None:
            fold = Fold(1, self.streams[op.inputs[0]][1].lanes)
        inputs = tuple(self._read(name, op.name, fold.simd) for name in op.inputs)
        kind, x = kind_of(op), inputs[0]
        self._check_flat(op, kind, inputs)
        fold = replace(fold, simd=x.lanes)
        last = (op, *riders)[-1].name
        flat = x.flat and kind.keeps_flat
        out_type = self.network.types[last]
        if flat:
            out_type = replace(x.type, bits=out_type.bits, signed=out_type.signed)
        output = Stream(last, out_type, kind.output_lanes(fold, x), flat)
        timing = kind.timing(op, fold, x, output, riders_latency(riders))
        result = x.type if isinstance(op, (Requantize, Lookup)) else self.network.types[op.name]
        stage = Stage(op.name, kind, op, riders, fold, inputs, result, output, timing)
        self.stages.append(stage)
        self.streams[last] = (op.name, output)

    def _check_flat(self, op: Op, kind: StageKind, inputs: tuple[Stream, ...]) -> None:
        if any(x.flat for x in inputs) and not kind.reads_flat(op):
            raise MappingError(
                f"{op.kind} cannot read a flattened map, which streams pixel by pixel; "
                "put Linear, Requantize, Lookup or ArgMax after Flatten",
                op=op.name,
            )


def _with_ring(stage: Stage, interval: int) -> Stage:
    """``stage`` with rows enough in its input ring to take a frame every ``interval`` cycles."""
    if stage.timing.streaming or stage.kind.window is not Window.RING:
        return stage
    return replace(stage, timing=size_ring(stage.timing, interval))
