"""The executor's own behaviour: blocks, threads, fusion, chosen types, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwsim.errors import NetworkError
from hwsim.execute import Executor, kernels
from hwsim.execute.chains import make_chains
from hwsim.execute.circuit import Change, Circuit
from hwsim.execute.kernels import LANES
from hwsim.execute.layout import Layout, storage_for
from hwsim.execute.plan import make_plan
from hwsim.execute.terms import make_sum
from hwsim.network import (
    INPUT,
    Add,
    Alphabet,
    ArgMax,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.testing import Limits, random_input, random_network


def requantize(name: str, source: str, channels: int, lo: int = 0, hi: int = 15) -> Requantize:
    return Requantize(
        name, (source,), np.full(channels, 3), np.full(channels, 8), 4, lo, hi
    )  # fmt: skip


def mux(name: str, source: str, inputs: int, outputs: int, stride: int = 1) -> MuxConv2d:
    rng = np.random.default_rng(len(name))
    tap = rng.integers(0, 9, (outputs, inputs))
    weight = rng.choice([-1, 1], (outputs, inputs))
    return MuxConv2d(name, (source,), tap, weight, (3, 3), (stride, stride), (1, 1))


def residual(join: tuple[str, str] = ("b", "s")) -> Network:
    """The residual block that training exports: both branches requantized, then added."""
    ops: tuple[Op, ...] = (
        mux("stem_acc", INPUT, 2, 4),
        requantize("stem", "stem_acc", 4),
        mux("a_acc", "stem", 4, 4),
        requantize("a", "a_acc", 4),
        mux("b_acc", "a", 4, 4),
        requantize("b", "b_acc", 4, -128, 127),
        requantize("s", "stem", 4, -128, 127),
        Add("sum", join),
        requantize("out", "sum", 4),
        GlobalAvgPool("pooled", ("out",)),
        Linear("logits", ("pooled",), np.array([[1, -2, 3, 4], [-1, 5, 2, 2]])),
        ArgMax("label", ("logits",)),
    )
    return Network("residual", TensorType(2, 6, 5, 4), ops)


# -- blocks and threads ----------------------------------------------------------------------------


@pytest.mark.parametrize("images", [0, 1, LANES - 1, LANES, LANES + 1, 3 * LANES + 5])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_images(images: int, threads: int) -> None:
    network = residual()
    x = random_input(network, images, images)
    executor = Executor(network, threads)
    expected = evaluate(network, x)
    got = executor.run(x)
    assert got.dtype == np.int64
    assert np.array_equal(got, expected["label"])
    tensors = executor.tensors(x)
    assert list(tensors) == list(network.types)
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)


def test_one_image_without_leading_axis() -> None:
    network = residual()
    x = random_input(network, 5, 1)
    assert np.array_equal(Executor(network).run(x[0]), evaluate(network, x)["label"])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_any_integer_type_of_images(dtype: type) -> None:
    network = residual()
    x = random_input(network, 5, 9)
    assert np.array_equal(Executor(network).run(x.astype(dtype)), evaluate(network, x)["label"])


def test_images_need_not_be_contiguous() -> None:
    network = residual()
    x = random_input(network, 5, 30)
    expected = evaluate(network, x[::3])["label"]
    assert np.array_equal(Executor(network).run(x[::3]), expected)
    assert np.array_equal(Executor(network).run(np.asfortranarray(x[::3])), expected)


def test_one_executor_in_several_threads() -> None:
    network = residual()
    executor = Executor(network, threads=2)
    xs = [random_input(network, seed, LANES + seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(executor.run, xs))
    for x, got in zip(xs, results, strict=True):
        assert np.array_equal(got, evaluate(network, x)["label"])


def test_borders_stay_zero_from_block_to_block() -> None:
    """Buffers are reused; a second run over other images must not see the first."""
    for seed in range(10):
        network = random_network(seed, Limits(mappable=False))
        executor = Executor(network, threads=1)
        for part in range(2):
            x = random_input(network, seed + part, 2 * LANES)
            assert np.array_equal(executor.run(x), evaluate(network, x)[network.output])


@pytest.mark.slow
def test_kernels_stay_in_bounds() -> None:
    """Random networks with numba's bounds checks on, in a process of its own."""
    program = """if True:
        from hwsim.testing import (Limits, random_input, random_network)
        from hwsim.execute import Executor
        from hwsim.network import evaluate
        for seed in range(150):
            network = random_network(seed, Limits(channels=9, size=11, mappable=False))
            x = random_input(network, seed)
            executor = Executor(network, threads=1)
            expected = evaluate(network, x)
            assert (executor.run(x) == expected[network.output]).all()
            assert all((v == expected[n]).all() for n, v in executor.tensors(x).items())
    """
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(Path(__file__).parent)},
        check=True,
    )


