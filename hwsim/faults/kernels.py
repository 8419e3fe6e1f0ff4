"""Numba kernels that read faulty memories access by access, as the accelerator does.

Streams come as *beats*: int64 [frames, rows, columns, beats, lanes], rows and columns being those
of the stage's timing contract. ``first`` is the number of frames since reset before the first one
here. Every read names the word, the bank and the number of the access, on which transient errors
depend; every write that may fail likewise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hwsim.cells import failing_cells_jit, masks_in_access_jit, read_cells_jit, write_cells_jit
from hwsim.jit import njit
from hwsim.lowvoltage.transient import ALWAYS, errs_now

MAXIMUM, SUM, DEPTHWISE = range(3)
"""What ``window_steps`` makes of a window."""

# mypy: disable-error-code=no-untyped-def


class Cells(NamedTuple):
    """The failing cells of a memory, field by field (``hwsim.accelerator.fields``).

    present: clear for a memory without any. first: int64 [words + 1], the failing fields of word w
    are entries first[w] .. first[w + 1] - 1 of field, keep and flip (``FieldMasks``).
    start: lowest bit of every field of a word. keys: uint64 [banks]. errs: accesses out of 256.
    on_write: the cells fail when they are written. held: what the failing fields hold then, int64
    as ``field``, which kernels keep up to date; bits that do not fail mean nothing.
    """

    present: bool
    first: np.ndarray
    field: np.ndarray
    keep: np.ndarray
    flip: np.ndarray
    start: np.ndarray
    keys: np.ndarray
    errs: int
    on_write: bool
    held: np.ndarray


_NONE = np.zeros(1, np.int64)
HEALTHY = Cells(
    False, _NONE, _NONE, _NONE, _NONE, _NONE, np.zeros(1, np.uint64), int(ALWAYS), False, _NONE
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
def _erring(failing, start, key, access, errs):
    """The failing bits that err in an access."""
    erring = 0
    for bit in range(64):
        if failing >> bit == 0:
            break
        at = np.uint64(start + bit)
        if failing >> bit & 1 and errs_now(key, np.uint64(access), at, np.uint64(errs)):
            erring |= 1 << bit
    return erring


@njit
def read_field(stored, keep, flip, start, key, access, errs):
    """A failing field as it is read; bits of ``stored`` and the result above it mean nothing.

    keep, flip: of its bits. start: its lowest bit in the word. key: of the bank.
    """
    if errs < ALWAYS:
        erring = _erring(failing_cells_jit(keep, flip), start, key, access, errs)
        keep, flip = masks_in_access_jit(keep, flip, erring)
    return read_cells_jit(stored, keep, flip)


@njit
def read(cells, entry, stored, bank, access):
    """Entry ``entry`` of the failing fields of a memory, as ``read_field``."""
    start, key = cells.start[cells.field[entry]], cells.keys[bank]
    keep, flip = cells.keep[entry], cells.flip[entry]
    return read_field(stored, keep, flip, start, key, access, cells.errs)


@njit
def write(cells, entry, value, bank, number):
    """What a failing field holds after write ``number`` of ``value``; entry, bank: as ``read``."""
    failing = failing_cells_jit(cells.keep[entry], cells.flip[entry])
    if cells.errs < ALWAYS:
        start, key = cells.start[cells.field[entry]], cells.keys[bank]
        failing = _erring(failing, start, key, number, cells.errs)
    cells.held[entry] = write_cells_jit(cells.held[entry], value, failing)
    return cells.held[entry]


@njit
def write_lanes(x, cells, bits, signed, word, bank_words, first):
    """Beats that are each written once, as their words hold them; in place, as ``read_lanes``.

    Write n since reset is of beat n.
    """
    frames, pixels, beats = x.shape[:3]
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                w = word[n, p, b]
                number = ((first + n) * pixels + p) * beats + b
                for k in range(cells.first[w], cells.first[w + 1]):
                    lane = cells.field[k]
                    held = write(cells, k, x[n, p, b, lane], w // bank_words, number)
                    x[n, p, b, lane] = extend(held, bits, signed)


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
def _place(row, padded, geometry, beats):
    """Bank and first word of a pixel in the ring; row: since reset, padded: column with padding."""
    kh, kw = geometry.kernel
    bank = row % kh * kw + padded % kw
    pixel = row // kh % geometry.held * geometry.bank_columns + padded // kw
    return bank, bank * geometry.bank_words + pixel * beats


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
                bank, word = _place(row, padded, geometry, beats)
                for k in range(cells.first[word + beat], cells.first[word + beat + 1]):
                    lane = cells.field[k]
                    seen = read(cells, k, taps[at, lane], bank, step)
                    taps[at, lane] = extend(seen, bits, signed)


@njit
def _weight(code, form):
    """The weight that a code stands for; form: as in ``Weights``, from ``integer`` on."""
    integer, bits, exponent_bits, zero = form
    if integer:
        return extend(code, bits, True)
    if zero and code >> (bits - 1) & 1:
        return 0
    size = 1 << (code >> 1 & ((1 << exponent_bits) - 1))
    return -size if code & 1 else size


@njit
def _parts(cells):
    """Fields of ``Cells`` as a plain tuple.

    Named tuples passed on inside the loop made it up to 1.7 times as slow.
    """
    return cells.first, cells.field, cells.keep, cells.flip, cells.start, cells.keys


@njit
def _read_weights(stores, tapped, form, parts, errs, word, access, tap, weight, taps):
    """One word: tap [1, outputs, inputs] 0 .. taps, weight [1, outputs, inputs, positions].

    stores: ``tap``, ``weight`` and ``fields`` of ``Weights``. parts: of the failing cells.
    """
    taps_stored, weights_stored, fields = stores
    first, field, keep, flip, start, keys = parts
    outputs, inputs, positions = weight.shape[1:]
    for o in range(outputs):
        for i in range(inputs):
            tap[0, o, i] = taps_stored[word, o, i]
            for t in range(positions):
                weight[0, o, i, t] = weights_stored[word, o, i, t]
    slot = positions + tapped
    for k in range(first[word], first[word + 1]):
        f = field[k]
        pair, part = f // slot, f % slot
        o, i = pair // inputs, pair % inputs
        seen = read_field(fields[word, f], keep[k], flip[k], start[f], keys[0], access, errs)
        if tapped and part == 0:
            tap[0, o, i] = min(seen, taps)
        else:
            weight[0, o, i, part - tapped] = _weight(seen, form)


@njit
def _find_hits(hits, count, cells, geometry, beats, cols, rows, row, p, q):
    """Failing fields of the window at (p, q), beat by beat: hits [beats, most, 3], count [beats].

    A hit is a position of the window, the entry in ``cells`` and the bank. row: of the frame's
    first row since reset.
    """
    kh, kw = geometry.kernel
    count[:] = 0
    for dy in range(kh):
        y = p * geometry.stride[0] + dy - geometry.pad[0]
        if not 0 <= y < rows:
            continue
        for dx in range(kw):
            padded = q * geometry.stride[1] + dx
            if not 0 <= padded - geometry.pad[1] < cols:
                continue
            bank, word = _place(row + y, padded, geometry, beats)
            for beat in range(beats):
                for k in range(cells.first[word + beat], cells.first[word + beat + 1]):
                    hit = hits[beat, count[beat]]
                    hit[0], hit[1], hit[2] = dy * kw + dx, k, bank
                    count[beat] += 1


@njit
def _product(x, n, s, tap, weight, word, o, dy, dx, top, left):
    """What a step adds to the sum of output ``o``: beat ``s`` of frame ``n``, words of weights.

    x: int64 [frames, rows, columns, beats, lanes], padded; the window begins at (top, left), and
    dy, dx are its positions.
    """
    value = 0
    for i in range(weight.shape[2]):
        for t in range(weight.shape[3]):
            at = tap[word, o, i] + t
            if at < len(dy):  # the others select what does not exist
                value += weight[word, o, i, t] * x[n, top + dy[at], left + dx[at], s, i]
    return value


@njit
def _steps_to_do(marked, count, groups, steps):
    """Words of the steps of a pixel that read a failing cell: of weights, or of the window."""
    todo = np.empty(groups * steps, np.int64)
    done = 0
    for s in range(steps):
        if count[s]:
            for g in range(groups):
                todo[done] = g * steps + s
                done += 1
    for word in marked:
        if not count[word % steps]:
            todo[done] = word
            done += 1
    return todo[:done]


@njit
def mac_steps(x, out, whole, of, geometry, window, weights, changing, sums, total, first):
    """Multiply-accumulate stages: out int64 [frames, pixels, groups, output lanes].

    x: with zeros around each frame, as far as windows reach; what fails in it is put back.
    whole: take every step; else ``out`` has the sums without errors, and only steps that read a
    failing cell are taken back and done again. of, total: (bits, signed) of the input and of the
    accumulator, which keeps only what fits. window, changing, sums: cells of window, weights and
    accumulators; an accumulator errs where a step of its group, but for the first, reads it back,
    or where a step writes it (needs ``whole``).
    """
    kernel, groups, steps = geometry.kernel, geometry.groups, geometry.steps
    rows, cols = x.shape[1] - 2 * geometry.pad[0], x.shape[2] - 2 * geometry.pad[1]
    beats, lanes, outputs = x.shape[3], x.shape[4], out.shape[3]
    pixels, most = geometry.out_rows * geometry.out_cols, kernel[0] * kernel[1] * lanes
    dy, dx = np.divmod(np.arange(kernel[0] * kernel[1]), kernel[1])
    hits, count = np.zeros((beats, most, 3), np.int64), np.zeros(beats, np.int64)
    before = np.zeros(most, np.int64)
    stored_tap, stored_weight = weights.tap, weights.weight
    tap, weight = stored_tap[:1].copy(), stored_weight[:1].copy()
    changes = np.zeros(groups * steps, np.bool_)
    if changing.present:
        changes[:] = changing.first[1:] > changing.first[:-1]
    marked = np.flatnonzero(changes | whole)
    todo = marked
    stores = stored_tap, stored_weight, weights.fields
    form = weights.integer, weights.bits, weights.exponent_bits, weights.zero
    tapped, parts, changing_errs = weights.tapped, _parts(changing), changing.errs
    field, keep, flip = window.field, window.keep, window.flip
    start, keys, errs = window.start, window.keys, window.errs
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = divmod(pixel, geometry.out_cols)
            top, left = p * geometry.stride[0], q * geometry.stride[1]
            number = ((first + n) * pixels + pixel) * groups
            if window.present:
                row = (first + n) * rows
                _find_hits(hits, count, window, geometry, beats, cols, rows, row, p, q)
            if window.present and not whole:
                todo = _steps_to_do(marked, count, groups, steps)
            for word in todo:
                g, s = word // steps, word % steps
                step = number * steps + word
                if not whole:
                    for o in range(outputs):
                        out[n, pixel, g, o] -= _product(
                            x, n, s, stored_tap, stored_weight, word, o, dy, dx, top, left
                        )
                if s > 0 and sums.present and not sums.on_write:
                    access = (number + g) * (steps - 1) + s - 1
                    for k in range(sums.first[0], sums.first[1]):
                        o = sums.field[k]
                        seen = read(sums, k, out[n, pixel, g, o], 0, access)
                        out[n, pixel, g, o] = extend(seen, *total)
                for m in range(count[s]):
                    at, k, bank = hits[s, m, 0], hits[s, m, 1], hits[s, m, 2]
                    y, z, lane = top + dy[at], left + dx[at], field[k]
                    stored = x[n, y, z, s, lane]
                    seen = read_field(stored, keep[k], flip[k], start[lane], keys[bank], step, errs)
                    before[m] = stored
                    x[n, y, z, s, lane] = extend(seen, *of)
                if changes[word]:
                    _read_weights(
                        stores,
                        tapped,
                        form,
                        parts,
                        changing_errs,
                        word,
                        step,
                        tap,
                        weight,
                        len(dy),
                    )
                    for o in range(outputs):
                        out[n, pixel, g, o] += _product(
                            x, n, s, tap, weight, 0, o, dy, dx, top, left
                        )
                else:
                    for o in range(outputs):
                        out[n, pixel, g, o] += _product(
                            x, n, s, stored_tap, stored_weight, word, o, dy, dx, top, left
                        )
                if sums.on_write:
                    for k in range(sums.first[0], sums.first[1]):
                        o = sums.field[k]
                        stays = write(sums, k, out[n, pixel, g, o], 0, step)
                        out[n, pixel, g, o] = extend(stays, *total)
                for m in range(count[s]):
                    at, lane = hits[s, m, 0], field[hits[s, m, 1]]
                    x[n, top + dy[at], left + dx[at], s, lane] = before[m]
            for g in range(groups):
                for o in range(outputs):
                    out[n, pixel, g, o] = extend(out[n, pixel, g, o], *total)


@njit
def window_steps(x, out, kind, of, geometry, window, weights, changing, total, first):
    """Stages that look at each channel by itself: out int64 [frames, pixels, beats, lanes].

    kind: MAXIMUM, SUM or DEPTHWISE. The others as in ``mac_steps``.
    """
    lanes, steps = x.shape[4], geometry.steps
    pixels = geometry.out_rows * geometry.out_cols
    taps = np.zeros((geometry.kernel[0] * geometry.kernel[1], lanes), np.int64)
    tap, weight = weights.tap[:1].copy(), weights.weight[:1].copy()
    stores = weights.tap, weights.weight, weights.fields
    form = weights.integer, weights.bits, weights.exponent_bits, weights.zero
    tapped, parts, errs = weights.tapped, _parts(changing), changing.errs
    for n in range(len(x)):
        for pixel in range(pixels):
            p, q = divmod(pixel, geometry.out_cols)
            for s in range(steps):
                step = ((first + n) * pixels + pixel) * steps + s
                _read_window(x, taps, window, *of, geometry, first, n, p, q, s, step)
                if kind == DEPTHWISE:
                    if changing.present:
                        _read_weights(
                            stores, tapped, form, parts, errs, s, step, tap, weight, len(taps)
                        )
                    else:
                        weight[0] = weights.weight[s]
                for lane in range(lanes):
                    value = taps[0, lane] if kind == MAXIMUM else 0
                    for t in range(len(taps)):
                        if kind == MAXIMUM:
                            value = max(value, taps[t, lane])
                        else:
                            factor = weight[0, lane, 0, t] if kind == DEPTHWISE else 1
                            value += taps[t, lane] * factor
                    out[n, pixel, s, lane] = extend(value, *total)


@njit
def global_steps(x, out, maximum, total, cells, first):
    """Pooling of whole images: x [frames, pixels, beats, lanes] to out [frames, beats, lanes].

    total: (bits, signed) of the accumulators, each of which errs where a pixel, but for the
    first, reads it back, or where any pixel writes it.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                held = out[n, b]
                if p > 0 and cells.present and not cells.on_write:
                    access = ((first + n) * (pixels - 1) + p - 1) * beats + b
                    for k in range(cells.first[b], cells.first[b + 1]):
                        lane = cells.field[k]
                        held[lane] = extend(read(cells, k, held[lane], 0, access), *total)
                for lane in range(lanes):
                    value = x[n, p, b, lane]
                    if p > 0:
                        value = max(value, held[lane]) if maximum else value + held[lane]
                    held[lane] = extend(value, *total)
                if cells.on_write:
                    number = ((first + n) * pixels + p) * beats + b
                    for k in range(cells.first[b], cells.first[b + 1]):
                        lane = cells.field[k]
                        held[lane] = extend(write(cells, k, held[lane], 0, number), *total)


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


@njit
def read_tables(x, stored, tables, entries, cells, first):
    """Puts what is read of tables in place of the entries' numbers, [frames, pixels, beats, lanes].

    stored: int64 [words]. Each lane has a bank of ``tables`` tables, one for each beat of a pixel,
    or of a frame, or one for all.
    """
    frames, pixels, beats, lanes = x.shape
    for n in range(frames):
        for p in range(pixels):
            for b in range(beats):
                access = ((first + n) * pixels + p) * beats + b
                for lane in range(lanes):
                    table = lane * tables + (p * beats + b) % tables
                    word = table * entries + x[n, p, b, lane]
                    value = stored[word]
                    for k in range(cells.first[word], cells.first[word + 1]):
                        value = read(cells, k, value, lane, access)
                    x[n, p, b, lane] = value
