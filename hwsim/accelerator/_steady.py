"""Numba kernels that find dates which repeat every frame, or prove that there are none.

Dates are longest paths in a graph with cycles. They are raised until all arcs hold. Events that
raised each other in a circle would do so for ever: then no such dates exist (R. Tarjan).
"""

from __future__ import annotations

from hwsim.jit import njit

# Columns of the FIFO table. OPEN is set where the arcs from its exits may not hold yet.
DEPTH, BEATS, ENTRY_AT, EXIT_AT, LATENCY, OPEN, FIFO_COLUMNS = range(7)

# Columns of the event table.
AFTER, AFTER_GAIN, CHAIN, POPS, EMITS, FIRST_ARC, EVENT_COLUMNS = (*range(6), 8)

# What is kept for each event, a row of a table: its date, which one raised it, by how much it is
# to be raised, the next one in the queue, and whether it is an exit of an OPEN FIFO (2: in the
# list). Neighbours lie far apart, so few bytes count.
DATE, CAUSE, RAISE, NEXT, EXIT, WORK_COLUMNS = (*range(5), 8)

# Lists of the events raised in this call, of their dates before, of the events raised in this
# round, and of the exits among them.
TOUCHED, BEFORE, ROUND, EXITS, LISTS = range(5)

FEW_EXITS = 64
"""So many exits are raised before the first look for a circle; then twice as many, and so on."""

SWEEPS = 8
"""So many times all events are visited between two looks for a circle."""

NONE = -1
IDLE = -2


@njit
def _arcs_from(event, exits, interval, events, arcs, links, fifos, entries, found):  # type: ignore[no-untyped-def]
    """Fill ``found`` with the events that wait for ``event``, and how long; their number.

    exits: arcs from exits of OPEN FIFOs, or all arcs but these.
    """
    count = 0
    if not exits:
        for k in range(events[event, FIRST_ARC], events[event + 1, FIRST_ARC]):
            found[count, 0], found[count, 1] = arcs[k, 0], arcs[k, 1]
            count += 1
    chain, pops, emits = events[event, CHAIN], events[event, POPS], events[event, EMITS]
    if pops >= 0:
        for k in range(2):
            fifo = links[chain, k]
            if fifo >= 0 and (fifos[fifo, OPEN] > 0) == exits:
                # The slot that becomes free is that of a beat `depth` later.
                frames, beat = divmod(pops + fifos[fifo, DEPTH], fifos[fifo, BEATS])
                found[count, 0] = entries[fifos[fifo, ENTRY_AT] + beat]
                found[count, 1] = 1 - interval * frames
                count += 1
    if emits >= 0 and not exits:
        for k in range(3, 3 + links[chain, 2]):
            fifo = links[chain, k]
            found[count, 0] = fifos[fifo, EXIT_AT] + emits
            found[count, 1] = fifos[fifo, LATENCY]
            count += 1
    if not exits:
        found[count, 0], found[count, 1] = events[event, AFTER], events[event, AFTER_GAIN]
        count += 1
    return count


@njit
def _circle(some, look, looked, work):  # type: ignore[no-untyped-def]
    """Whether one of ``some`` events is in a circle of causes; walks have numbers from ``look``."""
    for i, event in enumerate(some):
        while event >= 0 and looked[event] < look:
            looked[event] = look + i
            event = work[event, CAUSE]
        if event >= 0 and looked[event] == look + i:
            return True
    return False


