"""Switches errors on in the memories of a model, for a block of code."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.lowvoltage.chip import FaultList, FaultSource
from hwsim.lowvoltage.fresh import fresh_masks
from hwsim.lowvoltage.inject import make_masks
from hwsim.models.attributes import FaultModelError
from hwsim.models.inject import DeviceMasks, array_type, inject, to_device
from hwsim.models.layers import Norm, normalize_as_deployed
from hwsim.models.memory import Coding, Errors, Memory, memory_name
from hwsim.models.places import join, places
from hwsim.models.stored import stored_activations, stored_weights, uses

if TYPE_CHECKING:  # training without a placement does not depend on any accelerator
    from hwsim.faults.placement import ArrayPlace
    from hwsim.models.placement import Placement

KINDS = ("weight", "tap", "activation")
"""What memories hold."""

Rate = float | Mapping[str, float]
"""Bit error rate, 0..1, of all memories or by name (others are healthy)."""


class _Struck(Errors):
    """What strikes memories, at a bit error rate of each; placement: where they lie."""

    def __init__(self, rate: Rate, placement: Placement | None = None):
        self.rate, self.placement = rate, placement

    def coding(self, memory: Memory, name: str) -> Coding:
        place = self._place(name)
        return memory if place is None else _coding(memory, name, place)

    def _place(self, name: str) -> ArrayPlace | None:
        return None if self.placement is None else self.placement.places[name]

    def _rate_of(self, name: str) -> float:
        """Bit error rate of a memory of the model; 0 where it lies in no memory."""
        if self.placement is not None:
            place = self.placement.places[name]
            if place is None:
                return 0.0
            name = place.memory
        return self.rate.get(name, 0.0) if isinstance(self.rate, Mapping) else self.rate


class FreshErrors(_Struck):
    """Every stored bit flips with its memory's rate, anew in each draw.

    seed and draw decide the pattern: equal numbers, equal errors.
    """

    def __init__(self, rate: Rate, seed: int, draw: int, placement: Placement | None = None):
        super().__init__(rate, placement)
        self.seed, self.draw = seed, draw

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        rate = self._rate_of(memory)
        masks = fresh_masks(
            memory, words.numel(), bits, rate, array_type(words), seed=self.seed, step=self.draw
        )
        inject(words, masks)


class ChipErrors(_Struck):
    """The failing cells of one chip (or user's map) at a bit error rate of each memory."""

    def __init__(self, chip: FaultSource, rate: Rate, placement: Placement | None = None):
        super().__init__(rate, placement)
        self.chip = chip
        self._masks: dict[tuple[str, int, torch.device], DeviceMasks] = {}

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        if not words.numel():
            return
        key = memory, words[0].numel(), words.device
        if key not in self._masks:
            faults = self._faults(memory, words[0].numel(), bits)
            self._masks[key] = to_device(make_masks(faults, array_type(words)), words.device)
        for copy in words:
            inject(copy, self._masks[key])

    def _faults(self, memory: str, words: int, bits: int) -> FaultList:
        rate, place = self._rate_of(memory), self._place(memory)
        if place is None:
            return self.chip.faults_at(memory, words, bits, rate)
        return place.faults(self.chip, rate)

    def forget(self) -> None:
        """Free the masks; they are made again when they are needed again."""
        self._masks.clear()


def _coding(memory: Memory, name: str, place: ArrayPlace) -> Coding:
    """How ``place`` stores what is in ``memory``; raises FaultModelError where it cannot."""
    coding = memory.coded(place.code)
    if coding is None or coding.bits != place.width:
        kind = "unsigned" if place.code is None else place.code.kind
        raise FaultModelError(
            f"{name}: words of {memory.bits} bits are not stored as in '{place.memory}' "
            f"({kind} codes of {place.width} bits)"
        )
    return coding


class FaultInjector:
    """Switches errors on in the memories of ``model``.

    seed: of fresh errors, 0 .. 2^64 - 1. kinds: which memories: ``weight``, ``tap`` (positions of
    multiplexers), ``activation``. ``memories``: name -> Memory; where it is and what it holds, as
    in ``features.0.weight``, ``lstm.weight_ih_l0`` or ``features.1.activation``. Wrappers
    (DataParallel, torch.compile) do not change names. ``draws``: patterns drawn so far; set it to
    resume. Blocks may lie within each other: the inner one decides.

    placement: where an accelerator keeps weights and taps (``hwsim.models.placement``). Then
    errors strike the accelerator's cells in the accelerator's codes, a chip is asked for the
    accelerator's memories, and rates by name are of these. Activations have no place: which cells
    hold them depends on the frame.

    Raises FaultModelError for a model without quantized values, and for memories that have no
    place in ``placement`` or are coded otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        seed: int = 0,
        kinds: Iterable[str] | str = ("weight", "tap"),
        *,
        placement: Placement | None = None,
    ):
        chosen = {kinds} if isinstance(kinds, str) else set(kinds)
        unknown = sorted(chosen - set(KINDS))
        if unknown:
            raise FaultModelError(f"kinds must be of {', '.join(KINDS)}, not '{unknown[0]}'")
        if not isinstance(seed, numbers.Integral) or not 0 <= seed < 1 << 64:
            raise FaultModelError(f"seed must be an integer, 0..2^64 - 1, not {seed!r}")
        if not isinstance(model, nn.Module):
            raise FaultModelError(f"model must be an nn.Module, not a {type(model).__name__}")
        self.model: nn.Module = model
        self.seed: int = int(seed)
        self.draws: int = 0
        self.kinds: set[str] = chosen
        self.placement: Placement | None = placement
        for name, memory in self.memories.items():
            memory.name = memory.name or name
        if not self.memories:
            raise FaultModelError(
                f"model has no quantized {' or '.join(sorted(chosen))} to store; "
                "call store_weights(model, bits=8) or store_activations(model, bits=8) first"
            )

        if placement is not None:
            for name, memory in self.memories.items():
                if name not in placement.places:
                    raise FaultModelError(f"{name}: the placement does not say where it lies")
                place = placement.places[name]
                if place is not None:
                    _coding(memory, name, place)

    @property
    def memories(self) -> dict[str, Memory]:
        found: dict[str, Memory] = {}
        for name, memory, count in self._places():
            found |= {memory_name(name, use): memory for use in range(count)}
        return found

    def _places(self) -> Iterator[tuple[str, Memory, int]]:
        """Name, memory and number of uses, each memory once."""
        seen: set[Memory] = set()
        for name, memory, count in _all_memories(self.model):
            if memory.kind in self.kinds and memory not in seen:
                seen.add(memory)
                yield name, memory, count

    @contextmanager
    def errors(self, rate: Rate, *, as_deployed: bool = True) -> Iterator[None]:
        """Fresh errors at ``rate`` (0..1, or by memory name) within the block.

        Memories read more than once in the block read the same errors, also when gradient
        checkpointing runs the pass again after the block. Batch norms compute with their running
        statistics and leave them as they are: hardware has no others. as_deployed False: they
        work as in any training, which they must where no clean pass keeps their statistics up to
        date.
        """
        rate = self._checked(rate)
        self.draws += 1
        with self._struck(FreshErrors(rate, self.seed, self.draws, self.placement), as_deployed):
            yield

    @contextmanager
    def chip(
        self,
        chip: FaultSource,
        *,
        voltage_rel: float | None = None,
        rate: Rate | None = None,
    ) -> Iterator[None]:
        """Errors of ``chip`` within the block, at a voltage relative to vmin or an error rate.

        Raises VoltageError outside the technology's data.
        """
        if (voltage_rel is None) == (rate is None):
            raise FaultModelError("give either voltage_rel or rate")
        if rate is None:
            voltage = _number(voltage_rel, "voltage_rel must be a number")
            rate = chip.technology.probability(voltage)
        errors = ChipErrors(chip, self._checked(rate), self.placement)
        try:
            with self._struck(errors):
                yield
        finally:
            errors.forget()

    def _checked(self, rate: Rate) -> Rate:
        if not isinstance(rate, Mapping):
            return _rate(rate)
        placed = self.placement
        names = tuple(self.memories) if placed is None else placed.memories
        whose = "model" if placed is None else "placement"
        for name in rate:
            if name not in names:
                raise FaultModelError(
                    f"rate names memory '{name}', the {whose} has {', '.join(names)}"
                )
        return {name: _rate(value) for name, value in rate.items()}

    @contextmanager
    def _struck(self, errors: FreshErrors | ChipErrors, as_deployed: bool = True) -> Iterator[None]:
        with ExitStack() as stack:
            norms = as_deployed and stack.enter_context(norms_as_deployed(self.model))
            for name, memory, _ in self._places():
                stack.callback(memory.begin(errors, name, norms))
            yield


def _all_memories(model: nn.Module) -> Iterator[tuple[str, Memory, int]]:
    """Names, memories and numbers of uses; of shared ones the first name counts."""
    for name, _, _, weight in stored_weights(model):
        yield name, weight.memory, 1
    for name, layer, activation in stored_activations(model):
        yield name, activation.memory, uses(layer)
    for path, module in places(model):
        if isinstance(module, Memory):
            # The layers of hwsim have theirs as ``memory`` and ``tap_memory``.
            yield join(path.rpartition(".")[0], module.kind), module, 1


def _rate(value: Any) -> float:
    rate = _number(value, "bit error rate must be a number 0..1")
    if not 0 <= rate <= 1:
        raise FaultModelError(f"bit error rate must be 0..1, not {rate:g}")
    return rate


def _number(value: Any, rule: str) -> float:
    """A Python, NumPy or torch number as a float."""
    if isinstance(value, np.ndarray | np.generic | Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise FaultModelError(f"{rule}, not {value!r}")
    return float(value)


# -- norms -----------------------------------------------------------------------------------------


@contextmanager
def norms_as_deployed(model: nn.Module) -> Iterator[bool]:
    """Let batch norms compute with running statistics within the block, and keep them.

    Ranges of stored activations stay as they are, too. Yields whether there are batch norms that
    would compute otherwise.
    """
    flagged: list[Any] = [m for m in model.modules() if isinstance(m, Norm)]
    norms = list(flagged)
    flagged += [activation for _, _, activation in stored_activations(model)]
    others = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    before = [each.deployed for each in flagged], [type(other) for other in others]
    try:
        for each in flagged:
            each.deployed = True
        for other in others:
            other.__class__ = _deployed(type(other))  # type: ignore[arg-type]
        yield any(norm.training for norm in (*norms, *others))
    finally:
        for each, deployed in zip(flagged, before[0], strict=True):
            each.deployed = deployed
        for other, kind in zip(others, before[1], strict=True):
            other.__class__ = kind


@lru_cache(maxsize=256)
def _deployed(plain: Any) -> Any:
    """Class of torch's batch norm that computes as deployed, in training."""

    def forward(self: Any, x: Tensor) -> Tensor:
        if not self.training:
            return super(kind, self).forward(x)
        mean, variance = self.running_mean, self.running_var
        weight = torch.ones_like(mean) if self.weight is None else self.weight
        bias = torch.zeros_like(mean) if self.bias is None else self.bias
        return normalize_as_deployed(x, mean, variance, weight, bias, self.eps)

    if plain.__dict__.get("deployed"):
        return plain
    kind: Any = type(f"Deployed{plain.__name__}", (plain,), {"forward": forward, "deployed": True})
    return kind
