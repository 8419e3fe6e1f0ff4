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
    ACCEPT_MASK,
    DONE_AT,
    DONE_MASK,
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
    W_FREE,
    REL_ROW,
    REL_P,
    REL_BASE,
    R_FRAME,
    R_P,
    R_Q,
    R_G,
    R_N,
    R_TIME,
    R_READY,
    BUSY,
    BLOCKED,
    BLOCKED_THEN,
    BLOCKED_BEFORE,
    STATE_COLUMNS,
) = range(22)

# Columns of the FIFO table and state.
(
    DEPTH,
    FIFO_LATENCY,
    FRAME_BEATS,
    RING_AT,
    RING_MASK,
    PRODUCER,
    CONSUMER,
    FIFO_COLUMNS,
) = range(8)
PUSHED, POPPED, SEEN, HIGH, SHIFT, REPEATED, FIFO_STATE_COLUMNS = range(7)

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
    """Follow the beats that were popped: highest level up to cycle ``until``, and repetition.

    Beat i lifts the level above ``high`` when beat i - high is still inside as it comes.
    REPEATED counts the latest beats that came and went SHIFT cycles after those of the frame
    before, all of them.
    """
    at, mask, frame = fifos[fifo, RING_AT], fifos[fifo, RING_MASK], fifos[fifo, FRAME_BEATS]
    high, shift, repeated = state[fifo, HIGH], state[fifo, SHIFT], state[fifo, REPEATED]
    for i in range(state[fifo, SEEN], state[fifo, POPPED]):
        date = push[at + (i & mask)]
        while high <= i and pop[at + ((i - high) & mask)] > date and date < until:
            high += 1
        if i >= frame:
            came = date - push[at + ((i - frame) & mask)]
            went = pop[at + (i & mask)] - pop[at + ((i - frame) & mask)]
            if came != went:
                repeated = 0
            elif came == shift:
                repeated += 1
            else:
                shift, repeated = came, 1
    state[fifo, SEEN], state[fifo, HIGH] = state[fifo, POPPED], high
    state[fifo, SHIFT], state[fifo, REPEATED] = shift, repeated


