"""What the cocotb tests are told to do: runs with their stimulus, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import CycleReport, Pipeline, Stream, simulate
from hwsim.accelerator.beats import pack_bits, valid_bits
from hwsim.rtl.accelerator import LEVEL_BITS
from hwsim.rtl.bench import WAIT_BITS, chunk_beats

_LONGEST_WAIT = (1 << WAIT_BITS) - 1
_RESET_IMAGES, _WATCHED_IMAGES = 2, 2


@dataclass(frozen=True)
class Run:
    """One planned run: images, schedules and prediction.

    abort_cycles: cycles of a first attempt that a reset cuts short. watch: compare what every
    FIFO passes on, too.
    """

    name: str
    images: np.ndarray
    gaps: np.ndarray
    stalls: np.ndarray
    model: CycleReport
    abort_cycles: int = 0
    watch: bool = False


def _waits(rng: np.random.Generator, probability: float, count: int) -> np.ndarray:
    """Cycles to wait before each of ``count`` beats, pausing with ``probability`` each cycle."""
    return np.minimum(rng.geometric(1 - probability, count) - 1, _LONGEST_WAIT)


def plan_runs(
    pipeline: Pipeline, x: np.ndarray, gap: float, stall: float, seed: int
) -> tuple[Run, ...]:
    """The four runs of a verification with images ``x`` (docs/verification.md).

    gap, stall: chance, per cycle, that the source pauses and that the sink is not ready.
    """
    rng = np.random.default_rng(seed)
    zero = np.zeros(1, np.int64)

    def randomised(name: str, frames: int, abort: bool) -> Run:
        gaps = _waits(rng, gap, frames * pipeline.input.frame_beats)
        stalls = _waits(rng, stall, frames * pipeline.output.frame_beats)
        model = simulate(pipeline, frames, gaps, stalls)
        cycles = int(rng.integers(1, model.frame_last_output[0] + 1)) if abort else 0
        return Run(name, x[:frames], gaps, stalls, model, cycles)

    return (
        Run("back_to_back", x, zero, zero, simulate(pipeline, len(x))),
        randomised("gaps_and_stalls", len(x), False),
        randomised("after_reset", min(_RESET_IMAGES, len(x)), True),
        Run(
            "every_tensor",
            x[:_WATCHED_IMAGES],
            zero,
            zero,
            simulate(pipeline, min(_WATCHED_IMAGES, len(x))),
            watch=True,
        ),
    )


def _chunks(rows: np.ndarray, beats: int) -> np.ndarray:
    """Bits [beats, width] as bytes [chunks, bytes], ``beats`` to a chunk, 0 at the end."""
    chunks = -(-len(rows) // beats)
    padded = np.zeros((chunks * beats, rows.shape[1]), np.uint8)
    padded[: len(rows)] = rows
    return np.packbits(padded.reshape(chunks, -1), axis=1, bitorder="little")


def _schedule_bits(waits: np.ndarray, beats: int) -> np.ndarray:
    """One wait per beat, repeated cyclically, as bits [beats, WAIT_BITS]."""
    bits = np.resize(waits, beats)[:, np.newaxis] >> np.arange(WAIT_BITS) & 1
    return bits.astype(np.uint8)


def predicted(model: CycleReport) -> dict[str, Any]:
    """The model's figures in the form in which the bench measures them."""
    return {
        "finished": True,
        "cycles": model.total_cycles,
        "first_input": list(model.frame_first_input),
        "last_input": list(model.frame_last_input),
        "first_output": list(model.frame_first_output),
        "last_output": list(model.frame_last_output),
        "busy": [stage.busy_cycles for stage in model.stages],
        "blocked": [stage.blocked_cycles for stage in model.stages],
        "high_water": [fifo.high_water for fifo in model.fifos],
        "extra": 0,
    }


def _expected(stream: Stream, values: np.ndarray, frames: int) -> tuple[np.ndarray, ...]:
    """Beats that a stream of ``values`` must carry, and which of their bits count."""
    beats = pack_bits(stream, values[:frames])
    return _chunks(beats, 1), _chunks(valid_bits(stream), 1)


def write_job(
    job: Path,
    pipeline: Pipeline,
    planned: tuple[Run, ...],
    links: Mapping[str, np.ndarray],
) -> None:
    """Write what ``cosim`` reads to the folder ``job``.

    links: what each FIFO is to pass on of all images, by its name.
    """
    x, y = pipeline.input, pipeline.output
    feed_beats, taken_beats = chunk_beats(x.bits), chunk_beats(y.bits)
    last = pipeline.fifos[-1].name
    runs = {}
    for run in planned:
        frames = len(run.images)
        n_in, n_out = frames * x.frame_beats, frames * y.frame_beats
        arrays = {
            "feed": _chunks(pack_bits(x, run.images), feed_beats),
            "gaps": _chunks(_schedule_bits(run.gaps, n_in), feed_beats),
            "stalls": _chunks(_schedule_bits(run.stalls, n_out), taken_beats),
        }
        arrays["expected"], arrays["mask"] = _expected(y, links[last], frames)
        for fifo in pipeline.fifos if run.watch else ():
            pair = _expected(fifo.stream, links[fifo.name], frames)
            arrays[f"expected {fifo.name}"], arrays[f"mask {fifo.name}"] = pair
        np.savez(job / f"{run.name}.npz", **arrays)  # type: ignore[arg-type]
        runs[run.name] = {
            "frames": frames,
            "watch": run.watch,
            "abort_cycles": run.abort_cycles,
            "limit": run.model.total_cycles * 11 // 10 + 1000,
            "predicted": predicted(run.model),
        }
    (job / "job.json").write_text(
        json.dumps(
            {
                "runs": runs,
                "stages": [stage.name for stage in pipeline.stages],
                "fifos": [fifo.name for fifo in pipeline.fifos],
                "fifo_beats": [fifo.stream.frame_beats for fifo in pipeline.fifos],
                "taken_beats": taken_beats,
                "output_bits": y.bits,
                "output_beats": y.frame_beats,
                "level_bits": LEVEL_BITS,
            }
        ),
        encoding="utf-8",
    )
