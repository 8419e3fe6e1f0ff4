"""Folders such as ``hwsim run`` leaves, around random networks, for tests of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import Pipeline, auto_fold, build_pipeline, simulate
from hwsim.config.accelerator import EnergyConfig
from hwsim.network import (
    Add,
    ArgMax,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
    network_hash,
    save,
)
from hwsim.result import accelerator_target, check_result
from hwsim.run.figures import simulate_figures


class _Chain:
    """Grows a network op by op with random weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ops: list[Op] = []

    def conv(
        self, name: str, source: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1,
        lo: int = 0, hi: int = 15,
    ) -> str:  # fmt: skip
        shape = outputs, inputs
        self.ops += [
            MuxConv2d(
                name,
                (source,),
                tap=self.rng.integers(0, kernel * kernel, shape),
                weight=self.rng.choice([-1, 1], shape),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                pad=(kernel // 2, kernel // 2),
            ),
            self.requantize(f"{name}_q", name, outputs, lo, hi),
        ]
        return f"{name}_q"

    def requantize(self, name: str, source: str, channels: int, lo: int, hi: int) -> Requantize:
        multiplier = self.rng.integers(8, 64, channels)
        return Requantize(
            name, (source,), multiplier=multiplier, bias=multiplier, shift=6, lo=lo, hi=hi
        )

    def head(self, source: str, channels: int) -> None:
        weight = self.rng.integers(-128, 128, (10, channels))
        self.ops += [
            GlobalAvgPool("pool", (source,)),
            Linear("head", ("pool",), weight=weight),
            ArgMax("answer", ("head",)),
        ]


def four_layers(seed: int = 0) -> Network:
    """The shape of the ``quickstart`` experiment."""
    chain, at, inputs = _Chain(seed), "input", 1
    for n, (outputs, stride) in enumerate(((32, 1), (64, 1), (64, 2), (64, 1)), 1):
        at = chain.conv(f"conv{n}", at, inputs, outputs, stride=stride)
        inputs = outputs
    chain.head(at, inputs)
    return Network("four_layers", TensorType(1, 8, 8, 8), tuple(chain.ops))


def resnet(size: int = 32, channels: tuple[int, ...] = (16, 32, 64), blocks: int = 3) -> Network:
    """A residual network of multiplexer convolutions; the defaults give the ResNet-20 shape."""
    chain = _Chain(0)
    at, inputs = chain.conv("stem", "input", 3, channels[0]), channels[0]
    for s, outputs in enumerate(channels, 1):
        for b in range(1, blocks + 1):
            name, stride = f"stage{s}_{b}", 2 if s > 1 and b == 1 else 1
            body = chain.conv(f"{name}_a", at, inputs, outputs, stride=stride)
            body = chain.conv(f"{name}_b", body, outputs, outputs, lo=-128, hi=127)
            if inputs != outputs:
                at = chain.conv(f"{name}_short", at, inputs, outputs, 1, stride, -128, 127)
            chain.ops.append(Add(f"{name}_add", (body, at)))
            chain.ops.append(chain.requantize(f"{name}_out", f"{name}_add", outputs, 0, 15))
            at, inputs = f"{name}_out", outputs
    chain.head(at, inputs)
    return Network("residual", TensorType(3, size, size, 8), tuple(chain.ops))


def write_folder(
    folder: Path, pipeline: Pipeline, target: Mapping[str, Any] | None = None, **changes: Any
) -> Path:
    """``result.json``, ``network.hwnet`` and a training history as ``hwsim run`` writes them.

    Cycles, memories and energy are the model's own; accuracies and history are made up.
    target: keys of its target to replace, changes: keys of the result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = pipeline.network
    save(network, folder / "network.hwnet")
    document = {**_document(pipeline), **changes}
    document["targets"] = [{**document["targets"][0], **(target or {})}]
    result = check_result(document, "result")
    (folder / "result.json").write_text(result.model_dump_json(indent=1))
    (folder / "train").mkdir(exist_ok=True)
    history = {"network": _epochs(24, 0.9), "float": _epochs(12, 0.95)}
    (folder / "train" / "history.json").write_text(json.dumps(history))
    return folder


def _document(pipeline: Pipeline) -> dict[str, Any]:
    report = simulate(pipeline, 4)
    figures = {
        name: getattr(report, name)
        for name in ("first_output_cycles", "frame_latency_cycles", "frame_interval_cycles")
    }
    network = pipeline.network
    return {
        "hwsim_version": "0.1.0",
        "experiment": network.name,
        "seed": 0,
        "config": {"name": network.name, "verification": {"seed": 0}},
        "config_sha256": "c" * 64,
        "network_sha256": network_hash(network),
        "tools": {"hwsim": "0.1.0", "python": "3.12.0"},
        "machine": {
            "device": "cpu",
            "cpu": "A processor",
            "cpu_capability": "AVX2",
            "threads": 1,
            "blas": "mkl",
        },
        "confusion": [[(33 if a == b else int(b == 3)) for a in range(10)] for b in range(10)],
        "accuracy": {
            "float": 0.9917,
            "quantized": 0.9833,
            "integer": 0.9806,
            "golden": 0.9806,
            "rtl": 1.0,
            "agreement": 0.9972,
            "test_images": 360,
        },
        "training": {"precision": "fp32", "epochs": 24},
        "network": {
            "name": network.name,
            "ops": len(network.ops),
            "weights": 10400,
            "weight_bits": 52000,
            "macs": 400000,
        },
        "targets": [_target(pipeline, figures)],
        "files": {"network": "network.hwnet", "verilog": "verilog", "report": "report.html"},
        "times": [{"name": "train", "seconds": 21.5}, {"name": "verify", "seconds": 9.25}],
    }


def _target(pipeline: Pipeline, figures: dict[str, int]) -> dict[str, Any]:
    simulated = simulate_figures(pipeline, 100.0, EnergyConfig())
    verification = {
        "passed": True,
        "simulator": "verilator",
        "tests": 2,
        "images": 16,
        "outputs_equal": True,
        "cycles_equal": True,
        "cycles_simulated": 123456,
        "correct": 16,
        "failures": [],
        "figures": [
            {"test": test, "figure": name, "predicted": value, "measured": value}
            for test in ("back_to_back", "gaps_and_stalls")
            for name, value in figures.items()
        ],
    }
    return accelerator_target(simulated, {"lines": 4321, "sha256": "d" * 64}, verification)


def _epochs(count: int, best: float) -> list[dict[str, Any]]:
    return [
        {
            "epoch": n,
            "loss": 0.1 + 2.0 / (n + 1),
            "train_accuracy": best - 0.5 / (n + 1) - 0.01,
            "test_accuracy": best - 0.5 / (n + 1),
            "learning_rate": 1e-3,
            "frozen": n >= count // 2,
            "wall_seconds": 0.5,
            "cpu_seconds": 0.9,
        }
        for n in range(count)
    ]


def balanced(network: Network, interval_cycles: int, depth: int = 16) -> Pipeline:
    """``network`` with the fewest lanes for an interval."""
    return build_pipeline(network, auto_fold(network, interval_cycles), depth)
