"""Putting memory errors into weights, against copying the weights, and against PyTorchFI.

Subject: the int8 weights of a ResNet-18 for CIFAR-10 (11,164,352 values), one thread. Every figure
is the shortest of many; all jobs of one error rate take turns, several calls in a row each, so that
caches are as warm for one as for the other. The yardstick is ``np.copyto`` of the same weights.
PyTorchFI's job is that of "copy, replay a chip": a copy of all weights with the same faults, places
and values given as lists that were made beforehand; its result must be equal. It is no dependency
and is left out where it is missing:

    pip install --no-deps --target pytorchfi pytorchfi==0.6.0
    PYTHONPATH=pytorchfi python benchmarks/injection.py [--rates 1e-3 1e-2] [--turns 100] [--json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.lowvoltage import Chip, load_technology
from hwsim.lowvoltage.fresh import fresh_masks
from hwsim.lowvoltage.inject import Masks, inject, make_masks, undo
from hwsim.models import inject as tensors

STAGES = ((64, 64), (64, 128), (128, 256), (256, 512))


def layers() -> list[tuple[int, int, int, int]]:
    """Shapes of the weights, the classifier as a 1x1 convolution."""
    found = [(64, 3, 3, 3)]
    for inputs, outputs in STAGES:
        found += [(outputs, inputs, 3, 3)] + 3 * [(outputs, outputs, 3, 3)]
        found += [(outputs, inputs, 1, 1)] if inputs != outputs else []
    return [*found, (10, 512, 1, 1)]


SHAPES = layers()
WEIGHTS = sum(math.prod(shape) for shape in SHAPES)
_CALLS = 4
MEMORY = ("weights", WEIGHTS, 8)


def jobs(rate: float, masks: Masks) -> dict[str, Callable[[], Any]]:
    """What is timed at one error rate. masks: of a chip."""
    weights = np.random.default_rng(0).integers(-128, 128, WEIGHTS).astype(np.int8)
    array, step = weights.copy(), count()
    held, tensor = torch.from_numpy(weights), torch.from_numpy(array)

    def fresh() -> Masks:
        return fresh_masks(*MEMORY, rate, np.int8, seed=1, step=next(step))

    def copied() -> np.ndarray:
        np.copyto(array, weights)
        return array

    def there_and_back() -> None:
        undo(array, masks, inject(array, masks))

    return {
        "copy": copied,
        "fresh errors, in place": lambda: inject(array, fresh()),
        "copy, fresh errors": lambda: inject(copied(), fresh()),
        "copy, replay a chip": lambda: inject(copied(), masks),
        "replay a chip and undo, in place": there_and_back,
        "torch: copy, fresh errors": lambda: tensors.inject(tensor.copy_(held), fresh()),
        "torch: copy, replay a chip": lambda: tensors.inject(tensor.copy_(held), masks),
    }


def best_of(jobs: dict[str, Callable[[], Any]], turns: int, seconds: float) -> dict[str, float]:
    """Shortest wall time of each, in seconds; turns end early when ``seconds`` are over."""
    best = dict.fromkeys(jobs, math.inf)
    end = time.perf_counter() + seconds
    for turn in range(turns + 1):
        for name, job in jobs.items():
            for call in range(_CALLS):
                begin = time.perf_counter()
                job()
                if turn and call:  # the first turn compiles, the first call warms the caches
                    best[name] = min(best[name], time.perf_counter() - begin)
        if turn > 2 and time.perf_counter() > end:
            break
    return best


class _Holder(nn.Module):
    """A model that holds the weights, as floats; PyTorchFI calls it once and never again."""

    def __init__(self, weights: np.ndarray):
        super().__init__()
        at = 0
        for n, shape in enumerate(SHAPES):
            layer = nn.Conv2d(shape[1], shape[0], shape[2], bias=False)
            values = weights[at : at + math.prod(shape)].reshape(shape)
            layer.weight = nn.Parameter(torch.tensor(values, dtype=torch.float32))
            self.add_module(f"layer{n}", layer)
            at += values.size

    def forward(self, x: Tensor) -> Tensor:
        return x


def pytorchfi(masks: Masks, turns: int) -> float | None:
    """Seconds that PyTorchFI takes for the same faults in the same weights; None: not installed."""
    if importlib.util.find_spec("pytorchfi") is None:
        return None
    from pytorchfi.core import fault_injection

    assert isinstance(masks.word, np.ndarray)
    weights = np.random.default_rng(0).integers(-128, 128, WEIGHTS).astype(np.int8)
    faulty = weights.copy()
    inject(faulty, masks)
    faults: dict[str, list] = {
        key: [] for key in ("layer_num", "k", "dim1", "dim2", "dim3", "value")
    }
    at = 0
    for n, shape in enumerate(SHAPES):
        inside = (masks.word >= at) & (masks.word < at + math.prod(shape))
        word = masks.word[inside]
        places = np.unravel_index(word - at, shape)
        columns = ([n] * len(word), *(axis.tolist() for axis in places), faulty[word].tolist())
        for key, column in zip(faults, columns, strict=True):
            faults[key] += column
        at += math.prod(shape)
    injector = fault_injection(_Holder(weights), 1, [3, 32, 32], layer_types=[nn.Conv2d])
    best = math.inf
    for _ in range(turns):
        begin = time.perf_counter()
        model = injector.declare_weight_fi(**faults)
        best = min(best, time.perf_counter() - begin)
    found = torch.cat([layer.weight.detach().ravel() for layer in model.children()])
    if not np.array_equal(found.numpy(), faulty):
        raise SystemExit("PyTorchFI and hwsim disagree")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1], metavar="RATE"
    )
    parser.add_argument("--turns", type=int, default=100, help="of each job, at most")
    parser.add_argument("--seconds", type=float, default=20, help="for each rate, roughly")
    parser.add_argument("--pytorchfi-rate", type=float, default=1e-3, help="its error rate")
    parser.add_argument("--pytorchfi-turns", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    chip = Chip(load_technology("sram_14nm"), 1)
    chip.faults_at(*MEMORY, 1e-9)  # compiled
    rows: list[dict[str, Any]] = []

    def add(job: str, rate: float, errors: int, seconds: float, copy: float) -> None:
        row = {"job": job, "rate": rate, "errors": errors, "seconds": seconds}
        rows.append({**row, "ratio": seconds / copy})
        if not args.json:
            print(f"| {job} | {rate:g} | {errors:,} | {1e3 * seconds:.3f} | {seconds / copy:.2f} |")

    if not args.json:
        print(f"{WEIGHTS:,} int8 weights, one thread\n")
        print("| job | error rate | errors | ms | x copy |\n|---|---|---|---|---|")
    for rate in args.rates:
        begin = time.perf_counter()
        faults = chip.faults_at(*MEMORY, rate)
        finding = time.perf_counter() - begin
        masks = make_masks(faults, np.int8)
        best = best_of(jobs(rate, masks), args.turns, args.seconds)
        for job, seconds in best.items():
            add(job, rate, len(faults), seconds, best["copy"])
        add("find a chip's failing cells, once", rate, len(faults), finding, best["copy"])
    rate = args.pytorchfi_rate
    faults = chip.faults_at(*MEMORY, rate)
    masks = make_masks(faults, np.int8)
    theirs = pytorchfi(masks, args.pytorchfi_turns)
    if theirs is not None:
        best = best_of(jobs(rate, masks), args.turns, args.seconds)
        add("PyTorchFI: copy, given faults", rate, len(faults), theirs, best["copy"])
    summary = {} if theirs is None else {
        "pytorchfi_to_replay": theirs / best["copy, replay a chip"],
        "pytorchfi_to_fresh": theirs / best["copy, fresh errors"],
    }  # fmt: skip
    if args.json:
        print(json.dumps({"benchmark": "injection", "rows": rows, **summary}, indent=2))
    elif theirs is None:
        print("\nPyTorchFI is not installed and was left out; see the head of this file")
    else:
        print(
            f"\nPyTorchFI takes {summary['pytorchfi_to_replay']:,.0f} times as long as copy and "
            f"replay, {summary['pytorchfi_to_fresh']:,.0f} times as long as copy and fresh errors "
            f"(error rate {rate:g}; weights equal)"
        )


if __name__ == "__main__":
    main()
