"""Numba kernels that solve the timing contract, event by event (see chains.py).

Every chain advances as far as the dates that its events need are known; chains are visited in
turn until all frames are out, or until none can move, which proves a deadlock. Dates are kept in
rings, only as long as some event may still ask for them, so memory does not grow with the number
of frames.

A visit often dates a single event, so its fixed costs count: no visit is in vain, nothing is
called, one row of a table holds all about a chain or FIFO, its constants and its state, one array
all lists (``*_AT`` columns name the places) and one array all rings. Kernels are few and small
for the sake of the first run, which compiles them.
"""

from __future__ import annotations

import numpy as np

from hwsim.jit import njit

# Columns of the chain table (see ``Chain``). Constants first: events of a frame; places of lists:
# what a step does, what a pixel waits for, FIFOs read, FIFOs filled, pauses before each event;
# rings of dates that others ask for: of events from step DONE_FROM of a pixel on ("done"), and of
# events that emit; the partner's counter of done events, their ring, how many a frame has; column
# of the bounds.
(
    PIXELS,
    STEPS,
    SINCE_AT,
    OFFSET_AT,
    EMITS_AT,
    WAITS_AT,
    READS_AT,
    FILLS_AT,
    PAUSES_AT,
    PAUSES_END,
    EMITS_FROM,
    DONE_FROM,
    DONE_AT,
    DONE_MASK,
    EMITTED_AT,
    EMITTED_MASK,
    PARTNER,
    PARTNER_AT,
    PARTNER_MASK,
    PARTNER_FRAME,
    WEIGHT,
    BOUND,
    CHAIN_CONSTANTS,
) = range(23)
# Then the state: the position of the next event, the date of the last one, what is counted, the
# next edge of the trace.
(
    FRAME,
    PIXEL,
    STEP,
    TIME,
    BUSY,
    BLOCKED,
    BLOCKED_THEN,
    BLOCKED_BEFORE,
    EDGE,
    CHAIN_COLUMNS,
) = range(CHAIN_CONSTANTS, CHAIN_CONSTANTS + 10)

# Columns of the FIFO table: constants, then state. PUSHES and POPS: counters of the events that
# fill and that empty it. Counters: done and emitted events of each chain, two by two.
(
    DEPTH,
    FILL_LATENCY,
    FIFO_LATENCY,
    FRAME_BEATS,
    PUSH_AT,
    PUSH_MASK,
    POP_AT,
    POP_MASK,
    PUSHES,
    POPS,
    FIFO_CONSTANTS,
) = range(11)
SEEN, HIGH, SHIFT, REPEATED, FIFO_COLUMNS = range(FIFO_CONSTANTS, FIFO_CONSTANTS + 5)

TRACE_BUSY, TRACE_BLOCKED, TRACE_COLUMNS = range(3)

FOREVER = 1 << 62


@njit
def _see(fifo, until, counts, dates):  # type: ignore[no-untyped-def]
    """Follow the beats that were popped: highest level up to cycle ``until``, and repetition.

    Beat i lifts the level above ``high`` when beat i - high is still inside as it comes.
    REPEATED counts the latest beats that came and went SHIFT cycles after those of the frame
    before, all of them.
    """
    push, push_mask, pop, pop_mask = fifo[PUSH_AT], fifo[PUSH_MASK], fifo[POP_AT], fifo[POP_MASK]
    frame, latency, popped = fifo[FRAME_BEATS], fifo[FILL_LATENCY], counts[fifo[POPS]]
    high, shift, repeated = fifo[HIGH], fifo[SHIFT], fifo[REPEATED]
    for i in range(fifo[SEEN], popped):
        date = dates[push + (i & push_mask)] + latency
        while high <= i and dates[pop + ((i - high) & pop_mask)] > date and date < until:
            high += 1
        if i >= frame:
            came = date - dates[push + ((i - frame) & push_mask)] - latency
            went = dates[pop + (i & pop_mask)] - dates[pop + ((i - frame) & pop_mask)]
            if came != went:
                repeated = 0
            elif came == shift:
                repeated += 1
            else:
                shift, repeated = came, 1
    fifo[SEEN], fifo[HIGH], fifo[SHIFT], fifo[REPEATED] = popped, high, shift, repeated


