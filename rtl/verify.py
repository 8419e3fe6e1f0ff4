"""Check an emitted accelerator: its Verilog against the network and the cycle model, with ``==``.

``verify`` runs the cocotb tests of ``cosim`` on the Verilog in a generated folder. Every output
value is compared with the reference network, every cycle figure with ``simulate``.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import CycleReport, Pipeline, Stream, simulate
from hwsim.accelerator.beats import ints_to_bits, pack_bits, unpack_bits, valid_bits
from hwsim.errors import HwsimError
from hwsim.network import ArgMax, evaluate
from hwsim.progress import NoProgress, Progress, Task
from hwsim.rtl import runner, tools
from hwsim.rtl.accelerator import LEVEL_BITS
from hwsim.rtl.bench import WAIT_BITS, Bench, chunk_beats
from hwsim.rtl.emit import SIMULATION, VERILOG, Emitted, read_folder
from hwsim.rtl.explain import Failure, explain_cycles, explain_output
from hwsim.rtl.verilog import to_verilog

_LONGEST_WAIT = (1 << WAIT_BITS) - 1
_RESET_IMAGES, _WATCHED_IMAGES = 2, 2


class VerifyError(HwsimError):
    """What was asked of a verification cannot be done."""


@dataclass(frozen=True)
class RunResult:
    """Figures of one cocotb test: as the cycle model predicts them, and as measured.

    figures: name -> (predicted, measured), in cycles.
    """

    test: str
    images: int
    passed: bool
    cycles: int
    figures: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class VerificationResult:
    """Outcome of ``verify``.

    tests: cocotb tests that ran. images: images that went through the Verilog in each of the two
    main tests. predictions: class per image where the network ends with ArgMax, as the Verilog
    answered; correct: how many equal the labels. edited: files changed since generation.
    seconds: wall time by step. waves: path of the waveforms or None.
    """

    passed: bool
    simulator: str
    tests: int
    images: int
    outputs_equal: bool
    cycles_equal: bool
    cycles_simulated: int
    failures: tuple[Failure, ...]
    runs: tuple[RunResult, ...]
    predictions: tuple[int, ...] | None
    correct: int | None
    edited: tuple[str, ...]
    seconds: Mapping[str, float]
    waves: Path | None
    tools: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json`` and reports."""
        return {**asdict(self), "waves": str(self.waves) if self.waves else None}


@dataclass(frozen=True)
class _Run:
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


def verify(
    folder: Path | str,
    simulator: str = "verilator",
    images: int | None = None,
    gap_probability: float = 0.25,
    stall_probability: float = 0.25,
    seed: int = 0,
    waves: bool = False,
    progress: Progress | None = None,
) -> VerificationResult:
    """Simulate the Verilog in ``folder``, which ``generate`` wrote.

    images: how many of the folder's test vectors (None: all). gap_probability: chance, per cycle,
    that the source pauses; stall_probability: that the sink is not ready; both in 0..0.9 and
    drawn from ``seed``. waves: keep waveforms in the folder. Raises StorageError for a damaged
    folder, VerifyError for a request that cannot be met, ToolError when a simulator is missing
    or fails to run.
    """
    progress = progress or NoProgress()
    emitted = read_folder(folder)
    _check_model(emitted)
    images = _check_request(emitted, simulator, images, gap_probability, stall_probability)
    x = emitted.images[:images]
    seconds = {}
    started = time.perf_counter()
    with progress.task("reference and cycle model"):
        tensors = evaluate(emitted.pipeline.network, x)
        planned = _plan(emitted.pipeline, x, gap_probability, stall_probability, seed)
    seconds["model"] = time.perf_counter() - started
    work = emitted.folder / SIMULATION / (simulator + ("-waves" if waves else ""))
    work.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with progress.task(f"build with {simulator}"):
        _build(emitted, simulator, work, waves)
    seconds["build"] = time.perf_counter() - started
    job = work / "job"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir()
    _write_job(job, emitted.pipeline, planned, tensors)
    started = time.perf_counter()
    frames = sum(len(run.images) for run in planned)
    with progress.task(f"simulate with {simulator}", frames) as task, _frames_shown(job, task):
        outcome = runner.test(simulator, work, job, waves)
    seconds["simulation"] = time.perf_counter() - started
    kept = _keep_waves(emitted.folder, simulator, work, job) if waves else None
    return _judge(emitted, simulator, planned, tensors, outcome, job, seconds, kept)


