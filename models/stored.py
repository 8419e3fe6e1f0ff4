"""Memories for the weights and activations of any ``nn.Module``, and the way back.

``store_weights`` reaches every matrix, wherever it is: what is stored is the parameter, or what a
parametrization makes of it, and everybody who reads it reads the memory (``attributes``).
``store_activations`` reaches what modules yield.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from hwsim.models.attributes import FaultModelError, raw, read_plainly, read_through, readers
from hwsim.models.memory import Memory, memory_name
from hwsim.models.places import join, places
from hwsim.models.quantize import straight_through
from hwsim.models.recompute import node_number

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish)
"""Modules whose outputs are stored, and compared, by default."""

QUANTIZERS = ("robust", "symmetric")

_SOURCES = ("_g", "_v", "_orig")
"""Ends of the names of parameters from which hooks compute an attribute (weight_norm, pruning)."""


class StoredWeight(nn.Module):
    """A float weight as the memory gives it back, quantized to ``bits``.

    ``robust``: the range between the smallest and the largest weight, coded without sign
    (RQuant of arXiv 2006.13977). ``symmetric``: two's complement, the largest magnitude at the
    end of the range. Both round to nearest; the range follows the weights and carries no
    gradient, which passes straight through. Computed in float32 (float64 for such weights)
    whatever the type of the weights; both ends of the range are met exactly, so that what is
    read is quantized to itself.
    """

    def __init__(self, bits: int, quantizer: str):
        super().__init__()
        self.symmetric = quantizer == "symmetric"
        self.memory = Memory(bits, signed=self.symmetric)
        self.top = (1 << (bits - 1)) - 1 if self.symmetric else (1 << bits) - 2
        self.kept: dict[torch.device, Tensor] | None = None
        self.renormed = False  # whether readers change what they read, as max_norm does

    def forward(self, weight: Tensor) -> Tensor:
        if self.kept is None:
            return self._read(weight)
        if weight.device not in self.kept:
            self.kept[weight.device] = self._read(weight)
        return self.kept[weight.device]

    def _read(self, weight: Tensor) -> Tensor:
        read = self._quantized(weight.detach())
        if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # As parameters do, which some of torch's kernels look at: they round differently.
            return read.requires_grad_(weight.requires_grad)
        read = straight_through(weight, read)
        return read.clone() if self.renormed else read

    def _quantized(self, held: Tensor) -> Tensor:
        exact = held if held.dtype == torch.float64 else held.float()
        if self.symmetric:
            low, high = exact.new_zeros(()), exact.abs().amax()
        else:
            low, high = exact.amin(), exact.amax()
        step = ((high - low) / self.top).clamp_min(torch.finfo(exact.dtype).tiny)
        words = self.memory(((exact - low) / step).round())
        return torch.lerp(low, high, words / self.top).to(held.dtype)


@dataclass(frozen=True)
class StoredWeights:
    """The result of ``store_weights``.

    model: as it was given, its weights stored. bits: of a word. words: number of words by name
    of memory. left_out: matrices that are not stored, by name, and why.
    """

    model: nn.Module
    bits: int
    words: Mapping[str, int]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Matrix:
    """Attribute ``name`` of ``owner``; ``identity`` is one for all places of a parameter."""

    place: str
    owner: nn.Module
    name: str
    words: int
    identity: tuple[int, str]
    obstacle: str | None = None


def store_weights(
    model: nn.Module,
    bits: int = 8,
    *,
    quantizer: str = "robust",
    layers: tuple[type[nn.Module], ...] | type[nn.Module] = nn.Module,
) -> StoredWeights:
    """Let the weights of ``model`` be quantized and stored, from now on and in place.

    Stored are all float parameters of two or more dimensions, of whatever module: layers,
    attention, recurrent layers, embeddings, parameters of one's own. Of a weight that a
    parametrization, ``weight_norm`` or pruning computes, the result is stored. A parameter that
    several layers share is one memory, named by its first place. Vectors (biases, norms) are
    none of it, nor are layers of hwsim that have memories already.

    bits: 2..16. quantizer: ``robust`` or ``symmetric``, see StoredWeight. layers: modules of
    these types alone; calls with others may follow. Names of parameters, saved states and
    optimizers stay as they are. A matrix that cannot be stored is named in ``left_out`` and in
    one warning. Raises FaultModelError when nothing can be stored.
    """
    bits = _bits(bits, 2)
    if quantizer not in QUANTIZERS:
        raise FaultModelError(
            f"quantizer must be one of {', '.join(QUANTIZERS)}, not '{quantizer}'"
        )
    found: dict[tuple[int, str], list[_Matrix]] = {}
    for matrix in _matrices(model):
        found.setdefault(matrix.identity, []).append(matrix)
    words, left_out, obstacles = {}, {}, {}
    for same in found.values():
        place = same[0].place
        if all(matrix.name in readers(matrix.owner) for matrix in same):
            continue
        obstacle = next((m.obstacle for m in same if m.obstacle), None)
        if not any(isinstance(matrix.owner, layers) for matrix in same):
            left_out[place] = "its module is not of the types in layers"
        elif obstacle is not None:
            obstacles[place] = obstacle
        else:
            had = (readers(matrix.owner).get(matrix.name) for matrix in same)
            kept = (one for one in had if isinstance(one, StoredWeight))
            stored = next(kept, None) or StoredWeight(bits, quantizer)
            stored.renormed = any(getattr(m.owner, "max_norm", None) for m in same)
            for matrix in same:
                if matrix.name not in readers(matrix.owner):
                    read_through(matrix.owner, matrix.name, stored)
            words[place] = same[0].words
    named = "; ".join(f"{place} ({why})" for place, why in obstacles.items())
    if not words:
        raise FaultModelError(
            "model has no matrix of float weights to store" + (f": {named}" if named else "")
        )
    if named:
        warnings.warn(f"store_weights leaves out {named}", UserWarning, stacklevel=2)
    return StoredWeights(model, bits, words, {**left_out, **obstacles})


def _matrices(model: nn.Module) -> Iterator[_Matrix]:
    """Everything of two or more dimensions that is a parameter or computed from some."""
    within: set[nn.Module] = set()
    for path, module in places(model):
        if parametrize.is_parametrized(module):
            within.update(module.parametrizations.modules())  # type: ignore[union-attr,operator]
        own = any(isinstance(child, Memory) for child in module._modules.values())
        if own or module in within:
            continue
        computed = _computed(module)
        for name, value in computed.items():
            yield from _matrix(path, module, name, value, (id(module), name))
        sources = {name + end for name in computed for end in _SOURCES}
        for name, value in module.named_parameters(recurse=False, remove_duplicate=False):
            if name not in sources:
                yield from _matrix(path, module, name, value, (id(value), ""))


def _matrix(
    path: str, owner: nn.Module, name: str, value: Tensor, identity: tuple[int, str]
) -> Iterator[_Matrix]:
    place = join(path, name)
    if isinstance(value, UninitializedParameter):
        why = "no shape yet: run the model once before"
        yield _Matrix(place, owner, name, 0, identity, why)
    elif value.dim() >= 2 and value.numel():
        yield _Matrix(place, owner, name, value.numel(), identity, _obstacle(owner, value))


def _obstacle(owner: nn.Module, value: Tensor) -> str | None:
    """Why a matrix cannot be stored; None if it can."""
    if isinstance(owner, torch.jit.ScriptModule):
        return "scripted: store weights before, and use torch.compile"
    if not value.is_floating_point():
        return f"of type {str(value.dtype).removeprefix('torch.')}"
    if value.layout != torch.strided:
        return "sparse"
    return None


def _computed(module: nn.Module) -> dict[str, Tensor]:
    """Attributes that parametrizations or hooks compute, and what they are now."""
    names: list[str] = []
    if parametrize.is_parametrized(module):
        names += module.parametrizations  # type: ignore[operator,arg-type]
    hooks = getattr(module, "_forward_pre_hooks", {}).values()
    for hook in hooks:
        # weight_norm and spectral_norm say "name", pruning says "_tensor_name".
        name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if isinstance(name, str) and isinstance(module.__dict__.get(name), Tensor):
            names.append(name)
    with _still(module), torch.no_grad():
        return {name: _before_memory(module, name) for name in names}


def _before_memory(module: nn.Module, name: str) -> Tensor:
    """An attribute as it is before any memory."""
    return raw(module, name) if name in readers(module) else getattr(module, name)


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """In evaluation mode: some parametrizations move on whenever they are read in training."""
    training = {m: m.training for m in module.modules() if m.training}
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True


def stored_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, StoredWeight]]:
    """Place, module, attribute and StoredWeight of every stored weight, shared ones each time."""
    for path, module in places(model):
        for name, stored in readers(module).items():
            assert isinstance(stored, StoredWeight)
            yield join(path, name), module, name, stored


@contextmanager
def weights_read_once(model: nn.Module) -> Iterator[None]:
    """Within the block no weight is quantized more than once; without gradients."""
    found = {stored for _, _, _, stored in stored_weights(model)}
    with torch.no_grad():
        try:
            for stored in found:
                stored.kept = {}
            yield
        finally:
            for stored in found:
                stored.kept = None


# -- activations -----------------------------------------------------------------------------------

_STORED = "_stored_activation"
_USE = "_stored_activation_use"
_RANGES = "activation_range"
"""Buffer [uses, 2] of a module whose outputs are stored: the smallest and the largest."""


class StoredActivation:
    """Quantizes the output of a module to ``bits`` bits and passes it through a memory.

    Coded without sign between the smallest and the largest value seen (running averages of both,
    taken in training mode; under errors only where norms follow too). A module that is called at
    several places of one pass has a range and a memory for each, in the order of the calls.
    """

    def __init__(self, bits: int, name: str, momentum: float = 0.1):
        self.memory = Memory(bits, signed=False, kind="activation")
        self.memory.name = self.name = name
        self.top, self.momentum = (1 << bits) - 1, momentum
        self.deployed = False

    def read(self, layer: nn.Module, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            what = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
            raise FaultModelError(f"{self.name}: a tensor of floats can be stored, not {what}")
        use, exact = self._use(layer), output.float()
        if layer.training and not self.deployed and output.numel() and node_number() is None:
            self._observe(layer, use, exact.detach())
        ranges = layer.get_buffer(_RANGES)
        if use >= len(ranges):
            if not output.numel():
                return output
            raise FaultModelError(
                f"{memory_name(self.name, use)} has no range yet: "
                "run the model in training mode first, without errors"
            )
        low, high = ranges[use].float()
        step = ((high - low) / self.top).clamp_min(1e-12)
        exact = ((exact - low) / step).clamp(0, self.top)
        integers = straight_through(exact, exact.detach().round())
        return (self.memory(integers, use) * step + low).to(output.dtype)

    def _use(self, layer: nn.Module) -> int:
        """Which call of the pass this is, 0 ..."""
        use: int | None = getattr(layer, _USE)
        if use is not None:
            setattr(layer, _USE, use + 1)
            return use
        if len(layer.get_buffer(_RANGES)) > 1:
            raise FaultModelError(
                f"{self.name} is of a module used at several places, which are told apart by "
                "their order in a pass: call the whole model, or use a module for each place"
            )
        return 0

    @torch.no_grad()
    def _observe(self, layer: nn.Module, use: int, x: Tensor) -> None:
        ranges = layer.get_buffer(_RANGES)
        seen = torch.stack((x.amin(), x.amax()))
        if use == len(ranges):
            setattr(layer, _RANGES, torch.cat((ranges, seen[None].to(ranges))))
        elif use < len(ranges):
            ranges[use] = ranges[use].float().lerp(seen, self.momentum).to(ranges.dtype)


def store_activations(
    model: nn.Module, bits: int = 8, *, layers: tuple[type[nn.Module], ...] = ACTIVATIONS
) -> nn.Module:
    """Quantize and store the outputs of ``layers`` in ``model``; returns the model.

    bits: 1..16. The first dimension of what they yield is that of the images. A module called at
    several places in one pass of ``model`` has a range and a memory for each. Functions
    (``F.relu``) are no modules and are not seen. Raises FaultModelError when the model has no
    such layer.
    """
    bits = _bits(bits, 1)
    found = [(path, module) for path, module in places(model) if isinstance(module, layers)]
    found = [(path, module) for path, module in found if _STORED not in module.__dict__]
    if not found:
        kinds = layers if isinstance(layers, tuple) else (layers,)
        names = ", ".join(layer.__name__ for layer in kinds)
        raise FaultModelError(f"model has no layer whose outputs to store (of {names})")
    _, root = next(places(model))
    for path, module in found:
        module.__dict__[_STORED] = StoredActivation(bits, join(path, "activation"))
        module.__dict__[_USE] = None
        device = next((p.device for p in model.parameters()), None)
        module.register_buffer(_RANGES, torch.empty(0, 2, device=device))
        module.register_load_state_dict_pre_hook(_fit_ranges)
        module.register_forward_hook(_store_output)
    # Passes are those of the largest model; its outputs themselves may be stored.
    for module in root.modules():
        _drop_hooks(module, _first_use, _no_use)
    root.register_forward_pre_hook(_first_use)
    root.register_forward_hook(_no_use)
    return model


def stored_activations(model: nn.Module) -> Iterator[tuple[str, nn.Module, StoredActivation]]:
    """Place of the memory, module and StoredActivation of every module with stored outputs."""
    for path, module in places(model):
        if _STORED in module.__dict__:
            yield join(path, "activation"), module, module.__dict__[_STORED]


def uses(layer: nn.Module) -> int:
    """At how many places of a pass a module with stored outputs was seen; at least 1."""
    return max(1, len(layer.get_buffer(_RANGES)))


def _store_output(layer: nn.Module, inputs: object, output: Any) -> Tensor:
    return getattr(layer, _STORED).read(layer, output)


def _first_use(root: nn.Module, inputs: object) -> None:
    _count(root, 0)


def _no_use(root: nn.Module, inputs: object, output: object) -> None:
    _count(root, None)


def _count(root: nn.Module, use: int | None) -> None:
    for module in root.modules():
        if _STORED in module.__dict__:
            setattr(module, _USE, use)


def _fit_ranges(layer: nn.Module, state: dict[str, Any], prefix: str, *rest: object) -> None:
    """Places are known from passes, or from a saved state."""
    saved = state.get(prefix + _RANGES)
    if saved is not None:
        setattr(layer, _RANGES, saved.to(layer.get_buffer(_RANGES), copy=True))


# -- the way back ----------------------------------------------------------------------------------


@torch.no_grad()
def remove_memories(model: nn.Module, *, quantized: bool = False) -> nn.Module:
    """Remove all that ``store_weights`` and ``store_activations`` added; returns the model.

    The module is as before, with its float weights as they are now, or with their ``quantized``
    values. Layers of hwsim keep the memories that they are made with. Raises FaultModelError for
    quantized values of weights that are computed, as with ``weight_norm``, and within a block of
    errors; then nothing is changed.
    """
    weights, activations = list(stored_weights(model)), list(stored_activations(model))
    memories = [stored.memory for *_, stored in weights]
    memories += [stored.memory for *_, stored in activations]
    if any(memory.errors is not None for memory in memories):
        raise FaultModelError("memories cannot be removed within a block of errors")
    if quantized:
        for place, module, name, _ in weights:
            if name not in module._parameters:
                raise FaultModelError(f"{place} is computed from others, it cannot be set")
        values = {module._parameters[name]: getattr(module, name) for _, module, name, _ in weights}
        for parameter, value in values.items():
            assert parameter is not None
            parameter.copy_(value)
    for _, module, _, _ in weights:
        read_plainly(module)
    for _, module, _ in activations:
        for key in (_STORED, _USE, _RANGES):
            delattr(module, key)
    for module in model.modules():
        _drop_hooks(module, _store_output, _first_use, _no_use, _fit_ranges)
    return model


def _drop_hooks(module: nn.Module, *ours: object) -> None:
    for hooks in (
        module._forward_hooks, module._forward_pre_hooks, module._load_state_dict_pre_hooks,
    ):  # fmt: skip
        for key, hook in list(hooks.items()):
            if getattr(hook, "hook", hook) in ours:
                del hooks[key]


def _bits(bits: object, least: int) -> int:
    """``bits`` as an int; NumPy's and torch's integers are welcome."""
    try:
        number = operator.index(bits)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(bits, bool) or not least <= number <= 16:
        raise FaultModelError(f"bits must be {least}..16, not {bits!r}")
    return number
