"""Check an emitted accelerator: its Verilog against the network and the cycle model, with ``==``.

``verify`` runs the cocotb tests of ``cosim`` on the Verilog in a generated folder. Every output
value is compared with the reference network (of a fault-injection build, with the evaluation of
the faulty memories), every cycle figure with ``simulate``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import Pipeline, simulate
from hwsim.accelerator.beats import unpack_bits
from hwsim.design.bits import ints_to_bits
from hwsim.errors import HwsimError
from hwsim.faults import FaultyExecutor
from hwsim.files import whole_file
from hwsim.network import ArgMax, evaluate
from hwsim.progress import NoProgress, Progress, Task
from hwsim.rtl import runner, tools
from hwsim.rtl.bench import Bench
from hwsim.rtl.emit import VERILOG, Emitted, read_folder
from hwsim.rtl.explain import Failure, explain_cycles, explain_output
from hwsim.rtl.job import predicted, write_job
from hwsim.rtl.origin import verilog_of
from hwsim.rtl.runs import Run, RunPlan, plan_runs
from hwsim.rtl.vectors import Coverage, Selection, choose_images, coverage
from hwsim.rtl.verilog import to_verilog


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

    tests: cocotb tests that ran. images: test vectors that went through the Verilog; directed:
    images that were made to show edges, beside them. disturbed: every gap and stall that was asked
    for changed dates. coverage: edges that the images show. notes: what was left out and why.
    predictions: class per test vector where the network ends with ArgMax, as the Verilog answered;
    correct: how many equal the labels. edited: files changed since generation. seconds: wall time
    by step. waves: path of the waveforms or None.
    """

    passed: bool
    simulator: str
    tests: int
    images: int
    directed: int
    outputs_equal: bool
    cycles_equal: bool
    disturbed: bool
    cycles_simulated: int
    failures: tuple[Failure, ...]
    coverage: Coverage
    notes: tuple[str, ...]
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


def verify(
    folder: Path | str,
    simulator: str = "verilator",
    images: int | None = None,
    gap_probability: float = 0.25,
    stall_probability: float = 0.25,
    seed: int = 0,
    waves: bool = False,
    progress: Progress | None = None,
    allow_edited: bool = False,
) -> VerificationResult:
    """Simulate the Verilog in ``folder``, which ``generate`` wrote.

    images: how many of the folder's test vectors (None: all). gap_probability: share of the input
    beats that are held back, stall_probability: share of the output beats that are refused in the
    random runs; both in 0..0.9, where 0 asks for none, and drawn from ``seed``. waves: keep
    waveforms in the folder. allow_edited: simulate Verilog that hwsim did not write, once it was
    checked to describe hardware and nothing else (``hwsim.rtl.origin``). Raises StorageError for a
    damaged folder and for such Verilog, VerifyError for a request that cannot be met, ToolError
    when a simulator is missing or fails to run.
    """
    progress = progress or NoProgress()
    emitted = read_folder(folder)
    _check_model(emitted)
    images = _check_request(emitted, simulator, images, gap_probability, stall_probability)
    source = verilog_of(emitted, allow_edited, progress)
    x = emitted.images[:images]
    seconds = {}
    started = time.perf_counter()
    with progress.task("reference and cycle model"):
        pipeline, faults = emitted.pipeline, emitted.faults
        selection = choose_images(pipeline, faults, x)
        plan = plan_runs(pipeline, selection, gap_probability, stall_probability, seed)
        links = _links(emitted, selection, plan.runs)
        shown = coverage(
            pipeline,
            selection,
            links["back_to_back"],
            links["every_tensor"],
            faulty=faults is not None,
        )
    seconds["model"] = time.perf_counter() - started
    expected = _Expected(selection, plan, links, shown)
    bench = Bench(pipeline=pipeline)
    bench_ports = ("clk", "rst", *bench.signature.members)
    texts = {VERILOG: source.text, "bench.v": to_verilog(bench, runner.BENCH)}
    with ExitStack() as stack:
        job = stack.enter_context(runner.scratch_folder())
        write_job(job, pipeline, plan.runs, selection.images, links)
        started = time.perf_counter()
        with progress.task(f"build with {simulator}"):
            built = stack.enter_context(runner.build(simulator, texts, bench_ports, waves))
        seconds["build"] = time.perf_counter() - started
        started = time.perf_counter()
        frames = sum(len(run.images) for run in plan.runs)
        with progress.task(f"simulate with {simulator}", frames) as task, _frames_shown(job, task):
            outcome = runner.test(simulator, built.folder, job, waves)
        seconds["simulation"] = time.perf_counter() - started
        kept = _keep_waves(emitted.folder, simulator, built.folder, job) if waves else None
        edited = (*emitted.edited, *([VERILOG] if source.edited else []))
        return _judge(emitted, simulator, expected, outcome, job, seconds, kept, edited)


