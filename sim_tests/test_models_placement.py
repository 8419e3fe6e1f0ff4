"""One faulty chip in training, in the executor and in hardware: the same cells, with ==."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from support.emitted import SIMULATOR
from torch import Tensor, nn
from torch.nn import functional

from hwsim.accelerator import DeadlockError, Fold, Pipeline, build_pipeline, memory_list, simulate
from hwsim.accelerator.fields import decode_weights, store_fields, store_image, stored_fields
from hwsim.config.training import ModelConfig
from hwsim.faults import FaultyExecutor, design_faults
from hwsim.faults.placement import array_place
from hwsim.lowvoltage import Chip, ChipError, FaultMap, FaultModel, load_technology
from hwsim.models import export
from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    Placement,
    placement_of,
    store_weights,
)
from hwsim.models.layers import LearnedRange, Norm, QuantLinear
from hwsim.models.networks import ConvNet, build_network, weighted_layers
from hwsim.network import Alphabet, Linear, Network, TensorType, Weighted, evaluate
from hwsim.network.codes import WeightCode
from hwsim.rtl.emit import generate
from hwsim.rtl.testing import check, run
from hwsim.rtl.verify import verify
from hwsim.testing import random_folding

pytestmark = pytest.mark.filterwarnings("ignore:the batch-norm statistics do not belong")

SRAM = load_technology("sram_14nm")
ALPHABETS = ("binary", "ternary", "int4", "int8", "pow2_3")
KINDS = (
    FaultModel(kind="flip"),
    FaultModel(kind="stuck", ones=0.5),
    FaultModel(kind="stuck", ones=1),
    FaultModel(kind="write_failure", ones=0.5, persistence=0.5),
)
FRAMES = 3
SEEDS = range(10)


@dataclass(frozen=True)
class Case:
    """A random model, the pipeline of its network, and pictures."""

    model: ConvNet
    pipeline: Pipeline
    x: np.ndarray
    chip: Chip

    @property
    def network(self) -> Network:
        return self.pipeline.network


def exact(multiplier, bias, x_lo, x_hi, lo, hi, bits):  # type: ignore[no-untyped-def]
    """In place of ``fixed_point``: norms of dyadic numbers, for sums of any size."""
    m, b = multiplier * 2.0**20, (bias + 0.5) * 2.0**20
    assert (m == np.rint(m)).all()
    assert (b == np.rint(b)).all()
    return m.astype(np.int64), b.astype(np.int64), 20


@pytest.fixture(autouse=True)
def _dyadic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats that are exact: then a model computes just what its network does."""
    monkeypatch.setattr(LearnedRange, "step", lambda self: torch.tensor(1.0))
    monkeypatch.setattr(export, "fixed_point", exact)


def case(seed: int, weights: str | None = None, style: str | None = None) -> Case:
    """Kinds of networks, alphabets, foldings and kinds of faults in turn."""
    rng = np.random.default_rng(seed)
    kind = ("cnn", "resnet", "cnn1d")[seed % 3]
    config = ModelConfig(
        network=kind,
        channels=tuple(rng.integers(2, 6, 2).tolist()),
        convolution="dense" if seed % 5 == 3 else "mux",
        stem="mux" if seed % 2 else "dense",
        blocks=1,
        kernel=3 if seed % 4 else 5,
        weights=weights or ALPHABETS[seed % 5],
        head_weights=ALPHABETS[(seed + 2) % 5],
        activation_bits=3,
        residual_bits=6,
        input_bits=4,
    )
    shape = (2, 1, 9) if kind == "cnn1d" else (2, 6, 5)
    model = build_network(config, shape, 4, seed=seed)
    model.freeze_positions()
    for module in model.modules():
        if isinstance(module, Norm):
            # 1 / sigma is 1/2 for every channel.
            module.running_var.fill_(3.0)
            size = rng.integers(2, 5, len(module.gamma))
            module.gamma.data = torch.from_numpy(rng.choice([-1, 1], len(size)) * 0.5**size).float()
            module.beta.data = torch.from_numpy(rng.integers(-4, 9, len(size)) / 4).float()
    model.eval()
    network = export.export_network(model)
    folding = random_folding(network, rng)
    if style is not None:
        folding = {name: Fold(f.pe, f.simd, style) for name, f in folding.items()}
    pipeline = build_pipeline(network, folding)
    try:
        simulate(pipeline, FRAMES)
    except DeadlockError:
        pipeline = pipeline.with_depths({fifo.name: 300 for fifo in pipeline.fifos})
    x = rng.integers(0, 16, (FRAMES, *shape))
    technology = SRAM.model_copy(update={"faults": KINDS[seed % len(KINDS)]})
    return Case(model, pipeline, x, Chip(technology, seed))


