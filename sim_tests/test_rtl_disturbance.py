"""Pauses, refusals and edges of a verification: that they are real, and what they catch."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.emitted import SIMULATOR, tiny_images, tiny_pipeline

from hwsim.accelerator import Pipeline, build_pipeline, simulate
from hwsim.network import (
    ArgMax,
    GlobalAvgPool,
    Linear,
    Network,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.rtl import emit, runs, vectors
from hwsim.rtl.emit import generate
from hwsim.rtl.runs import plan_runs
from hwsim.rtl.vectors import choose_images
from hwsim.rtl.verify import VerificationResult, verify

CLIP = Requantize("clip", ("input",), np.array([3, 2, 5]), np.array([4, 1, 0]), 2, -2, 5)


def edges_network() -> Network:
    """A classifier of three ops: one output beat a frame."""
    ops = (CLIP, GlobalAvgPool("mean", ("clip",)), ArgMax("top", ("mean",)))
    return Network("edges", TensorType(3, 2, 2, 4, True), ops)


def edges_pipeline() -> Pipeline:
    return build_pipeline(edges_network(), {}, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disturbance") / "edges"
    # Pictures without a tie, which leave the edges to the images that are made.
    x = np.array([4, 0, -3]).reshape(1, 3, 1, 1) * np.ones((2, 1, 2, 2), np.int64)
    generate(edges_pipeline(), folder, x)
    return folder


def mutated(folder: Path, target: Path, module: str, pattern: str, new: str) -> VerificationResult:
    """Verify a copy of ``folder`` in which one place of one module is another."""
    shutil.copytree(folder, target)
    file = target / emit.VERILOG
    text = file.read_text()
    first = text.index(f"module {module}(")
    last = text.index("endmodule", first)
    changed, count = re.subn(pattern, new, text[first:last], flags=re.M)
    assert count == 1
    file.write_text(text[:first] + changed + text[last:])
    return verify(target, SIMULATOR, allow_edited=True)


SINK, INPUT, CLIP_STAGE = (
    f"accelerator_{name}" for name in ("fifo_top__sink", "fifo_input__clip", "stage_clip")
)
MUTANTS = {
    "the sink's ready is ignored": (SINK, r"taken = o__valid & o__ready", "taken = o__valid"),
    "ready in the cycle before counts": (
        SINK,
        r"^  assign taken = o__valid & o__ready;",
        "  reg was; always @(posedge clk) was <= o__ready;\n"
        "  assign taken = o__valid & (o__ready | was);",
    ),
    "valid falls while refused": (
        SINK,
        r"o__valid <= (_\d+_);",
        r"o__valid <= \1 & ~(o__valid & ~o__ready);",
    ),
    "payload changes while refused": (
        SINK,
        r"o__payload = (.*);",
        r"o__payload = \1 ^ {2{o__valid & ~o__ready}};",
    ),
    "valid waits for ready": (
        SINK,
        r"o__valid <= (_\d+_);",
        r"o__valid <= \1 & (o__valid | o__ready);",
    ),
    "a beat is dropped when full": (
        "accelerator_fifo_mean__top",
        r"if \(write__en\)",
        "if (write__en & ~(level == 2'h1 & ~taken))",
    ),
    "the input's ready is ignored": (
        "accelerator",
        r"assign i__write = i__valid & i__ready;",
        "assign i__write = i__valid;",
    ),
    "equal classes: the last one": (
        "accelerator_stage_top",
        r"assign _02_ = candidate_1 < top_0;",
        "assign _02_ = candidate_1 > top_0;",
    ),
    "clamped one too low": (CLIP_STAGE, r"_05_ \? 7'h05", "_05_ ? 7'h04"),
    "not clamped above": (CLIP_STAGE, r"_05_ \? 7'h05 : _08_", "_08_"),
    "not clamped below": (CLIP_STAGE, r"_07_ \? 7'h7e : shifted_0", "shifted_0"),
    "o__last never comes": ("accelerator", r"assign o__last = 1'h1;", "assign o__last = 1'h0;"),
    "a wrong i__last is not noticed": (
        "accelerator",
        r"i__last != i_last",
        "1'h0",
    ),
    "a missing i__last is not noticed": ("accelerator", r"i__last \| marked", "i__last"),
    "i__misaligned does not stay": (
        "accelerator",
        r"_07_ \? 1'h1 : i__misaligned",
        "_07_",
    ),
    "i__misaligned outlives a reset": (
        "accelerator",
        r"rst \? 1'h0 : _11_",
        "_11_",
    ),
}


@pytest.mark.cosim
@pytest.mark.parametrize("name", MUTANTS)
def test_planted_error_is_caught(name: str, folder: Path, tmp_path: Path) -> None:
    result = mutated(folder, tmp_path / "mutant", *MUTANTS[name])
    assert not result.passed
    assert {failure.kind for failure in result.failures} <= {"output", "cycles", "run"}


@pytest.mark.cosim
def test_the_same_without_an_error_passes(folder: Path) -> None:
    result = verify(folder, SIMULATOR)
    assert result.failures == ()
    assert result.passed
    assert result.disturbed
    assert result.notes == ()
    assert (result.tests, result.images) == (6, 2)
    assert result.coverage.ties is not None
    assert result.coverage.ties > 0
    assert min(result.coverage.saturated["clip"]) > 0
    assert result.coverage.not_seen == ()


@pytest.mark.cosim
def test_a_disturbance_that_disturbs_nothing_is_no_success(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schedules of zeros: the simulation is as predicted, and proves nothing."""
    monkeypatch.setattr(runs, "_held_back", lambda rng, share, beats, budget: np.zeros(beats, int))
    result = verify(folder, SIMULATOR)
    assert not result.passed
    assert not result.disturbed
    assert result.outputs_equal
    assert result.cycles_equal
    assert [failure.text for failure in result.failures] == [
        f"{run}: the {what} change no date"
        for run in ("gaps_and_stalls", "after_reset")
        for what in ("gaps of the input", "stalls of the output")
    ]


