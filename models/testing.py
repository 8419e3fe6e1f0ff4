"""The golden models in PyTorch as conformance classes (``hwsim.testing``)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from hwsim.faults import DesignFaults
from hwsim.models.faulty_golden import FaultyGolden
from hwsim.models.golden import GoldenNetwork
from hwsim.network import Network
from hwsim.testing import Answers, Conformance, FaultConformance


class GoldenConformance(Conformance):
    """``GoldenNetwork``."""

    def tensors(self, network: Network, x: np.ndarray) -> Mapping[str, np.ndarray]:
        tensors = GoldenNetwork(network).tensors(torch.from_numpy(x))
        return {name: value.numpy() for name, value in tensors.items()}


class FaultyGoldenConformance(FaultConformance):
    """``FaultyGolden``."""

    def answers(self, faults: DesignFaults, x: np.ndarray, first_frame: int) -> Answers:
        golden, images = FaultyGolden(faults), torch.from_numpy(x)
        tensors = golden.tensors(images, first_frame)
        return Answers(
            {name: value.numpy() for name, value in tensors.items()},
            golden.run(images, first_frame).numpy(),
        )
