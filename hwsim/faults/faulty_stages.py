"""The output of each stage of an accelerator whose memories have faults.

Errors that are the same in every access are put into the data or the weights beforehand, and the
executor of networks computes the sums. If errors depend on the access, or if partial sums are read
back with errors, the kernels in ``hwsim.faults.kernels`` walk through the stage's steps one by one.
Memories are read, and registers overflow, in exactly the places of the RTL.

Tensors are int64 maps [frames, channels, height, width] as they were before any ``Flatten``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import assert_never

import numpy as np

from hwsim.accelerator import Fifo, Stage, Stream
from hwsim.accelerator.fields import split_constants, split_weights
from hwsim.accelerator.kinds import Accumulator, Window
from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.tables import table_store
from hwsim.accelerator.weights import weight_store
from hwsim.design.fields import signed, unsigned
from hwsim.design.roles import Role
from hwsim.errors import NetworkError
from hwsim.execute import Executor
from hwsim.faults import kernels
from hwsim.faults.design import DesignFaults, MemoryFaults
from hwsim.faults.faulty_circuit import requantizer, table, weighted_op
from hwsim.faults.kernels import HEALTHY, Cells, Geometry, Weights
from hwsim.network import (
    INPUT,
    Add,
    AvgPool2d,
    GlobalMaxPool,
    Lookup,
    Network,
    Op,
    Requantize,
    TensorType,
)

History = dict[str, np.ndarray]
"""What the failing fields of memories hold whose writes may fail, by name; see ``Cells.held``."""


def cells_of(
    faulty: MemoryFaults | None, *, transient: bool = False, history: History | None = None
) -> Cells:
    """The failing cells of a memory as kernels read them; transient: only if errors come and go.

    history: of the memories since reset; needed where writes may fail.
    """
    if faulty is None or (transient and not faulty.transient):
        return HEALTHY
    masks, fields = faulty.masks, faulty.fields
    word, field = np.nonzero(masks.failing)
    first = np.searchsorted(word, np.arange(len(masks.keep) + 1))
    keep, flip = masks.keep[word, field], masks.flip[word, field]
    keys = np.array(faulty.keys, np.uint64)
    # One layout of every array, so that kernels are compiled once.
    field = np.ascontiguousarray(field)
    held = flip
    if faulty.on_write:
        assert history is not None
        # As it powers up.
        held = history.setdefault(faulty.memory.name, flip.copy())
    errs = faulty.faults.errs
    return Cells(True, first, field, keep, flip, fields.start, keys, errs, faulty.on_write, held)


# -- streams ---------------------------------------------------------------------------------------


def to_beats(stream: Stream, x: np.ndarray) -> np.ndarray:
    """Maps as beats, int64 [frames, pixels, beats, lanes]; lanes past the last channel hold 0."""
    t = stream.type
    lanes = np.zeros((len(x), t.height * t.width, stream.beats * stream.lanes), np.int64)
    lanes[..., : t.channels] = x.reshape(len(x), t.channels, -1).transpose(0, 2, 1)
    return lanes.reshape(len(x), -1, stream.beats, stream.lanes)


def from_beats(t: TensorType, beats: np.ndarray) -> np.ndarray:
    """The inverse of ``to_beats`` for maps of type ``t``; beats may be grouped otherwise."""
    lanes = beats.reshape(len(beats), t.height * t.width, -1)[..., : t.channels]
    return np.ascontiguousarray(lanes.transpose(0, 2, 1)).reshape(-1, *t.shape)


def read_stream(
    faulty: MemoryFaults, stream: Stream, x: np.ndarray, word: np.ndarray, first: int, read: Stream
) -> np.ndarray:
    """Maps as they come out of a memory that holds every value once.

    stream: form in which maps are written. word: word of each beat, int64 [frames, pixels, beats].
    read: form in which maps are read, a beat in each access.
    """
    beats = to_beats(stream, x)
    t = stream.type
    if faulty.protected:
        stored = unsigned(beats.reshape(-1, stream.lanes), t.bits)
        beats = _typed(faulty.read(stored, word.reshape(-1)), t)
    else:
        cells = cells_of(faulty)
        kernels.read_lanes(beats, cells, t.bits, t.signed, word, first, read.beats, read.lanes)
    return from_beats(t, beats.reshape(len(x), -1))


def write_stream(
    faulty: MemoryFaults,
    stream: Stream,
    x: np.ndarray,
    word: np.ndarray,
    first: int,
    history: History,
) -> np.ndarray:
    """Maps as a memory holds them whose writes may fail; arguments as ``read_stream``."""
    beats, cells = to_beats(stream, x), cells_of(faulty, history=history)
    t = stream.type
    kernels.write_lanes(beats, cells, t.bits, t.signed, word, faulty.memory.bank_words, first)
    return from_beats(t, beats.reshape(len(x), -1))


def read_fifo(
    faulty: MemoryFaults, fifo: Fifo, x: np.ndarray, first: int, history: History
) -> np.ndarray:
    """What a FIFO passes on of maps that were written into it."""
    word = _beat_numbers(fifo.stream, len(x), first) % fifo.depth
    if faulty.on_write:
        return write_stream(faulty, fifo.stream, x, word, first, history)
    return read_stream(faulty, fifo.stream, x, word, first, fifo.stream)


def _beat_numbers(stream: Stream, frames: int, first: int) -> np.ndarray:
    """Number of each beat since reset: int64 [frames, pixels, beats]."""
    numbers = first * stream.frame_beats + np.arange(frames * stream.frame_beats)
    return numbers.reshape(frames, -1, stream.beats)


# -- stages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StageEvaluator:
    """Evaluates one stage of ``faults.pipeline``.

    by_step: walk through its steps one by one, even if the sums could be computed at once.
    """

    faults: DesignFaults
    stage: Stage
    by_step: bool = False

    def __call__(self, inputs: list[np.ndarray], first: int, history: History) -> list[np.ndarray]:
        """What each op of the stage yields, in order; what a stage without ops passes on.

        inputs: maps as the FIFOs pass them on, of frames ``first`` onwards since reset. history:
        what the memories hold of the frames before.
        """
        stage = self.stage
        x = inputs[0]
        window = self.window
        if window is not None and (stage.kind.window is Window.PIXELS or not window.transient):
            word = self._window_words(len(x), first)
            if window.on_write:
                x = write_stream(window, stage.inputs[0], x, word, first, history)
            else:
                x = read_stream(window, stage.inputs[0], x, word, first, stage.output)
        results = [] if stage.ops else [x]
        for op in stage.ops:
            if isinstance(op, Requantize):
                x = self._requantize(x, first)
            elif isinstance(op, Lookup):
                x = self._look_up(x, first)
            elif isinstance(op, Add):
                x = x + inputs[1]
            elif self._by_step:
                x = self._steps(x, first, history)
            else:
                x = self._sums(x)
            results.append(x)
        return results

    # -- the memories of the stage -----------------------------------------------------------------

    @cached_property
    def window(self) -> MemoryFaults | None:
        return self.faults.of(self.stage.name, Role.WINDOW)

    @cached_property
    def weights(self) -> MemoryFaults | None:
        return self.faults.of(self.stage.name, Role.WEIGHT)

    @cached_property
    def accumulator(self) -> MemoryFaults | None:
        return self.faults.of(self.stage.name, Role.ACCUMULATOR)

    @cached_property
    def constants(self) -> MemoryFaults | None:
        return self.faults.of(self.stage.name, Role.CONSTANTS)

    @cached_property
    def tables(self) -> MemoryFaults | None:
        return self.faults.of(self.stage.name, Role.TABLE)

    @property
    def _by_step(self) -> bool:
        """Whether results depend on more than the op, its inputs and the weights."""
        changing = any(m is not None and m.transient for m in (self.window, self.weights))
        return changing or self.accumulator is not None or self._executor is None

    def _window_words(self, frames: int, first: int) -> np.ndarray:
        """Word of the ring that each beat lies in: int64 [frames, pixels, beats]."""
        stage, t = self.stage, self.stage.timing
        if stage.kind.window is Window.PIXELS:
            numbers = _beat_numbers(stage.inputs[0], frames, first)
            return numbers % (t.row_slots * t.beats)
        row = first * t.rows + np.arange(frames * t.rows)[:, np.newaxis, np.newaxis]
        column = np.arange(t.cols)[:, np.newaxis] + t.pad[1]
        bank = row % t.kernel[0] * t.kernel[1] + column % t.kernel[1]
        held = t.row_slots // t.kernel[0]
        pixel = row // t.kernel[0] % held * t.bank_columns + column // t.kernel[1]
        word = bank * t.bank_words + pixel * t.beats + np.arange(t.beats)
        return word.reshape(frames, -1, stage.inputs[0].beats)

    # -- sums that no access has an influence on ---------------------------------------------------

    @cached_property
    def _executor(self) -> Executor | None:
        """Of the op alone; None where no network can have it, with weights as they are read."""
        stage = self.stage
        if self.by_step and _has_steps(stage):
            return None
        op = stage.op
        assert op is not None
        try:
            if stage.weights is not None:
                op = weighted_op(self.faults, stage)
            return Executor(_alone(op, self._input_type), threads=1)
        except NetworkError:  # weights in no alphabet, sums of more than 32 bits
            return None

    @property
    def _input_type(self) -> TensorType:
        """What the op reads: the vector of all values where the stream is flat."""
        x = self.stage.inputs[0]
        t = x.type
        return TensorType(t.size, 1, 1, t.bits, t.signed) if x.flat else t

    def _sums(self, x: np.ndarray) -> np.ndarray:
        assert self._executor is not None
        result = self._executor.run(x.reshape(len(x), *self._input_type.shape))
        return _typed(result, self.stage.accumulator)

    # -- step by step ------------------------------------------------------------------------------

    def _steps(self, x: np.ndarray, first: int, history: History) -> np.ndarray:
        stage = self.stage
        t, stream = stage.timing, stage.inputs[0]
        beats = to_beats(stream, x)
        total = stage.accumulator.bits, stage.accumulator.signed
        sums = cells_of(self.accumulator, history=history)
        by_pixel = beats.reshape(len(x), t.rows, t.cols, t.beats, stream.lanes)
        of = stream.type.bits, stream.type.signed
        window = cells_of(self.window, transient=True)
        weights, changing = self._weights, cells_of(self.weights, transient=True)
        pixels, geometry = t.out_rows * t.out_cols, _geometry(stage)
        match stage.kind.accumulator:
            case Accumulator.FRAME:
                out = np.zeros((len(x), *beats.shape[2:]), np.int64)
                maximum = isinstance(stage.op, GlobalMaxPool)
                kernels.global_steps(beats, out, maximum, total, sums, first)
            case Accumulator.GROUP:
                # Sums are linear in what is read, unless they err themselves.
                whole = sums.present or self._executor is None
                out = np.zeros((len(x), pixels, t.groups, stage.fold.pe), np.int64)
                if not whole:
                    clean = Stream("", stage.accumulator, stage.fold.pe)
                    out = to_beats(clean, self._sums(x)).reshape(out.shape)
                (above, beside), none = t.pad, (0, 0)
                padded = np.pad(by_pixel, (none, (above, above), (beside, beside), none, none))
                kernels.mac_steps(
                    padded, out, whole, of, geometry, window, weights, changing, sums, total, first
                )
            case Accumulator.NONE:
                kind = kernels.SUM if isinstance(stage.op, AvgPool2d) else kernels.MAXIMUM
                kind = kernels.DEPTHWISE if stage.weights is not None else kind
                out = np.zeros((len(x), pixels, t.steps, stream.lanes), np.int64)
                kernels.window_steps(
                    by_pixel, out, kind, of, geometry, window, weights, changing, total, first
                )
            case _:
                assert_never(stage.kind.accumulator)
        return from_beats(stage.accumulator, out)

    @cached_property
    def _weights(self) -> Weights:
        stage = self.stage
        if stage.weights is None:
            none = np.zeros((1, 1, 1, 1), np.int64)
            return Weights(none[0], none, none[0, 0], False, True, 1, 0, False)
        store, fields = weight_store(stage), self.faults.stored(stage.name, Role.WEIGHT)
        taps, codes = split_weights(store, fields)
        if store.tap_bits:
            taps = np.minimum(taps, stage.timing.kernel[0] * stage.timing.kernel[1])
        return Weights(
            np.ascontiguousarray(taps),
            np.ascontiguousarray(store.code.decode(codes)),
            fields,
            store.tap_bits > 0,
            store.code.kind == "int",
            store.code.bits,
            store.code.exponent_bits,
            store.code.zero,
        )

    # -- the requantizer ---------------------------------------------------------------------------

    def _requantize(self, x: np.ndarray, first: int) -> np.ndarray:
        """``clamp((x * multiplier + bias) >> shift, lo, hi)`` with sums of ``sum_bits`` bits."""
        op, store, y = self.stage.requantizer, requantize_store(self.stage), self.stage.output
        if self.constants is not None and self.constants.transient:
            beats = to_beats(y, x)
            fields = self.faults.stored(self.stage.name, Role.CONSTANTS)
            read = np.empty((*beats.shape[:3], fields.shape[1]), np.int64)
            kernels.read_constants(read.shape[:3], fields, cells_of(self.constants), first, read)
            multiplier, bias = split_constants(store, read.reshape(-1, read.shape[3]), y.lanes)
            total = beats.reshape(-1, y.lanes)
            if multiplier is not None:
                total *= signed(multiplier, store.multiplier_bits)
            total = from_beats(y.type, (total + signed(bias, store.bias_bits)).reshape(beats.shape))
        else:
            multiplier, bias = self._constants
            total = x.reshape(len(x), *y.type.shape) * multiplier
            total += bias
        total = signed(total, store.sum_bits)
        total >>= min(op.shift, 63)
        return np.clip(total, op.lo, op.hi, out=total)

    @cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray]:
        """Multiplier and bias as they are always read, of every value of a frame or channel."""
        t = self.stage.output.type
        op = requantizer(self.faults, self.stage)
        shape = (t.channels, 1, 1) if len(op.bias) == t.channels else t.shape
        return op.multiplier.reshape(shape), op.bias.reshape(shape)

    # -- the lookup --------------------------------------------------------------------------------

    def _look_up(self, x: np.ndarray, first: int) -> np.ndarray:
        """``table[x - lo]``, of the copy of each value's lane."""
        op, store, y = self.stage.table, table_store(self.stage), self.stage.output
        index = x.reshape(len(x), *y.type.shape) - op.lo
        if self.tables is not None and self.tables.transient:
            beats, fields = to_beats(y, index), self.faults.stored(self.stage.name, Role.TABLE)
            kernels.read_tables(
                beats, np.ascontiguousarray(fields[:, 0]), store.tables, store.entries,
                cells_of(self.tables), first,
            )  # fmt: skip
            return from_beats(y.type, _typed(beats, y.type))
        found = self._table
        shape = y.type.shape if y.flat else (-1, 1, 1)
        at = np.arange(len(found)).reshape(shape) if len(found) > 1 else 0
        return found[at, index]

    @cached_property
    def _table(self) -> np.ndarray:
        """Entries as they are always read, int64 [1 or channels, entries]."""
        if self.tables is None:
            return self.stage.table.table
        return table(self.faults, self.stage).table


def _typed(values: np.ndarray, t: TensorType) -> np.ndarray:
    """What a register of type ``t`` keeps of ``values``."""
    return signed(values, t.bits) if t.signed else unsigned(values, t.bits)


def _alone(op: Op, x: TensorType) -> Network:
    """A network of one op, whose inputs are all the input."""
    return Network("stage", x, (replace(op, inputs=(INPUT,) * op.arity),))


def _has_steps(stage: Stage) -> bool:
    """Whether kernels walk through the steps of the stage; all others have no memory in them."""
    kind = stage.kind
    return kind.window is Window.RING or kind.accumulator is not Accumulator.NONE


def _geometry(stage: Stage) -> Geometry:
    t = stage.timing
    held = t.row_slots // t.kernel[0]
    return Geometry(
        t.kernel,
        t.stride,
        t.pad,
        t.out_rows,
        t.out_cols,
        t.groups,
        t.steps,
        held,
        t.bank_columns,
        t.bank_words,
    )