def ops(pipeline: Pipeline) -> list[Weighted]:
    return [op for op in pipeline.network.ops if isinstance(op, Weighted)]


# -- where things lie ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_cells_hold_what_they_are_said_to_hold(seed: int) -> None:
    """In the memory image, bit by bit; every cell that counts holds one bit of one element."""
    pipeline = case(seed, style="memory").pipeline
    for op in ops(pipeline):
        stage = next(s for s in pipeline.stages if s.op is op)
        image, used = store_image(stage, "weight"), set()
        for array in ("weight", "tap"):
            place = array_place(pipeline, op.name, array)
            if place is None:
                assert array == "tap"
                assert getattr(op, "kernel", (1, 1)) == (1, 1) or not hasattr(op, "tap")
                continue
            assert place.memory == f"{op.name}.weight"
            values = getattr(op, array).reshape(-1)
            codes = values if place.code is None else place.code.encode(values)
            for word, bit, code in zip(*place.cells, codes, strict=True):
                assert image[word] >> int(bit) & ((1 << place.width) - 1) == code
                cells = {(int(word), int(bit) + n) for n in range(place.width)}
                assert not cells & used
                used |= cells
        assert len(used) == store_fields(stage, "weight").real_bits().sum()


def test_a_chips_cells_are_moved_in_order() -> None:
    """Against single cells: an own map with one failing cell, for every cell in turn."""
    pipeline = case(1, "binary", "memory").pipeline
    op = ops(pipeline)[1]
    places = {array: array_place(pipeline, op.name, array) for array in ("weight", "tap")}
    memory = next(m for m in memory_list(pipeline) if m.name == f"{op.name}.weight")
    stage = pipeline.stage(memory.layer)
    before = decode_weights(stage, stored_fields(stage, "weight"))
    found = 0
    for cell in range(memory.words * memory.bits):
        cells = np.zeros((memory.words, memory.bits))
        cells[np.unravel_index(cell, cells.shape)] = 1
        chip = FaultMap(SRAM, cells, holds="fails")
        moved = {array: place.faults(chip, 0.5) for array, place in places.items()}
        faults = design_faults(pipeline, chip, 0.5, [memory.name])
        after = decode_weights(stage, faults.stored(stage.name, "weight"))
        assert sum(len(each) for each in moved.values()) == len(faults)
        found += len(faults)
        # A tap that selects nothing makes its weight 0.
        hit = {int(n) for each in moved.values() for n in each.word}
        for was, now in zip(before, after, strict=True):
            assert set(np.flatnonzero(was != now).tolist()) <= hit
    assert found == sum(place.size * place.width for place in places.values())


# -- one chip everywhere ---------------------------------------------------------------------------


def wrapped(sums: Tensor, t: TensorType) -> np.ndarray:
    """Sums as the accelerator's register keeps them."""
    low = sums.numpy().astype(np.int64) & ((1 << t.bits) - 1)
    return np.where(low >> (t.bits - 1) & t.signed, low - (1 << t.bits), low)


def kernels(op: Weighted, weight: np.ndarray, tap: np.ndarray | None) -> np.ndarray:
    """Dense kernels of weights and taps."""
    if tap is None:
        return weight
    height, width = op.kernel  # type: ignore[attr-defined]
    dense = np.zeros((*weight.shape, height * width), np.int64)
    np.put_along_axis(dense, tap[..., np.newaxis], weight[..., np.newaxis], axis=2)
    return dense.reshape(*weight.shape, height, width)


