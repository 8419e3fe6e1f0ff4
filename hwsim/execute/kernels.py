"""The loops of the executor. Each works on a block of ``LANES`` images at once.

Layout: a tensor is a flat array over [channels, rows, columns, LANES], the image innermost, its
borders of zeros included. So the innermost loop runs over images, has a fixed length and no edge
cases, and LLVM turns it into full-width vector instructions.

A *term* of a sum is (offset, weight): ``offset`` leads from the first element of an output's
window to the input element it uses. Every linear op is such a list of terms for each output
channel, a multiplexer convolution being the one with the fewest. Lists are cut into groups of
``GROUP`` terms; a group is summed in the type of ``weight``, which the caller chooses as narrow
as the group's range allows, and then added to an accumulator of the type of ``start``.

An accumulator tile of ``PIXELS`` pixels lies on the stack, where LLVM knows that nothing else
points to it (twice as fast as an array argument). Indices are unsigned so that numba omits its
wrap-around of negative ones, which would forbid vectors. Nothing here checks ranges: the plan
does.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from hwsim.cells import read_cells_jit
from hwsim.jit import njit

LANES = 64
"""Images in a block."""

PIXELS = 4
"""Neighbouring output pixels that are computed together."""

GROUP = 8
"""Terms that are summed before they are added to the accumulator; the kernels unroll it."""

WIDE, NARROW, ADD = range(3)
"""Forms in which a sum is finished; see ``_finish``."""

_TILE = LANES * PIXELS
_lanes = np.uintp(LANES)
_pixels = np.uintp(PIXELS)
_tile = np.uintp(_TILE)
_one = np.uintp(1)
_two = np.uintp(2)
_three = np.uintp(3)
_four = np.uintp(4)
_five = np.uintp(5)
_six = np.uintp(6)
_seven = np.uintp(7)
_group = np.uintp(GROUP)


@intrinsic(prefer_literal=True)
def _stack(typing_context: Any, like: Any, size: Any) -> Any:
    """Pointer to ``size`` uninitialized values of the type of the array ``like``, on the stack."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.ArrayType(context.get_data_type(like.dtype), size.literal_value)
        memory = cgutils.alloca_once(builder, kind)
        memory.align = 64
        return builder.bitcast(memory, kind.element.as_pointer())

    return types.CPointer(like.dtype)(like, size), codegen