@njit
def _enough(frames, lookback, until, fifos, state, push, pop):  # type: ignore[no-untyped-def]
    """How many of ``frames`` have to be solved: fewer, once the rest must repeat.

    Every date is the maximum of dates at most ``lookback`` frames earlier plus constants, the
    same in each frame. So when all dates of ``lookback`` frames are those of the frames before,
    shifted alike, then so are all that follow. The frames already begun are still solved.
    """
    begun, first, last = 0, 0, frames
    for i in range(len(fifos)):
        _see(i, until, fifos, state, push, pop)
        frame = fifos[i, FRAME_BEATS]
        if state[i, REPEATED] == 0 or state[i, SHIFT] != state[0, SHIFT]:
            return frames
        first = max(first, (state[i, SEEN] - state[i, REPEATED] + frame - 1) // frame)
        last = min(last, state[i, SEEN] // frame)
        begun = max(begun, (state[i, PUSHED] + frame - 1) // frame)
    return min(frames, begun + 2) if first + lookback <= last else frames


@njit
def _push(fifo, date, until, fifos, state, push, pop):  # type: ignore[no-untyped-def]
    n, mask = state[fifo, PUSHED], fifos[fifo, RING_MASK]
    if n - state[fifo, SEEN] >= mask - max(fifos[fifo, DEPTH], fifos[fifo, FRAME_BEATS]):
        _see(fifo, until, fifos, state, push, pop)
    push[fifos[fifo, RING_AT] + (n & mask)] = date
    state[fifo, PUSHED] = n + 1


@njit
def _pop(fifo, date, fifos, state, pop):  # type: ignore[no-untyped-def]
    n = state[fifo, POPPED]
    pop[fifos[fifo, RING_AT] + (n & fifos[fifo, RING_MASK])] = date
    state[fifo, POPPED] = n + 1


@njit
def _head(fifo, fifos, state, push):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat of a FIFO is offered; UNKNOWN when it was not written yet."""
    k = state[fifo, POPPED]
    if k >= state[fifo, PUSHED]:
        return UNKNOWN
    at = fifos[fifo, RING_AT] + (k & fifos[fifo, RING_MASK])
    return push[at] + fifos[fifo, FIFO_LATENCY]


@njit
def _room(fifo, fifos, state, pop):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat has a slot in a FIFO; UNKNOWN when that is still open."""
    k = state[fifo, PUSHED] - fifos[fifo, DEPTH]
    if k < 0:
        return 0
    if k >= state[fifo, POPPED]:
        return UNKNOWN
    return pop[fifos[fifo, RING_AT] + (k & fifos[fifo, RING_MASK])] + 1


@njit
def _release(s, st, done):  # type: ignore[no-untyped-def]
    """Cycle from which the ring has room for the writer's pixel; UNKNOWN when still open."""
    old = st[W_FRAME] * s[ROWS] + st[W_ROW] - s[SLOTS]
    if old < 0:
        return 0
    # REL_ROW, counted over all frames, is the first output row that leaves the old row behind.
    while st[REL_BASE] <= old:
        st[REL_ROW] += 1
        st[REL_P] += 1
        if st[REL_P] == s[OUT_ROWS]:
            st[REL_P] = 0
        frame = st[REL_ROW] // s[OUT_ROWS]
        first = max(0, s[STRIDE_Y] * st[REL_P] - s[PAD_Y])
        st[REL_BASE] = frame * s[ROWS] + first
    # In the output row before, the old row becomes free column by column.
    out_row = st[REL_ROW] - 1
    first = st[W_COL] + s[PAD_X] + 1
    if s[STRIDE_X] > 1:
        first = (first - 1) // s[STRIDE_X] + 1
    pixel = out_row * s[OUT_COLS] + min(first, s[OUT_COLS]) - 1
    finished = (st[R_FRAME] * s[OUT_ROWS] + st[R_P]) * s[OUT_COLS] + st[R_Q]
    if pixel >= finished:
        return UNKNOWN
    return done[s[DONE_AT] + (pixel & s[DONE_MASK])] + 1


@njit
def _write(s, st, frames, fifos, fs, push, pop, accepts, done):  # type: ignore[no-untyped-def]
    """Let a windowed stage accept every beat whose date is known; True when one was."""
    moved = False
    fifo = s[IN_0]
    while st[W_FRAME] < frames:
        offered = _head(fifo, fifos, fs, push)
        if offered == UNKNOWN:
            break
        if st[W_FREE] == UNKNOWN:
            # All beats of a pixel wait for the same.
            st[W_FREE] = _release(s, st, done)
            if st[W_FREE] == UNKNOWN:
                break
        date = max(st[W_TIME] + 1, offered, st[W_FREE])
        st[W_TIME] = date
        _pop(fifo, date, fifos, fs, pop)
        accepts[s[ACCEPT_AT] + (st[W_COUNT] & s[ACCEPT_MASK])] = date
        st[W_COUNT] += 1
        moved = True
        st[W_BEAT] += 1
        if st[W_BEAT] == s[BEATS]:
            st[W_BEAT] = 0
            st[W_FREE] = UNKNOWN
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
                    ready = max(ready, accepts[s[ACCEPT_AT] + (need & s[ACCEPT_MASK])] + 1)
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
            _pop(s[IN_0], start, fifos, fs, pop)
            if s[IN_1] >= 0:
                _pop(s[IN_1], start, fifos, fs, pop)
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
            done[s[DONE_AT] + (pixel & s[DONE_MASK])] = start
        st[R_Q] += 1
        if st[R_Q] == s[OUT_COLS]:
            st[R_Q] = 0
            st[R_P] += 1
            if st[R_P] == s[OUT_ROWS]:
                st[R_P] = 0
                st[R_FRAME] += 1
                st[BLOCKED_BEFORE], st[BLOCKED_THEN] = st[BLOCKED_THEN], st[BLOCKED]
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
    lookback,
    window,
    trace,
):
    """Solve ``frames`` frames, or as many as it takes until the rest must repeat.

    stages, fifos: the tables above. source, sink: index of the first and the last FIFO.
    gaps: idle cycles before each input beat; stalls: not-ready cycles before each output beat;
    both repeat cyclically. lookback: frames that a date may depend on (``_enough``), 0 to solve all
    frames. until: last cycle that counts for busy, blocked and FIFO levels.
    trace: [stages, bins, 2], to which the busy and blocked cycles in ``window`` are added bin by
    bin, whatever ``until`` is; no bins, no trace.
    Returns (complete, stage state, FIFO state, dates of the first and last input and output beat
    of each frame that was solved [frames, 4]).
    """
    ring_size, accept_size, done_size = sizes[0], sizes[1], sizes[2]
    push = np.zeros(ring_size, np.int64)
    pop = np.zeros(ring_size, np.int64)
    accepts = np.zeros(accept_size, np.int64)
    done = np.zeros(done_size, np.int64)
    state = np.zeros((len(stages), STATE_COLUMNS), np.int64)
    for i in range(len(stages)):
        state[i, W_TIME] = -1
        state[i, W_FREE] = UNKNOWN
        state[i, R_TIME] = -1
        state[i, R_READY] = UNKNOWN
    fs = np.zeros((len(fifos), FIFO_STATE_COLUMNS), np.int64)
    dates = np.zeros((frames, 4), np.int64)
    # Stages to be visited; the last place stands for source and sink, which always are.
    waiting = np.ones(len(stages) + 1, np.bool_)
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
            waiting[fifos[source, CONSUMER]] = True
        for i in range(len(stages)):
            if not waiting[i]:
                continue
            waiting[i] = False
            s, st = stages[i], state[i]
            went = s[SLOTS] > 0 and _write(s, st, frames, fifos, fs, push, pop, accepts, done)
            if _read(
                s, st, frames, until, outs, needs, fifos, fs, push, pop, accepts, done, window,
                trace[i],
            ):  # fmt: skip
                went = True
            if went:
                moved = True
                # Only its neighbours and itself can go further by what this stage did.
                waiting[i] = True
                waiting[fifos[s[IN_0], PRODUCER]] = True
                if s[IN_1] >= 0:
                    waiting[fifos[s[IN_1], PRODUCER]] = True
                for n in range(s[OUT_COUNT]):
                    waiting[fifos[outs[s[OUT_AT] + n], CONSUMER]] = True
        while True:
            head = _head(sink, fifos, fs, push)
            if head == UNKNOWN:
                break
            last_out = max(head, last_out + 1 + stalls[popped % len(stalls)])
            _pop(sink, last_out, fifos, fs, pop)
            if popped % out_beats == 0:
                dates[popped // out_beats, 2] = last_out
            dates[popped // out_beats, 3] = last_out
            popped += 1
            moved = True
            waiting[fifos[sink, PRODUCER]] = True
            if popped % out_beats == 0 and lookback > 0:
                fewer = _enough(frames, lookback, until, fifos, fs, push, pop)
                if fewer < frames:
                    frames, lookback = fewer, 0
    for i in range(len(fifos)):
        _see(i, until, fifos, fs, push, pop)
    return popped == frames * out_beats, state, fs, dates[:frames]
