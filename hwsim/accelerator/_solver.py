"""Numba kernels that solve the timing contract, token by token (see timing.py).

Every stage advances as far as the dates that it needs are known; stages are visited in turn until
all frames are out, or until none can move, which proves a deadlock. Dates are kept only as long
as some token may still ask for them, so memory does not grow with the number of frames.
"""

from __future__ import annotations

import numpy as np

from hwsim.jit import njit

# Columns of the stage table.
(
    ROWS,
    COLS,
    BEATS,
    OUT_ROWS,
    OUT_COLS,
    STRIDE_Y,
    STRIDE_X,
    PAD_Y,
    PAD_X,
    KERNEL_Y,
    KERNEL_X,
    SLOTS,
    GROUPS,
    STEPS,
    EMIT_PIXEL,
    EMIT_STEP,
    LATENCY,
    NEED_AT,
    ACCEPT_AT,
    ACCEPT_CAP,
    DONE_AT,
    DONE_CAP,
    IN_0,
    IN_1,
    OUT_AT,
    OUT_COUNT,
    STAGE_COLUMNS,
) = range(27)

# Columns of the stage state.
(
    W_ROW,
    W_COL,
    W_BEAT,
    W_FRAME,
    W_TIME,
    W_COUNT,
    REL_ROW,
    R_FRAME,
    R_P,
    R_Q,
    R_G,
    R_N,
    R_TIME,
    R_READY,
    BUSY,
    BLOCKED,
    STATE_COLUMNS,
) = range(17)

# Columns of the FIFO table and state.
DEPTH, FIFO_LATENCY, RING_AT, FIFO_COLUMNS = range(4)
PUSHED, POPPED, SEEN_PUSH, SEEN_POP, HIGH, FIFO_STATE_COLUMNS = range(6)

# The trace's window: its first cycle, the one after its last, cycles per bin. What a bin counts.
FIRST, END, WIDTH = range(3)
TRACE_BUSY, TRACE_BLOCKED, TRACE_COLUMNS = range(3)

UNKNOWN = -1


@njit
def _mark(bins, column, begin, end, window):  # type: ignore[no-untyped-def]
    """Count the cycles ``begin`` .. ``end - 1`` into the bins of one stage."""
    first, width = window[FIRST], window[WIDTH]
    begin, end = max(begin, first), min(end, window[END])
    while begin < end:
        i = (begin - first) // width
        upto = min(end, first + (i + 1) * width)
        bins[i, column] += upto - begin
        begin = upto


@njit
def _see(fifo, until, fifos, state, push, pop):  # type: ignore[no-untyped-def]
    """Merge the known writes and reads of a FIFO by date to follow its level up to ``until``."""
    depth, at = fifos[fifo, DEPTH], fifos[fifo, RING_AT]
    i, k = state[fifo, SEEN_PUSH], state[fifo, SEEN_POP]
    while i < state[fifo, PUSHED] and k < state[fifo, POPPED]:
        if push[at + i % depth] < pop[at + k % depth]:
            if push[at + i % depth] < until:
                state[fifo, HIGH] = max(state[fifo, HIGH], i + 1 - k)
            i += 1
        else:
            k += 1
    state[fifo, SEEN_PUSH], state[fifo, SEEN_POP] = i, k


@njit
def _push(fifo, date, until, fifos, state, push, pop):  # type: ignore[no-untyped-def]
    _see(fifo, until, fifos, state, push, pop)
    depth = fifos[fifo, DEPTH]
    push[fifos[fifo, RING_AT] + state[fifo, PUSHED] % depth] = date
    state[fifo, PUSHED] += 1


@njit
def _pop(fifo, date, until, fifos, state, push, pop):  # type: ignore[no-untyped-def]
    _see(fifo, until, fifos, state, push, pop)
    depth = fifos[fifo, DEPTH]
    pop[fifos[fifo, RING_AT] + state[fifo, POPPED] % depth] = date
    state[fifo, POPPED] += 1


@njit
def _head(fifo, fifos, state, push):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat of a FIFO is offered; UNKNOWN when it was not written yet."""
    k = state[fifo, POPPED]
    if k >= state[fifo, PUSHED]:
        return UNKNOWN
    at = fifos[fifo, RING_AT] + k % fifos[fifo, DEPTH]
    return push[at] + fifos[fifo, FIFO_LATENCY]


@njit
def _room(fifo, fifos, state, pop):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat has a slot in a FIFO; UNKNOWN when that is still open."""
    k = state[fifo, PUSHED] - fifos[fifo, DEPTH]
    if k < 0:
        return 0
    if k >= state[fifo, POPPED]:
        return UNKNOWN
    return pop[fifos[fifo, RING_AT] + k % fifos[fifo, DEPTH]] + 1


@njit
def _first_row(s, p):  # type: ignore[no-untyped-def]
    return max(0, s[STRIDE_Y] * p - s[PAD_Y])


