"""The timing contract played cycle by cycle: slow, obvious, and written without the solver.

In each cycle every part decides from the state that earlier cycles left, then all decisions are
carried out; ``hwsim.accelerator.timing`` says what is decided.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.accelerator import CycleReport, FifoCycles, Pipeline, Stage, StageCycles
from hwsim.accelerator import Fifo as Link


class _Fifo:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.free = link.depth
        self.on_way: list[int] = []  # cycles in which reserved slots will be written
        self.held: list[int] = []  # cycles in which the beats inside were written
        self.high = 0

    def tick(self, now: int, counts: bool) -> None:
        """Start cycle ``now``: what was written in the cycle before is inside."""
        while self.on_way and self.on_way[0] < now:
            self.held.append(self.on_way.pop(0))
        if counts:
            self.high = max(self.high, len(self.held))

    def offers(self, now: int) -> bool:
        return bool(self.held) and self.held[0] + self.link.latency <= now

    def put(self, date: int) -> None:
        self.free -= 1
        self.on_way.append(date)

    def take(self) -> None:
        self.free += 1
        self.held.pop(0)


class _Stage:
    def __init__(self, stage: Stage, frames: int, ins: list[_Fifo], outs: list[_Fifo]) -> None:
        self.t, self.frames, self.ins, self.outs = stage.timing, frames, ins, outs
        t = self.t
        self.arrivals: list[int] = []  # cycle in which each beat was accepted
        self.busy = self.blocked = 0
        self.steps = [
            (frame, p, q, g, n)
            for frame in range(frames)
            for p in range(t.out_rows)
            for q in range(t.out_cols)
            for g in range(t.groups)
            for n in range(t.steps)
        ]
        self.at = 0  # next step
        self.shown = 0  # next step as it was a cycle ago: what the writer knows of wide rows

    def accepts(self, now: int) -> bool:
        """A windowed stage takes a beat when no later window touches the pixel it replaces."""
        t = self.t
        beat = len(self.arrivals)
        if t.streaming or beat == self.frames * t.input_beats or not self.ins[0].offers(now):
            return False
        row, col = divmod(beat // t.beats, t.cols)
        old = row - t.row_slots
        if old < 0:
            return True
        known = self.at if t.cols == 1 else self.shown
        if known == len(self.steps):
            return True
        frame, p, q, _, _ = self.steps[known]
        passed = frame * t.rows + t.first_row(p)
        if p + 1 < t.out_rows:
            following = frame * t.rows + t.first_row(p + 1)
        else:
            following = (frame + 1) * t.rows
        return old < passed or (old < following and col < t.free_cols(q))

    def available(self, now: int) -> bool:
        """Whether the next step has its data."""
        t = self.t
        if self.at == len(self.steps):
            return False
        if t.streaming:
            return all(fifo.offers(now) for fifo in self.ins)
        frame, p, q, _, n = self.steps[self.at]
        pixel = (frame * t.rows + t.last_row(p)) * t.cols + t.last_col(q)
        need = pixel * t.beats + t.need[n]
        return need < len(self.arrivals) and self.arrivals[need] < now

    @property
    def emits(self) -> bool:
        t = self.t
        _, p, q, _, n = self.steps[self.at]
        last_pixel = p == t.out_rows - 1 and q == t.out_cols - 1
        return (last_pixel or not t.emit_last_pixel) and (n == t.steps - 1 or not t.emit_last_step)


def play(
    pipeline: Pipeline, frames: int, gaps: Sequence[int] = (0,), stalls: Sequence[int] = (0,)
) -> CycleReport | None:
    """The figures of ``hwsim.accelerator.simulate``; None when the pipeline stops for good."""
    fifos = {link.name: _Fifo(link) for link in pipeline.fifos}
    source, sink = fifos[pipeline.fifos[0].name], fifos[pipeline.fifos[-1].name]
    stages = [
        _Stage(
            stage,
            frames,
            [fifos[link.name] for link in pipeline.inputs_of(stage.name)],
            [fifos[link.name] for link in pipeline.outputs_of(stage.name)],
        )
        for stage in pipeline.stages
    ]
    in_beats, out_beats = pipeline.input.frame_beats, pipeline.output.frame_beats
    patience = 10 + max(gaps) + max(stalls) + max(stage.t.latency for stage in stages)
    went_in: list[int] = []
    came_out: list[int] = []
    wait, stall = gaps[0], stalls[0]
    now = moved_at = 0
    # Input that no output needs may still be on its way in after the last output has left, but
    # figures count up to there only.
    while len(came_out) < frames * out_beats or len(went_in) < frames * in_beats:
        counts = len(came_out) < frames * out_beats
        for fifo in fifos.values():
            fifo.tick(now, counts)
        offers = len(went_in) < frames * in_beats and wait == 0
        sends = offers and source.free > 0
        offered = sink.offers(now)
        leaves = offered and stall == 0
        accepting = [stage.accepts(now) for stage in stages]
        available = [stage.available(now) for stage in stages]
        roomy = [
            available[i] and (not s.emits or all(f.free > 0 for f in s.outs))
            for i, s in enumerate(stages)
        ]
        if sends:
            source.put(now)
            went_in.append(now)
            wait = gaps[len(went_in) % len(gaps)]
        elif wait:
            wait -= 1
        for stage, accepted, has_data, starts in zip(
            stages, accepting, available, roomy, strict=True
        ):
            if accepted:
                stage.ins[0].take()
                stage.arrivals.append(now)
            stage.blocked += counts and has_data and not starts
            stage.shown = stage.at
            if starts:
                if stage.t.streaming:
                    for fifo in stage.ins:
                        fifo.take()
                if stage.emits:
                    for fifo in stage.outs:
                        fifo.put(now + stage.t.latency)
                stage.busy += counts
                stage.at += 1
        if leaves:
            sink.take()
            came_out.append(now)
            stall = stalls[len(came_out) % len(stalls)]
        elif offered:
            stall -= 1
        if sends or leaves or any(accepting) or any(roomy):
            moved_at = now
        if now - moved_at > patience:
            return None
        now += 1
    total = came_out[-1] + 1
    return CycleReport(
        frames,
        tuple(went_in[::in_beats]),
        tuple(went_in[in_beats - 1 :: in_beats]),
        tuple(came_out[::out_beats]),
        tuple(came_out[out_beats - 1 :: out_beats]),
        tuple(
            StageCycles(stage.name, s.busy, total - s.busy - s.blocked, s.blocked)
            for stage, s in zip(pipeline.stages, stages, strict=True)
        ),
        tuple(
            FifoCycles(f.link.name, f.link.depth, f.high, frames * f.link.stream.frame_beats)
            for f in fifos.values()
        ),
    )
