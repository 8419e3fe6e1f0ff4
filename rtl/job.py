"""The job of the cocotb tests: the stimulus of each run, and the expected results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import Pipeline, Stream
from hwsim.accelerator.beats import pack_bits, valid_bits
from hwsim.rtl.accelerator import LEVEL_BITS
from hwsim.rtl.bench import COUNTER_BITS, IDLE_READY, LAST_USE, chunk_beats
from hwsim.rtl.runs import Run


def _chunks(rows: np.ndarray, beats: int) -> np.ndarray:
    """Bits [beats, width] as bytes [chunks, bytes], ``beats`` to a chunk, 0 at the end."""
    chunks = -(-len(rows) // beats)
    padded = np.zeros((chunks * beats, rows.shape[1]), np.uint8)
    padded[: len(rows)] = rows
    return np.packbits(padded.reshape(chunks, -1), axis=1, bitorder="little")


def _schedule_bits(waits: np.ndarray) -> np.ndarray:
    """One wait per beat as bits [beats, COUNTER_BITS]."""
    bits = waits[:, np.newaxis] >> np.arange(COUNTER_BITS) & 1
    return bits.astype(np.uint8)


def predicted(pipeline: Pipeline, run: Run) -> dict[str, Any]:
    """The model's figures in the form in which the bench measures them."""
    model = run.model
    misaligned = _misaligned_at(run.last_use, pipeline.input.frame_beats, model.frames)
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
        "refused": int(run.stalls.sum()),
        "extra": 0,
        "unstable": 0,
        "wrong_last": 0,
        "misaligned": int(misaligned > 0),
        "misaligned_at": misaligned,
    }


def _misaligned_at(last_use: str, beats: int, frames: int) -> int:
    """Input beats until ``i__misaligned`` rises, 0 for never; ``beats`` a frame."""
    if last_use == "early" and beats > 1:
        return beats - 1
    return 2 * beats if last_use == "missing" and frames > 1 else 0


def _expected(stream: Stream, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Beats that a stream of ``values`` must carry, and which of their bits count."""
    beats = pack_bits(stream, values)
    return _chunks(beats, 1), _chunks(valid_bits(stream), 1)


def write_job(
    job: Path,
    pipeline: Pipeline,
    planned: tuple[Run, ...],
    images: np.ndarray,
    links: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Write what ``cosim`` reads to the folder ``job``.

    images: [images, channels, height, width], which the runs number. links: by run, what each
    FIFO is to pass on in it, by the FIFO's name.
    """
    x, y = pipeline.input, pipeline.output
    feed_beats, taken_beats = chunk_beats(x.bits), chunk_beats(y.bits)
    last = pipeline.fifos[-1].name
    runs = {}
    for run in planned:
        expected = links[run.name]
        arrays = {
            "feed": _chunks(pack_bits(x, images[list(run.images)]), feed_beats),
            "gaps": _chunks(_schedule_bits(run.gaps), feed_beats),
            "stalls": _chunks(_schedule_bits(run.stalls), taken_beats),
        }
        arrays["expected"], arrays["mask"] = _expected(y, expected[last])
        for fifo in pipeline.fifos if run.watch else ():
            pair = _expected(fifo.stream, expected[fifo.name])
            arrays[f"expected {fifo.name}"], arrays[f"mask {fifo.name}"] = pair
        np.savez(job / f"{run.name}.npz", **arrays)  # type: ignore[arg-type]
        runs[run.name] = {
            "frames": len(run.images),
            "watch": run.watch,
            "idle_ready": IDLE_READY.index(run.idle_ready),
            "last_use": LAST_USE.index(run.last_use),
            "abort_cycles": run.abort_cycles,
            "limit": run.model.total_cycles * 11 // 10 + 1000,
            "predicted": predicted(pipeline, run),
        }
    document = {
        "runs": runs,
        "stages": [stage.name for stage in pipeline.stages],
        "fifos": [fifo.name for fifo in pipeline.fifos],
        "fifo_beats": [fifo.stream.frame_beats for fifo in pipeline.fifos],
        "taken_beats": taken_beats,
        "output_bits": y.bits,
        "output_beats": y.frame_beats,
        "level_bits": LEVEL_BITS,
        "early": LAST_USE.index("early"),
    }
    (job / "job.json").write_text(json.dumps(document), encoding="utf-8")
