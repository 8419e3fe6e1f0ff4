"""Memories in modules that are not ours: everything is stored, named, faulty, and gone again."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from support.foreign_modules import CASES, Case, bake
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hwsim.lowvoltage import Chip, load_technology
from hwsim.lowvoltage.chip import FaultList
from hwsim.models.faults import (
    FaultInjector,
    FaultModelError,
    StoredWeights,
    clip_weights,
    remove_memories,
    store_weights,
)
from hwsim.models.injector import norms_as_deployed

CHIP = Chip(load_technology("sram_14nm"), 7)
RATE = 0.05

every = pytest.mark.parametrize("name", CASES)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What torch says of its own modules."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        yield


def plain(case: Case) -> nn.Module:
    torch.manual_seed(0)
    model = case.make().eval()
    with torch.no_grad():
        tensor(model(*case.inputs()))  # hooks compute their weights
    return model


def put_in(model: nn.Module, case: Case, bits: int = 8) -> StoredWeights:
    if not case.left_out:
        return store_weights(model, bits)
    with pytest.warns(UserWarning, match="^store_weights leaves out "):
        return store_weights(model, bits)


def tensor(output: object) -> Tensor:
    """The first one of what modules yield."""
    return output if isinstance(output, Tensor) else tensor(output[0])  # type: ignore[index]


def run(model: nn.Module, case: Case) -> Tensor:
    return tensor(model(*case.inputs()))


def read(model: nn.Module, place: str) -> Tensor:
    path, _, name = place.rpartition(".")
    return getattr(model.get_submodule(path), name)


def integers(weight: np.ndarray, bits: int) -> np.ndarray:
    """As the docs say: robust range, rounded to nearest."""
    low, high = weight.min(), weight.max()
    step = (high - low) / np.float32((1 << bits) - 2)
    return np.rint((weight - low) / step).astype(np.int64)


def strike(words: np.ndarray, faults: FaultList) -> np.ndarray:
    """Cell by cell."""
    flat = words.reshape(-1).copy()
    for word, bit, reads in zip(faults.word, faults.bit, faults.reads, strict=True):
        if reads < 0:
            flat[word] ^= 1 << bit
        elif reads:
            flat[word] |= 1 << bit
        else:
            flat[word] &= ~(1 << bit)
    return flat.reshape(words.shape)


def baked(case: Case, values: dict[str, Tensor]) -> nn.Module:
    """The module without memories, with other weights."""
    model = plain(case)
    if case.bake:
        with torch.enable_grad():  # else torch leaves tensors in place of parameters
            case.bake(model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for place, value in values.items():
            parameters[place].copy_(value)
    return model


@every
def test_every_matrix_is_stored_or_named(name: str) -> None:
    case = CASES[name]
    model = plain(case)
    if case.bake:
        case.bake(bare := plain(case))
    else:
        bare = model
    matrices = {n: p.numel() for n, p in bare.named_parameters() if p.dim() > 1}
    report = put_in(model, case)
    assert report.model is model
    assert sum(report.words.values()) == case.words
    assert {**report.words, **{n: matrices[n] for n in report.left_out}} == matrices
    assert sum(matrices[n] for n in report.left_out) == case.left_out
    assert list(FaultInjector(model).memories) == list(report.words)


MODES = [(name, mode) for name, case in CASES.items() for mode in (False, True)[: 1 + case.trains]]


@pytest.mark.parametrize(("name", "training"), MODES)
def test_a_module_computes_with_what_its_memories_hold(name: str, training: bool) -> None:
    """Oracle: integers and faults in NumPy, put into the module without memories."""
    case = CASES[name]
    model = plain(case).train(training)
    places = put_in(model, case).words
    parameters = dict(baked(case, {}).named_parameters())
    floats = {place: parameters[place].detach().numpy() for place in places}
    clean = {place: integers(value, 8) for place, value in floats.items()}
    faulty = {
        place: strike(words, CHIP.faults_at(place, words.size, 8, RATE))
        for place, words in clean.items()
    }
    outputs = []
    for rate, expected in ((None, clean), (0.0, clean), (RATE, faulty)):
        for grad in (True, False):
            subject = copy.deepcopy(model)
            with torch.set_grad_enabled(grad), struck(subject, rate):
                seen = {place: read(subject, place).detach() for place in places}
                outputs.append(run(subject, case).detach())
                twin = baked(case, seen).train(training)
                with norms_as_deployed(twin) if rate is not None else nullcontext():
                    assert torch.equal(run(twin, case), outputs[-1])
            for place, value in seen.items():
                low, step = floats[place].min(), np.ptp(floats[place]) / np.float32(254)
                assert np.array_equal(np.rint((value.numpy() - low) / step), expected[place])
                assert np.abs(value.numpy() - (low + step * expected[place])).max() < 1e-3 * step
    assert not torch.equal(outputs[4], outputs[2])
    assert not torch.equal(outputs[0], run(baked(case, {}).train(training), case))


def struck(model: nn.Module, rate: float | None) -> AbstractContextManager[None]:
    return nullcontext() if rate is None else FaultInjector(model).chip(CHIP, rate=rate)


@every
def test_gradients_reach_the_floats(name: str) -> None:
    case = CASES[name]
    model = plain(case)
    before = dict(model.named_parameters())
    put_in(model, case)
    assert all(p is before[n] for n, p in model.named_parameters())
    with FaultInjector(model).errors(RATE):
        output = run(model, case)
    (output * torch.arange(1.0, output.numel() + 1).reshape(output.shape)).sum().backward()
    for n, p in model.named_parameters():
        assert p.grad is not None, n
        if p.dim() > 1:
            assert p.grad.abs().sum() > 0, n


@every
def test_one_chip_has_the_same_cells_in_every_form(name: str) -> None:
    case = CASES[name]
    model = plain(case)
    names = list(put_in(model, case).words)
    with FaultInjector(model).chip(CHIP, rate=RATE):
        expected = run(model, case)
    forms = {
        "again": plain(case),
        "parallel": nn.DataParallel(plain(case)),
        "compiled": torch.compile(plain(case), backend="eager"),
        "within": torch.compile(nn.DataParallel(plain(case)), backend="eager"),
    }
    if not case.bake and not case.left_out:
        forms["averaged"] = AveragedModel(plain(case))
    for form, other in forms.items():
        report = put_in(other, case)  # type: ignore[arg-type]
        assert list(report.words) == names, form
        faults = FaultInjector(other)  # type: ignore[arg-type]
        assert list(faults.memories) == names, form
        if form in ("again", "parallel", "averaged"):
            with faults.chip(CHIP, rate=RATE):
                assert torch.equal(run(other, case), expected), form  # type: ignore[arg-type]


@every
def test_copies_and_saved_states(name: str) -> None:
    case = CASES[name]
    model = plain(case)
    keys = list(model.state_dict())
    put_in(model, case)
    assert list(model.state_dict()) == keys
    faults = FaultInjector(model)
    with faults.chip(CHIP, rate=RATE):
        expected = run(model, case)
    with torch.no_grad():
        run(model, case)  # torch does not copy what hooks computed with gradients
    torch.manual_seed(1)
    other = case.make().eval()
    run(other, case)
    put_in(other, case)
    copies = [other]
    other.load_state_dict(model.state_dict(), strict=True)
    if case.left_out != 30:
        copies.append(copy.deepcopy(model))
        assert torch.equal(run(copies[-1], case), run(model, case))
    if case.bake is not bake and not case.left_out:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copies.append(torch.load(file, weights_only=False))
    for each in copies:
        with FaultInjector(each).chip(CHIP, rate=RATE):
            assert torch.equal(run(each, case), expected)
        # The memories of copies are their own.
        remove_memories(each)
    with faults.chip(CHIP, rate=RATE):
        assert torch.equal(run(model, case), expected)


@every
def test_removed_memories_leave_nothing(name: str) -> None:
    case = CASES[name]
    model, bare = plain(case), plain(case)
    put_in(model, case)
    with FaultInjector(model).errors(RATE):
        run(model, case)
    assert remove_memories(model) is model
    assert torch.equal(run(model, case), run(bare, case))
    for (n, a), (m, b) in zip(model.named_modules(), bare.named_modules(), strict=True):
        assert n == m
        assert type(a).__name__ == type(b).__name__
        assert type(a).__mro__[1:] == type(b).__mro__[1:]
        assert list(vars(a)) == list(vars(b))
        assert list(a.state_dict()) == list(b.state_dict())
    with pytest.raises(FaultModelError, match="^model has no quantized"):
        FaultInjector(model)
    put_in(model, case)  # and may come back


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if not case.bake])
def test_removed_memories_may_leave_quantized_weights(name: str) -> None:
    case = CASES[name]
    model = plain(case)
    put_in(model, case)
    expected = run(model, case)
    remove_memories(model, quantized=True)
    assert torch.equal(run(model, case), expected)
    assert not torch.equal(run(plain(case), case), expected)
    # What is quantized is quantized to itself.
    put_in(model, case)
    assert torch.equal(run(model, case), expected)


def test_a_module_that_is_computed_keeps_its_floats() -> None:
    model = plain(CASES["weight_norm"])
    put_in(model, CASES["weight_norm"])
    with pytest.raises(FaultModelError, match=r"^0\.weight is computed from others, it cannot be"):
        remove_memories(model, quantized=True)
    with pytest.raises(FaultModelError, match=r"^0\.weight is computed from others, it cannot be"):
        clip_weights(model, 0.1)
    assert list(FaultInjector(model).memories) == ["0.weight", "2.weight"]
