"""Every op in the worlds that need no hardware: reference, PyTorch, numba."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from hwsim.execute import Executor
from hwsim.models.golden import GoldenNetwork
from hwsim.network import Network, evaluate
from hwsim.network.ops import OP_TYPES
from hwsim.testing import ROWS, Conformance


class TestReference(Conformance):
    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        return evaluate(network, x)


class TestTorch(Conformance):
    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        tensors = GoldenNetwork(network).tensors(torch.from_numpy(x))
        return {name: value.numpy() for name, value in tensors.items()}


class TestExecutor(Conformance):
    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        return Executor(network, threads=1).tensors(x)


class TestFusedExecutor(Conformance):
    """As TestExecutor, but the output comes from the fused plan."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        executor = Executor(network, threads=1)
        return {**executor.tensors(x), network.output: executor.run(x)}


def test_every_op_has_a_row() -> None:
    assert set(ROWS) == set(OP_TYPES.values())