def read_kernels(layer: nn.Module) -> Tensor:
    if isinstance(layer, QuantLinear):
        assert layer.memory is not None
        return layer.memory(layer.integers()[0])
    return layer.kernels()  # type: ignore[operator]


@torch.no_grad()
def compare(one: Case, rate: float, voltage: float | None = None) -> tuple[bool, int]:
    """Model and executor; returns whether no register overflowed, and how many cells fail."""
    faults = design_faults(one.pipeline, one.chip, rate, ["weight"])
    executor = FaultyExecutor(faults)
    tensors = executor.tensors(one.x)
    injector = FaultInjector(one.model, placement=placement_of(one.model, one.pipeline))
    types, fits = one.network.types, True
    stages = {s.op.name: s for s in one.pipeline.stages if s.op is not None}
    given = {"rate": rate} if voltage is None else {"voltage_rel": voltage}
    with injector.chip(one.chip, **given):
        for name, layer in weighted_layers(one.model).items():
            stage, op = stages[name], one.network[name]
            weight, tap = decode_weights(stage, faults.stored(stage.name, "weight"))
            read = read_kernels(layer)
            assert np.array_equal(read.numpy(), kernels(op, weight, tap)), name
            x = torch.from_numpy(tensors[op.inputs[0]]).float()
            linear = isinstance(layer, QuantLinear)
            sums = functional.linear(x.flatten(1), read) if linear else layer(x)
            sums = sums.reshape(len(x), *types[name].shape)
            kept = wrapped(sums, types[name])
            assert np.array_equal(kept, tensors[name]), name
            fits &= np.array_equal(kept, sums.numpy())
        features = one.model.body(torch.from_numpy(one.x).float())
        answers = functional.linear(features.sum(dim=(2, 3)), read_kernels(one.model.head))
    if fits:
        name = one.network[one.network["logits"].inputs[0]].name
        assert np.array_equal(answers.numpy(), tensors[name].reshape(FRAMES, -1))
        top = np.argmax(answers.numpy(), axis=1)
        assert np.array_equal(top, executor.run(one.x).reshape(-1))
    return fits, len(faults)


def test_a_model_without_faults_is_its_network() -> None:
    for seed in SEEDS:
        one = case(seed)
        assert compare(one, 0.0) == (True, 0)
        assert np.array_equal(
            FaultyExecutor(design_faults(one.pipeline, one.chip, 0.0)).run(one.x),
            evaluate(one.network, one.x)[one.network.output],
        )


def test_one_chip_in_training_and_in_the_executor() -> None:
    """Every alphabet, network and kind of fault; whole passes where no register overflows."""
    failing, whole = 0, 0
    for seed in SEEDS:
        for rate in (0.01, 0.1, 0.5):
            fits, cells = compare(case(seed), rate)
            failing += cells
            whole += fits and cells > 0
    assert failing > 1000
    assert whole >= 5


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_one_chip_at_a_voltage(alphabet: str) -> None:
    one = case(6, alphabet, "memory")
    fits, cells = compare(one, SRAM.probability(0.75), 0.75)
    assert cells > 0


def hardware(one: Case, rate: float) -> None:
    """Model, executor and Amaranth's simulation: every tensor of the network."""
    _, cells = compare(one, rate)
    assert cells > 0
    faults = design_faults(one.pipeline, one.chip, rate, ["weight"])
    executor = FaultyExecutor(faults)
    got = run(one.pipeline, one.x, faults=faults)
    tensors, output = executor.tensors(one.x), executor.run(one.x)
    check(one.network, tensors, got, simulate(one.pipeline, FRAMES), output)


@pytest.mark.parametrize("seed", [2, 6])
def test_one_chip_in_training_and_in_hardware(seed: int) -> None:
    hardware(case(seed, style="memory"), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 40))
