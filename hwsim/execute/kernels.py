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

from hwsim.jit import njit

LANES = 64
"""Images in a block."""

PIXELS = 4
"""Neighbouring output pixels that are computed together."""

GROUP = 8
"""Terms that are summed before they are added to the accumulator; the kernels unroll it."""

REQUANTIZE_32, REQUANTIZE_64, ADD = range(3)
"""Kinds of a program's steps; see ``_finish``."""

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


@njit
def signed_sum(x, first, offset, weight, start, size, step, program, scale, other, out, at):  # type: ignore[no-untyped-def]
    """Sums of ``x`` or ``~x``: weights +1 and -1, as ``x ^ weight`` with weight 0 or -1.

    -x = ~x + 1, so ``start[o]`` holds the number of negative terms. Parameters as weighted_sum.
    """
    tile = numba.carray(_stack(start, _TILE), _TILE)
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
                _finish(tile, o, p, q, size, program, scale, other, out, at)


@njit
def weighted_sum(x, first, offset, weight, start, size, step, program, scale, other, out, at):  # type: ignore[no-untyped-def]
    """``out[o, p, q] = program(start[o] + sum_t weight[t] * x[window(p, q) + offset[t]])``.

    x, out: flat tensors. first: [outputs + 1], output o has the terms first[o] .. first[o+1]-1.
    offset (uintp), weight: [terms]. start: [outputs], its type is the accumulator's.
    size: (outputs, rows, columns) of the output. step: elements of x from one output row, and one
    output column, to the next. at: of out and of other: (first element, elements per channel,
    elements per row). program, scale, other: see _finish.
    """
    tile = numba.carray(_stack(start, _TILE), _TILE)
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
                _finish(tile, o, p, q, size, program, scale, other, out, at)


@njit
def _finish(tile, o, p, q, size, program, scale, other, out, at):  # type: ignore[no-untyped-def]
    """Run ``program`` on the accumulators of output channel ``o`` and store them.

    program: [steps, (kind, shift, lo, hi)]; its type, int32 or int64, is that of all values in
    between. A requantizing step takes the next row of scale, int64 [requantizers, (multiplier,
    bias), outputs]; its arithmetic has 32 or 64 bits. The adding step adds ``other``, an int8
    tensor.
    """
    value = numba.carray(_stack(program, _TILE), _TILE)
    for b in range(_tile):
        value[b] = tile[b]
    row = 0
    for k in range(program.shape[0]):
        kind, shift, lo, hi = program[k, 0], program[k, 1], program[k, 2], program[k, 3]
        if kind == REQUANTIZE_32:
            m, c = np.int32(scale[row, 0, o]), np.int32(scale[row, 1, o])
            lo32, hi32, shift32 = np.int32(lo), np.int32(hi), np.int32(shift)
            row += 1
            for b in range(_tile):
                v = np.int32(np.int32(value[b]) * m + c) >> shift32
                value[b] = max(lo32, min(hi32, np.int32(v)))
        elif kind == REQUANTIZE_64:
            m64, c64 = scale[row, 0, o], scale[row, 1, o]
            row += 1
            for b in range(_tile):
                value[b] = max(lo, min(hi, (value[b] * m64 + c64) >> shift))
        else:
            a = np.uintp(at[1][0] + o * at[1][1] + p * at[1][2] + q * LANES)
            for b in range(_tile):
                value[b] += other[a + b]
    a = np.uintp(at[0][0] + o * at[0][1] + p * at[0][2] + q * LANES)
    for n in range(np.uintp(min(PIXELS, size[2] - q))):
        for b in range(_lanes):
            out[a + n * _lanes + b] = value[n * _lanes + b]


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
