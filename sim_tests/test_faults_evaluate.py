"""Faulty accelerators in NumPy and in PyTorch: every tensor equal, and what must hold of both."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from hwsim.accelerator import Fold, Pipeline, build_pipeline
from hwsim.design.roles import Role
from hwsim.errors import NetworkError
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults, faulty_network
from hwsim.faults.evaluate import EvaluationPath
from hwsim.faults.faulty_circuit import faulty_circuit
from hwsim.lowvoltage import ChipError
from hwsim.lowvoltage.protection import parse_protection
from hwsim.lowvoltage.transient import errs_now, transient_key
from hwsim.models.faulty_golden import FaultyGolden
from hwsim.models.testing import FaultyGoldenConformance
from hwsim.network import Alphabet, Linear, Network, Requantize, TensorType, evaluate
from hwsim.testing import Answers, FaultConformance, Limits, random_input, random_pipeline
from hwsim.testing.faulty import KINDS, RATES, SHORTCUT, chip, residual_images, residual_pipeline

LIMITS = Limits(channels=5, size=6)
FRAMES = 3


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return residual_pipeline()


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def start(faults: DesignFaults, frame: int) -> int:
    """The first frame: ``frame``, unless errors depend on those before it."""
    return 0 if faults.lasting else frame


def compare(faults: DesignFaults, x: np.ndarray, first: int) -> dict[str, np.ndarray]:
    """NumPy and PyTorch agree on every tensor and the output; returns the tensors."""
    ours, golden = FaultyExecutor(faults), FaultyGolden(faults)
    tensors = ours.tensors(x, first)
    images = torch.from_numpy(x)
    theirs = {name: value.numpy() for name, value in golden.tensors(images, first).items()}
    assert equal(tensors, theirs)
    assert np.array_equal(ours.run(x, first), golden.run(images, first).numpy())
    return tensors


class TestGolden(FaultyGoldenConformance):
    pass


class TestPaths(FaultConformance):
    """The paths for speed against the definition."""

    def answers(self, faults: DesignFaults, x: np.ndarray, first_frame: int) -> Answers:
        fast, stages = FaultyExecutor(faults), FaultyExecutor(faults, path="stages")
        tensors, output = fast.tensors(x, first_frame), fast.run(x, first_frame)
        assert equal(tensors, stages.tensors(x, first_frame))
        assert np.array_equal(output, stages.run(x, first_frame))
        return Answers(tensors, output)


@pytest.mark.parametrize("seed", range(1, 9))
def test_random_networks(seed: int) -> None:
    pipeline = random_pipeline(seed, LIMITS, FRAMES)
    if pipeline is None:
        pytest.skip("this network is not mapped")
    x = random_input(pipeline.network, seed, FRAMES)
    none = design_faults(pipeline, chip("flip", seed), 0.0)
    clean = evaluate(pipeline.network, x)
    for path in get_args(EvaluationPath):
        executor = FaultyExecutor(none, path=path)
        assert equal(executor.tensors(x, 5), clean)
        assert np.array_equal(executor.run(x, 5), clean[pipeline.network.output])
    kind = list(KINDS)[seed % len(KINDS)]
    for rate in RATES:
        faults = design_faults(pipeline, chip(kind, seed), rate)
        first = start(faults, seed * 11)
        tensors = compare(faults, x, first)
        assert equal(FaultyExecutor(faults, path="steps").tensors(x, first), tensors)


@pytest.mark.parametrize("seed", range(1, 9))
def test_protected_random_networks(seed: int) -> None:
    pipeline = random_pipeline(seed, LIMITS, FRAMES)
    if pipeline is None:
        pytest.skip("this network is not mapped")
    x = random_input(pipeline.network, seed, FRAMES)
    code = parse_protection(["parity", "secded", "secded:zero", "tmr:1"][seed % 4])
    for rate in RATES:
        compare(design_faults(pipeline, chip("flip", seed), rate, protection=code), x, seed * 7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_networks(kind: str, seed: int) -> None:
    pipeline = random_pipeline(seed, LIMITS, FRAMES)
    if pipeline is None:
        pytest.skip("this network is not mapped")
    x = random_input(pipeline.network, seed, FRAMES)
    for rate in RATES:
        faults = design_faults(pipeline, chip(kind, seed), rate)
        first = start(faults, seed)
        tensors = compare(faults, x, first)
        assert equal(FaultyExecutor(faults, path="steps").tensors(x, first), tensors)


@pytest.mark.parametrize("protection", ["parity", "secded", "secded:zero", "tmr:2"])
def test_protected_memories(pipeline: Pipeline, protection: str) -> None:
    x = residual_images(FRAMES)
    code = parse_protection(protection)
    bare = design_faults(pipeline, chip("flip", 2), 0.03)
    protected = design_faults(pipeline, chip("flip", 2), 0.03, protection=code)
    tensors = compare(protected, x, first=4)
    assert not equal(tensors, FaultyExecutor(bare).tensors(x, 4))


def test_single_errors_are_corrected(pipeline: Pipeline) -> None:
    """One failing cell in each chunk at most: as if there were none."""
    x = residual_images(FRAMES)
    secded = parse_protection("secded")
    roles = ["weight", "window", "fifo", "constants", "table"]

    def no_word_twice(faults: DesignFaults) -> bool:
        words = [m.faults.word.tolist() for m in faults.memories.values()]
        return all(len(set(w)) == len(w) for w in words)

    chips = (design_faults(pipeline, chip("flip", n), 0.002, roles, secded) for n in range(100))
    faults = next(found for found in chips if len(found) > 10 and no_word_twice(found))
    assert equal(FaultyExecutor(faults).tensors(x), evaluate(pipeline.network, x))


def test_frames_count_from_reset(pipeline: Pipeline) -> None:
    """In one go or in pieces, in one thread or two: the same frames, the same errors."""
    x = residual_images(150)
    for kind in ("preferred", "transient_flip"):
        faults = design_faults(pipeline, chip(kind, 1), 0.02)
        whole = FaultyExecutor(faults, threads=1).tensors(x)
        assert equal(FaultyExecutor(faults, threads=2).tensors(x), whole)
        executor = FaultyExecutor(faults)
        for first, last in ((0, 1), (1, 5), (5, 6), (6, 90), (90, 150)):
            piece = executor.tensors(x[first:last], first)
            assert equal(piece, {name: value[first:last] for name, value in whole.items()})
        # Another place in time is another place in memory.
        assert not equal(executor.tensors(x[:6], 1), executor.tensors(x[:6], 0))


@pytest.mark.parametrize("roles", [["fifo"], ["window"], ["accumulator"], list(Role)])
def test_what_memories_hold_depends_on_all_frames_since_reset(
    pipeline: Pipeline, roles: list[str]
) -> None:
    """Where some writes fail; over blocks of frames and in any number of threads."""
    x = residual_images(150)
    faults = design_faults(pipeline, chip("transient_write", 1), 0.3, roles)
    whole = FaultyExecutor(faults, threads=1).tensors(x)
    assert equal(FaultyExecutor(faults, threads=2).tensors(x), whole)
    assert equal(FaultyExecutor(faults, path="steps").tensors(x), whole)
    executor = FaultyExecutor(faults)
    # Every call starts at reset; the frames that follow change nothing.
    for last in (1, 63, 64, 65, 90):
        found = executor.tensors(x[:last])
        assert equal(found, {name: value[:last] for name, value in whole.items()})
    # The frames before do: other images in the first block, other errors in the second. What an
    # accumulator held then is seen in the next sum alone, so some chips do not show it.
    other = x[:66].copy()
    other[:64] = 15 - x[:64]

    def depends(seed: int) -> bool:
        ours = FaultyExecutor(design_faults(pipeline, chip("transient_write", seed), 0.3, roles))
        both = [ours.links(images) for images in (x[:66], other)]
        last = [{name: value[64:] for name, value in found.items()} for found in both]
        return not equal(*last)

    assert any(depends(seed) for seed in range(40))
    text = (
        r"^first_frame must be 0, not 5: some writes fail, so what memories hold depends on all "
        r"frames since reset$"
    )
    for ask in (executor.run, executor.tensors, executor.links):
        with pytest.raises(ChipError, match=text):
            ask(x[:1], 5)
    with pytest.raises(ChipError, match=r"^some writes fail: frames must be given from reset on"):
        FaultyGolden(faults).run(torch.from_numpy(x[:1]), 5)


def test_a_fifo_holds_what_its_cells_took(pipeline: Pipeline) -> None:
    """Bit by bit, as the text of ``hwsim.lowvoltage.transient`` has it."""
    x = residual_images(4)
    name = "fifo.input__conv1"
    faults = design_faults(pipeline, chip("transient_write", 2), 0.3, [name])
    cells = faults.memories[name].faults
    failing = {(w, b): r for w, b, r in zip(cells.word, cells.bit, cells.reads, strict=True)}
    assert failing
    held = {at: int(powered_up) for at, powered_up in failing.items()}
    key, words = transient_key(2, name), cells.words
    shown = x.copy()
    # Three channels in beats of two lanes of 4 bits: the last lane of the second is not there, so
    # that the cells of this lane, which holds no channel at times, do not fail.
    assert {bit for _, bit in failing} == {0, 1, 2, 3}
    lanes = [(n, y, c, b) for n in range(4) for y in range(4) for c in range(5) for b in range(2)]
    for number, (n, y, c, b) in enumerate(lanes):
        for lane in range(2 - b):
            value = int(x[n, 2 * b + lane, y, c])
            for bit in range(4):
                at = number % words, 4 * lane + bit
                if at not in failing:
                    continue
                asked = (np.uint64(v) for v in (key, number, at[1], cells.errs))
                if not errs_now(*asked):
                    held[at] = value >> bit & 1
                shown[n, 2 * b + lane, y, c] &= ~(1 << bit)
                shown[n, 2 * b + lane, y, c] |= held[at] << bit
    assert not np.array_equal(shown, x)
    for path in ("auto", "steps"):
        assert np.array_equal(FaultyExecutor(faults, path=path).links(x)["input__conv1"], shown)


def test_stores_are_written_once(pipeline: Pipeline) -> None:
    """A write that fails leaves what the cell powered up as; protection is as for stuck cells."""
    x, code = residual_images(FRAMES), parse_protection("secded")
    for role in ("weight", "constants"):
        always = design_faults(pipeline, chip("write_failure", 3), 0.2, [role])
        stuck = design_faults(pipeline, chip("preferred", 3), 0.2, [role])
        assert equal(FaultyExecutor(always).tensors(x), FaultyExecutor(stuck).tensors(x))
        some = design_faults(pipeline, chip("transient_write", 3), 0.2, [role])
        # Of the cells about half took their value; the others hold another one for ever.
        assert len(always) / 4 < len(some) < len(always) * 3 / 4
        for memory in some.memories.values():
            assert not memory.on_write
            assert not memory.transient
            cells, of = memory.faults, always.memories[memory.memory.name].faults
            listed = zip(of.word, of.bit, of.reads, strict=True)
            key = np.uint64(transient_key(3, memory.memory.name))
            failed = [
                cell
                for cell in listed
                if errs_now(key, np.uint64(cell[0]), np.uint64(cell[1]), np.uint64(128))
            ]
            assert list(zip(cells.word, cells.bit, cells.reads, strict=True)) == failed
        tensors = compare(some, x, first=7)
        assert not equal(tensors, FaultyExecutor(always).tensors(x, 7))
        compare(design_faults(pipeline, chip("transient_write", 3), 0.05, [role], code), x, 7)


def test_written_memories_whose_writes_all_fail_never_change(pipeline: Pipeline) -> None:
    """Read as stuck cells are, but for accumulators: their last sum is not read back."""
    x = residual_images(FRAMES)
    for role, same in (("fifo", True), ("window", True), ("accumulator", False)):
        faults = design_faults(pipeline, chip("write_failure", 3), 0.2, [role])
        stuck = design_faults(pipeline, chip("preferred", 3), 0.2, [role])
        found = FaultyExecutor(faults, path="steps").tensors(x, 4)
        assert equal(found, FaultyExecutor(stuck, path="steps").tensors(x, 4)) == same
        assert (faulty_circuit(faults) is not None) == same
        assert not faults.lasting


@pytest.mark.parametrize("kind", ["flip", "transient_flip", "write_failure", "transient_write"])
@pytest.mark.parametrize("role", tuple(Role))
def test_every_kind_of_memory_matters(pipeline: Pipeline, role: str, kind: str) -> None:
    x = residual_images(FRAMES)
    clean = evaluate(pipeline.network, x)
    faults = design_faults(pipeline, chip(kind, 0), 0.2, [role])
    found = FaultyExecutor(faults).tensors(x)
    assert not equal(found, clean)
    assert np.array_equal(found["input"], clean["input"])


def test_every_memory_matters(pipeline: Pipeline) -> None:
    x = residual_images(FRAMES)
    clean = FaultyExecutor(design_faults(pipeline, chip("flip", 0), 0.0)).links(x)
    names = design_faults(pipeline, chip("flip", 0), 1.0).memories
    assert len(names) > 20
    for name in names:
        faults = design_faults(pipeline, chip("flip", 0), 1.0, [name])
        assert not equal(FaultyExecutor(faults).links(x), clean), name


def test_a_fifo_spoils_its_own_reader_only(pipeline: Pipeline) -> None:
    x = residual_images(FRAMES)
    clean = FaultyExecutor(design_faults(pipeline, chip("flip", 0), 0.0))
    faults = design_faults(pipeline, chip("flip", 0), 0.3, [f"fifo.{SHORTCUT}"])
    tensors, links = FaultyExecutor(faults).tensors(x), FaultyExecutor(faults).links(x)
    assert np.array_equal(tensors["conv1_q"], clean.tensors(x)["conv1_q"])
    assert np.array_equal(tensors["conv2"], clean.tensors(x)["conv2"])
    assert not np.array_equal(links[SHORTCUT], tensors["conv1_q"])
    assert not np.array_equal(tensors["join"], clean.tensors(x)["join"])


def test_output_is_what_leaves_the_output_fifo(pipeline: Pipeline) -> None:
    x = residual_images(FRAMES)
    faults = design_faults(pipeline, chip("flip", 0), 1.0, ["fifo.top__sink"])
    executor = FaultyExecutor(faults)
    classes = evaluate(pipeline.network, x)["top"]
    assert np.array_equal(executor.tensors(x)["top"], classes)
    assert np.array_equal(executor.run(x), 3 - classes)
    assert executor.accuracy(x, 3 - classes.ravel()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_errors_that_always_occur_are_a_circuit(pipeline: Pipeline, kind: str) -> None:
    """Which is the fast way; it may not fall back to the other without anybody noticing."""
    x = residual_images(70)
    for rate in RATES:
        faults = design_faults(pipeline, chip(kind, 3), rate)
        circuit = faulty_circuit(faults)
        failing_sums = kind == "write_failure" and any(
            memory.memory.role is Role.ACCUMULATOR for memory in faults.memories.values()
        )
        assert (circuit is None) == (kind.startswith("transient") or failing_sums)
        if circuit is not None:
            assert circuit.edits
            found = FaultyExecutor(faults, path="circuit").tensors(x, 9)
            for path in ("auto", "stages"):
                assert equal(found, FaultyExecutor(faults, path=path).tensors(x, 9))


def test_faulty_stores_are_another_network(pipeline: Pipeline) -> None:
    x = residual_images(FRAMES)
    faults = design_faults(pipeline, chip("flip", 4), 0.01, ["weight"])
    network = faulty_network(faults)
    assert network is not None
    tensors = evaluate(network, x)
    assert not equal(tensors, evaluate(pipeline.network, x))
    assert equal(tensors, FaultyExecutor(faults).tensors(x))
    assert equal(tensors, FaultyExecutor(faults, path="stages").tensors(x))
    for role in ("window", "fifo", "accumulator"):
        buffers = design_faults(pipeline, chip("flip", 4), 0.1, [role])
        assert faulty_network(buffers) is None
    changing = design_faults(pipeline, chip("transient_flip", 4), 0.1, ["weight"])
    assert faulty_network(changing) is None


def test_accumulators_overflow_where_the_hardware_does() -> None:
    """15 * 1 needs 4 bits unsigned; as bit 1 of the weight fails, 15 * -1 is read as 1."""
    op = Linear("out", ("input",), [[1]], Alphabet("int2"))
    pipeline = build_pipeline(Network("n", TensorType(1, 1, 1, 4), (op,)), {"out": Fold(1, 1)})
    faults = design_faults(pipeline, chip("stuck_1", 0), 1.0, ["weight"])
    assert faulty_network(faults) is None
    x = np.array([[[[15]]], [[[3]]]])
    assert FaultyExecutor(faults).run(x).ravel().tolist() == [-15 & 15, -3 & 15]
    compare(faults, x, 0)


def test_requantizers_overflow_where_the_hardware_does() -> None:
    """Multiplier 3 and bias 10 read as -4 and -11, and -4 * 15 - 11 does not fit 7 bits."""
    op = Requantize("out", ("input",), np.array([3, 3]), np.array([10, 10]), 0, -64, 63)
    pipeline = build_pipeline(Network("n", TensorType(2, 1, 1, 4), (op,)))
    faults = design_faults(pipeline, chip("flip", 0), 1.0, ["constants"])
    assert faulty_network(faults) is None
    circuit = faulty_circuit(faults)
    assert circuit is not None
    assert circuit.sum_bits == {"out": 7}
    x = np.array([[[[15]], [[3]]]])
    assert FaultyExecutor(faults).run(x).ravel().tolist() == [-71 + 128, -23]
    compare(faults, x, 0)


def test_mistakes_are_one_line(pipeline: Pipeline) -> None:
    x = residual_images(2)
    executor = FaultyExecutor(design_faults(pipeline, chip("flip", 0), 0.1))
    with pytest.raises(NetworkError, match=r"^first_frame must be >= 0, not -1$"):
        executor.run(x, -1)
    with pytest.raises(NetworkError, match=r"^input values must be 0..15, not 0..16$"):
        executor.tensors(np.where(x == 15, 16, x))
    with pytest.raises(NetworkError, match=r"^labels must be \[2\], at least one, not \[3\]$"):
        executor.accuracy(x, np.zeros(3))
    with pytest.raises(NetworkError, match=r"^threads must be a positive integer, not 0$"):
        FaultyExecutor(executor.faults, threads=0)
    with pytest.raises(ChipError, match=r"^path must be auto, circuit, stages, steps, not 'fast'$"):
        FaultyExecutor(executor.faults, path="fast")
    changing = design_faults(pipeline, chip("transient_flip", 0), 0.1)
    with pytest.raises(
        ChipError, match=r"^these faults have no circuit: evaluate them with path 'auto'$"
    ):
        FaultyExecutor(changing, path="circuit")
