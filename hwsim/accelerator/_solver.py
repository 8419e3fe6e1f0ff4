"""Numba kernels that solve the timing contract, token by token (see timing.py).

Every stage advances as far as the dates that it needs are known; stages are visited in turn until
all frames are out, or until none can move, which proves a deadlock. Dates are kept only as long
as some token may still ask for them, so memory does not grow with the number of frames.

A visit often moves a single beat, so its fixed costs count: one row of a table holds all about a
stage or FIFO, its constants and its state, and one array (``store``) holds all lists and rings of
dates, at the places that the ``*_AT`` columns name.
"""

from __future__ import annotations

import numpy as np

from hwsim.jit import njit

# Columns of the stage table: the timing contract, its links, then the state of writer (W_), of
# row release (REL_) and reader (R_), and what is counted.
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
    RELEASE,
    GROUPS,
    STEPS,
    EMIT_PIXEL,
    EMIT_STEP,
    LATENCY,
    NEED_AT,
    DONE_AT,
    DONE_MASK,
    IN_0,
    IN_1,
    OUT_AT,
    OUT_COUNT,
    STAGE_CONSTANTS,
) = range(26)
(
    W_ROW,
    W_COL,
    W_BEAT,
    W_FRAME,
    W_TIME,
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
    STAGE_COLUMNS,
) = range(STAGE_CONSTANTS, STAGE_CONSTANTS + 21)

# Columns of the FIFO table: constants, then state.
(
    DEPTH,
    FIFO_LATENCY,
    FRAME_BEATS,
    PUSH_AT,
    POP_AT,
    RING_MASK,
    PRODUCER,
    CONSUMER,
    FIFO_CONSTANTS,
) = range(9)
PUSHED, POPPED, SEEN, HIGH, SHIFT, REPEATED, FIFO_COLUMNS = range(
    FIFO_CONSTANTS, FIFO_CONSTANTS + 7
)

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
def _see(fifo, until, fifos, store):  # type: ignore[no-untyped-def]
    """Follow the beats that were popped: highest level up to cycle ``until``, and repetition.

    Beat i lifts the level above ``high`` when beat i - high is still inside as it comes.
    REPEATED counts the latest beats that came and went SHIFT cycles after those of the frame
    before, all of them.
    """
    push, pop, mask = fifos[fifo, PUSH_AT], fifos[fifo, POP_AT], fifos[fifo, RING_MASK]
    frame, popped = fifos[fifo, FRAME_BEATS], fifos[fifo, POPPED]
    high, shift, repeated = fifos[fifo, HIGH], fifos[fifo, SHIFT], fifos[fifo, REPEATED]
    for i in range(fifos[fifo, SEEN], popped):
        date = store[push + (i & mask)]
        while high <= i and store[pop + ((i - high) & mask)] > date and date < until:
            high += 1
        if i >= frame:
            came = date - store[push + ((i - frame) & mask)]
            went = store[pop + (i & mask)] - store[pop + ((i - frame) & mask)]
            if came != went:
                repeated = 0
            elif came == shift:
                repeated += 1
            else:
                shift, repeated = came, 1
    fifos[fifo, SEEN], fifos[fifo, HIGH] = popped, high
    fifos[fifo, SHIFT], fifos[fifo, REPEATED] = shift, repeated


