"""The values in a memory's words: the bits of each value, and the meaning of a word.

A word is a row of *fields*, each of which holds one number: a lane of a beat, an accumulator, a
multiplier or a bias, an entry of a table, a tap or a weight code (``hwsim.accelerator.memories``
says where each lies). Fields are the same for hardware, NumPy and PyTorch, also after failing cells
changed them. Only this module packs and unpacks words. Images are made on demand; sizes are known
without images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, assert_never

import numpy as np

from hwsim.accelerator.kinds import Accumulator
from hwsim.accelerator.requantize import RequantizeStore, requantize_store
from hwsim.accelerator.stage import Stage, Stream
from hwsim.accelerator.tables import table_store
from hwsim.accelerator.weights import WeightStore, arrange, weight_store
from hwsim.design.fields import Fields, signed, unsigned
from hwsim.design.memory import MemoryInfo
from hwsim.design.roles import STORES, Role
from hwsim.network import MuxConv2d

if TYPE_CHECKING:
    from hwsim.accelerator.pipeline import Pipeline

# -- which fields a memory has ---------------------------------------------------------------------


def memory_fields(pipeline: Pipeline, memory: MemoryInfo) -> Fields:
    """The fields of the words of ``memory``, one of ``memory_list(pipeline)``."""
    if memory.role is Role.FIFO:
        fifo = next(f for f in pipeline.fifos if Role.FIFO.memory(f.name) == memory.name)
        fields = _plain(memory, fifo.stream.lanes, fifo.stream.type.bits)
        return _in_turn(fields, fifo.stream.type.channels)
    stage = pipeline.stage(memory.layer)
    match memory.role:
        case Role.WEIGHT | Role.CONSTANTS | Role.TABLE:
            return store_fields(stage, memory.role)
        case Role.WINDOW:
            stream = stage.inputs[0]
            fields = _plain(memory, stream.lanes, stream.type.bits)
            # Words hold the beats of a pixel in turn, and every bank holds whole pixels.
            beat = np.arange(memory.words) % stream.beats
            channel = beat[:, np.newaxis] * stream.lanes + np.arange(stream.lanes)
            return replace(fields, real=channel < stream.type.channels)
        case Role.ACCUMULATOR:
            bits, channels = stage.accumulator.bits, stage.accumulator.channels
            fields = _plain(memory, memory.bits // bits, bits)
            if stage.kind.accumulator is Accumulator.GROUP:
                return _in_turn(fields, channels)
            channel = np.arange(memory.words)[:, np.newaxis] * fields.lanes
            return replace(fields, steady=channel + np.arange(fields.lanes) < channels)
        case _:
            assert_never(memory.role)


def memory_content(pipeline: Pipeline, memory: MemoryInfo) -> np.ndarray | None:
    """Fields of ``memory``, one of ``memory_list(pipeline)``: int64 [words, fields], unsigned.

    None for a memory that is written at run time.
    """
    if memory.role not in STORES:
        return None
    return stored_fields(pipeline.stage(memory.layer), memory.role)


def store_image(stage: Stage, role: Role) -> list[int]:
    """The words of a store of ``stage``, a memory of one of the roles ``STORES``."""
    return store_fields(stage, role).words(stored_fields(stage, role))


def store_fields(stage: Stage, role: Role) -> Fields:
    """The fields of a store of ``stage``."""
    return _store(role)[0](stage)


def stored_fields(stage: Stage, role: Role) -> np.ndarray:
    """The contents of a store of ``stage``: int64 [words, fields], unsigned."""
    return _store(role)[1](stage)


def _store(role: Role) -> tuple[Callable[[Stage], Fields], Callable[[Stage], np.ndarray]]:
    """How the words of a store are divided, and the contents of the store."""
    match role:
        case Role.WEIGHT:
            return _weight_fields, _stored_weights
        case Role.CONSTANTS:
            return _constant_fields, _stored_constants
        case Role.TABLE:
            return _table_fields, _stored_tables
        case Role.WINDOW | Role.FIFO | Role.ACCUMULATOR:
            raise ValueError(f"the contents of a memory of role {role} are only known at run time")
        case _:
            assert_never(role)


def _plain(memory: MemoryInfo, lanes: int, bits: int) -> Fields:
    """A word of ``lanes`` equal values, all of them in use."""
    real = np.ones((memory.words, lanes), bool)
    return Fields(np.full(lanes, bits, np.int64), real, lanes, (memory.role,))


def _in_turn(fields: Fields, channels: int) -> Fields:
    """The same fields, where each word holds ``channels`` beat by beat, or group by group."""
    last = (channels - 1) % fields.lanes
    return replace(
        fields, steady=np.broadcast_to(np.arange(fields.lanes) <= last, fields.real.shape)
    )


def _weight_fields(stage: Stage) -> Fields:
    store = weight_store(stage)
    slot = [store.tap_bits] if store.tap_bits else []
    slot += [store.code.bits] * store.weight.shape[3]
    real = weight_places(stage) >= 0
    per_slot = np.repeat(real[..., :1], len(slot), axis=3)
    slots = store.weight.shape[1] * store.weight.shape[2]
    tap = ("tap",) if store.tap_bits else ()
    values = (*tap, *("weight",) * store.weight.shape[3])
    return Fields(np.array(slot * slots), per_slot.reshape(len(real), -1), slots, values)


def _constant_fields(stage: Stage) -> Fields:
    store = requantize_store(stage)
    lane = [store.multiplier_bits] if store.multiplier_bits else []
    lane.append(store.bias_bits)
    lanes = stage.output.lanes
    real = np.repeat(constant_places(stage) >= 0, len(lane), axis=1)
    return Fields(np.array(lane * lanes), real, lanes, ("multiplier", "bias")[-len(lane) :])


@lru_cache(maxsize=256)
def weight_places(stage: Stage) -> np.ndarray:
    """The weight in each place of the store: int64 [words, outputs, inputs, positions].

    A weight is an index into the op's flattened ``weight``; -1 for lanes past the last channel.
    """
    weight = stage.weighted.weight
    numbers = np.arange(1, weight.size + 1).reshape(*weight.shape[:2], -1)
    return arrange(stage, numbers) - 1


@lru_cache(maxsize=256)
def constant_places(stage: Stage) -> np.ndarray:
    """The channel of the requantizer for each lane of a word: int64 [words, lanes].

    A channel is an index into ``multiplier`` and ``bias``; -1 past the last channel.
    """
    return _channel_places(stage.output, len(stage.requantizer.bias))


def _channel_places(y: Stream, channels: int) -> np.ndarray:
    """Which channel of the tensor each lane of a beat carries: int64 [beats, lanes].

    channels: of the tensor, which has more than the stream's map where it is flattened. -1 past
    the last channel.
    """
    pixels = channels // y.type.channels
    pixel, beat = np.divmod(np.arange(pixels * y.beats), y.beats)
    channel = beat[:, np.newaxis] * y.lanes + np.arange(y.lanes)
    return np.where(channel < y.type.channels, channel * pixels + pixel[:, np.newaxis], -1)


@lru_cache(maxsize=256)
def table_places(stage: Stage) -> np.ndarray:
    """Which table of the lookup each lane reads in each beat: int64 [tables, lanes].

    An index into ``table``; -1 past the last channel.
    """
    tables = len(stage.table.table)
    if tables == 1:
        return np.zeros((1, stage.output.lanes), np.int64)
    return _channel_places(stage.output, tables)


def _table_fields(stage: Stage) -> Fields:
    store = table_store(stage)
    real = np.repeat((table_places(stage) >= 0).T.reshape(-1, 1), store.entries, axis=0)
    return Fields(np.array([store.bits]), real, 1, (Role.TABLE,))


# -- weights, constants and tables -----------------------------------------------------------------


def _stored_weights(stage: Stage) -> np.ndarray:
    store = weight_store(stage)
    codes = store.code.encode(store.weight)
    if store.tap is not None and store.tap_bits:
        codes = np.concatenate((store.tap[..., np.newaxis], codes), axis=3)
    return codes.reshape(len(codes), -1)


def _stored_constants(stage: Stage) -> np.ndarray:
    constants, op = requantize_store(stage), stage.requantizer
    place = constant_places(stage)
    real = place >= 0
    # Without a stored multiplier that of padding lanes is 1, which changes nothing: bias 0.
    columns = [unsigned(np.where(real, op.bias[place], 0), constants.bias_bits)]
    if constants.multiplier_bits:
        multiplier = np.where(real, op.multiplier[place], 0)
        columns.insert(0, unsigned(multiplier, constants.multiplier_bits))
    return np.stack(columns, axis=2).reshape(len(place), -1)


def _stored_tables(stage: Stage) -> np.ndarray:
    place = table_places(stage).T[..., np.newaxis]
    entries = np.where(place >= 0, stage.table.table[place[..., 0]], 0)
    return unsigned(entries, table_store(stage).bits).reshape(-1, 1)


def split_weights(store: WeightStore, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Taps [words, outputs, inputs] and codes [words, outputs, inputs, positions] of fields."""
    words, outputs, inputs, positions = store.weight.shape
    slots = fields.reshape(words, outputs, inputs, -1)
    if not store.tap_bits:
        return np.zeros((words, outputs, inputs), np.int64), slots
    return slots[..., 0], slots[..., -positions:]


