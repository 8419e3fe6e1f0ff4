"""Rows in the input ring of a windowed stage: the fewest that keep its pace."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hwsim.accelerator.timing import Timing
from hwsim.jit import njit

MULTIPLES = (1, 2, 4)
"""Possible heights of a ring, in kernel heights: the number of rows of each bank."""

FRAMES = 16


def size_ring(timing: Timing, interval_cycles: int) -> Timing:
    """``timing`` with the lowest ring that lets a frame pass every ``interval_cycles``.

    A ring of one kernel height accepts a row while another row is used up. More rows are needed if
    many rows become free at once (strides, missing padding, tiny images) and the stage has no time
    to wait for the next rows. If no ring is high enough, the highest ring is taken.
    """
    for multiple in MULTIPLES:
        sized = replace(timing, row_slots=multiple * timing.kernel[0])
        if pace(sized) <= interval_cycles:
            break
    return sized


@lru_cache(maxsize=4096)
def pace(timing: Timing) -> float:
    """Cycles per frame of a windowed stage whose neighbours never let it wait."""
    # Steps of the first group may each wait for a beat of their own.
    lead = max(need - step for step, need in enumerate(timing.need))
    written = np.zeros(FRAMES * timing.rows * timing.cols, np.int64)
    done = np.zeros(FRAMES * timing.out_rows * timing.out_cols, np.int64)
    _play(
        timing.row_slots,
        timing.release,
        (timing.rows, timing.cols, timing.beats),
        (timing.out_rows, timing.out_cols, timing.groups * timing.steps),
        timing.kernel,
        timing.stride,
        timing.pad,
        lead,
        written,
        done,
    )
    last = done[timing.out_rows * timing.out_cols - 1 :: timing.out_rows * timing.out_cols]
    half = FRAMES // 2
    return float(last[-1] - last[half - 1]) / (FRAMES - half)


@njit
def _play(slots, release, x, y, kernel, stride, pad, lead, written, done):  # type: ignore[no-untyped-def]
    """Play the contract pixel by pixel; x, y: (rows, columns, cycles per pixel) in and out.

    Fills in the dates of the first beat of each input pixel and the last step of each output
    pixel.
    """
    rows, cols, beats = x
    out_rows, out_cols, steps = y
    last_write, last_step = -beats, -1
    pixel_in = 0
    released = 0  # rows left behind by output rows before `release_row`
    release_row = 0
    for pixel in range(len(done)):
        row, q = pixel // out_cols, pixel % out_cols
        frame, p = row // out_rows, row % out_rows
        need_row = frame * rows + min(rows - 1, stride[0] * p - pad[0] + kernel[0] - 1)
        need = need_row * cols + min(cols - 1, stride[1] * q - pad[1] + kernel[1] - 1)
        while pixel_in <= need:
            old, col = pixel_in // cols - slots, pixel_in % cols
            free = 0
            if old >= 0:
                while released <= old:
                    release_row += 1
                    f, r = release_row // out_rows, release_row % out_rows
                    released = f * rows + max(0, stride[0] * r - pad[0])
                left = min((col + pad[1]) // stride[1] + 1, out_cols)
                free = done[(release_row - 1) * out_cols + left - 1] + release
            last_write = max(last_write + beats, free)
            written[pixel_in] = last_write
            pixel_in += 1
        last_step = max(last_step + steps, written[need] + lead + steps)
        done[pixel] = last_step