@intrinsic
def _scaled(typing_context: Any, x: Any, m: Any, c: Any, s: Any) -> Any:
    """``(x * m + c) >> s`` in 32 bits; numba itself would compute it in 64, at half the speed."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, m, c, s = arguments
        return builder.ashr(builder.add(builder.mul(x, m), c), s)

    return types.int32(types.int32, types.int32, types.int32, types.int32), codegen


@njit
def signed_sum(x, first, offset, weight, start, size, step, form, scale, limits, other, out, at):  # type: ignore[no-untyped-def]
    """Sums of ``x`` or ``~x``: weights +1 and -1, as ``x ^ weight`` with weight 0 or -1.

    -x = ~x + 1, so ``start[o]`` holds the number of negative terms. Parameters as weighted_sum.
    """
    tile = numba.carray(_stack(start, _TILE), _TILE)  # type: ignore[call-arg]
    for p in range(size[1]):
        for q in range(0, size[2], PIXELS):
            base = np.uintp(p * step[0] + q * step[1])
            for o in range(size[0]):
                for b in range(_tile):
                    tile[b] = start[o]
                t = np.uintp(first[o])
                end = np.uintp(first[o + 1])
                while t + _group <= end:
                    a0, m0 = base + offset[t], weight[t]
                    a1, m1 = base + offset[t + _one], weight[t + _one]
                    a2, m2 = base + offset[t + _two], weight[t + _two]
                    a3, m3 = base + offset[t + _three], weight[t + _three]
                    a4, m4 = base + offset[t + _four], weight[t + _four]
                    a5, m5 = base + offset[t + _five], weight[t + _five]
                    a6, m6 = base + offset[t + _six], weight[t + _six]
                    a7, m7 = base + offset[t + _seven], weight[t + _seven]
                    for n in range(_pixels):
                        s = n * np.uintp(step[1])
                        for b in range(_lanes):
                            low = (x[a0 + s + b] ^ m0) + (x[a1 + s + b] ^ m1)
                            low += (x[a2 + s + b] ^ m2) + (x[a3 + s + b] ^ m3)
                            high = (x[a4 + s + b] ^ m4) + (x[a5 + s + b] ^ m5)
                            high += (x[a6 + s + b] ^ m6) + (x[a7 + s + b] ^ m7)
                            tile[n * _lanes + b] += weight.dtype.type(low + high)
                    t += _group
                while t < end:
                    a0, m0 = base + offset[t], weight[t]
                    for n in range(_pixels):
                        s = n * np.uintp(step[1])
                        for b in range(_lanes):
                            tile[n * _lanes + b] += x[a0 + s + b] ^ m0
                    t += _one
                _finish(tile, o, p, q, size, form, scale, limits, other, out, at)


@njit
def weighted_sum(x, first, offset, weight, start, size, step, form, scale, limits, other, out, at):  # type: ignore[no-untyped-def]
    """``out[o, p, q] = finish(start[o] + sum_t weight[t] * x[window(p, q) + offset[t]])``.

    x, out: flat tensors. first: [outputs + 1], output o has the terms first[o] .. first[o+1]-1.
    offset (uintp), weight: [terms]. start: [outputs], its type is the accumulator's.
    size: (outputs, rows, columns) of the output. step: elements of x from one output row, and one
    output column, to the next. at: of out and of other: (first element, elements per channel,
    elements per row). form, scale, limits, other: see _finish.
    """
    tile = numba.carray(_stack(start, _TILE), _TILE)  # type: ignore[call-arg]
    for p in range(size[1]):
        for q in range(0, size[2], PIXELS):
            base = np.uintp(p * step[0] + q * step[1])
            for o in range(size[0]):
                for b in range(_tile):
                    tile[b] = start[o]
                t = np.uintp(first[o])
                end = np.uintp(first[o + 1])
                while t + _group <= end:
                    a0, w0 = base + offset[t], weight[t]
                    a1, w1 = base + offset[t + _one], weight[t + _one]
                    a2, w2 = base + offset[t + _two], weight[t + _two]
                    a3, w3 = base + offset[t + _three], weight[t + _three]
                    a4, w4 = base + offset[t + _four], weight[t + _four]
                    a5, w5 = base + offset[t + _five], weight[t + _five]
                    a6, w6 = base + offset[t + _six], weight[t + _six]
                    a7, w7 = base + offset[t + _seven], weight[t + _seven]
                    for n in range(_pixels):
                        s = n * np.uintp(step[1])
                        for b in range(_lanes):
                            low = x[a0 + s + b] * w0 + x[a1 + s + b] * w1
                            low += x[a2 + s + b] * w2 + x[a3 + s + b] * w3
                            high = x[a4 + s + b] * w4 + x[a5 + s + b] * w5
                            high += x[a6 + s + b] * w6 + x[a7 + s + b] * w7
                            tile[n * _lanes + b] += weight.dtype.type(low + high)
                    t += _group
                while t < end:
                    a0, w0 = base + offset[t], weight[t]
                    for n in range(_pixels):
                        s = n * np.uintp(step[1])
                        for b in range(_lanes):
                            tile[n * _lanes + b] += x[a0 + s + b] * w0
                    t += _one
                _finish(tile, o, p, q, size, form, scale, limits, other, out, at)


@njit
def held_sum(  # type: ignore[no-untyped-def]
    held, x, first, offset, weight, start, size, step, form, scale, limits, other, out, at
):
    """Sums, or maxima, that are read back from a register between the steps that take terms.

    held: (steps, maximum, keep, flip, changed, spare, signed). Output o takes the terms
    first[o * steps + n] .. in step n, before which, but for n = 0, where changed[o] is set the
    register is read with masks keep[o] and flip[o] (``hwsim.cells``). Of its 64 bits the topmost
    ``spare`` are no bits of the register. Other parameters as weighted_sum.
    """
    steps, maximum, keep, flip, changed, spare, signed = held
    tile = numba.carray(_stack(start, _TILE), _TILE)  # type: ignore[call-arg]
    for p in range(size[1]):
        for q in range(0, size[2], PIXELS):
            base = np.uintp(p * step[0] + q * step[1])
            for o in range(size[0]):
                for b in range(_tile):
                    tile[b] = start[o]
                for n in range(steps):
                    if n > 0 and changed[o]:
                        for b in range(_tile):
                            v = read_cells_jit(tile[b], keep[o], flip[o])
                            tile[b] = _keep(v, spare, signed)
                    for t in range(first[o * steps + n], first[o * steps + n + 1]):
                        a, w = base + offset[t], weight[t]
                        for m in range(_pixels):
                            s = m * np.uintp(step[1])
                            for b in range(_lanes):
                                v = np.int64(x[a + s + b])
                                if maximum:
                                    v = max(np.int64(tile[m * _lanes + b]), v)
                                else:
                                    v = tile[m * _lanes + b] + v * w
                                tile[m * _lanes + b] = v
                for b in range(_tile):
                    tile[b] = _keep(np.int64(tile[b]), spare, signed)
                _finish(tile, o, p, q, size, form, scale, limits, other, out, at)


@njit
def _keep(v, spare, signed):  # type: ignore[no-untyped-def]
    """``v`` without its topmost ``spare`` bits, as two's complement when ``signed``."""
    if signed:
        return v << spare >> spare
    return v & (np.int64(-1) ^ (np.int64(-1) << (np.int64(64) - spare)))


