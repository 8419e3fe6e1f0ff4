"""Golden model of an accelerator with faulty memories, in PyTorch; shares no NumPy evaluation.

Errors that always occur are put into weights, constants and streams, and the ops of the golden
model do the rest. Where errors depend on the access, or where partial sums are read back with
errors, a stage is taken step by step, all pixels of all frames at once. Where writes fail, what a
memory holds is followed write after write. Which bits are which value is taken from
``hwsim.accelerator.fields``; where and when each value is read is worked out here anew from the
table in ``hwsim.accelerator.memories``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwsim.accelerator import Fifo, Stage, Stream
from hwsim.accelerator.fields import decode_constants, decode_weights, split_constants
from hwsim.accelerator.kinds import DEPTHWISE, GLOBAL_POOL, MAC, POOL, RESIZE
from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.tables import table_store
from hwsim.accelerator.weights import weight_store
from hwsim.cells import failing_cells, masks_in_access, read_cells, write_cells
from hwsim.design.fields import signed
from hwsim.design.roles import Role
from hwsim.faults import DesignFaults
from hwsim.faults.design import MemoryFaults
from hwsim.lowvoltage.chip import ChipError
from hwsim.lowvoltage.transient import GOLDEN, LANE, MULTIPLIERS, SHIFTS
from hwsim.models.golden import _MEANING, GoldenNetwork, _unpack
from hwsim.network import (
    INPUT,
    Add,
    ArgMax,
    AvgPool2d,
    Flatten,
    GlobalMaxPool,
    Linear,
    Lookup,
    MuxConv2d,
    Requantize,
    TensorType,
)

_LOW = 0xFFFFFFFF


class FaultyGolden:
    """Evaluates the network of ``faults.pipeline`` as the accelerator with these faults does."""

    def __init__(self, faults: DesignFaults) -> None:
        self.faults = faults
        self.pipeline = faults.pipeline
        self.network = faults.pipeline.network
        self.golden = GoldenNetwork(self.network)
        for stage in self.pipeline.stages:
            self._put_weights(stage)
            self._put_constants(stage)

    def run(self, x: Tensor, first_frame: int = 0) -> Tensor:
        """The accelerator's output, int64; ``x`` as in ``GoldenNetwork``, from frame first_frame.

        Raises NetworkError when ``x`` has another shape, is not of integers or leaves its range,
        ChipError for another first frame than 0 where errors depend on the frames before it.
        """
        return self._evaluate(x, first_frame)[1].reshape(len(x), *self.network.output_type.shape)

    def tensors(self, x: Tensor, first_frame: int = 0) -> dict[str, Tensor]:
        """Every tensor as its stage yields it, by name, int64, the input included."""
        return self._evaluate(x, first_frame)[0]

    @torch.no_grad()
    def _evaluate(self, x: Tensor, first: int) -> tuple[dict[str, Tensor], Tensor]:
        if first and self.faults.lasting:
            raise ChipError(f"some writes fail: frames must be given from reset on, not {first}")
        images = self.golden._checked(x)
        maps, tensors = {self.pipeline.source: images}, {INPUT: images}
        for stage in self.pipeline.stages:
            inputs = [self._link(fifo, maps, first) for fifo in self.pipeline.inputs_of(stage.name)]
            results = self._stage(stage, inputs, first)
            maps[stage.name] = results[-1]
            tensors |= zip(stage.tensors, results, strict=stage.op is not None)
        for op in self.network:
            if isinstance(op, Flatten):
                tensors[op.name] = tensors[op.inputs[0]]
        types = self.network.types
        shaped = {name: tensors[name].reshape(len(x), *t.shape) for name, t in types.items()}
        return shaped, self._link(self.pipeline.fifos[-1], maps, first)

    # -- persistent errors of what is only read ----------------------------------------------------

    def _put_weights(self, stage: Stage) -> None:
        faulty, op = self.faults.of(stage.name, Role.WEIGHT), stage.op
        if faulty is None or op is None:
            return
        weight, tap = decode_weights(stage, self.faults.stored(stage.name, Role.WEIGHT))
        self.golden.get_buffer(f"{op.name}__weight").copy_(torch.from_numpy(weight))
        if isinstance(op, MuxConv2d):
            assert tap is not None
            read = MuxConv2d(op.name, op.inputs, tap, weight, op.kernel)
            self.golden.get_buffer(f"{op.name}__kernels").copy_(_unpack(read))

    def _put_constants(self, stage: Stage) -> None:
        op = stage.requantize
        if op is None or self.faults.of(stage.name, Role.CONSTANTS) is None:
            return
        arrays = decode_constants(stage, self.faults.stored(stage.name, Role.CONSTANTS))
        for key, array in zip(op.arrays, arrays, strict=True):
            self.golden.get_buffer(f"{op.name}__{key}").copy_(torch.from_numpy(array))

    # -- links -------------------------------------------------------------------------------------

    def _link(self, fifo: Fifo, maps: dict[str, Tensor], first: int) -> Tensor:
        """What ``fifo`` passes on: beat n, counted from reset, lies in word n mod depth."""
        x, faulty = maps[fifo.producer], self.faults.fifo(fifo.name)
        if faulty is None:
            return x
        beats = _beats(fifo.stream, x).flatten(0, 2)
        number = first * fifo.stream.frame_beats + torch.arange(len(beats))
        if faulty.on_write:
            return _maps(fifo.stream, _written(faulty, beats, number % fifo.depth, number), len(x))
        return _maps(fifo.stream, _read(faulty, beats, number % fifo.depth, number), len(x))

    # -- stages ------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, inputs: list[Tensor], first: int) -> list[Tensor]:
        """What each op of the stage yields, in order; what a stage without ops passes on."""
        op, x = stage.op, inputs[0]
        window = self.faults.of(stage.name, Role.WINDOW)
        if stage.kind is RESIZE:
            x = x if window is None else _resized(window, stage, x, first)
        elif window is not None and not window.transient:
            x = _through_window(window, stage, x, first)
            window = None
        weights = self.faults.of(stage.name, Role.WEIGHT)
        sums = self.faults.of(stage.name, Role.ACCUMULATOR)
        if op is None or isinstance(op, (Requantize, Lookup)):
            result = x
        elif isinstance(op, Add):
            result = x + inputs[1]
        elif stage.kind is GLOBAL_POOL and sums is not None:
            result = _global_pool(sums, stage, x, first)
        elif window or sums or (weights and weights.transient):
            result = self._by_step(stage, x, first, window)
        else:
            flat = isinstance(op, (Linear, ArgMax)) and stage.inputs[0].flat
            result = _MEANING[type(op)](
                self.golden, op, x.flatten(1)[..., None, None] if flat else x
            )
            result = _kept(result, stage.accumulator)
        results = [] if op in (stage.requantize, stage.lookup) and op is not None else [result]
        if stage.requantize is not None:
            result = self._requantize(stage, result.reshape(-1, *stage.output.type.shape), first)
            results.append(result)
        if stage.lookup is not None:
            result = result.reshape(-1, *stage.output.type.shape)
            results.append(self._look_up(stage, result, first))
        return results

    def _requantize(self, stage: Stage, x: Tensor, first: int) -> Tensor:
        op, store = stage.requantizer, requantize_store(stage)
        faulty = self.faults.of(stage.name, Role.CONSTANTS)
        if faulty is None or not faulty.transient:
            shape = x.shape[1:] if len(op.bias) > x.shape[1] else (-1, 1, 1)
            multiplier = self.golden._array(op, "multiplier").view(shape)
            bias = self.golden._array(op, "bias").view(shape)
            total = x * multiplier + bias
        else:
            beats = _beats(stage.output, x)
            number = first * beats[0, ..., 0].numel() + torch.arange(beats[..., 0].numel())
            fields = torch.from_numpy(self.faults.stored(stage.name, Role.CONSTANTS))
            word = number % len(fields)
            seen = _read(faulty, fields[word], word, number).numpy()
            multipliers, biases = split_constants(store, seen, stage.output.lanes)
            flat = beats.flatten(0, 2)
            if multipliers is not None:
                flat = flat * torch.from_numpy(signed(multipliers, store.multiplier_bits))
            flat = flat + torch.from_numpy(signed(biases, store.bias_bits))
            total = _lanes_to_maps(stage.output, flat, len(x))
        total = total << (64 - store.sum_bits) >> (64 - store.sum_bits)
        return (total >> min(op.shift, 63)).clamp(op.lo, op.hi)

    def _look_up(self, stage: Stage, x: Tensor, first: int) -> Tensor:
        """Lane l of a beat reads bank l, where the table of its channel lies."""
        store, faulty = table_store(stage), self.faults.of(stage.name, Role.TABLE)
        memory = next(
            m for m in self.pipeline.memories() if m.name == Role.TABLE.memory(stage.name)
        )
        entry = _beats(stage.output, x - stage.table.lo)
        places = entry[..., 0].numel()
        number = first * entry[0, ..., 0].numel() + torch.arange(places)
        bank = torch.arange(store.lanes).repeat(places)
        number = number.repeat_interleave(store.lanes)
        word = (bank * store.tables + number % store.tables) * store.entries + entry.flatten()
        stored = self.pipeline.stored(memory)
        assert stored is not None
        seen = torch.from_numpy(stored)[word]
        if faulty is not None:
            seen = _read(faulty, seen, word, number, bank)
        return _maps(stage.output, seen.view(places, -1), len(x))

    # -- step by step ------------------------------------------------------------------------------

    def _by_step(self, stage: Stage, x: Tensor, first: int, window: MemoryFaults | None) -> Tensor:
        """All frames and pixels at once, one step within the pixel after the other."""
        t, stream = stage.timing, stage.inputs[0]
        sums = self.faults.of(stage.name, Role.ACCUMULATOR)
        frames, pixels, each = len(x), t.out_rows * t.out_cols, t.groups * t.steps
        beats = _beats(stream, x).view(frames, t.rows, t.cols, t.beats, stream.lanes)
        # Number of the first step of every pixel.
        start = (first * pixels + torch.arange(frames * pixels)) * each
        yielded = []
        failing_sums = stage.kind is MAC and sums is not None and sums.on_write
        held = torch.zeros(0, dtype=torch.int64)
        for step in range(each):
            group, n = divmod(step, t.steps)
            taps = _taps(stage, beats, n, first, window, start + step)
            value = self._combine(stage, taps, step, start + step)
            if failing_sums:
                yielded.append(value)
                continue
            if stage.kind is MAC and n > 0:
                if sums is not None:
                    number = start // t.steps + group
                    access = number * (t.steps - 1) + n - 1
                    back = _read(sums, held, torch.zeros_like(access), access)
                    held = _kept(back, stage.accumulator)
                value = value + held
            held = _kept(value, stage.accumulator)
            if stage.kind is not MAC or n == t.steps - 1:
                yielded.append(held)
        if failing_sums:
            assert sums is not None
            summed = _summed(sums, stage, torch.stack(yielded, 1).flatten(0, 1))
            yielded = list(summed.view(len(start), t.groups, -1).unbind(1))
        lanes = torch.stack(yielded, 1).view(frames, pixels, -1)
        shape = stage.accumulator.shape
        return lanes[..., : shape[0]].transpose(1, 2).reshape(frames, *shape)

    def _combine(self, stage: Stage, taps: Tensor, word: int, number: Tensor) -> Tensor:
        """One value for each lane [places, lanes] of windows [places, positions, lanes].

        word: of the weight store. number: of the step since reset, [places].
        """
        if stage.kind is POOL:
            average = isinstance(stage.op, AvgPool2d)
            return taps.sum(dim=1) if average else taps.amax(dim=1)
        store = weight_store(stage)
        fields = torch.from_numpy(self.faults.stored(stage.name, Role.WEIGHT))[word]
        fields = fields.expand(len(taps), -1)
        faulty = self.faults.of(stage.name, Role.WEIGHT)
        if faulty is not None and faulty.transient:
            fields = _read(faulty, fields, torch.full_like(number, word), number)
        # One word for each place takes the part of a store of so many words.
        tap, code = _split(stage, fields.numpy())
        weight = torch.from_numpy(store.code.decode(code))
        if stage.kind is DEPTHWISE:
            return torch.einsum("npl,nlp->nl", taps, weight[:, :, 0])
        if isinstance(stage.op, MuxConv2d):
            # Taps past the last one select nothing.
            count = taps.shape[1]
            chosen = functional.one_hot(torch.from_numpy(tap).clamp(max=count), count + 1)
            weight = chosen[..., :count] * weight
        return torch.einsum("npi,noip->no", taps, weight)


def _split(stage: Stage, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Taps and codes of any number of words."""
    store = weight_store(stage)
    outputs, inputs, positions = store.weight.shape[1:]
    slots = fields.reshape(len(fields), outputs, inputs, -1)
    return slots[..., 0] * bool(store.tap_bits), slots[..., -positions:]


