"""Tables of constants in the fabric: what they yield, and how their Verilog grows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.sim import Simulator

from hwsim.accelerator import Fold, Pipeline, build_pipeline
from hwsim.network import Alphabet, MaxPool2d, MuxConv2d, Network, TensorType
from hwsim.rtl.accelerator import Accelerator
from hwsim.rtl.util import choose, index, table
from hwsim.rtl.verilog import to_verilog


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 16, 21])
def test_every_entry_is_where_it_belongs(count: int) -> None:
    rng = np.random.default_rng(count)
    words = [int(word) for word in rng.integers(0, 6, count)]
    m, at = Module(), Signal(index(count))
    values = [Signal(3, name=f"value_{n}") for n in range(count)]
    constant, chosen = Signal(3), Signal(3)
    m.d.comb += [constant.eq(table(words, unsigned(3), at)), chosen.eq(choose(values, at))]
    seen = []

    async def bench(ctx):  # type: ignore[no-untyped-def]
        for value, word in zip(values, words, strict=True):
            ctx.set(value, word ^ 1)
        for n in range(count):
            ctx.set(at, n)
            await ctx.delay(1e-6)
            seen.append((ctx.get(constant), ctx.get(chosen)))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [(word, word ^ 1) for word in words]


def layer(outputs: int, style: str) -> Pipeline:
    """A multiplexer layer whose store has 4 words an output."""
    rng = np.random.default_rng(0)
    shape = outputs, 16
    op = MuxConv2d(
        "conv", ("input",), rng.integers(0, 9, shape), rng.choice([-1, 1], shape), (3, 3)
    )
    network = Network("n", TensorType(16, 4, 4, 4), (op,))
    return build_pipeline(network, {"conv": Fold(1, 4, style)})


def resize(channels: int) -> Pipeline:
    """From one lane to all, and back to one."""
    pools = [("a", "input"), ("b", "a"), ("c", "b")]
    ops = tuple(MaxPool2d(name, (source,), (1, 1), (1, 1)) for name, source in pools)
    network = Network("n", TensorType(channels, 2, 2, 4), ops)
    return build_pipeline(network, {"a": Fold(1, 1), "b": Fold(1, channels), "c": Fold(1, 1)})


def text(pipeline: Pipeline) -> str:
    return to_verilog(Accelerator(pipeline=pipeline), "accelerator")


def longest(verilog: str) -> int:
    return max(len(line) for line in verilog.splitlines())


def test_text_grows_with_the_words_of_a_store() -> None:
    small, large = text(layer(64, "constant")), text(layer(128, "constant"))
    in_memory = text(layer(128, "memory"))
    # 256 more words of 20 bits each take a line each, and a name.
    assert 256 * 5 < len(large) - len(small) < 256 * 100
    assert len(large) < 1.5 * len(in_memory)
    assert longest(large) < longest(in_memory) + 50


def test_text_grows_with_the_beats_of_a_pixel() -> None:
    """Longest are the lines in which a beat of all channels is put together."""
    small, large = text(resize(40)), text(resize(80))
    assert len(large) < 2.2 * len(small)
    assert longest(large) < 2.2 * longest(small)


def test_a_layer_with_all_its_lanes_is_wiring() -> None:
    rng = np.random.default_rng(1)
    shape = 3, 4
    tap, weight = rng.integers(0, 9, shape), rng.choice([-4, -2, -1, 0, 1, 2, 4], shape)
    op = MuxConv2d("conv", ("input",), tap, weight, (3, 3), alphabet=Alphabet("int4"))
    network = Network("n", TensorType(4, 4, 4, 4), (op,))
    product, word = re.compile(r" \* "), re.compile(r"\bweight_word\b")
    for style, found in (("memory", True), ("constant", False)):
        verilog = text(build_pipeline(network, {"conv": Fold(3, 4, style)}))
        assert bool(product.search(verilog)) == bool(word.search(verilog)) == found
