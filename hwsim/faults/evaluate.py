"""``FaultyExecutor``: what an accelerator with faulty memories answers, bit for bit."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hwsim.errors import NetworkError
from hwsim.execute import Executor
from hwsim.faults.design import DesignFaults
from hwsim.faults.network import faulty_network
from hwsim.network import ArgMax, Network


class FaultyExecutor:
    """Evaluates the network of ``faults.pipeline`` as the accelerator with these faults does.

    threads: how many; by default as many as the process may use CPUs.
    """

    def __init__(self, faults: DesignFaults, threads: int | None = None):
        self.faults = faults
        self.network = faults.pipeline.network
        self.threads = Executor(self.network, threads).threads

    @cached_property
    def faulty_network(self) -> Network | None:
        """The network whose evaluation is all there is to do, see ``faulty_network``."""
        return faulty_network(self.faults)

    @cached_property
    def _executor(self) -> Executor:
        network = self.faulty_network
        if network is None:
            raise NotImplementedError("faults in buffers")
        return Executor(network, self.threads)

    def run(self, x: np.ndarray, first_frame: int = 0) -> np.ndarray:
        """What leaves the accelerator: int64 [images, channels, height, width].

        x: integers [images, channels, height, width], image n being frame first_frame + n since
        reset. Raises NetworkError when ``x`` has another shape, is not of integers or leaves its
        range.
        """
        return self._executor.run(x)

    def tensors(self, x: np.ndarray, first_frame: int = 0) -> dict[str, np.ndarray]:
        """Every tensor as its stage yields it, by name, the input included."""
        return self._executor.tensors(x)

    def accuracy(self, x: np.ndarray, labels: np.ndarray, first_frame: int = 0) -> float:
        """Share (0..1) of images whose class is ``labels`` [images].

        Raises NetworkError when the network does not end in ArgMax or the counts differ.
        """
        if not isinstance(self.network.ops[-1], ArgMax):
            raise NetworkError("accuracy needs a network that ends in ArgMax")
        labels = np.asarray(labels)
        if labels.shape != (len(x),) or not len(x):
            raise NetworkError(f"labels must be [{len(x)}], at least one, not {list(labels.shape)}")
        return float((self.run(x, first_frame)[:, 0, 0, 0] == labels).mean())