@njit
def _base(s, row):  # type: ignore[no-untyped-def]
    """First input row, counted over all frames, that output row ``row`` (ditto) needs."""
    return row // s[OUT_ROWS] * s[ROWS] + _first_row(s, row % s[OUT_ROWS])


@njit
def _release(s, st, done):  # type: ignore[no-untyped-def]
    """Cycle from which the ring has room for the writer's next beat; UNKNOWN when still open."""
    row = st[W_FRAME] * s[ROWS] + st[W_ROW]
    old = row - s[SLOTS]
    if old < 0:
        return 0
    while _base(s, st[REL_ROW]) <= old:
        st[REL_ROW] += 1
    # In the output row before REL_ROW the old row is used for the last time; there it becomes
    # free column by column.
    out_row = st[REL_ROW] - 1
    q = s[OUT_COLS]
    first = (st[W_COL] + s[PAD_X]) // s[STRIDE_X] + 1
    if first < q:
        q = first
    pixel = out_row * s[OUT_COLS] + q - 1
    finished = (st[R_FRAME] * s[OUT_ROWS] + st[R_P]) * s[OUT_COLS] + st[R_Q]
    if pixel >= finished:
        return UNKNOWN
    return done[s[DONE_AT] + pixel % s[DONE_CAP]] + 1


@njit
def _write(s, st, frames, until, fifos, fs, push, pop, accepts, done):  # type: ignore[no-untyped-def]
    """Let a windowed stage accept every beat whose date is known; True when one was."""
    moved = False
    fifo = s[IN_0]
    while st[W_FRAME] < frames:
        offered = _head(fifo, fifos, fs, push)
        if offered == UNKNOWN:
            break
        free = _release(s, st, done)
        if free == UNKNOWN:
            break
        date = max(st[W_TIME] + 1, offered, free)
        st[W_TIME] = date
        _pop(fifo, date, until, fifos, fs, push, pop)
        accepts[s[ACCEPT_AT] + st[W_COUNT] % s[ACCEPT_CAP]] = date
        st[W_COUNT] += 1
        moved = True
        st[W_BEAT] += 1
        if st[W_BEAT] == s[BEATS]:
            st[W_BEAT] = 0
            st[W_COL] += 1
            if st[W_COL] == s[COLS]:
                st[W_COL] = 0
                st[W_ROW] += 1
                if st[W_ROW] == s[ROWS]:
                    st[W_ROW] = 0
                    st[W_FRAME] += 1
    return moved


@njit
def _read(  # type: ignore[no-untyped-def]
    s, st, frames, until, outs, needs, fifos, fs, push, pop, accepts, done, window, bins
):
    """Issue every step whose date is known; True when one was."""
    moved = False
    windowed = s[SLOTS] > 0
    traced = len(bins) > 0
    while st[R_FRAME] < frames:
        last_pixel = st[R_P] == s[OUT_ROWS] - 1 and st[R_Q] == s[OUT_COLS] - 1
        n = st[R_N]
        last_step = n == s[STEPS] - 1
        emits = (last_pixel or s[EMIT_PIXEL] == 0) and (last_step or s[EMIT_STEP] == 0)
        if st[R_READY] == UNKNOWN:
            ready = st[R_TIME] + 1
            if windowed:
                if st[R_G] > 0 and s[EMIT_STEP] == 1:
                    # The window is complete since group 0 and only the last step can wait.
                    skipped = s[STEPS] - 1 - n
                    st[BUSY] += max(0, min(skipped, until - ready + 1))
                    if traced:
                        _mark(bins, TRACE_BUSY, ready, ready + skipped, window)
                    ready += skipped
                    n = s[STEPS] - 1
                    st[R_N] = n
                    last_step = True
                    emits = last_pixel or s[EMIT_PIXEL] == 0
                elif st[R_G] == 0:
                    y = min(s[ROWS] - 1, s[STRIDE_Y] * st[R_P] - s[PAD_Y] + s[KERNEL_Y] - 1)
                    x = min(s[COLS] - 1, s[STRIDE_X] * st[R_Q] - s[PAD_X] + s[KERNEL_X] - 1)
                    row = st[R_FRAME] * s[ROWS] + y
                    need = (row * s[COLS] + x) * s[BEATS] + needs[s[NEED_AT] + n]
                    if need >= st[W_COUNT]:
                        break
                    ready = max(ready, accepts[s[ACCEPT_AT] + need % s[ACCEPT_CAP]] + 1)
            else:
                offered = _head(s[IN_0], fifos, fs, push)
                if offered == UNKNOWN:
                    break
                ready = max(ready, offered)
                if s[IN_1] >= 0:
                    offered = _head(s[IN_1], fifos, fs, push)
                    if offered == UNKNOWN:
                        break
                    ready = max(ready, offered)
            st[R_READY] = ready
        start = st[R_READY]
        if emits:
            for i in range(s[OUT_COUNT]):
                room = _room(outs[s[OUT_AT] + i], fifos, fs, pop)
                if room == UNKNOWN:
                    return moved
                start = max(start, room)
            for i in range(s[OUT_COUNT]):
                _push(outs[s[OUT_AT] + i], start + s[LATENCY], until, fifos, fs, push, pop)
        st[BLOCKED] += max(0, min(start, until + 1) - st[R_READY])
        if start <= until:
            st[BUSY] += 1
        if traced:
            _mark(bins, TRACE_BLOCKED, st[R_READY], start, window)
            _mark(bins, TRACE_BUSY, start, start + 1, window)
        st[R_READY] = UNKNOWN
        st[R_TIME] = start
        moved = True
        if not windowed:
            _pop(s[IN_0], start, until, fifos, fs, push, pop)
            if s[IN_1] >= 0:
                _pop(s[IN_1], start, until, fifos, fs, push, pop)
        st[R_N] += 1
        if not last_step:
            continue
        st[R_N] = 0
        st[R_G] += 1
        if st[R_G] < s[GROUPS]:
            continue
        st[R_G] = 0
        if windowed:
            pixel = (st[R_FRAME] * s[OUT_ROWS] + st[R_P]) * s[OUT_COLS] + st[R_Q]
            done[s[DONE_AT] + pixel % s[DONE_CAP]] = start
        st[R_Q] += 1
        if st[R_Q] == s[OUT_COLS]:
            st[R_Q] = 0
            st[R_P] += 1
            if st[R_P] == s[OUT_ROWS]:
                st[R_P] = 0
                st[R_FRAME] += 1
    return moved


