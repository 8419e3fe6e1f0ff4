"""Numba kernels that read faulty memories access by access, as the accelerator does.

Streams come as *beats*: int64 [frames, rows, columns, beats, lanes], rows and columns being those
of the stage's timing contract. ``first`` is the number of frames since reset before the first one
here. Every read names the word, the bank and the number of the access, on which transient errors
depend.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.faults.transient import ALWAYS, errs_now
from hwsim.jit import njit

MAXIMUM, SUM, DEPTHWISE = range(3)
"""What ``window_steps`` makes of a window."""

# mypy: disable-error-code=no-untyped-def


class Cells(NamedTuple):
    """The failing cells of a memory, field by field (``hwsim.faults.fields``).

    present: clear for a memory without any. first: int64 [words + 1], the failing fields of word w
    are entries first[w] .. first[w + 1] - 1 of field, keep, put and flip (``FieldMasks``).
    start: lowest bit of every field of a word. keys: uint64 [banks]. errs: accesses out of 256.
    """

    present: bool
    first: np.ndarray
    field: np.ndarray
    keep: np.ndarray
    put: np.ndarray
    flip: np.ndarray
    start: np.ndarray
    keys: np.ndarray
    errs: int


_NONE = np.zeros(1, np.int64)
HEALTHY = Cells(
    False, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, np.zeros(1, np.uint64), int(ALWAYS)
)


class Geometry(NamedTuple):
    """How a stage walks over its input; fields as in ``Timing``. held: rows of a bank."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    out_rows: int
    out_cols: int
    groups: int
    steps: int
    held: int
    bank_columns: int
    bank_words: int


class Weights(NamedTuple):
    """A weight store as it is always read, and the codes of ``WeightCode`` behind it.

    tap: int64 [words, outputs, inputs], 0 where there are none; one more than the last tap stands
    for all that select nothing. weight: int64 [words, outputs,
    inputs, positions]. fields: as stored, int64 [words, fields]; tapped: set when the first field
    of every (output, input) pair is a tap. integer, bits, exponent_bits, zero: of the code.
    """

    tap: np.ndarray
    weight: np.ndarray
    fields: np.ndarray
    tapped: bool
    integer: bool
    bits: int
    exponent_bits: int
    zero: bool


@njit
def extend(value, bits, signed):
    """The lowest ``bits`` bits of a number, as two's complement when ``signed``."""
    if signed:
        return value << (64 - bits) >> (64 - bits)
    return value & ((1 << bits) - 1)


@njit
def read(cells, entry, stored, bank, access):
    """A failing field as it is read; bits of ``stored`` and the result above it mean nothing."""
    keep, put, flip = cells.keep[entry], cells.put[entry], cells.flip[entry]
    if cells.errs < ALWAYS:
        failing = ~keep | flip
        start = cells.start[cells.field[entry]]
        erring = 0
        for bit in range(64):
            if failing >> bit == 0:
                break
            if failing >> bit & 1:
                at, errs = np.uint64(start + bit), np.uint64(cells.errs)
                if errs_now(cells.keys[bank], np.uint64(access), at, errs):
                    erring |= 1 << bit
        keep, put, flip = keep | ~erring, put & erring, flip & erring
    return ((stored & keep) | put) ^ flip