# -- fusion and types ------------------------------------------------------------------------------


@pytest.mark.parametrize("join", [("b", "s"), ("s", "b")])
def test_what_is_fused(join: tuple[str, str]) -> None:
    network = residual(join)
    names = [[op.name for op in chain.ops] for chain in make_chains(Circuit(network), fuse=True)]
    assert names == [
        ["stem_acc", "stem"],
        ["a_acc", "a"],
        ["b_acc", "s", "b", "sum", "out"],
        ["pooled"],
        ["logits"],
        ["label"],
    ]
    x = random_input(network, 2, 70)
    assert np.array_equal(Executor(network).run(x), evaluate(network, x)["label"])


def test_without_fusion_every_tensor_is_written() -> None:
    network = residual()
    plan = make_plan(Circuit(network), fuse=False)
    assert set(plan.layouts) == set(network.types)
    assert set(make_plan(Circuit(network), fuse=True).layouts) == {
        INPUT, "stem", "a", "out", "pooled", "logits", "label",
    }  # fmt: skip


def test_a_tensor_with_two_readers_is_not_fused_away() -> None:
    ops = (
        mux("acc", INPUT, 2, 2),
        requantize("a", "acc", 2),
        requantize("b", "acc", 2, -8, 7),
        Add("y", ("a", "b")),
    )
    network = Network("n", TensorType(2, 4, 4, 4), ops)
    chains = [[op.name for op in chain.ops] for chain in make_chains(Circuit(network), fuse=True)]
    assert ["acc"] in chains
    x = random_input(network, 3, 5)
    assert np.array_equal(Executor(network).run(x), evaluate(network, x)["y"])


def test_wide_sums_are_not_fused_in_32_bits() -> None:
    """The first requantizer needs 64 bits, so the addition stays a step of its own."""
    wide = Requantize(
        "a", ("acc",), np.array([1 << 40, -1]), np.array([3, 1 << 41]), 38, -100, 100
    )  # fmt: skip
    ops = (mux("acc", INPUT, 2, 2), wide, Add("sum", ("a", INPUT)), requantize("y", "sum", 2))
    network = Network("n", TensorType(2, 4, 4, 4), ops)
    names = [[op.name for op in chain.ops] for chain in make_chains(Circuit(network), fuse=True)]
    assert names == [["acc", "a"], ["sum"], ["y"]]
    x = random_input(network, 3, 5)
    assert np.array_equal(Executor(network).run(x), evaluate(network, x)["y"])


class ClearOddFrames:
    """An edit: frames of odd number become 0."""

    def bind(self, layout: Layout) -> Change:
        def change(flat: np.ndarray, first: int, count: int) -> None:
            odd = np.arange(first, first + count) % 2 == 1
            layout.inside(flat)[..., :count][..., odd] = 0

        return change


@pytest.mark.parametrize("name", ["stem", "a", "b", "s", "out"])
@pytest.mark.parametrize("first", [0, 7])
def test_edits_come_before_any_reader(name: str, first: int) -> None:
    """Whatever would be fused with the tensor; and they see the numbers of the frames."""
    network = residual()
    x = random_input(network, 4, 70)
    none = np.zeros(4, np.int64)
    cleared = tuple(
        replace(op, multiplier=none, bias=none) if op.name == name else op for op in network.ops
    )  # fmt: skip
    even, odd = evaluate(network, x), evaluate(replace(network, ops=cleared), x)
    is_odd = (np.arange(70) + first).reshape(-1, 1, 1, 1) % 2 == 1
    expected = {tensor: np.where(is_odd, odd[tensor], even[tensor]) for tensor in even}
    for threads in (1, 2):
        executor = Executor(Circuit(network, edits={name: (ClearOddFrames(),)}), threads)
        assert np.array_equal(executor.run(x, first), expected["label"])
        found = executor.tensors(x, first)
        assert all(np.array_equal(found[tensor], expected[tensor]) for tensor in expected)


def test_buffers_are_shared() -> None:
    ops: list[Op] = []
    last = INPUT
    for n in range(8):
        ops += [mux(f"acc{n}", last, 4, 4), requantize(f"y{n}", f"acc{n}", 4)]
        last = f"y{n}"
    ops.append(MaxPool2d("y", (last,), (2, 2), (2, 2)))
    network = Network("n", TensorType(4, 6, 6, 4), tuple(ops))
    buffers = make_plan(Circuit(network), fuse=True).allocate()
    addresses = {name: buffer.ctypes.data for name, buffer in buffers.items()}
    assert len(set(addresses.values())) == 5  # input, two in turns, the last (no border), output
    x = random_input(network, 1, 3)
    assert np.array_equal(Executor(network).run(x), evaluate(network, x)["y"])


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [
        (0, 127, np.int8),
        (-128, 0, np.int8),
        (0, 128, np.int16),
        (-32769, 0, np.int32),
        (0, 1 << 31, np.int64),
    ],
)
def test_narrowest_storage(lo: int, hi: int, expected: type) -> None:
    assert storage_for(lo, hi) is expected