@pytest.mark.cosim
def test_no_pauses_on_request(folder: Path) -> None:
    result = verify(folder, SIMULATOR, gap_probability=0, stall_probability=0)
    assert result.passed
    assert result.tests == 5
    assert result.notes == ("gaps_and_stalls: left out, as both probabilities are 0",)


@pytest.mark.cosim
def test_refusals_that_the_bench_does_not_carry_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were beats taken at once, every date of the disturbed runs would tell."""
    monkeypatch.setattr(
        "hwsim.rtl.job._schedule_bits", lambda waits: np.zeros((len(waits), 32), np.uint8)
    )
    result = verify(folder, SIMULATOR)
    bad = {failure.test for failure in result.failures}
    assert bad == {"gaps_and_stalls", "after_reset", "long_refusal", "long_gaps"}
    assert any("an output beat was refused" in failure.text for failure in result.failures)


def by_name(pipeline: Pipeline, gap: float = 0.25, stall: float = 0.25) -> dict[str, runs.Run]:
    plan = plan_runs(pipeline, choose_images(pipeline, None, tiny_images()), gap, stall, 0)
    assert all(run.unmet == () for run in plan.runs)
    return {run.name: run for run in plan.runs}


def test_a_long_refusal_fills_everything_up_to_the_input() -> None:
    pipeline = tiny_pipeline(argmax=True)
    run = by_name(pipeline)["long_refusal"]
    calm = simulate(pipeline, len(run.images))
    # The input waits for the first output, and not for what comes after it.
    assert run.model.frame_last_input[-1] > run.model.frame_last_output[0] > run.stalls[0]
    assert calm.frame_last_input[-1] < run.stalls[0]
    full = {fifo.name for fifo in run.model.fifos if fifo.high_water == fifo.depth}
    before = {fifo.name for fifo in calm.fifos if fifo.high_water == fifo.depth}
    assert "top__sink" in full - before
    assert full > before
    fewer = simulate(pipeline, len(run.images) - 1, None, run.stalls[:-1])
    assert fewer.frame_last_input[-1] < run.stalls[0]


def test_long_gaps_starve_every_stage() -> None:
    pipeline = tiny_pipeline(argmax=True)
    run = by_name(pipeline)["long_gaps"]
    calm = simulate(pipeline, len(run.images))
    for stage, before in zip(run.model.stages, calm.stages, strict=True):
        assert stage.starved_cycles >= before.starved_cycles + calm.frame_interval_cycles


def test_pauses_come_in_all_lengths_and_are_repeatable() -> None:
    pipeline = tiny_pipeline(argmax=True)
    first, again = by_name(pipeline, 0.5, 0.5), by_name(pipeline, 0.5, 0.5)
    run = first["gaps_and_stalls"]
    assert np.array_equal(run.gaps, again["gaps_and_stalls"].gaps)
    assert np.array_equal(run.stalls, again["gaps_and_stalls"].stalls)
    assert {1, 2, 3} <= set(run.gaps.tolist())
    assert run.gaps.max() > 10
    assert 0.3 < np.mean(run.gaps > 0) < 0.7
    assert run.stalls.min() >= 0
    assert run.stalls.max() > 0


def test_a_deep_last_fifo_hides_the_input_and_says_so() -> None:
    pipeline = edges_pipeline()
    deep = pipeline.with_depths({"top__sink": 200})
    x = np.zeros((1, 3, 2, 2), np.int64)
    plan = plan_runs(deep, choose_images(deep, None, x), 0.25, 0.25, 0)
    assert plan.notes == (
        "long_refusal: the FIFOs hold 64 frames, so that the input is never held up",
    )


def dense_classifier(weight: list[list[int]]) -> Network:
    ops = (Linear("head", ("input",), weight=np.array(weight)), ArgMax("top", ("head",)))
    return Network("dense", TensorType(len(weight[0]), 1, 1, 8), ops)


def test_ties_are_searched_where_pictures_have_none() -> None:
    """37 a + 1 = 101 b has few solutions, so that only a search finds one."""
    network = dense_classifier([[37, 0, 1], [0, 101, 0]])
    pipeline = build_pipeline(network)
    x = np.array([[200, 10, 3], [10, 200, 5]]).reshape(2, 3, 1, 1)
    made = vectors._candidates(network, np.random.default_rng(0))
    chosen = choose_images(pipeline, None, x)
    tensors = evaluate(network, chosen.images)
    head = tensors["head"][:, :, 0, 0]
    assert (head[:, 0] == head[:, 1]).any()
    assert len(made) > len(chosen.images)


def test_what_no_image_shows_is_said() -> None:
    """Classes whose values differ by parity never tie; a range that nothing leaves."""
    ops = (
        Requantize("wide", ("input",), np.full(2, 2), np.array([0, 1]), 0, 0, 1000),
        ArgMax("top", ("wide",)),
    )
    network = Network("odd", TensorType(2, 1, 1, 4), ops)
    pipeline = build_pipeline(network)
    x = np.array([[3, 1], [1, 3]]).reshape(2, 2, 1, 1)
    chosen = choose_images(pipeline, None, x)
    tensors = evaluate(network, chosen.images)
    links = {fifo.name: tensors[fifo.stream.tensor] for fifo in pipeline.fifos}
    shown = vectors.coverage(pipeline, chosen, links, links, faulty=False)
    assert shown.ties == 0
    assert shown.not_seen == ("top: a tie",)
    assert shown.cannot_occur == ("wide: below its range", "wide: above its range")


def shown_edges(network: Network) -> vectors.Coverage:
    """What the images show of ``network`` that are chosen beside one of zeros."""
    pipeline = build_pipeline(network)
    chosen = choose_images(pipeline, None, np.zeros((1, *network.input.shape), np.int64))
    tensors = evaluate(network, chosen.images)
    links = {fifo.name: tensors[fifo.stream.tensor] for fifo in pipeline.fifos}
    watched = {name: values[list(chosen.watched)] for name, values in links.items()}
    return vectors.coverage(pipeline, chosen, links, watched, faulty=False)


def test_networks_of_one_op_show_every_edge() -> None:
    argmax = Network("one", TensorType(4, 1, 1, 6, True), (ArgMax("top", ("input",)),))
    clip = Network("one", TensorType(3, 4, 4, 4, True), (CLIP,))
    for network in (argmax, clip):
        shown = shown_edges(network)
        assert shown.not_seen == ()
        assert shown.cannot_occur == ()
    assert shown.ties is None
    assert min(shown.saturated["clip"]) > 0


def test_edges_are_counted_as_the_reference_has_them() -> None:
    """By hand: each image is beyond one end, and the second has a tie."""
    x = np.array([[[-8, 0], [0, 0]], [[7, 7], [7, 7]]]).reshape(2, 1, 2, 2) * np.ones((1, 3, 1, 1))
    network = edges_network()
    edges = vectors._edges(network, evaluate(network, x.astype(np.int64)))
    # (-8 * 3 + 4) >> 2 is -5, below -2; (7 * 5) >> 2 is 8, above 5.
    # The second's sums are 20, 12, 20.
    assert edges["clip", "below"].tolist() == [True, False]
    assert edges["clip", "above"].tolist() == [False, True]
    assert edges["top", "tie"].tolist() == [False, True]
