"""Trainings of few channels leave the heap of the process whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from hwsim.models.layers import convolve

TRAININGS = """
import torch, torch.nn.functional as F
from hwsim.config.training import ModelConfig
from hwsim.models.networks import build_network

torch.set_num_threads(1)
torch.manual_seed(0)
x, y = torch.randint(0, 256, (16, 1, 8, 8)), torch.randint(0, 10, (16,))
kinds = [("mux", False), ("dense", False), ("dense", True)]
for channels in ((2, 3), (3, 5), (4, 8), (5, 9), (6, 8), (7, 4), (9, 6), (12, 8)):
    for convolution, twin in kinds:
        config = ModelConfig(
            network="resnet", channels=channels, blocks=1, convolution=convolution
        )
        model = build_network(config, (1, 8, 8), 10, seed=0, twin=twin).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        for step in range(8):
            if step == 4:
                model.freeze_positions()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
print("all trained")
"""


def test_resnets_of_few_channels_train_to_their_end() -> None:
    # A process of its own, since what overwrites the heap ends it. AVX2 has the kernels that did.
    done = subprocess.run(
        [sys.executable, "-c", TRAININGS],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "all trained\n"), done.stderr


@pytest.mark.parametrize("inputs", [1, 3, 6, 8, 12])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3), (4, 4)])
def test_convolutions_and_gradients_equal_plain_ones(
    inputs: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)

    def integers(*shape: int) -> torch.Tensor:
        return torch.randint(-8, 8, shape, generator=generator).double()

    x, w = integers(4, inputs, 7, 8), integers(5, inputs, *kernel)
    a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
    padding = (kernel[0] // 2, kernel[1] // 2)
    # Doubles are no matter of oneDNN.
    expected = F.conv2d(a, b, stride=stride, padding=padding)
    towards = integers(*expected.shape)
    expected.backward(towards)

    c = x.float().contiguous(memory_format=torch.channels_last).requires_grad_()
    d = w.float().requires_grad_()
    result = convolve(c, d, stride, padding)
    result.backward(towards.float().contiguous(memory_format=torch.channels_last))
    for ours, right in ((result, expected), (c.grad, a.grad), (d.grad, b.grad)):
        assert ours is not None
        assert right is not None
        assert torch.equal(ours.double(), right)