@njit
def _enough(frames, lookback, until, fifos, counts, dates):  # type: ignore[no-untyped-def]
    """How many of ``frames`` have to be solved: fewer, once the rest must repeat.

    Every date is the maximum of dates at most ``lookback`` frames earlier plus constants, the
    same in each frame. So when all dates of ``lookback`` frames are those of the frames before,
    shifted alike, then so are all that follow. The frames already begun are still solved.
    """
    begun, first, last = 0, 0, frames
    for i in range(len(fifos)):
        fifo = fifos[i]
        _see(fifo, until, counts, dates)
        frame = fifo[FRAME_BEATS]
        if fifo[REPEATED] == 0 or fifo[SHIFT] != fifos[0, SHIFT]:
            return frames
        first = max(first, (fifo[SEEN] - fifo[REPEATED] + frame - 1) // frame)
        last = min(last, fifo[SEEN] // frame)
        begun = max(begun, (counts[fifo[PUSHES]] + frame - 1) // frame)
    return min(frames, begun + 2) if first + lookback <= last else frames


@njit
def solve(chains, fifos, counts, lists, dates, frames, until, lookback, edges, trace, bounds):  # type: ignore[no-untyped-def]
    """Solve ``frames`` frames, or as many as it takes until the rest must repeat; their number.

    chains, fifos: the tables above, source first and sink last. Their state columns are filled
    in, and the counters. lists: at the places that the tables name. dates: the rings, zeroed.
    lookback: frames that a date may depend on (``_enough``), 0 to solve all frames. until: last
    cycle that counts for FIFO levels.
    edges: cycles in ascending order; trace: [chains, edges, 2], which gets the busy and blocked
    cycles of each chain before each edge, where it goes on so long. bounds: [frames, 4], which
    gets the dates of the first and the last input and output beat of each frame.
    After a deadlock, the sink's frames are not all out.
    """
    # A chain is stuck until some counter is above a number.
    stuck = np.zeros((len(chains), 2), np.int64)
    stuck[:, 1] = -1
    sink, out, moved = len(chains) - 1, 0, True
    while moved:
        moved = False
        for c in range(len(chains)):
            if counts[stuck[c, 0]] <= stuck[c, 1]:
                continue
            # Date all events of the chain that can be dated; note what the next one waits for.
            moved = True
            chain = chains[c]
            steps, since_at, offset_at = chain[STEPS], chain[SINCE_AT], chain[OFFSET_AT]
            emits_at, emits_from, waits_at = chain[EMITS_AT], chain[EMITS_FROM], chain[WAITS_AT]
            reads_at, fills_at, fills_end = chain[READS_AT], chain[FILLS_AT], chain[PAUSES_AT]
            pauses_at, pauses = chain[PAUSES_AT], chain[PAUSES_END] - chain[PAUSES_AT]
            partner, partner_at = chain[PARTNER], chain[PARTNER_AT]
            frame, pixel, step, time = chain[FRAME], chain[PIXEL], chain[STEP], chain[TIME]
            busy, blocked = chain[BUSY], chain[BLOCKED]
            done, emitted = counts[2 * c], counts[2 * c + 1]
            counter, number, edge = 2 * c, FOREVER, chain[EDGE]
            while frame < frames:
                since = lists[since_at + step]
                ready = time + since
                wait = lists[offset_at + step]
                if wait >= 0:
                    wait += frame * chain[PARTNER_FRAME] + lists[waits_at + pixel]
                    if wait >= counts[partner]:
                        counter, number = partner, wait
                        break
                    if wait >= 0:
                        date = dates[partner_at + (wait & chain[PARTNER_MASK])]
                        ready = max(ready, date + chain[WEIGHT])
                for k in range(reads_at, fills_at):
                    fifo = fifos[lists[k]]
                    if done >= counts[fifo[PUSHES]]:
                        counter, number = fifo[PUSHES], done
                    else:
                        date = dates[fifo[PUSH_AT] + (done & fifo[PUSH_MASK])]
                        ready = max(ready, date + fifo[FILL_LATENCY] + fifo[FIFO_LATENCY])
                if pauses > 0:
                    ready += lists[pauses_at + (frame * steps + step) % pauses]
                start = ready
                emits = lists[emits_at + step] > 0 and pixel >= emits_from
                if emits:
                    for k in range(fills_at, fills_end):
                        fifo = fifos[lists[k]]
                        old = emitted - fifo[DEPTH]
                        if old >= counts[fifo[POPS]]:
                            counter, number = fifo[POPS], old
                        elif old >= 0:
                            start = max(start, dates[fifo[POP_AT] + (old & fifo[POP_MASK])] + 1)
                if number < FOREVER:
                    break
                if emits:
                    dates[chain[EMITTED_AT] + (emitted & chain[EMITTED_MASK])] = start
                    emitted += 1
                if step >= chain[DONE_FROM]:
                    dates[chain[DONE_AT] + (done & chain[DONE_MASK])] = start
                    done += 1
                while edge < len(edges) and start >= edges[edge]:
                    # Steps since the event before are those left out, one a cycle.
                    trace[c, edge, TRACE_BUSY] = busy + max(0, min(since, edges[edge] - time) - 1)
                    trace[c, edge, TRACE_BLOCKED] = blocked + max(0, edges[edge] - ready)
                    edge += 1
                if chain[BOUND] >= 0 and step == 0:
                    bounds[frame, chain[BOUND]] = start
                time, busy, blocked = start, busy + since, blocked + start - ready
                step += 1
                if step == steps:
                    step = 0
                    pixel += 1
                    if pixel == chain[PIXELS]:
                        pixel = 0
                        if chain[BOUND] >= 0:
                            bounds[frame, chain[BOUND] + 1] = start
                        frame += 1
                        chain[BLOCKED_BEFORE], chain[BLOCKED_THEN] = chain[BLOCKED_THEN], blocked
                        counts[2 * c] = done
                        for k in range(reads_at, fills_at):
                            _see(fifos[lists[k]], until, counts, dates)
            chain[FRAME], chain[PIXEL], chain[STEP], chain[TIME] = frame, pixel, step, time
            chain[BUSY], chain[BLOCKED] = busy, blocked
            counts[2 * c], counts[2 * c + 1] = done, emitted
            stuck[c, 0], stuck[c, 1], chain[EDGE] = counter, number, edge
        if lookback > 0 and chains[sink, FRAME] > out:
            out = chains[sink, FRAME]
            fewer = _enough(frames, lookback, until, fifos, counts, dates)
            if fewer < frames:
                frames, lookback = fewer, 0
    for i in range(len(fifos)):
        _see(fifos[i], until, counts, dates)
    return frames
