"""Activations that lie in memories: their places, ranges and layers."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from support.foreign_modules import BasicBlock, resnet
from support.small_modules import CHIP, batch, body
from torch import Tensor, nn

from hwsim.models.faults import (
    Deviation,
    FaultInjector,
    FaultModelError,
    remove_memories,
    store_activations,
    store_weights,
)


def test_every_place_of_a_module_has_its_own_range() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.relu(x), self.relu(x[:, :3] * 10)], 1)

    model = Twice()
    store_activations(model)
    x = torch.tensor([[0.0, 0.5, 1.0, 0.25, 1.0]])
    model(x)
    assert model.relu.activation_range.tolist() == [[0.0, 1.0], [0.0, 10.0]]
    model.eval()
    assert model(x)[0, 7] == 10.0
    assert model(x)[0, 6] == pytest.approx(5.0, abs=10 / 255)
    faults = FaultInjector(model, kinds="activation")
    assert list(faults.memories) == ["relu.activation", "relu.activation.2"]
    # Oracle in NumPy, of both memories.
    with faults.chip(CHIP, rate=0.2):
        found = model(x)[0].tolist()
    expected: list[float] = []
    values = (x[0], x[0, :3] * 10)
    for name, value, top in zip(faults.memories, values, (1.0, 10.0), strict=True):
        words = np.rint(value.numpy() / np.float32(top / 255)).astype(int)
        cells = CHIP.faults_at(name, len(words), 8, 0.2)
        assert len(cells)
        for word, bit in zip(cells.word, cells.bit, strict=True):
            words[word] ^= 1 << bit
        expected += (words * top / 255).tolist()
    assert found == pytest.approx(expected, abs=1e-5)
    clean = model(x)[0]
    with faults.errors({"relu.activation.2": 0.3}):
        struck = model(x)[0]
    assert torch.equal(struck[:5], clean[:5])
    assert not torch.equal(struck[5:], clean[5:])
    # A saved state brings the places along.
    other = Twice()
    store_activations(other)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.eval()(x), model(x))
    with pytest.raises(FaultModelError, match=r"^relu\.activation is of a module used at several"):
        model.relu(x)


def test_activations_of_blocks_as_others_write_them() -> None:
    model = resnet()
    store_activations(model)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    model(x)
    names = list(FaultInjector(model, kinds="activation").memories)
    assert names == ["2.activation"] + [
        f"{block}.relu.activation{use}" for block in (3, 4) for use in ("", ".2")
    ]
    model.eval()
    for size in (8, 12, 8):  # a chip's memories are as large as what they hold
        pictures = torch.randn(2, 3, size, size)
        with FaultInjector(model, kinds="activation").chip(CHIP, rate=0.1):
            struck = model(pictures)
        assert not torch.equal(struck, model(pictures))
    for twin in (copy.deepcopy(model), through_file(model), nn.DataParallel(copy.deepcopy(model))):
        assert list(FaultInjector(twin, kinds="activation").memories) == names
        assert torch.equal(twin(x), model(x))
    bare = resnet().eval()
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "activation" not in k})
    remove_memories(model)
    assert torch.equal(model(x), bare(x))
    assert list(model.state_dict()) == list(bare.state_dict())
    for a, b in zip(model.modules(), bare.modules(), strict=True):
        assert list(vars(a)) == list(vars(b))
    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert hooks == [h for m in model.modules() for h in m._load_state_dict_pre_hooks] == []


def through_file(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_fused_attention_does_not_pass_by_stored_activations() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, nn.ReLU(), batch_first=True)
    model = nn.Sequential(layer)
    store_activations(model)
    x = torch.randn(2, 5, 8)
    model(x)
    model.eval()
    with torch.no_grad(), FaultInjector(model, kinds="activation").errors(0.2):
        struck = model(x)
    with torch.no_grad():
        assert not torch.equal(struck, model(x))


def test_ranges_follow_where_norms_follow() -> None:
    model = body(norm=True)
    store_activations(model)
    faults = FaultInjector(model, kinds="activation")
    with faults.errors(0.1, as_deployed=False):
        model(batch())
    first = model[2].activation_range.clone()
    assert first.shape == (1, 2)
    with faults.errors(0.1):
        model(batch() * 100)
    assert torch.equal(model[2].activation_range, first)
    model(batch() * 100)
    assert not torch.equal(model[2].activation_range, first)


def test_activations_that_cannot_be_stored_get_one_line() -> None:
    model = body()
    store_activations(model)
    text = r"^1\.activation has no range yet: run the model in training mode first, without errors$"
    with pytest.raises(FaultModelError, match=text):
        model.eval()(batch())
    rnn = nn.Sequential(nn.LSTM(3, 4))
    store_activations(rnn, layers=(nn.LSTM,))
    with pytest.raises(
        FaultModelError, match=r"^0\.activation: a tensor of floats can be stored, "
    ):
        rnn(torch.randn(2, 2, 3))
    model.train()
    assert model(batch(0)).shape == (0, 3)


def test_a_container_may_be_the_layer_whose_outputs_are_stored() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Linear(4, 2))
    store_activations(model[0], layers=(nn.Sequential,))
    model(batch())
    model.eval()
    faults = FaultInjector(model, kinds="activation")
    assert list(faults.memories) == ["0.activation"]
    clean = model(batch())
    assert torch.equal(model(batch()), clean)
    with faults.errors(0.2):
        assert not torch.equal(model(batch()), clean)


def test_deviation_compares_every_place() -> None:
    model = nn.Sequential(BasicBlock(3, 3), nn.Flatten(), nn.Linear(48, 2))
    store_weights(model)
    store_activations(model)
    x = torch.randn(4, 3, 4, 4)
    model(x)
    faults, deviation = FaultInjector(model), Deviation(model)
    with deviation.watch() as clean:
        model(x)
    with deviation.watch() as struck, faults.errors(0.1):
        model(x)
    assert len(clean) == len(struck) == 2
    assert deviation.penalty(clean, struck) > 0