@dataclass(frozen=True)
class _Expected:
    """What was planned: images, runs, what each FIFO passes on in each of them, edges shown."""

    selection: Selection
    plan: RunPlan
    links: Mapping[str, Mapping[str, np.ndarray]]
    coverage: Coverage


def _links(
    emitted: Emitted, selection: Selection, planned: tuple[Run, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """By run, what each FIFO is to pass on in it, by the FIFO's name.

    Every run of the Verilog starts at frame 0, on which transient errors depend.
    """
    images, fifos = selection.images, emitted.pipeline.fifos
    if emitted.faults is not None:
        faulty = FaultyExecutor(emitted.faults)
        return {run.name: faulty.links(images[list(run.images)]) for run in planned}
    tensors = evaluate(emitted.pipeline.network, images)
    return {
        run.name: {fifo.name: tensors[fifo.stream.tensor][list(run.images)] for fifo in fifos}
        for run in planned
    }


def _check_model(emitted: Emitted) -> None:
    """Raise VerifyError when the folder's Verilog is that of another version of hwsim."""
    stated = dict(emitted.manifest.cycles)
    now = simulate(emitted.pipeline, stated["frames"])
    if any(getattr(now, key) != stated[key] for key in stated if hasattr(now, key)):
        raise VerifyError(
            f"{emitted.folder}: was generated by another version of hwsim "
            f"({emitted.manifest.hwsim_version}), whose stages had other timing; generate again"
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


def _keep_waves(folder: Path, simulator: str, work: Path, job: Path) -> Path | None:
    found = runner.waves_file(simulator, work, job)
    if not found.is_file():
        return None
    kept = folder / f"waves{found.suffix}"
    with whole_file(kept) as file:
        file.write(found.read_bytes())
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
    expected: _Expected,
    outcome: dict[str, str | None],
    job: Path,
    seconds: dict[str, float],
    waves: Path | None,
    edited: tuple[str, ...],
) -> VerificationResult:
    pipeline = emitted.pipeline
    failures: list[Failure] = []
    runs = []
    answers: np.ndarray | None = None
    selection, plan = expected.selection, expected.plan
    for run in plan.runs:
        found = [Failure(run.name, "disturbance", f"{run.name}: {text}") for text in run.unmet]
        file = job / f"{run.name}.json"
        measured = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        if run.name not in outcome or measured is None:
            reason = outcome.get(run.name) or "did not run"
            found.append(Failure(run.name, "run", f"{run.name}: {reason}"))
        else:
            trace = job / f"{run.name}.trace.json"
            if trace.is_file():
                beats = json.loads(trace.read_text(encoding="utf-8"))
                names = [selection.name(number) for number in run.images]
                links = expected.links[run.name]
                found += explain_output(run.name, pipeline, links, beats, measured, names)
            found += explain_cycles(run.name, pipeline, predicted(pipeline, run), measured)
            if outcome[run.name] is not None and not found:
                found.append(Failure(run.name, "run", f"{run.name}: {outcome[run.name]}"))
            if run.name == "back_to_back" and measured["finished"]:
                answers = _output(pipeline, measured["output"])[: selection.vectors]
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
        images=selection.vectors,
        directed=len(selection.images) - selection.vectors,
        outputs_equal=not kinds & {"output", "run"},
        cycles_equal=not kinds & {"cycles", "run"},
        disturbed="disturbance" not in kinds,
        cycles_simulated=sum(run.cycles for run in runs),
        failures=tuple(failures),
        coverage=expected.coverage,
        notes=plan.notes,
        runs=tuple(runs),
        predictions=predictions,
        correct=correct,
        edited=edited,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        waves=waves,
        tools=tools.versions(),
    )


def _output(pipeline: Pipeline, beats: list[str]) -> np.ndarray:
    stream = pipeline.output
    return unpack_bits(stream, ints_to_bits([int(b, 16) for b in beats], stream.bits))


def _run_result(run: Run, measured: dict[str, Any] | None, passed: bool) -> RunResult:
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
