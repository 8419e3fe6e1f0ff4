"""Errors of memories in torch tensors: the bits that ``hwsim.lowvoltage.inject`` gives in arrays.

On the CPU a tensor is the array that it shares memory with. On another device the masks are
gathered, combined and scattered there; what fails is always decided by the same code on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hwsim.lowvoltage import inject as arrays
from hwsim.lowvoltage.chip import ChipError
from hwsim.lowvoltage.inject import Masks

_SHARED = ("cpu",)
"""Devices on which a tensor's memory is an array's."""

_ARRAY_TYPES: dict[torch.dtype, np.dtype] = {
    torch.int8: np.dtype(np.int8),
    torch.uint8: np.dtype(np.uint8),
    torch.int16: np.dtype(np.int16),
    torch.uint16: np.dtype(np.uint16),
}
_SIGNED = {1: torch.int8, 2: torch.int16}


@dataclass(frozen=True, eq=False)
class DeviceMasks:
    """``masks`` with its arrays on a device, for use again and again; see ``to_device``."""

    masks: Masks
    word: Tensor | slice
    keep: Tensor
    flip: Tensor


def to_device(masks: Masks, device: torch.device | str) -> DeviceMasks:
    """Copy masks to ``device``, as signed integers, of which torch has all operations."""
    signed = f"i{masks.flip.dtype.itemsize}"
    word = masks.word if isinstance(masks.word, slice) else torch.tensor(masks.word, device=device)
    keep, flip = (torch.tensor(m.view(signed), device=device) for m in (masks.keep, masks.flip))
    return DeviceMasks(masks, word, keep, flip)


def inject(tensor: Tensor, masks: Masks | DeviceMasks) -> Tensor:
    """Put errors into ``tensor``, in place; returns the stored values, for ``undo``.

    tensor: contiguous, of 8 or 16 bit integers, one element per word. masks: as made for an
    array of that type; ``DeviceMasks`` need no copy to the device each time. Returns a tensor of
    the same type and device, [faulty]. Raises ChipError when the tensor does not match.
    """
    if tensor.device.type in _SHARED:
        plain = masks.masks if isinstance(masks, DeviceMasks) else masks
        return torch.from_numpy(arrays.inject(_array(tensor), plain))
    there = masks if isinstance(masks, DeviceMasks) else to_device(masks, tensor.device)
    flat = _flat(tensor, there.masks)
    copies = arrays.sign_copies(there.masks, tensor.dtype.is_signed, tensor.element_size())
    stored = flat[there.word].clone()
    flat[there.word] = arrays.read(stored, there.keep, there.flip, copies)
    return stored.view(tensor.dtype)


def undo(tensor: Tensor, masks: Masks | DeviceMasks, stored: Tensor) -> None:
    """Put the stored values back that ``inject`` returned."""
    if tensor.device.type in _SHARED:
        plain = masks.masks if isinstance(masks, DeviceMasks) else masks
        arrays.undo(_array(tensor), plain, stored.numpy())
        return
    there = masks if isinstance(masks, DeviceMasks) else to_device(masks, tensor.device)
    flat = _flat(tensor, there.masks)
    flat[there.word] = stored.view(flat.dtype)


def array_type(tensor: Tensor) -> np.dtype:
    """NumPy's name of a tensor's type, for making masks; raises ChipError for other types."""
    if tensor.dtype not in _ARRAY_TYPES:
        name = str(tensor.dtype).removeprefix("torch.")
        raise ChipError(f"tensors must be of 8 or 16 bit integers, not {name}")
    return _ARRAY_TYPES[tensor.dtype]


def _array(tensor: Tensor) -> np.ndarray:
    array_type(tensor)
    return tensor.numpy()


def _flat(tensor: Tensor, masks: Masks) -> Tensor:
    """The words as signed integers, sharing memory with ``tensor``."""
    arrays.check_array(masks, array_type(tensor), tensor.numel())
    if not tensor.is_contiguous():
        raise ChipError("tensor must be contiguous")
    return tensor.view(_SIGNED[tensor.element_size()]).view(-1)