@njit
def _finish(tile, o, p, q, size, form, scale, limits, other, out, at):  # type: ignore[no-untyped-def]
    """Requantize the accumulators of output channel ``o`` and store them.

    With requantizers r(n, v) = clamp((v * scale[o, n, 0] + scale[o, n, 1]) >> limits[n, 0],
    limits[n, 1], limits[n, 2]), the result is by ``form``
    WIDE: r(0, sum) in 64 bits, where limits[0, 3] is how many of them a shift to the left and back
    drops (limits[0, 0] counts the way back too); NARROW: r(0, sum) in 32 bits;
    ADD: r(2, r(0, sum) + r(1, other)) in 32 bits, where other is an int8 tensor.
    scale, limits: int64 [outputs, 3, 2] and [3, 4].
    """
    a = np.uintp(at[0][0] + o * at[0][1] + p * at[0][2] + q * LANES)
    count = np.uintp(min(PIXELS, size[2] - q)) * _lanes
    if form == WIDE:
        m, c = scale[o, 0, 0], scale[o, 0, 1]
        shift, lo, hi, up = limits[0, 0], limits[0, 1], limits[0, 2], limits[0, 3]
        for b in range(count):
            out[a + b] = max(lo, min(hi, (tile[b] * m + c) << up >> shift))
        return
    m0, c0 = np.int32(scale[o, 0, 0]), np.int32(scale[o, 0, 1])
    s0, lo0, hi0 = np.int32(limits[0, 0]), np.int32(limits[0, 1]), np.int32(limits[0, 2])
    if form == NARROW:
        for b in range(count):
            out[a + b] = max(lo0, min(hi0, _scaled(np.int32(tile[b]), m0, c0, s0)))  # type: ignore[call-arg]
        return
    m1, c1 = np.int32(scale[o, 1, 0]), np.int32(scale[o, 1, 1])
    s1, lo1, hi1 = np.int32(limits[1, 0]), np.int32(limits[1, 1]), np.int32(limits[1, 2])
    m2, c2 = np.int32(scale[o, 2, 0]), np.int32(scale[o, 2, 1])
    s2, lo2, hi2 = np.int32(limits[2, 0]), np.int32(limits[2, 1]), np.int32(limits[2, 2])
    z = np.uintp(at[1][0] + o * at[1][1] + p * at[1][2] + q * LANES)
    for b in range(count):
        v = max(lo0, min(hi0, _scaled(np.int32(tile[b]), m0, c0, s0)))  # type: ignore[call-arg]
        w = max(lo1, min(hi1, _scaled(np.int32(other[z + b]), m1, c1, s1)))  # type: ignore[call-arg]
        out[a + b] = max(lo2, min(hi2, _scaled(np.int32(v + w), m2, c2, s2)))  # type: ignore[call-arg]


@njit
def maximum(x, offset, size, step, channel, out, at):  # type: ignore[no-untyped-def]
    """``out[c, p, q] = max_t x[window(p, q) + offset[t]]`` in channel c.

    offset (uintp): [terms] for channel 0; channel: elements of x from one channel to the next.
    size, step, at[0]: as in weighted_sum; out has the type of x.
    """
    for c in range(size[0]):
        for p in range(size[1]):
            for q in range(size[2]):
                base = np.uintp(c * channel + p * step[0] + q * step[1])
                a = np.uintp(at[0] + c * at[1] + p * at[2] + q * LANES)
                for b in range(_lanes):
                    out[a + b] = x[base + offset[0] + b]
                for t in range(1, len(offset)):
                    s = base + offset[t]
                    for b in range(_lanes):
                        out[a + b] = max(out[a + b], x[s + b])


@njit
def look_up(x, table, lo, size, out, at):  # type: ignore[no-untyped-def]
    """``out[c, p, q] = table[c, x[c, p, q] - lo]``, of one row for all channels ``table[0, ...]``.

    table: [1 or channels, entries] of the type of out, entries being a power of two, so that
    images that are not there stay within the table, too. size: as in weighted_sum. at: of x and of
    out: (first element, elements per channel, elements per row).
    """
    mask = np.int64(table.shape[1] - 1)
    for c in range(size[0]):
        entries = table[c if len(table) > 1 else 0]
        for p in range(size[1]):
            s = np.uintp(at[0][0] + c * at[0][1] + p * at[0][2])
            a = np.uintp(at[1][0] + c * at[1][1] + p * at[1][2])
            for b in range(np.uintp(size[2]) * _lanes):
                out[a + b] = entries[np.uintp((x[s + b] - lo) & mask)]
