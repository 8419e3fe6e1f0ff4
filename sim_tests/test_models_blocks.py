"""Blocks of errors: within each other, with checkpoints, compilers, few bits and many callers."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.foreign_modules import BasicBlock, encoder, resnet
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.utils.checkpoint import checkpoint

from hwsim.config.training import FaultTrainingConfig
from hwsim.lowvoltage import Chip, VoltageError, load_technology
from hwsim.models.faults import (
    Deviation,
    FaultInjector,
    FaultModelError,
    StoredWeight,
    remove_memories,
    store_activations,
    store_weights,
)
from hwsim.models.robust import RobustLoss

# What torch does to itself, in reentrant checkpoints within each other and in its compiler.
pytestmark = [
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

SRAM = load_technology("sram_14nm")
CHIP = Chip(SRAM, 3)


def stored(model: nn.Module, bits: int = 8) -> nn.Module:
    return store_weights(model, bits).model


def body(norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)]
    return nn.Sequential(*layers[:1], *([nn.BatchNorm1d(8)] if norm else []), *layers[1:])


def batch(count: int = 5) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


# -- blocks within each other ----------------------------------------------------------------------


def test_the_outer_block_goes_on_after_the_inner_one() -> None:
    model = stored(body()).eval()
    faults = FaultInjector(model, seed=4)
    clean = model(batch())
    with faults.errors(0.05):
        outer = model(batch())
        with faults.errors(0.2):
            inner = model(batch())
            with faults.chip(CHIP, rate=0.1):
                chip = model(batch())
            assert torch.equal(model(batch()), inner)
        assert torch.equal(model(batch()), outer)
        with pytest.raises(RuntimeError, match="stop"), faults.errors(0.3):
            raise RuntimeError("stop")
        assert torch.equal(model(batch()), outer)
    assert torch.equal(model(batch()), clean)
    different = [clean, outer, inner, chip]
    assert all(not torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_injectors_of_weights_and_activations_within_each_other_in_training() -> None:
    model = body(norm=True)
    store_weights(model)
    store_activations(model)
    for _ in range(3):
        model(batch())
    weights, activations = FaultInjector(model), FaultInjector(model, kinds="activation")
    kinds = [type(module) for module in model.modules()]
    statistics = {n: b.clone() for n, b in model.named_buffers()}
    with weights.errors(0.05), activations.errors(0.05):
        both = model(batch())
        with activations.errors(0.0):
            one = model(batch())
    weights.draws = 0
    with weights.errors(0.05):
        assert torch.equal(model(batch()), one)
    assert not torch.equal(both, one)
    assert [type(module) for module in model.modules()] == kinds
    assert all(torch.equal(b, statistics[n]) for n, b in model.named_buffers())
    assert list(statistics) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"] + [
        "2.activation_range"
    ]


def test_two_injectors_know_a_memory_by_names_of_their_own() -> None:
    model = nn.Sequential(body())
    store_weights(model)
    whole, part = FaultInjector(model), FaultInjector(model[0])
    assert list(whole.memories) == ["0.0.weight", "0.2.weight", "0.4.weight"]
    assert list(part.memories) == ["0.weight", "2.weight", "4.weight"]
    with whole.chip(CHIP, rate=0.1):
        expected = model(batch())
        with part.chip(CHIP, rate=0.1):
            assert not torch.equal(model(batch()), expected)
        assert torch.equal(model(batch()), expected)


def test_copies_made_in_a_block_are_healthy() -> None:
    model = stored(body())
    clean = model(batch())
    with FaultInjector(model).errors(0.2):
        twin = copy.deepcopy(model)
        with pytest.raises(FaultModelError, match=r"^memories cannot be removed within a block"):
            remove_memories(model)
        assert not torch.equal(model(batch()), clean)
        assert torch.equal(twin(batch()), clean)
    assert torch.equal(twin(batch()), clean)


# -- checkpoints -----------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """Halves of a body, recomputed in the backward pass or not."""

    def __init__(self, inner: nn.Sequential, how: str):
        super().__init__()
        self.inner, self.how = inner, how

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.inner[:3], self.inner[3:]
        if self.how == "plain":
            return second(first(x))
        if self.how == "plain nested":
            return second(torch.tanh(first(x * 1.0)))
        reentrant = self.how.startswith("reentrant")
        if self.how.endswith("nested"):

            def outer(x: Tensor) -> Tensor:
                y = torch.tanh(checkpoint(first, x, use_reentrant=reentrant))
                return checkpoint(second, y, use_reentrant=reentrant)

            return checkpoint(outer, x * 1.0, use_reentrant=reentrant)
        y = checkpoint(first, x, use_reentrant=reentrant)
        return checkpoint(second, y, use_reentrant=reentrant)


Step = Callable[[nn.Module, FaultInjector, Tensor], None]


def after(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        loss = model(x).square().sum()
    loss.backward()


def inside(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        model(x).square().sum().backward()


def in_another(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    with faults.errors(0.1):
        loss = model(x).square().sum()
        with faults.errors(0.2):
            second = model(x).sum()
    with faults.errors(0.3):
        (loss + second).backward()


def clean_inside(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    loss = model(x).square().sum()
    with faults.errors(0.1):
        loss = loss + model(x).sum()
        loss.backward()


def clean_after(model: nn.Module, faults: FaultInjector, x: Tensor) -> None:
    loss = model(x).square().sum()
    with faults.chip(CHIP, rate=0.1):
        loss = loss + model(x).sum()
    loss.backward()


def gradients(how: str, step: Step, norm: bool = False) -> list[Tensor]:
    model = Checkpointed(body(norm), how)
    store_weights(model)
    step(model, FaultInjector(model, seed=1), batch().requires_grad_())
    return [p.grad for p in model.parameters() if p.grad is not None]


STEPS = [after, inside, in_another, clean_inside, clean_after]


@pytest.mark.parametrize("how", ["reentrant", "tape", "tape nested"])
@pytest.mark.parametrize("step", STEPS)
def test_what_a_checkpoint_computes_again_has_the_same_errors(how: str, step: Step) -> None:
    expected = gradients("plain nested" if how.endswith("nested") else "plain", step)
    found = gradients(how, step)
    assert len(found) == len(expected) == 6
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("how", "step", "norm", "where"),
    [
        ("reentrant", after, True, "with batch norms: call backward in the block of errors too"),
        ("tape", after, True, "with batch norms: call backward in the block of errors too"),
        ("tape", clean_inside, True, "made before the block of errors, with batch norms"),
        ("reentrant nested", after, False, "^reentrant checkpoints lie within each other"),
    ],
)
def test_what_cannot_be_computed_again_gets_one_line(
    how: str, step: Step, norm: bool, where: str
) -> None:
    with pytest.raises(FaultModelError, match=where):
        gradients(how, step, norm)


@pytest.mark.parametrize("how", ["reentrant", "tape", "reentrant nested", "tape nested"])
def test_checkpoints_within_a_block_are_no_matter(how: str) -> None:
    expected = gradients("plain nested" if how.endswith("nested") else "plain", inside)
    found = gradients(how, inside)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", ["randbet", "deviation", "single"])
def test_robust_losses_and_checkpoints(method: str) -> None:
    def found(how: str) -> list[Tensor]:
        model = Checkpointed(body(), how)
        store_weights(model)
        config = FaultTrainingConfig(bit_error_rate=0.1, method=method, memories=("weight",))  # type: ignore[arg-type]
        robust = RobustLoss(model, config, seed=1)
        x = batch().requires_grad_()
        for forward in robust.passes(x, lambda y: y.square().sum(), 1, 1.0):
            forward()[0].backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    expected = found("plain")
    assert len(expected) == 6
    assert all(torch.equal(a, b) for a, b in zip(found("tape"), expected, strict=True))


def test_a_memory_forgets_old_blocks() -> None:
    model = stored(body())
    faults = FaultInjector(model)
    memory = faults.memories["0.weight"]
    for _ in range(3):
        with torch.no_grad(), faults.errors(0.1):
            pass
    assert len(memory.blocks) == 0
    for _ in range(1100):
        with faults.errors({"0.weight": 0.1}):
            model[0](batch(1))  # type: ignore[operator]
    assert len(memory.blocks) == 1000


# -- compilers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models_have_the_same_errors(backend: str) -> None:
    torch.compiler.reset()
    model = body(norm=True)
    store_weights(model)
    store_activations(model)
    for _ in range(2):
        model(batch())
    compiled = torch.compile(copy.deepcopy(model), backend=backend, fullgraph=True)

    def passes(subject: Any) -> list[Tensor]:
        faults = FaultInjector(subject, 2, ("weight", "activation"))
        assert list(faults.memories) == ["0.weight", "3.weight", "5.weight", "2.activation"]
        out = [subject(batch())]
        for rate in (0.05, 0.2, 0.0):
            with faults.errors(rate):
                out.append(subject(batch()))
        with faults.chip(CHIP, rate=0.1):
            out.append(subject(batch()))
        sum(y.square().sum() for y in out).backward()  # type: ignore[union-attr]
        return out + [p.grad for p in subject.parameters()]

    expected, found = passes(model), passes(compiled)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert not torch.equal(expected[1], expected[2])


def test_a_new_pattern_needs_no_new_compilation() -> None:
    torch.compiler.reset()
    counted = CompileCounter()
    model = torch.compile(stored(body()), backend=counted)
    faults = FaultInjector(model)  # type: ignore[arg-type]
    outputs = []
    for _ in range(4):
        model(batch())
        with faults.errors(0.1):
            outputs.append(model(batch()))
    assert not torch.equal(outputs[2], outputs[3])
    assert counted.frame_count == 2


def test_scripts_and_late_traces_get_one_line() -> None:
    model = stored(body())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(FaultModelError, match=r"^a model with stored weights cannot be script"):
            torch.jit.script(model)
        scripted = torch.jit.script(body())
    with pytest.raises(
        FaultModelError,
        match=r"^model has no matrix of float weights to store: 0\.weight \(scripted: store we",
    ):
        store_weights(scripted)

    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w

    with pytest.raises(
        FaultModelError, match=r"^'w' is stored, a trace would freeze what it reads"
    ):
        torch.fx.symbolic_trace(stored(Raw()))


def test_traces_of_torch_jit_get_one_line() -> None:
    model = stored(body())
    text = (
        r"^'weight' is stored, .*torch\.export, or remove_memories\(model, quantized=True\) first"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(FaultModelError, match=text):
            torch.jit.trace(model, batch())


def test_exports_and_functional_calls() -> None:
    model = stored(body()).eval()
    faults = FaultInjector(model)
    exported = torch.export.export(model, (batch(),)).module()
    assert torch.equal(exported(batch()), model(batch()))
    parameters = dict(model.named_parameters())
    twice = {name: 2 * value.detach() for name, value in parameters.items()}
    changed = torch.func.functional_call(model, twice, (batch(),))
    assert not torch.allclose(changed, model(batch()))
    twin = stored(body()).eval()
    twin.load_state_dict(twice)
    assert torch.equal(twin(batch()), changed)

    def loss(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, values, (batch(),)).square().sum()

    with faults.errors(0.05):
        found = torch.func.grad(loss)({n: p.detach() for n, p in parameters.items()})
        model(batch()).square().sum().backward()
    assert all(torch.allclose(found[n], p.grad) for n, p in parameters.items())


def test_processes_that_train_together(tmp_path: Path) -> None:
    """One process, of which DistributedDataParallel does all that it does with several."""
    from torch import distributed

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = resnet()
        store_weights(model)
        store_activations(model)
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        model(x)
        twin = copy.deepcopy(model)
        wrapped = nn.parallel.DistributedDataParallel(model)
        outputs = []
        for subject in (wrapped, twin):
            faults = FaultInjector(subject, 1, ("weight", "activation"))
            subject(x).sum().backward()
            with faults.errors(0.02):
                outputs.append(subject(x))
                outputs[-1].square().sum().backward()
        assert torch.equal(*outputs)
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert a.grad is not None
            assert torch.allclose(a.grad, b.grad)
    finally:
        distributed.destroy_process_group()


def test_a_changed_trace_stays_changed() -> None:
    model = stored(torch.fx.symbolic_trace(body()))
    before = model(batch() * 9)
    (tanh,) = (node for node in model.graph.nodes if node.target == "3")  # type: ignore[union-attr]
    tanh.replace_all_uses_with(tanh.args[0])
    model.recompile()  # type: ignore[operator]
    changed = model(batch() * 9)
    assert not torch.equal(changed, before)
    remove_memories(model)
    assert torch.allclose(model(batch() * 9), changed, atol=0.1)
    assert not torch.allclose(model(batch() * 9), before, atol=0.1)


def test_parametrizing_after_storing_gets_one_line() -> None:
    model = stored(body())
    nn.utils.parametrizations.weight_norm(model[0])  # type: ignore[index]
    text = r"^'weight' of a .*Linear was parametrized after it was stored: parametrize first"
    with pytest.raises(FaultModelError, match=text):
        FaultInjector(model)


# -- few bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantizer", ["robust", "symmetric"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_every_type_of_float_is_quantized_to_itself(
    dtype: torch.dtype, bits: int, quantizer: str
) -> None:
    layer = StoredWeight(bits, quantizer)
    generator = torch.Generator().manual_seed(bits)
    for scale, shift in ((1.0, 0.0), (1e-3, 0.0), (30.0, 7.0), (0.01, 1.0), (0.0, 0.5), (0.0, 0.0)):
        weight = (torch.randn(40, 30, generator=generator) * scale + shift).to(dtype)
        once = layer(weight)
        assert once.dtype == dtype
        assert torch.equal(layer(once), once)
        faults = FaultInjector(nn.ModuleDict({"w": layer}))
        with faults.errors(0.0):
            assert torch.equal(layer(weight), once)
        # Oracle: exact fractions; what is read is the nearest float, or next to it.
        exact = [Fraction(float(w)) for w in weight.ravel()[:50]]
        if quantizer == "robust":
            low, span = Fraction(float(weight.min())), (1 << bits) - 2
            reach = Fraction(float(weight.max())) - low
        else:
            low, span = Fraction(0), (1 << (bits - 1)) - 1
            reach = Fraction(float(weight.abs().max()))
        for w, value in zip(exact, once.ravel().tolist(), strict=False):
            unit = torch.finfo(dtype).eps * max(abs(float(w)), float(weight.abs().max()) * 2e-3)
            assert abs(w - Fraction(value)) <= reach / span / 2 + Fraction(unit)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_few_bits(dtype: torch.dtype) -> None:
    layer = nn.Linear(4, 4).to(dtype)
    nn.init.constant_(layer.weight, 0.5)
    store_weights(layer)
    assert layer.weight.tolist() == [[0.5] * 4] * 4
    model = body().to(dtype)
    store_weights(model)
    faults = FaultInjector(model)
    clean = model(batch().to(dtype))
    assert clean.dtype == dtype
    with faults.errors(0.0):
        assert torch.equal(model(batch().to(dtype)), clean)
    with faults.errors(0.05):
        struck = model(batch().to(dtype))
    assert not torch.equal(struck, clean)
    struck.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_under_autocast(dtype: torch.dtype) -> None:
    model = resnet()
    store_weights(model)
    store_activations(model)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    faults = FaultInjector(model, kinds=("weight", "activation"))
    with torch.autocast("cpu", dtype):
        model(x)
        with faults.errors(0.01):
            loss = model(x).float().sum()
        loss.backward()
    assert loss.isfinite()
    assert all(
        module.activation_range.dtype == torch.float32
        for module in model.modules()
        if hasattr(module, "activation_range")
    )


# -- activations -----------------------------------------------------------------------------------


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


# -- what callers write ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rate",
    [np.float32(0.25), np.float64(0.25), np.array(0.25), torch.tensor(0.25), Fraction(1, 4)],
    ids=lambda rate: type(rate).__name__,
)
def test_rates_of_other_libraries(rate: Any) -> None:
    model = stored(body())
    with FaultInjector(model).errors(0.25):
        expected = model(batch())
    with FaultInjector(model).errors(rate):
        assert torch.equal(model(batch()), expected)
    with FaultInjector(model).errors({"0.weight": rate}):
        assert not torch.equal(model(batch()), expected)
    for one in (1, np.int64(1), torch.tensor(1)):
        with FaultInjector(model).errors(one):
            assert not torch.equal(model(batch()), expected)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (95.0, "bit error rate must be 0..1, not 95"),
        (-0.1, "bit error rate must be 0..1, not -0.1"),
        (np.float32("nan"), "bit error rate must be 0..1, not nan"),
        (torch.tensor(float("inf")), "bit error rate must be 0..1, not inf"),
        (True, "bit error rate must be a number 0..1, not True"),
        (np.True_, "bit error rate must be a number 0..1, not True"),
        ("0.1", "bit error rate must be a number 0..1, not '0.1'"),
        (1j, "bit error rate must be a number 0..1, not 1j"),
        (None, "bit error rate must be a number 0..1, not None"),
        ([0.1], "bit error rate must be a number 0..1, not [0.1]"),
        (torch.zeros(2), "bit error rate must be a number 0..1, not tensor([0., 0.])"),
    ],
    ids=str,
)
def test_other_rates_get_one_line(rate: Any, text: str) -> None:
    faults = FaultInjector(stored(body()))
    for given in (rate, {"2.weight": rate}):
        with pytest.raises(FaultModelError) as caught, faults.errors(given):
            pass
        assert str(caught.value) == text
    assert faults.draws == 0


def test_voltages_of_other_libraries() -> None:
    model = stored(body())
    faults = FaultInjector(model)
    with faults.chip(CHIP, voltage_rel=0.8):
        expected = model(batch())
    for voltage in (np.float64(0.8), torch.tensor(0.8, dtype=torch.float64)):
        with faults.chip(CHIP, voltage_rel=voltage):  # type: ignore[arg-type]
            assert torch.equal(model(batch()), expected)
    for voltage in (80.0, float("nan")):
        with pytest.raises(VoltageError), faults.chip(CHIP, voltage_rel=voltage):
            pass
    with (
        pytest.raises(FaultModelError, match="^voltage_rel must be a number, not '0.8'$"),
        faults.chip(CHIP, voltage_rel="0.8"),  # type: ignore[arg-type]
    ):
        pass


@pytest.mark.parametrize("seed", [-1, 1 << 64, 0.5, "a"])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(FaultModelError, match=r"^seed must be an integer, 0\.\.2\^64 - 1, not "):
        FaultInjector(stored(body()), seed)


def test_numbers_of_other_libraries() -> None:
    model = store_weights(body(), np.int64(5)).model  # type: ignore[arg-type]
    faults = FaultInjector(model, seed=np.int64(3), kinds="weight")  # type: ignore[arg-type]
    assert [memory.bits for memory in faults.memories.values()] == [5, 5, 5]
    with faults.errors(0.1):
        expected = model(batch())
    again = FaultInjector(model, seed=3)
    with again.errors(0.1):
        assert torch.equal(model(batch()), expected)
    with pytest.raises(FaultModelError, match=r"^bits must be 2\.\.16, not True$"):
        store_weights(body(), True)
    with pytest.raises(
        FaultModelError, match=r"^model must be an nn\.Module, not a StoredWeights$"
    ):
        FaultInjector(store_weights(body()))  # type: ignore[arg-type]


def test_layers_may_have_bits_of_their_own() -> None:
    model = encoder()
    first = store_weights(model, 4, layers=nn.MultiheadAttention)
    assert len(first.words) == 2
    assert set(first.left_out.values()) == {"its module is not of the types in layers"}
    second = store_weights(model, 8)
    assert not second.left_out
    assert set(second.words) == set(first.left_out)
    assert {m.bits for n, m in FaultInjector(model).memories.items() if n in first.words} == {4}
    with pytest.raises(FaultModelError, match="^model has no matrix of float weights to store$"):
        store_weights(model)


def test_a_tie_is_one_memory_wherever_it_is_found_first() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Embedding(4, 4)})
    model["b"].weight = model["c"].weight = model["a"].weight
    report = store_weights(model, layers=nn.Embedding)
    assert report.words == {"a.weight": 16}
    faults = FaultInjector(model)
    with faults.errors(0.2):
        assert torch.equal(model["a"].weight, model["c"].weight)
        assert torch.equal(model["a"].weight, model["b"].weight)
    assert list(faults.memories) == ["a.weight"]


def test_lazy_modules_are_named_until_they_have_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2))
    why = "no shape yet: run the model once before"
    text = rf"^store_weights leaves out 0\.weight \({why}\); 0\.bias \({why}\)$"
    with pytest.warns(UserWarning, match=text) as caught:
        report = store_weights(model)
    assert len(caught) == 1
    assert list(report.left_out) == ["0.weight", "0.bias"]
    model(batch())
    assert store_weights(model).words == {"0.weight": 24}