@njit
def solve(  # type: ignore[no-untyped-def]
    stages,
    outs,
    needs,
    fifos,
    source,
    sink,
    frames,
    until,
    in_beats,
    out_beats,
    gaps,
    stalls,
    sizes,
    window,
    trace,
):
    """Solve all frames.

    stages, fifos: the tables above. source, sink: index of the first and the last FIFO.
    gaps: idle cycles before each input beat; stalls: not-ready cycles before each output beat;
    both repeat cyclically. until: last cycle that counts for busy, blocked and FIFO levels.
    trace: [stages, bins, 2], to which the busy and blocked cycles in ``window`` are added bin by
    bin, whatever ``until`` is; no bins, no trace.
    Returns (complete, stage state, FIFO state, dates of each frame's
    first and last input and output beat [frames, 4]).
    """
    ring_size, accept_size, done_size = sizes[0], sizes[1], sizes[2]
    push = np.zeros(ring_size, np.int64)
    pop = np.zeros(ring_size, np.int64)
    accepts = np.zeros(accept_size, np.int64)
    done = np.zeros(done_size, np.int64)
    state = np.zeros((len(stages), STATE_COLUMNS), np.int64)
    for i in range(len(stages)):
        state[i, W_TIME] = -1
        state[i, R_TIME] = -1
        state[i, R_READY] = UNKNOWN
    fs = np.zeros((len(fifos), FIFO_STATE_COLUMNS), np.int64)
    dates = np.zeros((frames, 4), np.int64)
    offered, last_in, popped, last_out = 0, -1, 0, -1
    moved = True
    while moved:
        moved = False
        while offered < frames * in_beats:
            room = _room(source, fifos, fs, pop)
            if room == UNKNOWN:
                break
            last_in = max(last_in + 1 + gaps[offered % len(gaps)], room)
            _push(source, last_in, until, fifos, fs, push, pop)
            if offered % in_beats == 0:
                dates[offered // in_beats, 0] = last_in
            dates[offered // in_beats, 1] = last_in
            offered += 1
            moved = True
        for i in range(len(stages)):
            s, st = stages[i], state[i]
            going = True
            while going:
                going = False
                if s[SLOTS] > 0:
                    going = _write(s, st, frames, until, fifos, fs, push, pop, accepts, done)
                if _read(
                    s, st, frames, until, outs, needs, fifos, fs, push, pop, accepts, done, window,
                    trace[i],
                ):  # fmt: skip
                    going = s[SLOTS] > 0
                    moved = True
                if going:
                    moved = True
        while True:
            head = _head(sink, fifos, fs, push)
            if head == UNKNOWN:
                break
            last_out = max(head, last_out + 1 + stalls[popped % len(stalls)])
            _pop(sink, last_out, until, fifos, fs, push, pop)
            if popped % out_beats == 0:
                dates[popped // out_beats, 2] = last_out
            dates[popped // out_beats, 3] = last_out
            popped += 1
            moved = True
    for i in range(len(fifos)):
        _see(i, until, fifos, fs, push, pop)
    return popped == frames * out_beats, state, fs, dates