def split_constants(
    store: RequantizeStore, fields: np.ndarray, lanes: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Multipliers (None where all are 1) and biases, unsigned int64 [words, lanes], of fields."""
    pairs = fields.reshape(len(fields), lanes, -1)
    return (pairs[..., 0] if store.multiplier_bits else None), pairs[..., -1]


def decode_weights(stage: Stage, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The op's ``weight`` and ``tap`` (None for an op without taps) from the fields of its store.

    fields: int64 [words, fields]. A tap past the last one selects nothing and gives 0: this is the
    value of Amaranth's ``Array``, and of its Verilog, for an index out of range. Here such a tap
    becomes weight 0 at the last tap.
    """
    op, store = stage.weighted, weight_store(stage)
    taps, codes = split_weights(store, fields)
    place = weight_places(stage)
    real = place >= 0
    original = op.weight
    weight = np.empty(original.size, np.int64)
    weight[place[real]] = store.code.decode(codes)[real]
    if not isinstance(op, MuxConv2d):
        return weight.reshape(original.shape), None
    tap = np.empty(original.size, np.int64)
    tap[place[real]] = taps[..., np.newaxis][real]
    last = op.kernel[0] * op.kernel[1] - 1
    weight[tap > last] = 0
    np.minimum(tap, last, out=tap)
    return weight.reshape(original.shape), tap.reshape(original.shape)


def decode_constants(stage: Stage, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The requantizer's ``multiplier`` and ``bias`` from the fields of its store."""
    op, store = stage.requantizer, requantize_store(stage)
    place = constant_places(stage)
    real = place >= 0
    multipliers, biases = split_constants(store, fields, stage.output.lanes)
    multiplier, bias = op.multiplier.copy(), np.empty_like(op.bias)
    bias[place[real]] = signed(biases, store.bias_bits)[real]
    if multipliers is not None:
        multiplier[place[real]] = signed(multipliers, store.multiplier_bits)[real]
    return multiplier, bias


def decode_tables(stage: Stage, fields: np.ndarray) -> np.ndarray:
    """The lookup's ``table``, [channels, entries], as the copies of the lanes say."""
    store, y = table_store(stage), stage.output
    place = _channel_places(y, y.type.size if y.flat else y.type.channels)
    copies = fields.reshape(store.lanes, store.tables, store.entries)
    entries = signed(copies, store.bits) if y.type.signed else copies
    beat, lane = np.nonzero(place >= 0)
    table = np.empty((len(beat), store.entries), np.int64)
    table[place[beat, lane]] = entries[lane, beat % store.tables]
    return table
