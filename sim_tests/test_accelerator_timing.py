"""Figures of the timing contract against the window's places, written down one by one."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.accelerator.timing import Timing, fifo_latency, tree_registers, window_read


def drawn(seed: int) -> Timing:
    """A windowed stage whose two directions differ."""
    rng = np.random.default_rng(seed)
    kernel = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    return Timing(
        rows=int(rng.integers(4, 9)),
        cols=int(rng.integers(4, 9)),
        beats=int(rng.integers(1, 4)),
        latency=5,
        kernel=kernel,
        stride=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pad=(int(rng.integers(0, kernel[0])), int(rng.integers(0, kernel[1]))),
        row_slots=kernel[0] * int(rng.choice([1, 2, 4])),
        groups=int(rng.integers(1, 4)),
        steps=int(rng.integers(1, 4)),
    )


def windows(length: int, kernel: int, stride: int, pad: int) -> list[list[int]]:
    """Places -pad .. of every window along one axis that lies within the padded image."""
    starts = range(-pad, length + pad - kernel + 1, stride)
    return [list(range(start, start + kernel)) for start in starts]


@pytest.mark.parametrize("seed", range(60))
def test_geometry(seed: int) -> None:
    t = drawn(seed)
    rows, cols = (windows((t.rows, t.cols)[n], t.kernel[n], t.stride[n], t.pad[n]) for n in (0, 1))
    assert (t.out_rows, t.out_cols) == (len(rows), len(cols))
    assert t.input_beats == sum(1 for _ in np.ndindex(t.rows, t.cols, t.beats))
    assert t.frame_steps == sum(1 for _ in np.ndindex(len(rows), len(cols), t.groups, t.steps))
    first = [max(0, places[0]) for places in rows]
    assert [t.first_row(p) for p in range(len(rows))] == first
    last = [min(t.rows - 1, places[-1]) for places in rows]
    assert [t.last_row(p) for p in range(len(rows))] == last
    freed = np.diff([*first, t.rows])
    assert [t.row_advance(p) for p in range(len(rows))] == freed.tolist()


@pytest.mark.parametrize("seed", range(60))
def test_banks_have_a_word_for_each_place_and_no_more(seed: int) -> None:
    t = drawn(seed)
    read = {t.pad[1] + x for places in windows(t.cols, t.kernel[1], t.stride[1], t.pad[1])
            for x in places}  # fmt: skip
    written = {t.pad[1] + x for x in range(t.cols)}
    # Neighbouring columns lie in different banks, so do neighbouring rows.
    columns = {x // t.kernel[1] for x in read | written}
    assert columns == set(range(t.bank_columns))
    held = [row for row in range(t.row_slots) if row % t.kernel[0] == 0]
    assert t.bank_words == len(held) * len(columns) * t.beats


def test_latencies() -> None:
    kernels = {(1, 1): 2, (1, 2): 3, (2, 1): 3, (2, 2): 4, (1, 3): 3, (5, 1): 3, (3, 3): 4}
    assert {kernel: window_read(kernel) for kernel in kernels} == kernels
    for terms in range(1, 70):
        levels, left = 0, terms
        while left > 1:
            levels, left = levels + 1, left // 2 + left % 2
        assert tree_registers(terms) == len(range(0, levels, 2))
    assert [fifo_latency(depth) for depth in (1, 31, 32, 33, 64)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("last_pixel", "last_step", "beats"),
    [(False, False, 6 * 2 * 3), (False, True, 6 * 2), (True, False, 2 * 3), (True, True, 2)],
)
def test_beats_that_leave(last_pixel: bool, last_step: bool, beats: int) -> None:
    t = Timing(2, 3, 4, 5, groups=2, steps=3, emit_last_pixel=last_pixel, emit_last_step=last_step)
    assert t.output_beats == beats
    assert t.ideal_interval == 36
    assert t.release == 2
    assert Timing(2, 1, 4, 5).release == 1
    assert t.streaming
    assert not drawn(0).streaming
