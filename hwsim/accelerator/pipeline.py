"""From an integer network to a pipeline: stages linked by FIFOs.

Every op becomes one stage, except that a ``Requantize`` rides at the end of the stage that feeds
it and ``Flatten`` only relabels the stream. Where a stage's lanes differ from those of its
producer, a ``resize`` stage stands between. A tensor with several readers leaves its stage
through one FIFO per reader, which is how residual branches fork.

A stage is called as its op; names that hwsim adds give way to the names of ops (``_Names``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hwsim.accelerator.folding import Fold, check_folding, is_depthwise, is_mac, rider
from hwsim.accelerator.ring import size_ring
from hwsim.accelerator.timing import (
    WEIGHT_READ,
    Timing,
    fifo_latency,
    tree_registers,
    window_read,
)
from hwsim.config.accelerator import MOST_FIFO_BEATS
from hwsim.errors import MappingError
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)
from hwsim.network.ops import AvgPool2d
from hwsim.schema import suggestion

DEFAULT_DEPTH = 16


@dataclass(frozen=True)
class Stream:
    """How a tensor travels: pixels in raster order, ``ceil(channels / lanes)`` beats a pixel.

    Lane l of beat g of a pixel is channel ``g * lanes + l``; lanes past the last channel carry
    unspecified values. ``type`` is the map as it was before any Flatten; ``flat`` tells that the
    tensor counts as the vector of its values.
    """

    tensor: str
    type: TensorType
    lanes: int
    flat: bool = False

    @property
    def beats(self) -> int:
        """Beats per pixel."""
        return -(-self.type.channels // self.lanes)

    @property
    def frame_beats(self) -> int:
        return self.beats * self.type.height * self.type.width

    @property
    def bits(self) -> int:
        """Width of a beat."""
        return self.lanes * self.type.bits


@dataclass(frozen=True)
class Fifo:
    """One link: ``producer`` and ``consumer`` are stage names, or the pipeline's ends."""

    name: str
    producer: str
    consumer: str
    stream: Stream
    depth: int

    @property
    def latency(self) -> int:
        return fifo_latency(self.depth)


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage: ``op`` is what it computes (None: resize, fork), ``requantize`` rides at its end.

    kind: mac, depthwise, pool, global_pool, add, requantize, argmax, resize or fork.
    inputs: streams it reads, in the op's order. accumulator: what ``op`` yields, before the
    requantizer. output: the stream it yields.
    """

    name: str
    kind: str
    op: Op | None
    requantize: Requantize | None
    fold: Fold
    inputs: tuple[Stream, ...]
    accumulator: TensorType
    output: Stream
    timing: Timing

    @property
    def rider(self) -> Requantize | None:
        """The requantizer at the stage's end, which may be all that the stage does."""
        return self.op if isinstance(self.op, Requantize) else self.requantize

    @property
    def tensors(self) -> tuple[str, ...]:
        """Network tensors that this stage computes, in order."""
        ops = (op for op in (self.op, self.requantize) if op is not None)
        return tuple(op.name for op in ops)


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A mapped network: stages in topological order, and the FIFOs that link them.

    Names of stages and of the two ends are unique, and so are those of FIFOs. The first FIFO is
    the one that the input enters, the last one the one that the output leaves.
    """

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
        """Cycles per frame of the slowest stage, were no stage ever to wait."""
        return max(stage.timing.ideal_interval for stage in self.stages)

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
        fused: set[str] = set()
        for op in network.ops:
            if op.name in fused:
                continue
            if isinstance(op, Flatten):
                producer, stream = self.streams[op.inputs[0]]
                flat = stream.flat or network.types[op.inputs[0]].height > 1
                flat = flat or network.types[op.inputs[0]].width > 1
                self.streams[op.name] = (producer, replace(stream, tensor=op.name, flat=flat))
                continue
            requantize = rider(network, op)
            if requantize is not None:
                fused.add(requantize.name)
            self._add_stage(op, requantize)
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
        timing = Timing(
            stream.type.height,
            stream.type.width,
            stream.beats,
            latency=1,
            steps=stream.beats,
            need=tuple(range(stream.beats)),
        )
        name = self.stage_names.new("fork")
        self._link(self.source, name, stream)
        fold = Fold(1, stream.lanes)
        self.stages.append(
            Stage(name, "fork", None, None, fold, (stream,), stream.type, stream, timing)
        )
        self.streams[INPUT] = (name, stream)

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
        timing = _resize(stream, narrow)
        self.stages.append(
            Stage(
                name, "resize", None, None, Fold(1, lanes), (stream,), stream.type, narrow, timing
            )
        )
        self._link(name, consumer, narrow)
        return narrow

    def _add_stage(self, op: Op, requantize: Requantize | None) -> None:
        fold = self.folding.get(op.name)
        if fold is None:
            fold = Fold(1, self.streams[op.inputs[0]][1].lanes)
        inputs = tuple(self._read(name, op.name, fold.simd) for name in op.inputs)
        self._check_flat(op, inputs)
        fold = replace(fold, simd=inputs[0].lanes)
        x = inputs[0]
        kind = _kind(op)
        last = requantize.name if requantize else op.name
        out_type = self.network.types[last]
        flat = x.flat and kind == "requantize"
        if flat:
            out_type = replace(x.type, bits=out_type.bits, signed=out_type.signed)
        lanes = {"mac": fold.pe, "argmax": 1}.get(kind, x.lanes)
        output = Stream(last, out_type, lanes, flat)
        timing = _timing(op, kind, fold, x, requantize, output)
        result = x.type if kind == "requantize" else self.network.types[op.name]
        stage = Stage(op.name, kind, op, requantize, fold, inputs, result, output, timing)
        self.stages.append(stage)
        self.streams[last] = (op.name, output)

    def _check_flat(self, op: Op, inputs: tuple[Stream, ...]) -> None:
        if any(x.flat for x in inputs) and not isinstance(op, (Linear, ArgMax, Requantize)):
            raise MappingError(
                f"{op.kind} cannot read a flattened map, which streams pixel by pixel; "
                "put Linear, Requantize or ArgMax after Flatten",
                op=op.name,
            )


def _with_ring(stage: Stage, interval: int) -> Stage:
    """``stage`` with rows enough in its input ring to take a frame every ``interval`` cycles."""
    if stage.timing.streaming or stage.kind == "resize":
        return stage
    return replace(stage, timing=size_ring(stage.timing, interval))


def _kind(op: Op) -> str:
    if is_mac(op):
        if isinstance(op, Conv2d) and op.groups != 1:
            raise MappingError(
                f"grouped convolution with {op.groups} groups is not mapped; "
                "use groups 1, or as many groups as input and output channels",
                op=op.name,
            )
        return "mac"
    if is_depthwise(op):
        return "depthwise"
    kinds = {
        MaxPool2d: "pool",
        AvgPool2d: "pool",
        GlobalMaxPool: "global_pool",
        GlobalAvgPool: "global_pool",
        Add: "add",
        Requantize: "requantize",
        ArgMax: "argmax",
    }
    if type(op) not in kinds:
        raise MappingError(f"{op.kind} has no stage", op=op.name)
    return kinds[type(op)]


def requantize_latency(op: Requantize | None) -> int:
    """Cycles of a requantizer: multiply (unless all multipliers are 1), add, clamp."""
    if op is None:
        return 0
    return 2 if (op.multiplier == 1).all() else 3


def mac_terms(op: Op, simd: int) -> int:
    """Products that one output lane adds in one step."""
    return simd * (op.kernel[0] * op.kernel[1] if isinstance(op, Conv2d) else 1)


def _timing(
    op: Op, kind: str, fold: Fold, x: Stream, requantize: Requantize | None, output: Stream
) -> Timing:
    rows, cols, beats = x.type.height, x.type.width, x.beats
    tail = requantize_latency(requantize)
    each: dict[str, Any] = {"steps": beats, "need": tuple(range(beats))}
    if kind == "requantize":
        assert isinstance(op, Requantize)
        # One cycle fetches the channel's constants, which riders find fetched already.
        return Timing(rows, cols, beats, 1 + requantize_latency(op), **each)
    if kind == "add":
        return Timing(rows, cols, beats, 1 + tail, **each)
    if kind == "global_pool":
        return Timing(rows, cols, beats, 2 + tail, emit_last_pixel=True, **each)
    if kind == "argmax":
        latency = 2 + tree_registers(x.lanes)
        return Timing(rows, cols, beats, latency, emit_last_pixel=True, emit_last_step=True, **each)
    if kind == "mac":
        return _mac_timing(op, fold, x, tail, output)
    assert isinstance(op, (Conv2d, MaxPool2d, AvgPool2d))
    pad = op.pad if isinstance(op, Conv2d) else (0, 0)
    terms = op.kernel[0] * op.kernel[1]
    product = int(kind == "depthwise")
    latency = window_read(op.kernel) + product + tree_registers(terms) + tail
    return Timing(
        rows,
        cols,
        beats,
        latency,
        op.kernel,
        op.stride,
        pad,
        op.kernel[0],
        **each,
    )


def _mac_timing(op: Op, fold: Fold, x: Stream, tail: int, output: Stream) -> Timing:
    rows, cols, beats = x.type.height, x.type.width, x.beats
    groups = -(-output.type.channels // fold.pe)
    kernel, stride, pad = (1, 1), (1, 1), (0, 0)
    if isinstance(op, (MuxConv2d, Conv2d)):
        kernel, stride, pad = op.kernel, op.stride, op.pad
    whole = isinstance(op, Linear)
    if whole:
        rows, cols, beats = 1, 1, x.frame_beats
    accumulate = int(beats > 1)
    pointwise = kernel == (1, 1) and stride == (1, 1)
    if pointwise:
        # A window of one pixel does not look at its neighbours: the rows may as well be pixels.
        rows, cols = rows * cols, 1
    streaming = pointwise and groups == 1
    fetch = WEIGHT_READ if streaming else window_read(kernel)
    latency = fetch + 1 + tree_registers(mac_terms(op, fold.simd)) + accumulate + tail
    return Timing(
        rows,
        cols,
        beats,
        latency,
        kernel,
        stride,
        pad,
        row_slots=0 if streaming else kernel[0],
        groups=groups,
        steps=beats,
        need=tuple(range(beats)),
        emit_last_step=True,
    )


def _resize(x: Stream, y: Stream) -> Timing:
    need = tuple((min((t + 1) * y.lanes, x.type.channels) - 1) // x.lanes for t in range(y.beats))
    pixels = x.type.height * x.type.width
    return Timing(pixels, 1, x.beats, 1, row_slots=2, steps=y.beats, need=need)