def test_storage_ends_at_64_bits() -> None:
    with pytest.raises(ValueError, match="does not fit 64 bits"):
        storage_for(0, 1 << 63)


@pytest.mark.parametrize(
    ("bits", "signed", "alphabet", "kernel", "weight", "accumulator"),
    [
        (4, False, "binary", "signed_sum", np.int8, np.int16),
        (4, False, "ternary", "signed_sum", np.int8, np.int16),
        (5, True, "binary", "signed_sum", np.int8, np.int16),
        (5, False, "binary", "weighted_sum", np.int16, np.int16),
        (7, False, "int4", "weighted_sum", np.int16, np.int16),
        (7, False, "int8", "weighted_sum", np.int32, np.int32),
        (4, False, "int8", "weighted_sum", np.int16, np.int16),
        (8, False, "binary", "weighted_sum", np.int32, np.int32),
        (16, False, "binary", "weighted_sum", np.int32, np.int32),
    ],
)
def test_kernel_and_types_follow_the_widths(
    bits: int, signed: bool, alphabet: str, kernel: str, weight: type, accumulator: type
) -> None:
    values = np.array(Alphabet(alphabet).values)
    weights = np.resize([values[0], values[-1]], (2, 10))
    op = MuxConv2d(
        "y", (INPUT,), np.zeros((2, 10), int), weights, (1, 1), alphabet=Alphabet(alphabet)
    )  # fmt: skip
    source = TensorType(10, 1, 1, bits, signed)
    network = Network("n", source, (op,))
    x = Layout(source, storage_for(source.lo, source.hi))
    call = make_sum(op, x, network.output_type.lo, network.output_type.hi)
    assert call.kernel is getattr(kernels, kernel)
    assert call.weight.dtype == weight
    assert call.start.dtype == accumulator
    for extreme in (source.lo, source.hi):
        images = np.full((3, *source.shape), extreme)
        assert np.array_equal(Executor(network).run(images), evaluate(network, images)["y"])


def test_pruned_terms_cost_nothing() -> None:
    op = MuxConv2d(
        "y", (INPUT,), np.zeros((2, 3), int), np.array([[0, 1, 0], [0, 0, 0]]), (1, 1)
    )  # fmt: skip
    source = TensorType(3, 2, 2, 4)
    call = make_sum(op, Layout(source, np.int8), 0, 15)
    assert call.first.tolist() == [0, 1, 1]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_must_be_positive(threads: object) -> None:
    with pytest.raises(NetworkError) as caught:
        Executor(residual(), threads)  # type: ignore[arg-type]
    assert str(caught.value) == f"threads must be a positive integer, not {threads!r}"


def test_images_are_checked() -> None:
    executor = Executor(residual())
    with pytest.raises(
        NetworkError, match=r"^input must be \[images, 2, 6, 5\], not \[3, 2, 5, 6\]"
    ):
        executor.run(np.zeros((3, 2, 5, 6), int))
    with pytest.raises(NetworkError, match=r"^input values must be 0..15, not 0..16$"):
        executor.tensors(np.arange(60).reshape(1, 2, 6, 5) % 17)
    with pytest.raises(NetworkError, match=r"^input must hold integers, not float32$"):
        executor.run(np.zeros((1, 2, 6, 5), np.float32))


def test_accuracy() -> None:
    network = residual()
    x = random_input(network, 8, 40)
    labels = evaluate(network, x)["label"][:, 0, 0, 0]
    wrong = labels.copy()
    wrong[:10] ^= 1
    assert Executor(network).accuracy(x, labels) == 1.0
    assert Executor(network).accuracy(x, wrong) == 0.75


def test_accuracy_needs_labels_and_argmax() -> None:
    network = residual()
    x = random_input(network, 8, 4)
    with pytest.raises(NetworkError, match=r"^labels must be \[4\], at least one, not \[3\]$"):
        Executor(network).accuracy(x, np.zeros(3, int))
    headless = Network("n", network.input, network.ops[:-1])
    with pytest.raises(NetworkError, match="^accuracy needs a network that ends in ArgMax$"):
        Executor(headless).accuracy(x, np.zeros(4, int))


def test_an_error_in_a_worker_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fail(self: Layout, flat: np.ndarray, images: np.ndarray) -> None:
        written.append(len(images))
        raise RuntimeError("broken")

    monkeypatch.setattr(Layout, "write", fail)
    network = residual()
    with pytest.raises(RuntimeError, match="broken"):
        Executor(network, threads=2).run(random_input(network, 1, 40 * LANES))
    assert len(written) <= 2