def test_many_chips_in_training_and_in_hardware(seed: int) -> None:
    hardware(case(seed, style="memory"), (0.1, 0.2, 0.3)[seed % 3])


@pytest.mark.slow
@pytest.mark.cosim
@pytest.mark.parametrize("seed", range(40, 45))
def test_one_chip_in_training_and_in_verilog(tmp_path: Path, seed: int) -> None:
    """What ``generate --chip`` writes computes what the model computed."""
    one = case(seed, style="memory")
    _, cells = compare(one, 0.05)
    assert cells > 0
    faults = design_faults(one.pipeline, one.chip, 0.05, ["weight"])
    generate(one.pipeline, tmp_path / "out", one.x, faults=faults)
    result = verify(tmp_path / "out", SIMULATOR, seed=seed)
    assert result.failures == ()
    assert result.passed


# -- training --------------------------------------------------------------------------------------


def test_gradients_pass_and_places_stay() -> None:
    """A training step under errors; the placement made before it still holds after it."""
    one = case(2, "binary", "memory")
    placement = placement_of(one.model, one.pipeline)
    faults = FaultInjector(one.model, placement=placement)
    one.model.train()
    with faults.chip(one.chip, rate=0.1):
        one.model(torch.from_numpy(one.x)).square().sum().backward()
    for layer in weighted_layers(one.model).values():
        assert layer.weight.grad is not None
        assert layer.weight.grad.isfinite().all()
        layer.weight.data -= 10 * layer.weight.grad.sign() * layer.weight.abs().mean()
    one.model.eval()
    moved = export.export_network(one.model)
    assert any(not np.array_equal(a.weight, moved[a.name].weight) for a in ops(one.pipeline))
    after = build_pipeline(moved, one.pipeline.folding)
    for name, place in placement_of(one.model, after).places.items():
        before = placement.places[name]
        assert (place is None) == (before is None)
        if place is not None and before is not None:
            assert (place.memory, place.words, place.bits) == (
                before.memory, before.words, before.bits,
            )  # fmt: skip
            assert place.code == before.code
            assert np.array_equal(place.element, before.element)


def test_fresh_errors_strike_the_accelerators_codes() -> None:
    """Binary weights beside lanes without a channel have a bit for zero, which may fail alone."""
    one = case(1, "binary")
    name = next(iter(weighted_layers(one.model)))
    inputs = one.network.types[one.network[name].inputs[0]].channels
    outputs = one.network.types[name].channels
    for lanes, values in ((outputs, {-1.0, 1.0}), (outputs - 1, {-1.0, 0.0, 1.0})):
        pipeline = build_pipeline(one.network, {**one.pipeline.folding, name: Fold(lanes, inputs)})
        place = array_place(pipeline, name, "weight")
        assert place is not None
        assert place.code == WeightCode("sign", len(values) - 1, 0, len(values) == 3)
        faults = FaultInjector(
            one.model, kinds="weight", placement=placement_of(one.model, pipeline)
        )
        layer = weighted_layers(one.model)[name]
        with faults.errors({place.memory: 0.5}):
            assert set(layer.memory(layer.kept()[0]).unique().tolist()) == values


def test_rates_are_those_of_the_accelerators_memories() -> None:
    one = case(1, style="memory")
    placement = placement_of(one.model, one.pipeline)
    faults = FaultInjector(one.model, placement=placement)
    layers = weighted_layers(one.model)
    assert placement.memories == tuple(f"{name}.weight" for name in layers)
    clean = {name: read_kernels(layer).clone() for name, layer in layers.items()}
    for struck in layers:
        with faults.chip(one.chip, rate={f"{struck}.weight": 0.5}):
            changed = [
                n for n, each in layers.items() if not torch.equal(read_kernels(each), clean[n])
            ]
        assert changed == [struck]