@njit
def read_lanes(x, cells, bits, signed, word, first, reads, read_lanes):
    """Beats that each lie in one word, in place: x int64 [frames, pixels, beats, lanes].

    word: int64 [frames, pixels, beats]. A pixel is read in ``reads`` accesses, of ``read_lanes``
    channels each.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            before = ((first + n) * pixels + p) * reads
            for b in range(beats):
                w = word[n, p, b]
                for k in range(cells.first[w], cells.first[w + 1]):
                    lane = cells.field[k]
                    access = before + (b * lanes + lane) // read_lanes
                    seen = read(cells, k, x[n, p, b, lane], 0, access)
                    x[n, p, b, lane] = extend(seen, bits, signed)


@njit
def _read_window(x, taps, cells, bits, signed, geometry, first, n, p, q, beat, step):
    """The window of one step: taps [positions, lanes], zero outside the image."""
    rows, cols, beats = x.shape[1:4]
    kh, kw = geometry.kernel
    for dy in range(kh):
        for dx in range(kw):
            y = p * geometry.stride[0] + dy - geometry.pad[0]
            col = q * geometry.stride[1] + dx - geometry.pad[1]
            at = dy * kw + dx
            inside = 0 <= y < rows and 0 <= col < cols
            for lane in range(taps.shape[1]):
                taps[at, lane] = x[n, y, col, beat, lane] if inside else 0
            if inside and cells.present:
                row, padded = (first + n) * rows + y, col + geometry.pad[1]
                bank = row % kh * kw + padded % kw
                pixel = row // kh % geometry.held * geometry.bank_columns + padded // kw
                word = bank * geometry.bank_words + pixel * beats + beat
                for k in range(cells.first[word], cells.first[word + 1]):
                    lane = cells.field[k]
                    seen = read(cells, k, taps[at, lane], bank, step)
                    taps[at, lane] = extend(seen, bits, signed)


@njit
def _weight(code, weights):
    """The weight that a code stands for."""
    if weights.integer:
        return extend(code, weights.bits, True)
    if weights.zero and code >> (weights.bits - 1) & 1:
        return 0
    size = 1 << (code >> 1 & ((1 << weights.exponent_bits) - 1))
    return -size if code & 1 else size


@njit
def _read_weights(weights, cells, word, access, tap, weight, taps):
    """One word: tap [outputs, inputs] 0 .. taps, weight [outputs, inputs, positions]."""
    outputs, inputs, positions = weight.shape
    for o in range(outputs):
        for i in range(inputs):
            tap[o, i] = weights.tap[word, o, i]
            for t in range(positions):
                weight[o, i, t] = weights.weight[word, o, i, t]
    slot = positions + weights.tapped
    for k in range(cells.first[word], cells.first[word + 1]):
        pair, part = divmod(cells.field[k], slot)
        o, i = divmod(pair, inputs)
        seen = read(cells, k, weights.fields[word, cells.field[k]], 0, access)
        if weights.tapped and part == 0:
            tap[o, i] = min(seen, taps)
        else:
            weight[o, i, part - weights.tapped] = _weight(seen, weights)


@njit
def mac_steps(x, out, of, geometry, window, weights, changing, sums, total, first):
    """Multiply-accumulate stages: out int64 [frames, pixels, groups, output lanes].

    of, total: (bits, signed) of the input and of the accumulator, which keeps only what fits.
    window, changing, sums: cells of window, weights and accumulators; an accumulator errs where a
    step of its group, but for the first, reads it back.
    """
    lanes, outputs = x.shape[4], out.shape[3]
    groups, steps = geometry.groups, geometry.steps
    pixels = geometry.out_rows * geometry.out_cols
    positions = geometry.kernel[0] * geometry.kernel[1]
    # The row behind the window is what taps select that do not exist.
    taps = np.zeros((positions + 1, lanes), np.int64)
    tap, weight = weights.tap[0].copy(), weights.weight[0].copy()
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = divmod(pixel, geometry.out_cols)
            for g in range(groups):
                group = ((first + n) * pixels + pixel) * groups + g
                held = out[n, pixel, g]
                for s in range(steps):
                    word, step = g * steps + s, group * steps + s
                    _read_window(x, taps, window, *of, geometry, first, n, p, q, s, step)
                    if changing.present:
                        _read_weights(weights, changing, word, step, tap, weight, positions)
                    else:
                        tap, weight = weights.tap[word], weights.weight[word]
                    if s > 0 and sums.present:
                        access = group * (steps - 1) + s - 1
                        for k in range(sums.first[0], sums.first[1]):
                            o = sums.field[k]
                            held[o] = extend(read(sums, k, held[o], 0, access), *total)
                    for o in range(outputs):
                        value = held[o] if s > 0 else 0
                        for i in range(lanes):
                            for t in range(weight.shape[2]):
                                value += weight[o, i, t] * taps[tap[o, i] + t, i]
                        held[o] = extend(value, *total)


@njit
def window_steps(x, out, kind, of, geometry, window, weights, changing, total, first):
    """Stages that look at each channel by itself: out int64 [frames, pixels, beats, lanes].

    kind: MAXIMUM, SUM or DEPTHWISE. The others as in ``mac_steps``.
    """
    lanes, steps = x.shape[4], geometry.steps
    pixels = geometry.out_rows * geometry.out_cols
    taps = np.zeros((geometry.kernel[0] * geometry.kernel[1], lanes), np.int64)
    tap, weight = weights.tap[0].copy(), weights.weight[0].copy()
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = divmod(pixel, geometry.out_cols)
            for s in range(steps):
                step = ((first + n) * pixels + pixel) * steps + s
                _read_window(x, taps, window, *of, geometry, first, n, p, q, s, step)
                if kind == DEPTHWISE:
                    if changing.present:
                        _read_weights(weights, changing, s, step, tap, weight, len(taps))
                    else:
                        weight = weights.weight[s]
                for lane in range(lanes):
                    value = taps[0, lane] if kind == MAXIMUM else 0
                    for t in range(len(taps)):
                        if kind == MAXIMUM:
                            value = max(value, taps[t, lane])
                        else:
                            factor = weight[lane, 0, t] if kind == DEPTHWISE else 1
                            value += taps[t, lane] * factor
                    out[n, pixel, s, lane] = extend(value, *total)


@njit
def global_steps(x, out, maximum, total, cells, first):
    """Pooling of whole images: x [frames, pixels, beats, lanes] to out [frames, beats, lanes].

    total: (bits, signed) of the accumulators, each of which errs where a pixel, but for the
    first, reads it back.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                held = out[n, b]
                if p > 0 and cells.present:
                    access = ((first + n) * (pixels - 1) + p - 1) * beats + b
                    for k in range(cells.first[b], cells.first[b + 1]):
                        lane = cells.field[k]
                        held[lane] = extend(read(cells, k, held[lane], 0, access), *total)
                for lane in range(lanes):
                    value = x[n, p, b, lane]
                    if p > 0:
                        value = max(value, held[lane]) if maximum else value + held[lane]
                    held[lane] = extend(value, *total)


@njit
def read_constants(shape, fields, cells, first, out):
    """Constants that a requantizer reads: out int64 [frames, pixels, beats, fields].

    shape: frames, pixels, beats. fields: as stored, int64 [words, fields]; a word serves a beat
    of every pixel, or of one where there are more words than beats.
    """
    frames, pixels, beats = shape
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                access = ((first + n) * pixels + p) * beats + b
                word = (p * beats + b) % len(fields)
                for f in range(fields.shape[1]):
                    out[n, p, b, f] = fields[word, f]
                for k in range(cells.first[word], cells.first[word + 1]):
                    f = cells.field[k]
                    out[n, p, b, f] = read(cells, k, fields[word, f], 0, access)
