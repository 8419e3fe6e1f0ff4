"""``Executor``: runs a network on many images, bit-exact and fast."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from hwsim.errors import NetworkError
from hwsim.execute.circuit import Circuit
from hwsim.execute.kernels import LANES
from hwsim.execute.plan import Buffers, ExecutionPlan, make_plan
from hwsim.network import INPUT, ArgMax, Network
from hwsim.network.reference import check_input


class Executor:
    """Evaluates ``network`` as ``hwsim.network.evaluate`` does, some thousand times faster.

    The executor works on blocks of 64 images, several blocks at once. threads: number of threads,
    by default the number of CPUs that the process may use. The first run compiles kernels (seconds;
    cached on disk).
    An executor may be used from several threads and holds no memory between calls.

    network: or a circuit, whose edits depend on the number of a frame: image n of a run is frame
    ``first_frame + n``.
    """

    def __init__(self, network: Network | Circuit, threads: int | None = None):
        if threads is not None and (type(threads) is not int or threads < 1):
            raise NetworkError(f"threads must be a positive integer, not {threads!r}")
        self._circuit = network if isinstance(network, Circuit) else Circuit(network)
        self.network = self._circuit.network
        self.threads = threads or _available_cpus()

    @cached_property
    def _fused(self) -> ExecutionPlan:
        return make_plan(self._circuit, fuse=True)

    @cached_property
    def _whole(self) -> ExecutionPlan:
        return make_plan(self._circuit, fuse=False)

    def run(self, x: np.ndarray, first_frame: int = 0) -> np.ndarray:
        """Output int64 [images, channels, height, width] for x [images, channels, height, width].

        Raises NetworkError if ``x`` has another shape, no integers, or values out of range.
        """
        output = self.network.output
        return self._evaluate(self._fused, x, first_frame, [output])[output]

    def tensors(self, x: np.ndarray, first_frame: int = 0) -> dict[str, np.ndarray]:
        """Every tensor by name, the input included, int64; arguments and errors as ``run``."""
        return self._evaluate(self._whole, x, first_frame, self._circuit.types)

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> float:
        """Share (0..1) of images whose class is ``labels`` [images].

        Raises NetworkError when the network does not end in ArgMax or the counts differ.
        """
        return share_right(self.network, self.run, x, labels)

    def _evaluate(
        self, plan: ExecutionPlan, x: np.ndarray, first_frame: int, names: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """The named tensors; every worker takes block after block, in buffers of its own."""
        x = check_input(self.network, x)
        types = self._circuit.types
        results = {name: np.empty((len(x), *types[name].shape), np.int64) for name in names}
        starts = iter(range(0, len(x), LANES))

        def work() -> None:
            buffers = plan.allocate()
            for start in starts:  # each start goes to one worker: next() of a range is atomic
                block = slice(start, min(start + LANES, len(x)))
                plan.layouts[INPUT].write(buffers[INPUT], x[block])
                _keep(plan, INPUT, buffers, block, results)
                for step in plan.steps:
                    step.run(buffers)
                    for change in plan.changes.get(step.output, ()):
                        change(buffers[step.output], first_frame + start, block.stop - start)
                    _keep(plan, step.output, buffers, block, results)

        workers = min(self.threads, -(-len(x) // LANES))
        if workers <= 1:
            work()
        else:
            with ThreadPoolExecutor(workers) as pool:
                try:
                    for future in [pool.submit(work) for _ in range(workers)]:
                        future.result()
                finally:  # after an error or Ctrl-C, let no worker start another block
                    for _ in starts:
                        pass
        return results


def share_right(
    network: Network, run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, labels: np.ndarray
) -> float:
    """Share (0..1) of images whose class by ``run``, which evaluates ``network``, is ``labels``.

    Raises NetworkError when the network does not end in ArgMax or the counts differ.
    """
    if not isinstance(network.ops[-1], ArgMax):
        raise NetworkError("accuracy needs a network that ends in ArgMax")
    labels = np.asarray(labels)
    if labels.shape != (len(x),) or not len(x):
        raise NetworkError(f"labels must be [{len(x)}], at least one, not {list(labels.shape)}")
    return float((run(x)[:, 0, 0, 0] == labels).mean())


def _keep(
    plan: ExecutionPlan, name: str, buffers: Buffers, block: slice, results: dict[str, np.ndarray]
) -> None:
    """Copy a tensor of this block of images to the results, when it is asked for."""
    if name in results:
        results[name][block] = plan.layouts[name].read(buffers[name], block.stop - block.start)


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