def _check_model(emitted: Emitted) -> None:
    """Raise VerifyError when the folder's Verilog is that of another version of hwsim."""
    stated = emitted.manifest["cycles"]
    now = simulate(emitted.pipeline, stated["frames"])
    if any(getattr(now, key) != stated[key] for key in stated if hasattr(now, key)):
        raise VerifyError(
            f"{emitted.folder}: was generated by another version of hwsim "
            f"({emitted.manifest['hwsim_version']}), whose stages had other timing; generate again"
        )


def _check_request(
    emitted: Emitted, simulator: str, images: int | None, gap: float, stall: float
) -> int:
    if simulator not in runner.SIMULATORS:
        raise VerifyError(
            f"simulator must be one of {', '.join(runner.SIMULATORS)}, not '{simulator}'"
        )
    for name, value in (("gap_probability", gap), ("stall_probability", stall)):
        if not 0 <= value <= 0.9:
            raise VerifyError(f"{name} must be in 0..0.9, not {value}")
    held = len(emitted.images)
    if images is None:
        return held
    if not 1 <= images <= held:
        raise VerifyError(f"images must be 1..{held} (the folder's test vectors), not {images}")
    return images


def _waits(rng: np.random.Generator, probability: float, count: int) -> np.ndarray:
    """Cycles to wait before each of ``count`` beats, pausing with ``probability`` each cycle."""
    return np.minimum(rng.geometric(1 - probability, count) - 1, _LONGEST_WAIT)


def _plan(
    pipeline: Pipeline, x: np.ndarray, gap: float, stall: float, seed: int
) -> tuple[_Run, ...]:
    rng = np.random.default_rng(seed)
    zero = np.zeros(1, np.int64)

    def randomised(name: str, frames: int, abort: bool) -> _Run:
        gaps = _waits(rng, gap, frames * pipeline.input.frame_beats)
        stalls = _waits(rng, stall, frames * pipeline.output.frame_beats)
        model = simulate(pipeline, frames, gaps, stalls)
        cycles = int(rng.integers(1, model.frame_last_output[0] + 1)) if abort else 0
        return _Run(name, x[:frames], gaps, stalls, model, cycles)

    return (
        _Run("back_to_back", x, zero, zero, simulate(pipeline, len(x))),
        randomised("gaps_and_stalls", len(x), False),
        randomised("after_reset", min(_RESET_IMAGES, len(x)), True),
        _Run(
            "every_tensor",
            x[:_WATCHED_IMAGES],
            zero,
            zero,
            simulate(pipeline, min(_WATCHED_IMAGES, len(x))),
            watch=True,
        ),
    )


def _build(emitted: Emitted, simulator: str, work: Path, waves: bool) -> None:
    bench = Bench(pipeline=emitted.pipeline)
    source = work / "bench.v"
    text = to_verilog(bench, runner.BENCH)
    if not source.is_file() or source.read_text() != text:
        source.write_text(text)
    ports = ("clk", "rst", *bench.signature.members)
    runner.build(simulator, work, (emitted.folder / VERILOG, source), ports, waves)


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


def _predicted(model: CycleReport) -> dict[str, Any]:
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


def _expected(
    stream: Stream, tensors: Mapping[str, np.ndarray], frames: int
) -> tuple[np.ndarray, ...]:
    """Beats that a stream must carry, and which of their bits count."""
    beats = pack_bits(stream, tensors[stream.tensor][:frames])
    return _chunks(beats, 1), _chunks(valid_bits(stream), 1)


def _write_job(
    job: Path,
    pipeline: Pipeline,
    planned: tuple[_Run, ...],
    tensors: Mapping[str, np.ndarray],
) -> None:
    x, y = pipeline.input, pipeline.output
    feed_beats, taken_beats = chunk_beats(x.bits), chunk_beats(y.bits)
    runs = {}
    for run in planned:
        frames = len(run.images)
        n_in, n_out = frames * x.frame_beats, frames * y.frame_beats
        arrays = {
            "feed": _chunks(pack_bits(x, run.images), feed_beats),
            "gaps": _chunks(_schedule_bits(run.gaps, n_in), feed_beats),
            "stalls": _chunks(_schedule_bits(run.stalls, n_out), taken_beats),
        }
        arrays["expected"], arrays["mask"] = _expected(y, tensors, frames)
        for fifo in pipeline.fifos if run.watch else ():
            pair = _expected(fifo.stream, tensors, frames)
            arrays[f"expected {fifo.name}"], arrays[f"mask {fifo.name}"] = pair
        np.savez(job / f"{run.name}.npz", **arrays)  # type: ignore[arg-type]
        runs[run.name] = {
            "frames": frames,
            "watch": run.watch,
            "abort_cycles": run.abort_cycles,
            "limit": run.model.total_cycles * 11 // 10 + 1000,
            "predicted": _predicted(run.model),
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
        )
    )


