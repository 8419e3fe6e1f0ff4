"""Errors in models: any nn.Module, straight-through gradients, the recipes, the error lines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwsim.config.training import ModelConfig
from hwsim.lowvoltage import Chip, FaultModel, VoltageError, load_technology
from hwsim.lowvoltage.inject import inject, make_masks
from hwsim.models.faults import (
    Curriculum,
    Deviation,
    FaultInjector,
    FaultModelError,
    StoredWeight,
    clip_weights,
    margin_cross_entropy,
    store_activations,
    store_weights,
    voltage_curve,
)
from hwsim.models.layers import MuxConv2d, normalize_as_deployed
from hwsim.models.memory import Errors, Memory, TapMemory, WeightMemory
from hwsim.models.networks import build_network
from hwsim.network import Alphabet

SRAM = load_technology("sram_14nm")


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    )


def stored(model: nn.Module, bits: int = 8) -> nn.Sequential:
    return store_weights(model, bits).model  # type: ignore[return-value]


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["binary", "ternary", "int3", "int8", "pow2_2", "pow2_4"])
def test_codes_are_those_of_the_accelerator(name: str) -> None:
    alphabet = Alphabet(name)
    memory = WeightMemory(alphabet)
    values = torch.tensor(alphabet.values, dtype=torch.float32)
    words = memory.encode(values)
    assert torch.equal(memory.decode(words).float(), values)
    from hwsim.network.codes import WeightCode

    code = WeightCode.choose(alphabet, np.array(alphabet.values))
    assert memory.bits == code.bits
    mask = (1 << code.bits) - 1
    assert (words.numpy().astype(int) & mask).tolist() == code.encode(
        np.array(alphabet.values)
    ).tolist()


def test_a_tap_past_the_last_one_reads_zero() -> None:
    class Ones(Errors):
        def strike(self, memory: str, words: Tensor, bits: int) -> None:
            words |= (1 << bits) - 1

    memory = TapMemory(9)
    tap = torch.arange(9)
    assert memory(tap) is tap
    memory.errors = Ones()
    assert memory(tap).tolist() == [15] * 9
    layer = MuxConv2d(4, 3, (3, 3), alphabet=Alphabet("int4"))
    layer.freeze()
    layer.tap_memory.errors = Ones()
    assert layer.kernels().abs().sum() == 0


@pytest.mark.parametrize("quantizer", ["robust", "symmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_stored_weights_are_near_the_float_ones(quantizer: str, bits: int) -> None:
    model = small()
    before = model[0].weight.detach().clone()
    store_weights(model, bits, quantizer=quantizer)
    reach = before.max() - before.min() if quantizer == "robust" else 2 * before.abs().max()
    step = reach / ((1 << bits) - 2)
    assert (model[0].weight - before).abs().max() <= step / 2 * 1.001
    assert len(torch.unique(model[0].weight)) <= (1 << bits) - 1
    model(images()).sum().backward()
    gradient = dict(model.named_parameters())["0.weight"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_gradients_pass_straight_through_errors() -> None:
    layer = StoredWeight(8, "robust")
    weight = torch.randn(6, 7, requires_grad=True)
    upstream = torch.randn(6, 7)
    faults = FaultInjector(nn.ModuleDict({"w": layer}), seed=3)
    assert list(faults.memories) == ["w.weight"]
    with faults.errors(0.1):
        read = layer(weight)
    assert not torch.equal(read, layer(weight))
    read.backward(upstream)
    assert torch.allclose(weight.grad, upstream)


def test_fresh_errors_differ_by_draw_and_repeat_by_seed() -> None:
    def answers(seed: int, draws: int) -> list[Tensor]:
        model = stored(small(), 8).eval()
        faults = FaultInjector(model, seed)
        faults.draws = draws
        out = []
        for _ in range(2):
            with faults.errors(0.05):
                out.append(model(images()).detach())
        return out

    first, second = answers(1, 0)
    assert not torch.equal(first, second)
    assert torch.equal(answers(1, 0)[0], first)
    assert torch.equal(answers(1, 1)[0], second)
    assert not torch.equal(answers(2, 0)[0], first)


def test_errors_end_with_the_block() -> None:
    model = stored(small(), 8).eval()
    clean = model(images())
    faults = FaultInjector(model)
    with pytest.raises(RuntimeError, match="stop"), faults.errors(0.2):
        raise RuntimeError("stop")
    assert torch.equal(model(images()), clean)
    with faults.errors(0.0):
        assert torch.equal(model(images()), clean)


@pytest.mark.parametrize("affine", [True, False])
def test_norms_compute_as_deployed_under_errors(affine: bool) -> None:
    model = stored(small(), 8)
    model[1] = nn.BatchNorm2d(8, affine=affine)
    for _ in range(3):
        model(images())
    faults = FaultInjector(model)
    before = model[1].running_mean.clone()
    with faults.errors(0.0):
        assert model[1].training
        got = model(images())
    assert torch.equal(model[1].running_mean, before)
    assert "forward" not in vars(model[1])
    assert torch.allclose(model.eval()(images()), got, atol=1e-5)


def test_norms_follow_where_there_is_no_clean_pass() -> None:
    model = stored(small(), 8)
    before = model[1].running_mean.clone()
    with FaultInjector(model).errors(0.05, as_deployed=False):
        model(images())
    assert not torch.equal(model[1].running_mean, before)


def test_gradients_of_deployed_norms_leave_out_what_norms_undo() -> None:
    x = (torch.randn(50, 3, 4, 4) * 5 + 2).requires_grad_()
    mean, variance = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([20.0, 30.0, 16.0])
    weight = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    bias = torch.tensor([0.1, 0.2, 0.3], requires_grad=True)
    upstream = torch.randn(50, 3, 4, 4)
    y = normalize_as_deployed(x, mean, variance, weight, bias, 1e-5)
    y.backward(upstream)
    found = weight.grad.clone(), bias.grad.clone()
    expected = functional.batch_norm(x.detach(), mean, variance, weight, bias)
    assert torch.allclose(y, expected, atol=1e-5)
    # Shifting or stretching a channel changes nothing that batch norm would let through.
    assert torch.allclose(x.grad.sum(dim=(0, 2, 3)), torch.zeros(3), atol=1e-3)
    assert torch.allclose((x.grad * x.detach()).sum(dim=(0, 2, 3)), torch.zeros(3), atol=1e-2)
    weight.grad = bias.grad = None
    expected.backward(upstream)
    assert torch.allclose(found[0], weight.grad, rtol=1e-4, atol=1e-3)
    assert torch.allclose(found[1], bias.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["flip", "stuck"])
def test_a_chip_reads_as_in_numpy(kind: str) -> None:
    technology = SRAM.model_copy(update={"faults": FaultModel(kind=kind, ones=0.3)})
    chip = Chip(technology, 11)
    model = stored(small(), 8).eval()
    original = dict(model.named_parameters())["0.weight"].detach()
    low, step = original.min(), (original.max() - original.min()) / 254
    words = ((original - low) / step).round().to(torch.uint8).numpy().copy()
    inject(words, make_masks(chip.faults("0.weight", words.size, 8, 0.8), words.dtype))
    faults = FaultInjector(model)
    assert list(faults.memories) == ["0.weight", "4.weight"]
    with faults.chip(chip, voltage_rel=0.8):
        read = model[0].weight.detach()
    assert torch.equal(((read - low) / step).round(), torch.from_numpy(words).float())


def test_memories_may_have_rates_of_their_own() -> None:
    model = stored(small(), 8).eval()
    faults = FaultInjector(model)
    clean = [model[0].weight.detach(), model[4].weight.detach()]
    with faults.errors({"4.weight": 0.1}):
        assert torch.equal(model[0].weight, clean[0])
        assert not torch.equal(model[4].weight, clean[1])
    with faults.chip(Chip(SRAM, 1), rate={"0.weight": 0.1}):
        assert not torch.equal(model[0].weight, clean[0])
        assert torch.equal(model[4].weight, clean[1])


def test_activations_of_every_image_use_the_same_cells() -> None:
    model = store_activations(small(), 8)
    for _ in range(3):
        model(images())
    model.eval()
    clean = model(images())
    x = images(1).expand(4, -1, -1, -1)
    faults = FaultInjector(model, kinds=["activation"])
    assert list(faults.memories) == ["2.activation"]
    with faults.chip(Chip(SRAM, 5), rate=0.05):
        rows = model(x)
    assert all(torch.equal(row, rows[0]) for row in rows)
    assert not torch.allclose(rows[0], clean[0])
    with faults.errors(0.05):
        rows = model(x)
    assert not torch.equal(rows[1], rows[0])


def test_a_network_of_hwsim_has_memories_already() -> None:
    config = ModelConfig(network="resnet", channels=(4, 8), blocks=1, weights="int4")
    model = build_network(config, (1, 8, 8), 10, seed=0)
    model.freeze_positions()
    faults = FaultInjector(model, kinds=["weight", "tap", "activation"])
    names = list(faults.memories)
    assert "body.0.conv.weight" in names
    assert "body.1.first.conv.tap" in names
    assert "body.1.first.act.activation" in names
    assert "head.weight" in names
    x = torch.randint(0, 256, (3, 1, 8, 8))
    model.eval()
    clean = model(x)
    with faults.errors({"body.1.first.conv.tap": 0.2}):
        struck = model(x)
    assert not torch.equal(clean, struck)
    assert torch.equal(model(x), clean)
    with faults.errors(0.05):
        model(x).sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n.endswith(".weight"))


def test_faulty_kernels_are_those_of_the_faulty_words() -> None:
    torch.manual_seed(2)
    layer = MuxConv2d(6, 5, (3, 3), alphabet=Alphabet("int4"))
    layer.freeze()
    faults = FaultInjector(layer)
    assert list(faults.memories) == ["weight", "tap"]
    weight = layer.kept()[0].detach().numpy().astype(np.int8)
    tap = layer.tap.numpy().astype(np.uint8)
    chip = Chip(SRAM, 3)
    inject(weight, make_masks(chip.faults_at("weight", 30, 4, 0.1), np.int8))
    inject(tap, make_masks(chip.faults_at("tap", 30, 4, 0.1), np.uint8))
    with faults.chip(chip, rate=0.1):
        kernels = layer.kernels().detach().flatten(2)
    expected = torch.zeros(5, 6, 16).scatter(
        2,
        torch.from_numpy(tap).long().unsqueeze(2),
        torch.from_numpy(weight).float().unsqueeze(2),
    )[:, :, :9]
    assert (tap > 8).any()
    assert torch.equal(kernels, expected)


def test_deviation_grows_with_the_errors_and_has_a_gradient() -> None:
    model = stored(small(), 8)
    faults, deviation = FaultInjector(model, 1), Deviation(model)

    def penalty(rate: float) -> Tensor:
        faults.draws = 0
        with deviation.watch() as clean:
            model(images())
        with deviation.watch() as faulty, faults.errors(rate):
            model(images())
        return deviation.penalty(clean, faulty)

    model.eval()
    values = [float(penalty(rate).detach()) for rate in (0.0, 0.01, 0.1)]
    assert values[0] == 0.0
    assert values[0] < values[1] < values[2]
    penalty(0.1).backward()
    assert dict(model.named_parameters())["0.weight"].grad.abs().sum() > 0


def test_curriculum() -> None:
    rate = Curriculum(0.02, start=0.2, ramp=0.4)
    assert [rate(s) for s in (0.0, 0.19, 0.2, 0.4, 0.6, 1.0)] == pytest.approx(
        [0, 0, 0, 0.01, 0.02, 0.02]
    )
    assert Curriculum(0.02, ramp=0)(0.0) == 0.02


def test_margin() -> None:
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(
        margin_cross_entropy(logits, labels), functional.cross_entropy(logits, labels)
    )
    shifted = logits.clone()
    shifted[torch.arange(5), labels] -= 2.0
    assert torch.equal(
        margin_cross_entropy(logits, labels, 2.0), functional.cross_entropy(shifted, labels)
    )


def test_clipping_reaches_the_stored_weights() -> None:
    model = stored(small(), 8)
    clip_weights(model, 0.05)
    assert dict(model.named_parameters())["0.weight"].abs().max() <= 0.05
    assert model[0].weight.abs().max() <= 0.0501


def _injector(model: nn.Module, **arguments: object) -> object:
    return FaultInjector(model, **arguments)  # type: ignore[arg-type]


def _enter(block: object) -> None:
    with block:  # type: ignore[attr-defined]
        pass


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            lambda: _injector(small()),
            r"^model has no quantized tap or weight to store; call store_weights\(model, bits=8\) "
            r"or store_activations\(model, bits=8\) first$",
        ),
        (
            lambda: _injector(stored(small()), kinds=["bias"]),
            r"^kinds must be of weight, tap, activation, not 'bias'$",
        ),
        (
            lambda: store_weights(nn.ReLU()),
            r"^model has no matrix of float weights to store$",
        ),
        (
            lambda: store_activations(nn.Linear(2, 2)),
            r"^model has no layer whose outputs to store \(of ReLU, .*\)$",
        ),
        (lambda: store_weights(small(), 17), r"^bits must be 2\.\.16, not 17$"),
        (lambda: store_weights(small(), 1), r"^bits must be 2\.\.16, not 1$"),
        (lambda: store_activations(small(), 0), r"^bits must be 1\.\.16, not 0$"),
        (
            lambda: store_weights(small(), quantizer="dorefa"),
            r"^quantizer must be one of robust, symmetric, not 'dorefa'$",
        ),
        (
            lambda: _enter(FaultInjector(stored(small())).errors(1.5)),
            r"^bit error rate must be 0\.\.1, not 1\.5$",
        ),
        (
            lambda: _enter(FaultInjector(stored(small())).errors(float("nan"))),
            r"^bit error rate must be 0\.\.1, not nan$",
        ),
        (
            lambda: _enter(FaultInjector(stored(small())).errors({"9.weight": 0.1})),
            r"^rate names memory '9\.weight', the model has 0\.weight, 4\.weight$",
        ),
        (
            lambda: _enter(FaultInjector(stored(small())).chip(Chip(SRAM, 0))),
            r"^give either voltage_rel or rate$",
        ),
        (
            lambda: Deviation(nn.Linear(2, 2)),
            r"^model has no activations to compare; name layers$",
        ),
    ],
)
def test_mistakes_get_one_line(action, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FaultModelError, match=text):
        action()


def test_voltage_outside_the_data() -> None:
    faults = FaultInjector(stored(small()))
    with (
        pytest.raises(VoltageError, match=r"^voltage must be 0\.75\.\..* of vmin"),
        faults.chip(Chip(SRAM, 0), voltage_rel=0.5),
    ):
        pass


def test_stored_weights_are_of_any_kind_of_layer() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ConvTranspose2d(2, 3, 3), nn.Linear(4, 2))
    faults = FaultInjector(stored(model, 5))
    assert list(faults.memories) == ["0.weight", "1.weight", "2.weight"]
    assert all(
        isinstance(memory, Memory) and memory.bits == 5 for memory in faults.memories.values()
    )


def test_voltage_curve_of_any_model() -> None:
    model = stored(small(), 8)
    x = images(40)
    model.eval()
    with torch.no_grad():
        labels = model(x).argmax(dim=1)
    model.train()
    calls = 0

    def accuracy() -> float:
        nonlocal calls
        calls += 1
        assert not model.training
        return float((model(x).argmax(dim=1) == labels).float().mean())

    faults = FaultInjector(model)
    curve = voltage_curve(faults, SRAM, accuracy, [0.75, 0.85, 0.93], chips=4, loss=0.2, seed=9)
    assert calls == 1 + 3 * 4
    assert model.training
    assert curve.clean == 1.0
    assert [point.voltage_rel for point in curve.points] == [0.75, 0.85, 0.93, 1.0]
    assert [len(point.accuracies) for point in curve.points] == [4] * 4
    assert curve.points[-1].accuracies == (1.0,) * 4
    model.eval()
    with torch.no_grad(), faults.chip(Chip(SRAM, 11), voltage_rel=0.75):
        third = accuracy()
    assert curve.points[0].accuracies[2] == third
    assert curve.points[0].accuracy.mean < curve.points[2].accuracy.mean
    # Four chips show nothing.
    assert curve.lowest.voltage_rel == 1.0
    calls = 0
    curve = voltage_curve(faults, SRAM, accuracy, [0.75, 0.93], loss=0.3)
    assert [len(point.accuracies) for point in curve.points] == [70, 70, 70]
    assert calls == 1 + 70 + 70
    assert curve.lowest.voltage_rel == 0.93
    goal = voltage_curve(faults, SRAM, accuracy, [0.93], chips=70, loss=0.3, goal=0.9)
    assert goal.lowest.voltage_rel == 0.93
    with pytest.raises(FaultModelError, match=r"^chips must be at least 2, not 1$"):
        voltage_curve(faults, SRAM, accuracy, [0.8], chips=1)
    with pytest.raises(VoltageError, match=r"^voltage must be"):
        voltage_curve(faults, SRAM, accuracy, [0.5])
