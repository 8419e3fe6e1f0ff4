"""Numba kernels that find dates which repeat every frame, or prove that there are none.

Dates are longest paths in a graph with cycles. They are raised until all arcs hold. Events that
raised each other in a circle would do so for ever: then no such dates exist (R. Tarjan).
"""

from __future__ import annotations

from hwsim.jit import njit

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
def _circle(some, count, look, looked, work):  # type: ignore[no-untyped-def]
    """Whether one of the first ``count`` events in ``some`` is in a circle of causes.

    Walks have numbers from ``look``.
    """
    for i in range(count):
        event = some[i]
        while event >= 0 and looked[event] < look:
            looked[event] = look + i
            event = work[event, CAUSE]
        if event >= 0 and looked[event] == look + i:
            return True
    return False


@njit
def settle_all(order, first, arcs, work, lists, looked, look):  # type: ignore[no-untyped-def]
    """Raise any dates until all arcs hold; (whether they can, next ``look``).

    order: of the events; the fewer arcs go back in it, the faster. arcs: (event that waits,
    cycles), of event u those from ``first[u]`` to ``first[u + 1]``. work, lists: the tables
    above. looked: the last walk that came to an event, all below ``look``.
    """
    touched, sweep = 0, 0
    raised, possible = True, True
    while raised and possible:
        raised = False
        sweep += 1
        for event in order:
            for k in range(first[event], first[event + 1]):
                to, date = arcs[k, 0], work[event, DATE] + arcs[k, 1]
                if work[to, DATE] < date:
                    if work[to, CAUSE] == IDLE:
                        lists[TOUCHED, touched] = to
                        touched += 1
                    work[to, CAUSE], work[to, DATE], raised = event, date, True
        if sweep % SWEEPS == 0:
            possible = not _circle(lists[TOUCHED], touched, look, looked, work)
            look += touched
    for i in range(touched):
        work[lists[TOUCHED, i], CAUSE] = IDLE
    return possible, look


@njit
def settle(start, first, arcs, work, lists, queue, looked, look):  # type: ignore[no-untyped-def]
    """Raise the dates until all arcs hold, when only those from the exits of a FIFO do not.

    start: these exits; their arcs follow all others, in this order. In rounds: their arcs raise
    events, which hand the raise on, less the slack of each arc, the largest first, so that few
    events are raised twice a round (S. Cotton, O. Maler). An exit is caused by the one whose arc
    began its raise; a circle of exits is one of events. Returns (whether dates exist, next
    ``look``); dates are as before when they do not.
    """
    for event in start:
        work[event, EXIT] = 1
    touched, size, possible = 0, 1, True
    while possible and size > 0:
        top, size, exits = 0, 0, 0
        check, seed = FEW_EXITS, 0
        while seed < len(start) or top > 0:
            if seed < len(start):
                event = start[seed]
                cause = event
                begin = first[-1] + seed
                end = begin + 1
                seed += 1
            else:
                event = queue[top]
                if event == NONE:
                    top -= 1
                    continue
                queue[top], work[event, NEXT] = work[event, NEXT], IDLE
                cause = work[event, CAUSE]
                begin, end = first[event], first[event + 1]
                if work[event, EXIT] == 1:
                    work[event, EXIT] = 2
                    lists[EXITS, exits] = event
                    exits += 1
                    if exits == check:
                        if _circle(lists[EXITS], exits, look, looked, work):
                            possible = False
                            break
                        look += exits
                        check *= 2
            date = work[event, DATE] + work[event, RAISE]
            for k in range(begin, end):
                to = arcs[k, 0]
                by = date + arcs[k, 1] - work[to, DATE]
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
        possible = possible and not _circle(lists[EXITS], exits, look, looked, work)
        look += exits
    if not possible:
        for i in range(len(queue)):
            queue[i] = NONE
    for event in start:
        work[event, EXIT] = 0
    for i in range(touched):
        event = lists[TOUCHED, i]
        work[event, CAUSE] = IDLE
        if not possible:
            work[event, DATE] = lists[BEFORE, i]
    return possible, look
