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
def follow(fifo, until, counts, dates):  # type: ignore[no-untyped-def]
    """Follow the beats that were popped: highest level up to cycle ``until``, and repetition.

    Beat i lifts the level above ``high`` when beat i - high is still inside as it comes.
    REPEATED counts the latest beats that came and went SHIFT cycles after those of the frame
    before, all of them.
    """
    push, push_mask = fifo[PUSH_AT], fifo[PUSH_MASK]
    pop, pop_mask = fifo[POP_AT], fifo[POP_MASK]
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
    fifo[SEEN], fifo[HIGH] = popped, high
    fifo[SHIFT], fifo[REPEATED] = shift, repeated


@njit
def solve(chains, fifos, counts, stuck, lists, dates, frames, pause, until, edges, trace, bounds):  # type: ignore[no-untyped-def]
    """Go on with ``frames`` frames until all that can is done, or ``pause`` of them are out.

    chains, fifos: the tables above, source first and sink last. Their state columns are kept
    from call to call, and so are counters, rings and the rest. stuck: of each chain, a counter
    and a number that it must exceed before the chain can go on; (0, -1) at first. lists: at the
    places that the tables name. dates: the rings. until: last cycle that counts for FIFO levels.
    edges: cycles in ascending order; trace: [chains, edges, 2], which gets the busy and blocked
    cycles of each chain before each edge, where it goes on so long. bounds: [frames, 4], which
    gets the dates of the first and the last input and output beat of each frame.
    """
    moved = True
    while moved and chains[-1, FRAME] < pause:
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
            frame, pixel = chain[FRAME], chain[PIXEL]
            step, time = chain[STEP], chain[TIME]
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
                            follow(fifos[lists[k]], until, counts, dates)
            chain[FRAME], chain[PIXEL] = frame, pixel
            chain[STEP], chain[TIME] = step, time
            chain[BUSY], chain[BLOCKED] = busy, blocked
            counts[2 * c], counts[2 * c + 1] = done, emitted
            stuck[c, 0], stuck[c, 1], chain[EDGE] = counter, number, edge
