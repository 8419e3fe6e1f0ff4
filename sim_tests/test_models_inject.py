"""Errors in tensors: the same bits as in arrays, on every path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim.models.inject
from hwsim.lowvoltage import Chip, FaultModel, load_technology
from hwsim.lowvoltage import inject as arrays
from hwsim.lowvoltage.chip import ChipError
from hwsim.lowvoltage.fresh import fresh_masks
from hwsim.lowvoltage.inject import Masks, make_masks
from hwsim.models.inject import DeviceMasks, array_type, inject, to_device, undo

SRAM = load_technology("sram_14nm")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]
FORMS: dict[str, Callable[[Masks, str], Masks | DeviceMasks]] = {
    "masks": lambda masks, device: masks,
    "on_device": to_device,
}


@pytest.fixture(params=["shared", "indexed"], scope="module")
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways on the CPU: that of arrays, and that of other devices."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "indexed":
            patch.setattr(hwsim.models.inject, "_SHARED", ())
        yield request.param


def words_of(bits: int, signed: bool, words: int, seed: int) -> np.ndarray:
    dtype = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if signed else (0, 1 << bits)
    return np.random.default_rng(seed).integers(low, high, words).astype(dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=100)
@given(
    seed=st.integers(0, 1000),
    bits=st.integers(1, 16),
    signed=st.booleans(),
    words=st.integers(1, 60),
    p=st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    kind=st.sampled_from(["flip", "stuck"]),
    fresh=st.booleans(),
)
def test_tensors_read_as_arrays_do(
    device: str, path: str, form: str, seed: int, bits: int, signed: bool, words: int, p: float,
    kind: str, fresh: bool,
) -> None:  # fmt: skip
    model = FaultModel(kind=kind)
    stored = words_of(bits, signed, words, seed)
    if fresh:
        masks = fresh_masks("m", words, bits, p, stored.dtype, seed=seed, model=model)
    else:
        chip = Chip(SRAM.model_copy(update={"faults": model}), seed)
        masks = make_masks(chip.faults_at("m", words, bits, p), stored.dtype)
    array, tensor = stored.copy(), torch.tensor(stored, device=device)
    assert array_type(tensor) == stored.dtype
    before_array = arrays.inject(array, masks)
    given_masks = FORMS[form](masks, device)
    before = inject(tensor, given_masks)
    assert tensor.cpu().numpy().dtype == stored.dtype
    assert np.array_equal(tensor.cpu().numpy(), array)
    assert before.dtype == tensor.dtype
    assert np.array_equal(before.cpu().numpy(), before_array)
    undo(tensor, given_masks, before)
    assert np.array_equal(tensor.cpu().numpy(), stored)


def test_a_tensor_of_any_shape(path: str) -> None:
    masks = make_masks(Chip(SRAM, 1).faults_at("m", 24, 8, 0.3), np.uint8)
    flat = torch.arange(24, dtype=torch.uint8)
    cube = flat.reshape(2, 3, 4).clone()
    for tensor in (flat, cube):
        inject(tensor, masks)
    assert torch.equal(flat, cube.ravel())
    assert not torch.equal(flat, torch.arange(24, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(6), "tensors must be of 8 or 16 bit integers, not float32"),
        (torch.zeros(7, dtype=torch.int8), "array must have 6 elements, not 7"),
        (torch.zeros(6, dtype=torch.int16), "masks were made for 1 byte words, not 2"),
    ],
)
def test_tensors_that_do_not_match(path: str, tensor: torch.Tensor, message: str) -> None:
    masks = make_masks(Chip(SRAM, 1).faults_at("m", 6, 8, 0.2), np.int8)
    with pytest.raises(ChipError) as caught:
        inject(tensor, masks)
    assert str(caught.value) == message


def test_tensors_with_gaps(path: str) -> None:
    masks = make_masks(Chip(SRAM, 1).faults_at("m", 6, 8, 0.2), np.int8)
    tensor = torch.zeros(3, 4, dtype=torch.int8)[:, ::2]
    message = "array must be C-contiguous and writeable"
    if path == "indexed":
        message = "tensor must be contiguous"
    with pytest.raises(ChipError, match=message):
        inject(tensor, masks)
