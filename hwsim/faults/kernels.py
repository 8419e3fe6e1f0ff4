"""Numba kernels that read faulty memories access by access, as the accelerator does.

Streams come as *beats*: int64 [frames, rows, columns, beats, lanes], rows and columns being those
of the stage's timing contract. ``first`` is the number of frames since reset before the first one
here. Every read names the word, the field, the bank and the number of the access, on which
transient errors depend.
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
    """A memory's failing cells; see ``FieldMasks``. present: clear for a memory without any.

    start, width: of the fields. keys: uint64 [banks]. errs: accesses out of 256.
    """

    present: bool
    keep: np.ndarray
    put: np.ndarray
    flip: np.ndarray
    start: np.ndarray
    width: np.ndarray
    keys: np.ndarray
    errs: int


_NONE = np.zeros((1, 1), np.int64)
HEALTHY = Cells(False, _NONE, _NONE, _NONE, _NONE[0], _NONE[0], np.zeros(1, np.uint64), ALWAYS)


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


class Codes(NamedTuple):
    """A weight store: fields as stored, int64 [words, fields], and how they are to be read.

    slot: fields of each (output lane, input lane) pair; tap: set when the first of them is one.
    integer, bits, exponent_bits, zero: of the ``WeightCode``.
    """

    fields: np.ndarray
    slot: int
    tap: bool
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
def read(cells, stored, word, field, bank, access):
    """One field as it is read; ``stored`` and the result are unsigned."""
    if not cells.present:
        return stored
    keep, put, flip = cells.keep[word, field], cells.put[word, field], cells.flip[word, field]
    failing = ~keep | flip
    if failing == 0:
        return stored
    if cells.errs < ALWAYS:
        erring = 0
        for bit in range(cells.width[field]):
            if failing >> bit & 1:
                at = np.uint64(cells.start[field] + bit)
                if errs_now(cells.keys[bank], np.uint64(access), at, np.uint64(cells.errs)):
                    erring |= 1 << bit
        keep, put, flip = keep | ~erring, put & erring, flip & erring
    return ((stored & keep) | put) ^ flip


@njit
def read_lanes(x, out, cells, signed, word, first, reads, read_lanes):
    """Beats that each lie in one word: x, out int64 [frames, pixels, beats, lanes].

    word: int64 [frames, pixels, beats]. A pixel is read in ``reads`` accesses, of ``read_lanes``
    channels each.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            before = ((first + n) * pixels + p) * reads
            for b in range(beats):
                for lane in range(lanes):
                    bits = cells.width[lane]
                    access = before + (b * lanes + lane) // read_lanes
                    stored = extend(x[n, p, b, lane], bits, False)
                    seen = read(cells, stored, word[n, p, b], lane, 0, access)
                    out[n, p, b, lane] = extend(seen, bits, signed)


@njit
def _read_window(x, taps, cells, bits, signed, geometry, first, n, p, q, beat, step):
    """The window of one step: taps [positions, lanes], zero outside the image."""
    _, rows, cols, beats, lanes = x.shape
    kh, kw = geometry.kernel
    for dy in range(kh):
        for dx in range(kw):
            y = p * geometry.stride[0] + dy - geometry.pad[0]
            col = q * geometry.stride[1] + dx - geometry.pad[1]
            at = dy * kw + dx
            if y < 0 or y >= rows or col < 0 or col >= cols:
                taps[at, :] = 0
                continue
            if not cells.present:
                taps[at, :] = x[n, y, col, beat]
                continue
            row, padded = (first + n) * rows + y, col + geometry.pad[1]
            bank = row % kh * kw + padded % kw
            address = row // kh % geometry.held * geometry.bank_columns + padded // kw
            word = bank * geometry.bank_words + address * beats + beat
            for lane in range(lanes):
                stored = extend(x[n, y, col, beat, lane], bits, False)
                seen = read(cells, stored, word, lane, bank, step)
                taps[at, lane] = extend(seen, bits, signed)


@njit
def _weight(code, codes):
    """The weight that a code stands for."""
    if codes.integer:
        return extend(code, codes.bits, True)
    if codes.zero and code >> (codes.bits - 1) & 1:
        return 0
    size = 1 << (code >> 1 & ((1 << codes.exponent_bits) - 1))
    return -size if code & 1 else size


@njit
def _dot(taps, codes, cells, word, output, lanes, step):
    """The sum of an output lane over the input lanes and the positions of one step."""
    positions = codes.slot - codes.tap
    total = 0
    for i in range(lanes):
        field = (output * lanes + i) * codes.slot
        tap = 0
        if codes.tap:
            tap = read(cells, codes.fields[word, field], word, field, 0, step)
            tap = min(tap, len(taps) - 1)
            field += 1
        for position in range(positions):
            code = read(
                cells, codes.fields[word, field + position], word, field + position, 0, step
            )
            total += _weight(code, codes) * taps[tap + position, i]
    return total