def test_weights_in_the_fabric_do_not_fail() -> None:
    one = case(1, style="constant")
    placement = placement_of(one.model, one.pipeline)
    assert placement.memories == ()
    faults = FaultInjector(one.model, placement=placement)
    layers = weighted_layers(one.model).values()
    clean = [read_kernels(layer).clone() for layer in layers]
    for block in (faults.chip(one.chip, rate=0.5), faults.errors(0.5)):
        with block:
            for layer, before in zip(layers, clean, strict=True):
                assert torch.equal(read_kernels(layer), before)


def test_a_model_of_ones_own() -> None:
    """Weights that one exports by hand: two's complement on both sides."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 3, bias=False))
    store_weights(model, 4, quantizer="symmetric")
    with torch.no_grad():
        scale = model[1].weight.abs().max() / 7
        weight = (model[1].weight / scale).round().numpy().astype(np.int64)
    op = Linear("classes", ("input",), weight, Alphabet("int4"))
    network = Network("own", TensorType(5, 1, 1, 3), (op,))
    pipeline = build_pipeline(network, {"classes": Fold(2, 3)})
    faults = FaultInjector(model, placement=placement_of(model, pipeline, {"1": "classes"}))
    for seed in range(20):
        chip = Chip(SRAM, seed)
        known = design_faults(pipeline, chip, 0.2, ["weight"]).stored("classes", "weight")
        with faults.chip(chip, rate=0.2), torch.no_grad():
            read = (model[1].weight / scale).round().numpy().astype(np.int64)
        assert np.array_equal(read, decode_weights(pipeline.stage("classes"), known)[0])


def test_mistakes_are_one_line() -> None:
    one, other = case(1, "binary"), case(1, "int4")
    with pytest.raises(FaultModelError, match=r"^layers must say which op each layer became"):
        placement_of(nn.Linear(3, 2), one.pipeline)
    with pytest.raises(FaultModelError, match=r"^the model has no layer 'x'$"):
        placement_of(one.model, one.pipeline, {"x": "logits_acc"})
    with pytest.raises(FaultModelError, match=r"^head: the network has no op 'logits' with weigh"):
        placement_of(one.model, one.pipeline, {"head": "logits"})
    with pytest.raises(FaultModelError, match=r"^head: has weights of \[4, \d\], the op 'conv0_ac"):
        placement_of(one.model, one.pipeline, {"head": "conv0_acc"})
    with pytest.raises(
        FaultModelError, match=r"^body.0.conv: has binary weights, the op 'conv0_acc' has int4$"
    ):
        placement_of(one.model, other.pipeline)
    with pytest.raises(
        FaultModelError, match=r"^body.0.conv.weight: the placement does not say where it lies$"
    ):
        FaultInjector(one.model, placement=Placement({}))
    placement = placement_of(one.model, one.pipeline)
    with pytest.raises(
        FaultModelError, match=r"^.*\.activation: the placement does not say where it lies$"
    ):
        FaultInjector(one.model, kinds="activation", placement=placement)
    faults = FaultInjector(other.model, placement=placement_of(other.model, other.pipeline))
    with (
        pytest.raises(
            FaultModelError, match=r"^rate names memory 'head.weight', the placement has"
        ),
        faults.chip(one.chip, rate={"head.weight": 0.1}),
    ):
        pass
    own = store_weights(nn.Linear(2, 3, bias=False), 4).model
    op = Linear("classes", ("input",), [[1, 2]] * 3, Alphabet("int4"))
    pipeline = build_pipeline(Network("n", TensorType(2, 1, 1, 3), (op,)))
    with pytest.raises(
        FaultModelError,
        match=r"^weight: words of 4 bits are not stored as in 'classes.weight' \(int codes of 4 bi",
    ):
        FaultInjector(own, placement=placement_of(own, pipeline, {"": "classes"}))
    half = SRAM.model_copy(update={"faults": FaultModel(kind="flip", persistence=0.5)})
    faults = FaultInjector(one.model, placement=placement_of(one.model, one.pipeline))
    with (
        faults.chip(Chip(half, 0), rate=0.5),
        pytest.raises(ChipError, match="^cells err in some accesses only"),
    ):
        one.model(torch.from_numpy(one.x))