def _keep_waves(folder: Path, simulator: str, work: Path, job: Path) -> Path | None:
    found = runner.waves_file(simulator, work, job)
    if not found.is_file():
        return None
    kept = folder / f"waves{found.suffix}"
    found.replace(kept)
    return kept


@contextmanager
def _frames_shown(job: Path, task: Task) -> Iterator[None]:
    """Advance ``task`` by the frames that the running simulation has finished."""
    over = threading.Event()

    def watch() -> None:
        shown = 0
        while not over.wait(0.3):
            file = job / "frames"
            finished = file.stat().st_size if file.is_file() else 0
            task.advance(finished - shown)
            shown = finished

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _judge(
    emitted: Emitted,
    simulator: str,
    planned: tuple[_Run, ...],
    tensors: dict[str, np.ndarray],
    outcome: dict[str, str | None],
    job: Path,
    seconds: dict[str, float],
    waves: Path | None,
) -> VerificationResult:
    pipeline = emitted.pipeline
    failures: list[Failure] = []
    runs = []
    answers: np.ndarray | None = None
    for run in planned:
        found: list[Failure] = []
        file = job / f"{run.name}.json"
        measured = json.loads(file.read_text()) if file.is_file() else None
        if run.name not in outcome or measured is None:
            reason = outcome.get(run.name) or "did not run"
            found.append(Failure(run.name, "run", f"{run.name}: {reason}"))
        else:
            frames = len(run.images)
            expected = {name: values[:frames] for name, values in tensors.items()}
            trace = job / f"{run.name}.trace.json"
            if trace.is_file():
                beats = json.loads(trace.read_text())
                found += explain_output(run.name, pipeline, expected, beats, measured)
            found += explain_cycles(run.name, pipeline, _predicted(run.model), measured)
            if outcome[run.name] is not None and not found:
                found.append(Failure(run.name, "run", f"{run.name}: {outcome[run.name]}"))
            if run.name == "back_to_back" and measured["finished"]:
                answers = _output(pipeline, measured["output"])
        runs.append(_run_result(run, measured, not found))
        failures += found
    predictions = correct = None
    if answers is not None and isinstance(pipeline.network.ops[-1], ArgMax):
        predictions = tuple(int(v) for v in answers.ravel())
        if emitted.labels is not None:
            correct = int((answers.ravel() == emitted.labels[: len(answers)]).sum())
    kinds = {failure.kind for failure in failures}
    return VerificationResult(
        passed=not failures,
        simulator=simulator,
        tests=len(outcome),
        images=len(planned[0].images),
        outputs_equal=not kinds & {"output", "run"},
        cycles_equal=not kinds & {"cycles", "run"},
        cycles_simulated=sum(run.cycles for run in runs),
        failures=tuple(failures),
        runs=tuple(runs),
        predictions=predictions,
        correct=correct,
        edited=emitted.edited,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        waves=waves,
        tools=tools.versions(),
    )


def _output(pipeline: Pipeline, beats: list[str]) -> np.ndarray:
    stream = pipeline.output
    return unpack_bits(stream, ints_to_bits([int(b, 16) for b in beats], stream.bits))


def _run_result(run: _Run, measured: dict[str, Any] | None, passed: bool) -> RunResult:
    model, figures = run.model, {}
    if measured is not None and measured["finished"]:
        last, first = measured["last_output"], measured["first_output"]
        figures = {
            "first_output_cycles": (model.first_output_cycles, first[0] + 1),
            "frame_latency_cycles": (
                model.frame_latency_cycles,
                last[0] - measured["first_input"][0] + 1,
            ),
            "total_cycles": (model.total_cycles, measured["cycles"]),
        }
        if len(last) > 1:
            figures["frame_interval_cycles"] = (model.frame_interval_cycles, last[-1] - last[-2])
    cycles = measured["cycles"] if measured is not None else 0
    return RunResult(run.name, len(run.images), passed, cycles, figures)
