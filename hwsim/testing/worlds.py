"""hwsim's own back ends that need neither PyTorch nor Amaranth, as conformance classes.

Those that do are in ``hwsim.models.testing`` and ``hwsim.rtl.testing``. Whoever adds an op from
outside derives a test from each, with ``ops`` set to the op.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsim.execute import Executor
from hwsim.network import Network, evaluate
from hwsim.testing.conformance import Conformance


class ReferenceConformance(Conformance):
    """``hwsim.network.evaluate``."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        return evaluate(network, x)


class ExecutorConformance(Conformance):
    """``Executor.tensors``: every op for itself."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        return Executor(network, threads=1).tensors(x)


class FusedExecutorConformance(Conformance):
    """``Executor.run``: the output comes from the fused plan."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        executor = Executor(network, threads=1)
        return {**executor.tensors(x), network.output: executor.run(x)}
