"""Fault-injection builds in Amaranth's simulator: every tensor and cycle figure, with ==."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.emitted import tiny_pipeline

from hwsim.accelerator import Fold, Pipeline, build_pipeline, simulate
from hwsim.errors import MappingError
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults
from hwsim.lowvoltage.protection import parse_protection
from hwsim.models.faulty_golden import FaultyGolden
from hwsim.network import (
    Alphabet,
    Conv2d,
    MaxPool2d,
    Network,
    Requantize,
    TensorType,
    evaluate,
)
from hwsim.rtl import faults as rtl_faults
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.testing import check, run
from hwsim.rtl.verilog import to_verilog
from hwsim.testing import Limits, random_input, random_pipeline
from hwsim.testing.faulty import KINDS, RATES, chip, residual_images, residual_pipeline

LIMITS = Limits(channels=5, size=6)
FRAMES = 2
REQUIRED = ("weight", "window", "fifo", "accumulator", "table")
CHIPS = range(10)


def three_worlds(
    pipeline: Pipeline, faults: DesignFaults, x: np.ndarray, gaps=(0,), stalls=(0,)
) -> dict[str, np.ndarray]:
    """NumPy, PyTorch and the hardware agree on everything; returns the tensors."""
    executor, golden = FaultyExecutor(faults), FaultyGolden(faults)
    tensors, output = executor.tensors(x), executor.run(x)
    for name, value in golden.tensors(torch.from_numpy(x)).items():
        assert np.array_equal(tensors[name], value.numpy()), name
    got = run(pipeline, x, gaps, stalls, faults=faults)
    check(pipeline.network, tensors, got, simulate(pipeline, len(x), gaps, stalls), output)
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_residual_network_on_ten_chips(kind: str, rate: float) -> None:
    pipeline, x = residual_pipeline(), residual_images(FRAMES)
    for seed in CHIPS:
        faults = design_faults(pipeline, chip(kind, seed), rate, REQUIRED)
        three_worlds(pipeline, faults, x, stalls=(0, seed % 3))


def compare(seed: int) -> bool:
    """A random network with faults everywhere; False when it cannot be mapped."""
    pipeline = random_pipeline(seed, LIMITS, FRAMES)
    if pipeline is None:
        return False
    rng = np.random.default_rng(seed)
    x = random_input(pipeline.network, seed, FRAMES)
    gaps = tuple(int(v) for v in rng.integers(0, 3, 7) * (seed % 2))
    stalls = tuple(int(v) for v in rng.integers(0, 4, 5) * (seed % 3 == 0))
    kind = list(KINDS)[seed % len(KINDS)]
    faults = design_faults(pipeline, chip(kind, seed), RATES[seed % len(RATES)])
    three_worlds(pipeline, faults, x, gaps, stalls)
    return True


def test_random_networks() -> None:
    assert sum(compare(seed) for seed in range(10)) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1210, 21))
def test_many_random_networks(first: int) -> None:
    assert sum(compare(seed) for seed in range(first, first + 21)) >= 17


def test_lanes_past_the_last_channel_leave_nothing_behind() -> None:
    """They hold 3 here, in the last beat of each pixel, and the words of a FIFO serve all beats."""
    rng = np.random.default_rng(5)

    def requantize(name: str, source: str, bias: int) -> Requantize:
        one = np.ones(3, np.int64)
        return Requantize(name, (source,), one, bias * one, 0, 3, 15)

    weight = rng.integers(-1, 2, (3, 3, 1, 1))
    ops = (
        Conv2d("conv", ("input",), weight, alphabet=Alphabet("ternary")),
        requantize("conv_q", "conv", 5),
        MaxPool2d("pool", ("conv_q",), kernel=(2, 2), stride=(1, 1)),
        requantize("pool_q", "pool", 0),
    )
    network = Network("padding", TensorType(3, 4, 4, 4), ops)
    pipeline = build_pipeline(network, {"conv": Fold(2, 2)}, 5)
    x = rng.integers(0, 16, (3, 3, 4, 4))
    clean = evaluate(network, x)
    for seed in range(3):
        roles = ["fifo", "accumulator", "window"]
        faults = design_faults(pipeline, chip("transient_write", seed), 0.4, roles)
        tensors = three_worlds(pipeline, faults, x)
        assert not np.array_equal(tensors["pool_q"], clean["pool_q"])


def test_verilog_without_faults_is_that_without_the_option() -> None:
    pipeline = tiny_pipeline()
    plain = to_verilog(Accelerator(pipeline=pipeline), "accelerator")
    none = design_faults(pipeline, chip("flip", 0), 0.0)
    assert to_verilog(Accelerator(pipeline=pipeline, faults=none), "accelerator") == plain
    some = design_faults(pipeline, chip("flip", 0), 0.1)
    assert to_verilog(Accelerator(pipeline=pipeline, faults=some), "accelerator") != plain


def test_protected_stores_are_built() -> None:
    pipeline, x = residual_pipeline(), residual_images(1)
    stores = ["weight", "constants", "table"]
    code = parse_protection("secded")
    faults = design_faults(pipeline, chip("flip", 1), 0.05, stores, code)
    bare = design_faults(pipeline, chip("flip", 1), 0.05, stores)
    tensors = three_worlds(pipeline, faults, x)
    assert not np.array_equal(tensors["conv2"], FaultyExecutor(bare).tensors(x)["conv2"])


def test_protected_buffers_are_refused() -> None:
    pipeline = residual_pipeline()
    code = parse_protection("secded")
    faults = design_faults(pipeline, chip("flip", 1), 0.05, ["fifo"], code)
    text = (
        r"^memory 'fifo.input__conv1': protection secded is evaluated but not built into Verilog "
        r"for memories that are written; protect weight, constants, table, or nothing$"
    )
    with pytest.raises(MappingError, match=text):
        Accelerator(pipeline=pipeline, faults=faults)


def test_faults_of_another_pipeline_are_refused() -> None:
    faults = design_faults(residual_pipeline(), chip("flip", 1), 0.05)
    with pytest.raises(ValueError, match=r"^faults must be those of this pipeline$"):
        Accelerator(pipeline=residual_pipeline(), faults=faults)


@pytest.mark.parametrize("kind", ["flip", "transient_flip", "write_failure", "transient_write"])
def test_wrong_hardware_is_caught(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Masks of the wrong word, or an access number that is off by one, are seen."""
    pipeline, x = residual_pipeline(), residual_images(FRAMES)
    faults = design_faults(pipeline, chip(kind, 1), 0.1, ["fifo"])
    three_worlds(pipeline, faults, x)
    right = rtl_faults.WordErrors.of.__func__

    def wrong(cls, *arguments):  # type: ignore[no-untyped-def]
        cells = right(cls, *arguments)
        if kind.startswith("transient"):
            return replace(cells, key=cells.key ^ 1)
        return replace(cells, flip=np.roll(cells.flip, 1, 0), keep=np.roll(cells.keep, 1, 0))

    monkeypatch.setattr(rtl_faults.WordErrors, "of", classmethod(wrong))
    with pytest.raises(AssertionError):
        three_worlds(pipeline, faults, x)