# -- memories --------------------------------------------------------------------------------------


def _read(
    faulty: MemoryFaults,
    stored: Tensor,
    word: Tensor,
    access: Tensor,
    bank: Tensor | None = None,
) -> Tensor:
    """Fields [n, fields] of ``word`` [n] as read in ``access`` [n]; higher bits mean nothing."""
    if faulty.protected:
        width = torch.from_numpy(faulty.fields.width)
        read = faulty.read((stored & ((1 << width) - 1)).numpy(), word.numpy())
        return torch.from_numpy(read)
    masks = faulty.masks
    keep, flip = (torch.from_numpy(m)[word] for m in (masks.keep, masks.flip))
    if faulty.transient:
        keys = torch.tensor(faulty.keys)
        key = keys[torch.zeros_like(word) if bank is None else bank]
        erring = _erring(faulty, key, access)
        keep, flip = masks_in_access(keep, flip, erring)
    return read_cells(stored, keep, flip)


class _Written:
    """What the words of a memory hold whose writes may fail: fields [words, fields]."""

    def __init__(self, faulty: MemoryFaults) -> None:
        self.faulty = faulty
        self.failing = torch.from_numpy(failing_cells(faulty.masks.keep, faulty.masks.flip))
        # Cells that fail power up as they would always read; of the others nothing is asked.
        self.held = torch.from_numpy(faulty.masks.flip.copy())

    def write(self, word: int, value: Tensor, number: int) -> Tensor:
        """What ``word`` holds after ``value`` [fields] was written to it, in write ``number``."""
        key = torch.tensor([self.faulty.keys[word // self.faulty.memory.bank_words]])
        failing = self.failing[word]
        if self.faulty.lasting:
            failing = failing & _erring(self.faulty, key, torch.tensor([number]))[0]
        self.held[word] = write_cells(self.held[word], value, failing)
        return self.held[word].clone()


def _written(faulty: MemoryFaults, values: Tensor, word: Tensor, number: Tensor) -> Tensor:
    """What words hold after each of the writes of ``values`` [n, fields], one after another."""
    memory, rows = _Written(faulty), zip(word.tolist(), values, number.tolist(), strict=True)
    return torch.stack([memory.write(*row) for row in rows]) if len(values) else values


def _summed(faulty: MemoryFaults, stage: Stage, values: Tensor) -> Tensor:
    """Sums of each group of steps, where writes to the accumulators fail.

    values: of all steps since reset, [steps, lanes]. Returns [groups, lanes].
    """
    memory, steps, sums = _Written(faulty), stage.timing.steps, []
    held = torch.zeros_like(values[0])
    for number, value in enumerate(values):
        value = value if number % steps == 0 else value + held
        held = _kept(memory.write(0, _kept(value, stage.accumulator), number), stage.accumulator)
        if number % steps == steps - 1:
            sums.append(held)
    return torch.stack(sums)


def _erring(faulty: MemoryFaults, key: Tensor, access: Tensor) -> Tensor:
    """Bits of each field that would err in each access, [n, fields]."""
    fields = faulty.fields
    bit = torch.arange(fields.bits)
    lane = (bit // 4 * LANE) & _LOW
    x = ((access[:, None] * GOLDEN) & _LOW) + (key[:, None] ^ lane)
    x = x & _LOW
    for shift, factor in zip(SHIFTS, (*MULTIPLIERS, 1), strict=True):
        x = ((x ^ (x >> shift)) * factor) & _LOW
    errs = ((x >> (8 * (bit % 4))) & 0xFF) < faulty.faults.errs
    start, width = torch.from_numpy(fields.start), torch.from_numpy(fields.width)
    field = torch.repeat_interleave(torch.arange(len(width)), width)
    out = torch.zeros(len(access), len(width), dtype=torch.int64)
    return out.index_add_(1, field, errs.long() << (bit - start[field]))


def _kept(x: Tensor, t: TensorType) -> Tensor:
    """What a register of type ``t`` keeps."""
    spare = 64 - t.bits
    return x << spare >> spare if t.signed else x & ((1 << t.bits) - 1)


def _beats(stream: Stream, x: Tensor) -> Tensor:
    """Maps as [frames, pixels, beats, lanes]; lanes past the last channel hold 0."""
    spare = stream.beats * stream.lanes - stream.type.channels
    pixels = functional.pad(x.reshape(len(x), stream.type.channels, -1).transpose(1, 2), (0, spare))
    return pixels.unflatten(2, (stream.beats, stream.lanes))


def _lanes_to_maps(stream: Stream, beats: Tensor, frames: int) -> Tensor:
    t = stream.type
    pixels = beats.reshape(frames, t.height * t.width, -1)[..., : t.channels]
    return pixels.transpose(1, 2).reshape(frames, *t.shape)


def _maps(stream: Stream, beats: Tensor, frames: int) -> Tensor:
    """Maps of beats as they were read."""
    return _lanes_to_maps(stream, _kept(beats, stream.type), frames)


def _ring_word(stage: Stage, y: Tensor, column: Tensor, beat: Tensor) -> tuple[Tensor, Tensor]:
    """Word and bank of pixels (y, column): y over all frames, column with the padding."""
    t = stage.timing
    kh, kw = t.kernel
    bank = (y % kh) * kw + column % kw
    row = (y // kh) % (t.row_slots // kh)
    return bank * t.bank_words + (row * t.bank_columns + column // kw) * t.beats + beat, bank


def _through_window(faulty: MemoryFaults, stage: Stage, x: Tensor, first: int) -> Tensor:
    """What windows show of maps, whatever the step, where errors always occur."""
    t, stream = stage.timing, stage.inputs[0]
    beats = _beats(stream, x).flatten(0, 2)
    number = torch.arange(len(beats))
    pixel, beat = number // t.beats, number % t.beats
    y, column = pixel // t.cols + first * t.rows, pixel % t.cols
    word, bank = _ring_word(stage, y, column + t.pad[1], beat)
    if faulty.on_write:
        return _maps(stream, _written(faulty, beats, word, number), len(x))
    return _maps(stream, _read(faulty, beats, word, number, bank), len(x))


def _resized(faulty: MemoryFaults, stage: Stage, x: Tensor, first: int) -> Tensor:
    """Maps after a resize stage: pixel n, counted from reset, lies in slot n mod 2."""
    x_in, x_out = stage.inputs[0], stage.output
    channels, frames = x_in.type.channels, len(x)
    beats = _beats(x_in, x).flatten(0, 1)
    if faulty.on_write:
        count = beats[..., 0].numel()
        writes = first * (count // frames) + torch.arange(count)
        held = _written(faulty, beats.flatten(0, 1), writes % (2 * x_in.beats), writes)
        return _maps(x_in, held, frames)
    pixel = first * x_in.type.height * x_in.type.width + torch.arange(len(beats))
    seen = []
    for b in range(x_out.beats):
        access = pixel * x_out.beats + b
        rows = [
            _read(faulty, beats[:, k], pixel % 2 * x_in.beats + k, access)
            for k in range(x_in.beats)
        ]
        last = min((b + 1) * x_out.lanes, channels)
        seen.append(torch.cat(rows, 1)[:, b * x_out.lanes : last])
    return _maps(x_in, torch.cat(seen, 1), frames)


def _taps(
    stage: Stage,
    beats: Tensor,
    beat: int,
    first: int,
    window: MemoryFaults | None,
    number: Tensor,
) -> Tensor:
    """The windows of one step: [frames * pixels, positions, lanes], zero outside the image.

    beats: [frames, rows, columns, beats, lanes]. number: of the step since reset.
    """
    t, stream = stage.timing, stage.inputs[0]
    frames = len(beats)
    frame = torch.arange(frames).view(-1, 1, 1, 1, 1)
    p = torch.arange(t.out_rows).view(-1, 1, 1, 1)
    q = torch.arange(t.out_cols).view(-1, 1, 1)
    y = p * t.stride[0] - t.pad[0] + torch.arange(t.kernel[0]).view(-1, 1)
    column = q * t.stride[1] - t.pad[1] + torch.arange(t.kernel[1])
    inside = (y >= 0) & (y < t.rows) & (column >= 0) & (column < t.cols)
    shape = frames, t.out_rows, t.out_cols, *t.kernel
    at = y.clamp(0, t.rows - 1), column.clamp(0, t.cols - 1)
    values = beats[frame, *at, beat]
    values = values.expand(*shape, stream.lanes).reshape(-1, stream.lanes)
    if window is not None:
        rows = (first + frame) * t.rows + at[0]
        word, bank = _ring_word(stage, rows, at[1] + t.pad[1], torch.tensor(beat))
        word, bank = (v.expand(shape).reshape(-1) for v in (word, bank))
        access = number.repeat_interleave(t.kernel[0] * t.kernel[1])
        values = _kept(_read(window, values, word, access, bank), stream.type)
    values = values * inside.expand(shape).reshape(-1, 1)
    return values.view(len(number), -1, stream.lanes)


def _global_pool(sums: MemoryFaults, stage: Stage, x: Tensor, first: int) -> Tensor:
    """Pooling of whole images; word n of the accumulators holds the channels of beat n."""
    stream = stage.inputs[0]
    beats = _beats(stream, x)
    frames, pixels, each, _ = beats.shape
    held = beats[:, 0]
    frame = first + torch.arange(frames).view(-1, 1)
    word = torch.arange(each)
    if sums.on_write:
        return _global_pool_written(sums, stage, beats)
    for pixel in range(1, pixels):
        access = ((frame * (pixels - 1) + pixel - 1) * each + word).reshape(-1)
        back = _read(sums, held.flatten(0, 1), word.repeat(frames), access)
        back = _kept(back, stage.accumulator).view_as(held)
        largest = isinstance(stage.op, GlobalMaxPool)
        held = torch.maximum(back, beats[:, pixel]) if largest else back + beats[:, pixel]
        held = _kept(held, stage.accumulator)
    return held.flatten(1)[:, : stream.type.channels, None, None]


def _global_pool_written(sums: MemoryFaults, stage: Stage, beats: Tensor) -> Tensor:
    """Pooling of whole images, where writes to the accumulators fail; beats as ``_beats``."""
    frames, pixels, each, lanes = beats.shape
    memory, number = _Written(sums), 0
    held = torch.zeros(each, lanes, dtype=torch.int64)
    results = []
    for frame in beats:
        for pixel, row in enumerate(frame):
            for word, x in enumerate(row):
                value = x
                if pixel:
                    largest = isinstance(stage.op, GlobalMaxPool)
                    value = torch.maximum(held[word], x) if largest else held[word] + x
                seen = memory.write(word, _kept(value, stage.accumulator), number)
                held[word] = _kept(seen, stage.accumulator)
                number += 1
        results.append(held.flatten().clone())
    return torch.stack(results)[:, : stage.inputs[0].type.channels, None, None]
