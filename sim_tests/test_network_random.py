"""Random networks: reference = PyTorch = numba, every tensor, with ``==``."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.execute import Executor
from hwsim.models.golden import GoldenNetwork
from hwsim.network import Network, evaluate, network_hash
from hwsim.network.ops import OP_TYPES
from hwsim.testing import ALPHABETS, Limits, random_input, random_network

SMALL = Limits()
LARGE = Limits(channels=12, size=13, blocks=6, mappable=False)


@settings(max_examples=400)
@given(st.integers(0, 2**32 - 1), st.sampled_from([SMALL, LARGE]))
def test_three_worlds_agree(seed: int, limits: Limits) -> None:
    network = random_network(seed, limits)
    x = random_input(network, seed, images=3)
    expected = evaluate(network, x)
    golden = GoldenNetwork(network).tensors(torch.from_numpy(x))
    executor = Executor(network, threads=1)
    fast = executor.tensors(x)
    assert list(expected) == list(network.types)
    assert set(golden) == set(fast) == set(expected)
    for name, value in expected.items():
        t = network.types[name]
        assert value.shape[1:] == t.shape
        assert value.min() >= t.lo
        assert value.max() <= t.hi
        assert np.array_equal(golden[name].numpy(), value), name
        assert np.array_equal(fast[name], value), name
    assert np.array_equal(executor.run(x), expected[network.output])


@pytest.mark.parametrize("limits", [SMALL, LARGE])
def test_generator_reaches_everything(limits: Limits) -> None:
    networks = [random_network(seed, limits) for seed in range(400)]
    ops = [op for network in networks for op in network]
    kinds = Counter(op.kind for op in ops)
    assert set(kinds) == set(OP_TYPES)
    assert {op.alphabet.name for op in ops if hasattr(op, "alphabet")} == set(ALPHABETS)
    assert {max(op.kernel) for op in ops if op.kind == "MuxConv2d"} >= {1, 3, 5}
    assert {op.stride for op in ops if op.kind == "MuxConv2d"} >= {(1, 1), (2, 2), (1, 2), (2, 1)}
    bits = {(t.bits, t.signed) for network in networks for t in network.types.values()}
    assert bits >= {(n, s) for n in range(1, 9) for s in (False, True)}
    shapes = {network.input.shape[1:] for network in networks}
    assert any(rows == 1 for rows, _ in shapes)
    assert any(rows > 1 and rows != columns for rows, columns in shapes)
    assert any(_has_shortcut(network) for network in networks)
    assert any((op.weight == 0).any() for op in ops if op.kind == "MuxConv2d")
    assert any((op.multiplier < 0).any() for op in ops if op.kind == "Requantize")


def _has_shortcut(network: Network) -> bool:
    return any(len(network.consumers(name)) > 1 for name in network.types)


@pytest.mark.parametrize("limits", [SMALL, LARGE])
def test_generator_keeps_its_limits(limits: Limits) -> None:
    for seed in range(200):
        network = random_network(seed, limits)
        flat = False
        for op in network:
            t = network.types[op.name]
            flat = flat or op.kind == "Flatten"
            assert flat or t.channels <= limits.channels
            assert max(t.height, t.width) <= 2 * limits.size
            if limits.mappable and op.kind == "Conv2d":
                assert op.groups in (1, network.types[op.inputs[0]].channels)


def test_equal_seeds_give_equal_networks() -> None:
    hashes = [network_hash(random_network(seed, SMALL)) for seed in (1, 2, 1)]
    assert hashes[0] == hashes[2] != hashes[1]
    network = random_network(3)
    assert np.array_equal(random_input(network, 4), random_input(network, 4))