@njit
def _enough(frames, lookback, until, fifos, store):  # type: ignore[no-untyped-def]
    """How many of ``frames`` have to be solved: fewer, once the rest must repeat.

    Every date is the maximum of dates at most ``lookback`` frames earlier plus constants, the
    same in each frame. So when all dates of ``lookback`` frames are those of the frames before,
    shifted alike, then so are all that follow. The frames already begun are still solved.
    """
    begun, first, last = 0, 0, frames
    for i in range(len(fifos)):
        _see(i, until, fifos, store)
        frame = fifos[i, FRAME_BEATS]
        if fifos[i, REPEATED] == 0 or fifos[i, SHIFT] != fifos[0, SHIFT]:
            return frames
        first = max(first, (fifos[i, SEEN] - fifos[i, REPEATED] + frame - 1) // frame)
        last = min(last, fifos[i, SEEN] // frame)
        begun = max(begun, (fifos[i, PUSHED] + frame - 1) // frame)
    return min(frames, begun + 2) if first + lookback <= last else frames


@njit
def _push(fifo, date, until, fifos, store):  # type: ignore[no-untyped-def]
    n, mask = fifos[fifo, PUSHED], fifos[fifo, RING_MASK]
    if n - fifos[fifo, SEEN] >= mask - max(fifos[fifo, DEPTH], fifos[fifo, FRAME_BEATS]):
        _see(fifo, until, fifos, store)
    store[fifos[fifo, PUSH_AT] + (n & mask)] = date
    fifos[fifo, PUSHED] = n + 1


@njit
def _pop(fifo, date, fifos, store):  # type: ignore[no-untyped-def]
    n = fifos[fifo, POPPED]
    store[fifos[fifo, POP_AT] + (n & fifos[fifo, RING_MASK])] = date
    fifos[fifo, POPPED] = n + 1


@njit
def _head(fifo, fifos, store):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat of a FIFO is offered; UNKNOWN when it was not written yet."""
    k = fifos[fifo, POPPED]
    if k >= fifos[fifo, PUSHED]:
        return UNKNOWN
    at = fifos[fifo, PUSH_AT] + (k & fifos[fifo, RING_MASK])
    return store[at] + fifos[fifo, FIFO_LATENCY]


@njit
def _room(fifo, fifos, store):  # type: ignore[no-untyped-def]
    """Cycle from which the next beat has a slot in a FIFO; UNKNOWN when that is still open."""
    k = fifos[fifo, PUSHED] - fifos[fifo, DEPTH]
    if k < 0:
        return 0
    if k >= fifos[fifo, POPPED]:
        return UNKNOWN
    return store[fifos[fifo, POP_AT] + (k & fifos[fifo, RING_MASK])] + 1


@njit
def _release(i, stages, store):  # type: ignore[no-untyped-def]
    """Cycle from which the ring has room for the writer's pixel; UNKNOWN when still open."""
    rows, out_rows, out_cols = stages[i, ROWS], stages[i, OUT_ROWS], stages[i, OUT_COLS]
    old = stages[i, W_FRAME] * rows + stages[i, W_ROW] - stages[i, SLOTS]
    if old < 0:
        return 0
    # REL_ROW, counted over all frames, is the first output row that leaves the old row behind.
    while stages[i, REL_BASE] <= old:
        stages[i, REL_ROW] += 1
        stages[i, REL_P] += 1
        if stages[i, REL_P] == out_rows:
            stages[i, REL_P] = 0
        frame = stages[i, REL_ROW] // out_rows
        first = max(0, stages[i, STRIDE_Y] * stages[i, REL_P] - stages[i, PAD_Y])
        stages[i, REL_BASE] = frame * rows + first
    # In the output row before, the old row becomes free column by column.
    out_row = stages[i, REL_ROW] - 1
    first = stages[i, W_COL] + stages[i, PAD_X] + 1
    if stages[i, STRIDE_X] > 1:
        first = (first - 1) // stages[i, STRIDE_X] + 1
    pixel = out_row * out_cols + min(first, out_cols) - 1
    finished = (stages[i, R_FRAME] * out_rows + stages[i, R_P]) * out_cols + stages[i, R_Q]
    if pixel >= finished:
        return UNKNOWN
    return store[stages[i, DONE_AT] + (pixel & stages[i, DONE_MASK])] + stages[i, RELEASE]


@njit
def _write(i, stages, fifos, store):  # type: ignore[no-untyped-def]
    """Let a windowed stage accept every beat whose date is known; True when one was."""
    fifo = stages[i, IN_0]
    popped, pushed, mask = fifos[fifo, POPPED], fifos[fifo, PUSHED], fifos[fifo, RING_MASK]
    push, pop, latency = fifos[fifo, PUSH_AT], fifos[fifo, POP_AT], fifos[fifo, FIFO_LATENCY]
    beats, beat = stages[i, BEATS], stages[i, W_BEAT]
    time, free = stages[i, W_TIME], stages[i, W_FREE]
    begin = popped
    while popped < pushed:
        if free == UNKNOWN:
            # All beats of a pixel wait for the same.
            free = _release(i, stages, store)
            if free == UNKNOWN:
                break
        date = store[push + (popped & mask)] + latency
        time = max(time + 1, date, free)
        store[pop + (popped & mask)] = time
        popped += 1
        beat += 1
        if beat == beats:
            beat = 0
            free = UNKNOWN
            stages[i, W_COL] += 1
            if stages[i, W_COL] == stages[i, COLS]:
                stages[i, W_COL] = 0
                stages[i, W_ROW] += 1
                if stages[i, W_ROW] == stages[i, ROWS]:
                    stages[i, W_ROW] = 0
                    stages[i, W_FRAME] += 1
    stages[i, W_BEAT], stages[i, W_TIME], stages[i, W_FREE] = beat, time, free
    fifos[fifo, POPPED] = popped
    return popped > begin


@njit
def _window_end(i, stages):  # type: ignore[no-untyped-def]
    """First beat of the last pixel that the reader's window needs, counted over all frames."""
    y = stages[i, STRIDE_Y] * stages[i, R_P] - stages[i, PAD_Y] + stages[i, KERNEL_Y] - 1
    x = stages[i, STRIDE_X] * stages[i, R_Q] - stages[i, PAD_X] + stages[i, KERNEL_X] - 1
    row = stages[i, R_FRAME] * stages[i, ROWS] + min(stages[i, ROWS] - 1, y)
    return (row * stages[i, COLS] + min(stages[i, COLS] - 1, x)) * stages[i, BEATS]


@njit
def _pixel_done(i, stages, store):  # type: ignore[no-untyped-def]
    """Move the reader on to the next output pixel."""
    out_rows, out_cols = stages[i, OUT_ROWS], stages[i, OUT_COLS]
    if stages[i, SLOTS] > 0:
        pixel = (stages[i, R_FRAME] * out_rows + stages[i, R_P]) * out_cols + stages[i, R_Q]
        store[stages[i, DONE_AT] + (pixel & stages[i, DONE_MASK])] = stages[i, R_TIME]
    stages[i, R_Q] += 1
    if stages[i, R_Q] == out_cols:
        stages[i, R_Q] = 0
        stages[i, R_P] += 1
        if stages[i, R_P] == out_rows:
            stages[i, R_P] = 0
            stages[i, R_FRAME] += 1
            stages[i, BLOCKED_BEFORE] = stages[i, BLOCKED_THEN]
            stages[i, BLOCKED_THEN] = stages[i, BLOCKED]


@njit
def _read(i, until, stages, fifos, store, window, bins):  # type: ignore[no-untyped-def]
    """Issue every step whose date is known; True when one was."""
    fifo, other = stages[i, IN_0], stages[i, IN_1]
    windowed, traced = stages[i, SLOTS] > 0, len(bins) > 0
    steps, groups = stages[i, STEPS], stages[i, GROUPS]
    once_a_group, once_a_frame = stages[i, EMIT_STEP] == 1, stages[i, EMIT_PIXEL] == 1
    needs, last_step = stages[i, NEED_AT], steps - 1
    # A windowed stage's beats are accepted as they leave the FIFO.
    accepts, mask, accepted = fifos[fifo, POP_AT], fifos[fifo, RING_MASK], fifos[fifo, POPPED]
    n, group, time, ready = stages[i, R_N], stages[i, R_G], stages[i, R_TIME], stages[i, R_READY]
    end = _window_end(i, stages) if windowed else 0
    moved = False
    while True:
        if ready == UNKNOWN:
            ready = time + 1
            if not windowed:
                offered = _head(fifo, fifos, store)
                if offered == UNKNOWN:
                    ready = UNKNOWN
                    break
                ready = max(ready, offered)
                if other >= 0:
                    offered = _head(other, fifos, store)
                    if offered == UNKNOWN:
                        ready = UNKNOWN
                        break
                    ready = max(ready, offered)
            else:
                complete = group > 0
                if not complete:
                    # Beats are needed in order, so none waits when the last one is there.
                    need = end + store[needs + last_step]
                    complete = need < accepted and store[accepts + (need & mask)] < ready
                if not complete:
                    need = end + store[needs + n]
                    if need >= accepted:
                        ready = UNKNOWN
                        break
                    ready = max(ready, store[accepts + (need & mask)] + 1)
                elif once_a_group and n < last_step:
                    # Only the last step can wait, for room.
                    skipped = last_step - n
                    stages[i, BUSY] += max(0, min(skipped, until - ready + 1))
                    if traced:
                        _mark(bins, TRACE_BUSY, ready, ready + skipped, window)
                    ready += skipped
                    n = last_step
        start = ready
        emits = n == last_step or not once_a_group
        if emits and once_a_frame:
            last_row = stages[i, R_P] == stages[i, OUT_ROWS] - 1
            emits = last_row and stages[i, R_Q] == stages[i, OUT_COLS] - 1
        if emits:
            open_room = False
            for k in range(stages[i, OUT_AT], stages[i, OUT_AT] + stages[i, OUT_COUNT]):
                room = _room(store[k], fifos, store)
                open_room = open_room or room == UNKNOWN
                start = max(start, room)
            if open_room:
                break
            for k in range(stages[i, OUT_AT], stages[i, OUT_AT] + stages[i, OUT_COUNT]):
                _push(store[k], start + stages[i, LATENCY], until, fifos, store)
        stages[i, BLOCKED] += max(0, min(start, until + 1) - ready)
        if start <= until:
            stages[i, BUSY] += 1
        if traced:
            _mark(bins, TRACE_BLOCKED, ready, start, window)
            _mark(bins, TRACE_BUSY, start, start + 1, window)
        time, ready = start, UNKNOWN
        moved = True
        if not windowed:
            _pop(fifo, start, fifos, store)
            if other >= 0:
                _pop(other, start, fifos, store)
        n += 1
        if n == steps:
            n = 0
            group += 1
            if group == groups:
                group = 0
                stages[i, R_TIME] = time
                _pixel_done(i, stages, store)
                if windowed:
                    end = _window_end(i, stages)
    stages[i, R_N], stages[i, R_G], stages[i, R_TIME], stages[i, R_READY] = n, group, time, ready
    return moved


@njit
def solve(  # type: ignore[no-untyped-def]
    stages,
    fifos,
    store,
    source,
    sink,
    frames,
    until,
    in_beats,
    out_beats,
    gaps,
    stalls,
    lookback,
    window,
    trace,
):
    """Solve ``frames`` frames, or as many as it takes until the rest must repeat.

    stages, fifos: the tables above, whose state columns are filled in. store: lists and, zeroed,
    the rings. source, sink: index of the first and the last FIFO.
    gaps: idle cycles before each input beat; stalls: cycles for which each output beat is refused
    once it is offered; both repeat cyclically. lookback: frames that a date may depend on
    (``_enough``), 0 to solve all frames. until: last cycle that counts for busy, blocked and FIFO
    levels.
    trace: [stages, bins, 2], to which the busy and blocked cycles in ``window`` are added bin by
    bin, whatever ``until`` is; no bins, no trace.
    Returns (complete, dates of the first and last input and output beat of each frame that was
    solved [frames, 4]).
    """
    for i in range(len(stages)):
        stages[i, W_TIME] = -1
        stages[i, W_FREE] = UNKNOWN
        stages[i, R_TIME] = -1
        stages[i, R_READY] = UNKNOWN
    dates = np.zeros((frames, 4), np.int64)
    # Stages to be visited; the last place stands for source and sink, which always are.
    waiting = np.ones(len(stages) + 1, np.bool_)
    offered, last_in, popped, last_out = 0, -1, 0, -1
    moved = True
    while moved:
        moved = False
        while offered < frames * in_beats:
            room = _room(source, fifos, store)
            if room == UNKNOWN:
                break
            last_in = max(last_in + 1 + gaps[offered % len(gaps)], room)
            _push(source, last_in, until, fifos, store)
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
            wrote = stages[i, SLOTS] > 0 and _write(i, stages, fifos, store)
            read = _read(i, until, stages, fifos, store, window, trace[i])
            # Only its neighbours can go further by what this stage did, and its own writer.
            if read:
                waiting[i] = stages[i, SLOTS] > 0
                for k in range(stages[i, OUT_AT], stages[i, OUT_AT] + stages[i, OUT_COUNT]):
                    waiting[fifos[store[k], CONSUMER]] = True
            if wrote or read:
                moved = True
                waiting[fifos[stages[i, IN_0], PRODUCER]] = True
                if stages[i, IN_1] >= 0:
                    waiting[fifos[stages[i, IN_1], PRODUCER]] = True
        while True:
            head = _head(sink, fifos, store)
            if head == UNKNOWN:
                break
            last_out = max(head, last_out + 1) + stalls[popped % len(stalls)]
            _pop(sink, last_out, fifos, store)
            if popped % out_beats == 0:
                dates[popped // out_beats, 2] = last_out
            dates[popped // out_beats, 3] = last_out
            popped += 1
            moved = True
            waiting[fifos[sink, PRODUCER]] = True
            if popped % out_beats == 0 and lookback > 0:
                fewer = _enough(frames, lookback, until, fifos, store)
                if fewer < frames:
                    frames, lookback = fewer, 0
    for i in range(len(fifos)):
        _see(i, until, fifos, store)
    return popped == frames * out_beats, dates[:frames]