@njit
def settle_all(  # type: ignore[no-untyped-def]
    order, interval, events, arcs, links, fifos, entries, found, work, lists, looked, look
):
    """Raise any dates until all arcs hold; (whether they can, next ``look``).

    order: of the events; the fewer arcs go back in it, the faster. events, fifos, work, lists:
    the tables above, events with one more row for the end of the last one's arcs. arcs: [arcs,
    (event that waits, cycles)], less ``interval`` for each frame. links: [chains, (FIFOs read: 2,
    number of FIFOs filled, these)]. entries: see ``Events``. found: room for the most arcs that
    leave an event. looked: the last walk that came to an event, all below ``look``.
    """
    touched, sweep, raised, possible = 0, 0, True, True
    none_open = sweep > 0  # a literal would compile the callee once more
    while raised and possible:
        raised = False
        sweep += 1
        for event in order:
            for k in range(
                _arcs_from(event, none_open, interval, events, arcs, links, fifos, entries, found)
            ):
                to, date = found[k, 0], work[event, DATE] + found[k, 1]
                if work[to, DATE] < date:
                    if work[to, CAUSE] == IDLE:
                        lists[TOUCHED, touched] = to
                        touched += 1
                    work[to, CAUSE], work[to, DATE], raised = event, date, True
        if sweep % SWEEPS == 0:
            possible = not _circle(lists[TOUCHED, :touched], look, looked, work)
            look += touched
    for i in range(touched):
        work[lists[TOUCHED, i], CAUSE] = IDLE
    return possible, look


@njit
def settle(  # type: ignore[no-untyped-def]
    start, interval, events, arcs, links, fifos, entries, found, work, lists, queue, looked, look
):
    """Raise the dates until all arcs hold, when only arcs from exits of OPEN FIFOs do not.

    start: these exits. In rounds: their arcs raise events, which hand the raise on, less the
    slack of each arc, the largest first, so that few events are raised twice a round (S. Cotton,
    O. Maler). An exit is caused by the one whose arc began its raise; a circle of exits is one
    of events. Returns (whether dates exist, next ``look``); dates are as before when they do not.
    """
    for event in start:
        work[event, EXIT] = 1
    touched, size, possible = 0, 1, True
    while possible and size > 0:
        top, size, exits, check, seed = 0, 0, 0, FEW_EXITS, 0
        while seed < len(start) or top > 0:
            seeding = seed < len(start)
            if seeding:
                event = start[seed]
                cause = event
                seed += 1
            else:
                event = queue[top]
                if event == NONE:
                    top -= 1
                    continue
                queue[top], work[event, NEXT] = work[event, NEXT], IDLE
                cause = work[event, CAUSE]
                if work[event, EXIT] == 1:
                    work[event, EXIT] = 2
                    lists[EXITS, exits] = event
                    exits += 1
                    if exits == check:
                        if _circle(lists[EXITS, :exits], look, looked, work):
                            possible = False
                            break
                        look += exits
                        check *= 2
            date = work[event, DATE] + work[event, RAISE]
            for k in range(
                _arcs_from(event, seeding, interval, events, arcs, links, fifos, entries, found)
            ):
                to = found[k, 0]
                by = date + found[k, 1] - work[to, DATE]
                if by > work[to, RAISE]:
                    if work[to, RAISE] == 0:
                        lists[ROUND, size] = to
                        size += 1
                        if work[to, CAUSE] == IDLE:
                            lists[TOUCHED, touched], lists[BEFORE, touched] = to, work[to, DATE]
                            touched += 1
                    work[to, RAISE], work[to, CAUSE] = by, cause
                    if work[to, NEXT] == IDLE:
                        place = min(by, len(queue) - 1)
                        work[to, NEXT], queue[place] = queue[place], to
                        top = max(top, place)
        for i in range(size):
            event = lists[ROUND, i]
            work[event, DATE] += work[event, RAISE]
            work[event, RAISE], work[event, NEXT] = 0, IDLE
        for i in range(exits):
            work[lists[EXITS, i], EXIT] = 1
        possible = possible and not _circle(lists[EXITS, :exits], look, looked, work)
        look += exits
    if not possible:
        queue[:] = NONE
    for event in start:
        work[event, EXIT] = 0
    for i in range(touched):
        event = lists[TOUCHED, i]
        work[event, CAUSE] = IDLE
        if not possible:
            work[event, DATE] = lists[BEFORE, i]
    return possible, look