@njit
def mac_steps(
    x, out, bits, signed, geometry, window, codes, weights, sums, sum_bits, sum_signed, first
):
    """Multiply-accumulate stages: out int64 [frames, pixels, groups, output lanes].

    bits, signed: of the input. window, weights, sums: cells of the three memories. sum_bits,
    sum_signed: type of the accumulator, which keeps only what fits. An accumulator errs where a
    step of its group, but for the first, reads it back.
    """
    lanes = x.shape[4]
    outputs = out.shape[3]
    groups, steps = geometry.groups, geometry.steps
    pixels = geometry.out_rows * geometry.out_cols
    taps = np.zeros((geometry.kernel[0] * geometry.kernel[1], lanes), np.int64)
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = pixel // geometry.out_cols, pixel % geometry.out_cols
            for g in range(groups):
                group = ((first + n) * pixels + pixel) * groups + g
                for s in range(steps):
                    word, step = g * steps + s, group * steps + s
                    _read_window(x, taps, window, bits, signed, geometry, first, n, p, q, s, step)
                    for o in range(outputs):
                        total = _dot(taps, codes, weights, word, o, lanes, step)
                        if s > 0:
                            held = extend(out[n, pixel, g, o], sum_bits, False)
                            back = read(sums, held, 0, o, 0, group * (steps - 1) + s - 1)
                            total += extend(back, sum_bits, sum_signed)
                        out[n, pixel, g, o] = extend(total, sum_bits, sum_signed)


@njit
def window_steps(
    x, out, kind, bits, signed, geometry, window, codes, weights, sum_bits, sum_signed, first
):
    """Stages that look at each channel by itself: out int64 [frames, pixels, beats, lanes]."""
    lanes, steps = x.shape[4], geometry.steps
    pixels = geometry.out_rows * geometry.out_cols
    taps = np.zeros((geometry.kernel[0] * geometry.kernel[1], lanes), np.int64)
    column = np.zeros((len(taps), 1), np.int64)
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = pixel // geometry.out_cols, pixel % geometry.out_cols
            for s in range(steps):
                step = ((first + n) * pixels + pixel) * steps + s
                _read_window(x, taps, window, bits, signed, geometry, first, n, p, q, s, step)
                for lane in range(lanes):
                    if kind == DEPTHWISE:
                        column[:, 0] = taps[:, lane]
                        value = _dot(column, codes, weights, s, lane, 1, step)
                    elif kind == SUM:
                        value = taps[:, lane].sum()
                    else:
                        value = taps[:, lane].max()
                    out[n, pixel, s, lane] = extend(value, sum_bits, sum_signed)


@njit
def global_steps(x, out, maximum, bits, signed, cells, first):
    """Pooling of whole images: x [frames, pixels, beats, lanes] to out [frames, beats, lanes].

    bits, signed: type of the accumulator, which errs where a pixel, but for the first, reads it.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                access = ((first + n) * (pixels - 1) + p - 1) * beats + b
                for lane in range(lanes):
                    value = x[n, p, b, lane]
                    if p > 0:
                        held = extend(out[n, b, lane], bits, False)
                        back = extend(read(cells, held, b, lane, 0, access), bits, signed)
                        value = max(value, back) if maximum else value + back
                    out[n, b, lane] = extend(value, bits, signed)


@njit
def requantize_steps(
    x, out, fields, cells, multiplier_bits, bias_bits, sum_bits, shift, lo, hi, first
):
    """Requantizers: x, out int64 [frames, pixels, beats, lanes].

    fields: constants as stored, int64 [words, fields]; word of a beat: its number in the pixel,
    or in the frame where each pixel has constants of its own. multiplier_bits is 0 where none are
    stored. Sums keep ``sum_bits`` bits.
    """
    frames, pixels, beats, lanes = x.shape
    per_lane = 2 if multiplier_bits else 1
    apart = len(fields) > beats
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                access = ((first + n) * pixels + p) * beats + b
                word = p * beats + b if apart else b
                for lane in range(lanes):
                    field = lane * per_lane
                    value = x[n, p, b, lane]
                    if multiplier_bits:
                        seen = read(cells, fields[word, field], word, field, 0, access)
                        value *= extend(seen, multiplier_bits, True)
                        field += 1
                    seen = read(cells, fields[word, field], word, field, 0, access)
                    value += extend(seen, bias_bits, True)
                    value = extend(value, sum_bits, True) >> min(shift, 63)
                    out[n, p, b, lane] = min(max(value, lo), hi)
