"""Stored weights under compilers, traces, exports, and processes that train together."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from support.foreign_modules import resnet
from support.small_modules import CHIP, batch, body, stored
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    remove_memories,
    store_activations,
    store_weights,
)

# What torch does to itself in its compiler.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]


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
