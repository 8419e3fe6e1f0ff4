"""Every op as hardware: the conformance class in Amaranth's simulator, cycles included."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwsim.accelerator import build_pipeline, is_depthwise, simulate
from hwsim.network import INPUT, Conv2d, Flatten, Network
from hwsim.rtl.testing import figures, run
from hwsim.testing import Conformance, random_folding


class TestAmaranth(Conformance):
    images = 2

    def accepts(self, network: Network) -> bool:
        return all(op.groups == 1 or is_depthwise(op) for op in network if isinstance(op, Conv2d))

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        rng = np.random.default_rng(len(network.ops) + network.input.size)
        pipeline = build_pipeline(network, random_folding(network, rng), 40)
        got = run(pipeline, x)
        assert figures(got.report) == figures(simulate(pipeline, len(x)))
        tensors = {INPUT: x}
        for op in network:
            shape = (len(x), *network.types[op.name].shape)
            # Flatten has no stage: it only says in which order a vector's values count.
            source = tensors[op.inputs[0]] if isinstance(op, Flatten) else got.tensors[op.name]
            tensors[op.name] = source.reshape(shape)
        assert (got.output.reshape(tensors[network.output].shape) == tensors[network.output]).all()
        return tensors
