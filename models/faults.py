"""Errors in stored weights and activations while a network trains; works on any ``nn.Module``.

In a training loop of one's own::

    faults = FaultInjector(store_weights(model, bits=8), seed=0)
    criterion(model(x), y).backward()
    with faults.errors(0.01):
        criterion(model(x), y).backward()

which is RandBET (Stutz et al., MLSys 2021, arXiv 2006.13977): clean plus faulty loss, a new
pattern of errors in each step, gradients straight through to the float weights. The layers of
``hwsim.models.layers`` have memories already; ``store_weights`` and ``store_activations`` give
them to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwsim.errors import HwsimError
from hwsim.faults.chip import Chip, FaultSource
from hwsim.faults.curve import CurvePoint, VoltageCurve
from hwsim.faults.fresh import fresh_masks
from hwsim.faults.inject import make_masks
from hwsim.faults.statistics import Bound, StopRule
from hwsim.faults.technology import MemoryTechnology
from hwsim.models.inject import DeviceMasks, array_type, inject, to_device
from hwsim.models.layers import Norm, normalize_as_deployed
from hwsim.models.memory import Memory
from hwsim.models.quantize import straight_through
from hwsim.progress import NoProgress, Progress

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)
"""Layers whose ``weight`` is stored by default."""

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish)
"""Modules whose outputs are stored, and compared, by default."""

QUANTIZERS = ("robust", "symmetric")

KINDS = ("weight", "tap", "activation")
"""What memories hold."""


class FaultModelError(HwsimError):
    """A model cannot have errors in the way that was asked for."""


class StoredWeight(nn.Module):
    """Parametrization: a float weight as the memory gives it back, quantized to ``bits``.

    ``robust``: the range between the smallest and the largest weight, coded without sign
    (RQuant of arXiv 2006.13977). ``symmetric``: two's complement, the largest magnitude at the
    end of the range. Both round to nearest; the range follows the weights and carries no
    gradient, which passes straight through.
    """

    def __init__(self, bits: int, quantizer: str):
        super().__init__()
        self.symmetric = quantizer == "symmetric"
        self.memory = Memory(bits, signed=self.symmetric)
        self.top = (1 << (bits - 1)) - 1 if self.symmetric else (1 << bits) - 2

    def forward(self, weight: Tensor) -> Tensor:
        held = weight.detach()
        if self.symmetric:
            low, step = held.new_zeros(()), held.abs().amax() / self.top
        else:
            low, step = held.amin(), (held.amax() - held.amin()) / self.top
        step = step.clamp_min(1e-12)
        exact = (weight - low) / step
        integers = straight_through(exact, exact.detach().round())
        return self.memory(integers) * step + low


class StoredActivation(nn.Module):
    """Quantizes what a module yields to ``bits`` bits and passes it through a memory.

    Coded without sign between the smallest and the largest value seen (running averages of both,
    taken in training mode).
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int, momentum: float = 0.1):
        super().__init__()
        self.memory = Memory(bits, signed=False, kind="activation")
        self.top, self.momentum = (1 << bits) - 1, momentum
        self.register_buffer("low", torch.tensor(float("nan")))
        self.register_buffer("high", torch.tensor(float("nan")))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.memory.errors is None:
            self._observe(x.detach())
        low = self.low.nan_to_num(0.0)
        step = ((self.high.nan_to_num(1.0) - low) / self.top).clamp_min(1e-12)
        exact = ((x - low) / step).clamp(0, self.top)
        return self.memory(straight_through(exact, exact.detach().round())) * step + low

    def _observe(self, x: Tensor) -> None:
        for seen, now in ((self.low, x.amin()), (self.high, x.amax())):
            seen.copy_(torch.where(seen.isnan(), now, seen.lerp(now, self.momentum)))


def store_weights(
    model: nn.Module,
    bits: int = 8,
    *,
    quantizer: str = "robust",
    layers: tuple[type[nn.Module], ...] = WEIGHTED,
) -> nn.Module:
    """Let the weights of ``layers`` in ``model`` be quantized and stored; returns the model.

    bits: 2..16. quantizer: ``robust`` or ``symmetric``, see StoredWeight. Saved state then holds
    the float weights under ``parametrizations.weight.original``. Raises FaultModelError when
    nothing can be stored.
    """
    _check_bits(bits, 2)
    if quantizer not in QUANTIZERS:
        raise FaultModelError(
            f"quantizer must be one of {', '.join(QUANTIZERS)}, not '{quantizer}'"
        )
    found = [module for module in model.modules() if isinstance(module, layers)]
    found = [module for module in found if not parametrize.is_parametrized(module, "weight")]
    if not found:
        names = ", ".join(layer.__name__ for layer in layers)
        raise FaultModelError(f"model has no layer with a float weight to store (of {names})")
    for module in found:
        parametrize.register_parametrization(module, "weight", StoredWeight(bits, quantizer))
    return model


def store_activations(
    model: nn.Module, bits: int = 8, *, layers: tuple[type[nn.Module], ...] = ACTIVATIONS
) -> nn.Module:
    """Let what ``layers`` in ``model`` yield be quantized and stored; returns the model.

    bits: 1..16. Raises FaultModelError when the model has no such layer.
    """
    _check_bits(bits, 1)
    found = [module for module in model.modules() if isinstance(module, layers)]
    if not found:
        names = ", ".join(layer.__name__ for layer in layers)
        raise FaultModelError(f"model has no layer whose outputs to store (of {names})")
    for module in found:
        module.stored = StoredActivation(bits)
        module.register_forward_hook(_store_output)
    return model


def _store_output(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return module.stored(output)  # type: ignore[operator]


def _check_bits(bits: int, least: int) -> None:
    if type(bits) is not int or not least <= bits <= 16:
        raise FaultModelError(f"bits must be {least}..16, not {bits!r}")


class FreshErrors:
    """Every stored bit flips with its memory's rate, anew in each draw.

    rate: 0..1, for all memories or by name (others are healthy). seed and draw decide the
    pattern: equal numbers, equal errors.
    """

    def __init__(self, rate: float | Mapping[str, float], seed: int, draw: int):
        self.rate, self.seed, self.draw = rate, seed, draw

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        rate = _rate_of(self.rate, memory)
        masks = fresh_masks(
            memory, words.numel(), bits, rate, array_type(words), seed=self.seed, step=self.draw
        )
        inject(words, masks)


class ChipErrors:
    """The failing cells of one chip (or user's map) at a bit error rate of each memory."""

    def __init__(self, chip: FaultSource, rate: float | Mapping[str, float]):
        self.chip, self.rate = chip, rate
        self._masks: dict[tuple[str, torch.device], DeviceMasks] = {}

    def strike(self, memory: str, words: Tensor, bits: int) -> None:
        key = memory, words.device
        if key not in self._masks:
            rate = _rate_of(self.rate, memory)
            faults = self.chip.faults_at(memory, words[0].numel(), bits, rate)
            self._masks[key] = to_device(make_masks(faults, array_type(words)), words.device)
        for copy in words:
            inject(copy, self._masks[key])


def _rate_of(rate: float | Mapping[str, float], memory: str) -> float:
    return rate.get(memory, 0.0) if isinstance(rate, Mapping) else rate


class FaultInjector:
    """Switches errors on in the memories of ``model``.

    seed: of fresh errors. kinds: which memories: ``weight``, ``tap`` (positions of multiplexers),
    ``activation``. ``memories``: name -> Memory; a layer's name and its kind, as in
    ``features.0.weight``. ``draws``: patterns drawn so far; set it to resume.

    Raises FaultModelError for a model without quantized values.
    """

    def __init__(self, model: nn.Module, seed: int = 0, kinds: Iterable[str] = ("weight", "tap")):
        self.model, self.seed, self.draws = model, seed, 0
        chosen = set(kinds)
        unknown = sorted(chosen - set(KINDS))
        if unknown:
            raise FaultModelError(f"kinds must be of {', '.join(KINDS)}, not '{unknown[0]}'")
        self.memories: dict[str, Memory] = {}
        for path, module in model.named_modules():
            if isinstance(module, Memory) and module.kind in chosen:
                module.name = _memory_name(path, module.kind)
                self.memories[module.name] = module
        if not self.memories:
            raise FaultModelError(
                f"model has no quantized {' or '.join(sorted(chosen))} to store; "
                "call store_weights(model, bits=8) or store_activations(model, bits=8) first"
            )

    @contextmanager
    def errors(
        self, rate: float | Mapping[str, float], *, as_deployed: bool = True
    ) -> Iterator[None]:
        """Fresh errors at ``rate`` (0..1, or by memory name) within the block.

        Memories read more than once in the block read the same errors. Batch norms compute with
        their running statistics and leave them as they are: hardware has no others. as_deployed
        False: they work as in any training, which they must where no clean pass keeps their
        statistics up to date.
        """
        self._check(rate)
        self.draws += 1
        with self._struck(FreshErrors(rate, self.seed, self.draws), as_deployed):
            yield

    @contextmanager
    def chip(
        self,
        chip: FaultSource,
        *,
        voltage_rel: float | None = None,
        rate: float | Mapping[str, float] | None = None,
    ) -> Iterator[None]:
        """Errors of ``chip`` within the block, at a voltage relative to vmin or an error rate.

        Raises VoltageError outside the technology's data.
        """
        if (voltage_rel is None) == (rate is None):
            raise FaultModelError("give either voltage_rel or rate")
        if rate is None:
            assert voltage_rel is not None
            rate = chip.technology.probability(voltage_rel)
        self._check(rate)
        with self._struck(ChipErrors(chip, rate)):
            yield

    def _check(self, rate: float | Mapping[str, float]) -> None:
        rates = rate if isinstance(rate, Mapping) else {"": rate}
        for name, value in rates.items():
            if name and name not in self.memories:
                raise FaultModelError(
                    f"rate names memory '{name}', the model has {', '.join(self.memories)}"
                )
            if not 0 <= value <= 1:
                raise FaultModelError(f"bit error rate must be 0..1, not {value:g}")

    @contextmanager
    def _struck(self, errors: FreshErrors | ChipErrors, as_deployed: bool = True) -> Iterator[None]:
        try:
            for memory in self.memories.values():
                memory.errors = errors
            with _norms_as_deployed(self.model) if as_deployed else nullcontext():
                yield
        finally:
            for memory in self.memories.values():
                memory.errors = None


@contextmanager
def _norms_as_deployed(model: nn.Module) -> Iterator[None]:
    """Let batch norms compute with running statistics within the block, and keep them."""
    own = [module for module in model.modules() if isinstance(module, Norm)]
    others = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.running_mean is not None
    ]
    try:
        for norm in own:
            norm.deployed = True
        for other in others:
            other.forward = partial(_deployed, other)  # type: ignore[method-assign]
        yield
    finally:
        for norm in own:
            norm.deployed = False
        for other in others:
            del other.forward


def _deployed(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    weight = torch.ones_like(mean) if norm.weight is None else norm.weight
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias
    return normalize_as_deployed(x, mean, variance, weight, bias, norm.eps)


def _memory_name(path: str, kind: str) -> str:
    """``features.0.parametrizations.weight.0.memory`` -> ``features.0.weight``."""
    parts = path.split(".parametrizations.")[0].split(".")
    parts = [part for part in parts if part not in ("memory", "tap_memory", "stored")]
    return ".".join([*parts, kind])


# -- recipes ---------------------------------------------------------------------------------------


@torch.no_grad()
def clip_weights(model: nn.Module, limit: float) -> None:
    """Clip the float weights behind every stored weight to +-limit; call it after each step.

    Weight clipping of arXiv 2006.13977, section 4.2.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            module.parametrizations["weight"].original.clamp_(-limit, limit)  # type: ignore[index,union-attr]


def margin_cross_entropy(
    logits: Tensor, labels: Tensor, margin: float = 0.0, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy that asks the right class to win by ``margin``: its logit counts as that less.

    A classifier that wins clearly keeps winning when errors move its logits. In the spirit of
    margin losses for bit error tolerance (arXiv 2603.05048); additive, in units of the logits.
    """
    if margin:
        logits = logits - margin * F.one_hot(labels, logits.shape[1])
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@dataclass(frozen=True)
class Curriculum:
    """Bit error rate over a training: 0 until ``start``, then rising linearly to ``rate``.

    start: share of the steps; ramp: share of the steps that the rise takes.
    """

    rate: float
    start: float = 0.0
    ramp: float = 0.25

    def __call__(self, share: float) -> float:
        """Bit error rate when ``share`` (0..1) of the steps is done."""
        if share < self.start:
            return 0.0
        if self.ramp <= 0:
            return self.rate
        return self.rate * min(1.0, (share - self.start) / self.ramp)


class Deviation:
    """Measures how far errors move the activations of a model.

    Of every layer: sum of squared differences over the sum of squares, both of one batch;
    ``penalty`` is the mean over layers. Gradients flow through the clean and the faulty
    activations, not through the denominator.

    layers: modules to look at; default: stored activations where the model has any, else
    those of the types in ACTIVATIONS. Raises FaultModelError when there are none.
    """

    def __init__(self, model: nn.Module, layers: Iterable[nn.Module] | None = None):
        if layers is None:
            modules = list(model.modules())
            stored = [m for m in modules if isinstance(m, Memory) and m.kind == "activation"]
            layers = stored or [m for m in modules if isinstance(m, ACTIVATIONS)]
        self.layers = list(layers)
        if not self.layers:
            raise FaultModelError("model has no activations to compare; name layers")

    @contextmanager
    def watch(self) -> Iterator[list[Tensor]]:
        """Collects what the layers yield within the block."""
        seen: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
            for layer in self.layers
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def penalty(self, clean: list[Tensor], faulty: list[Tensor]) -> Tensor:
        """Mean relative squared deviation of ``faulty`` from ``clean`` activations."""
        terms = [
            (b.float() - a.float()).square().sum() / (a.detach().float().square().sum() + 1e-6)
            for a, b in zip(clean, faulty, strict=True)
        ]
        return torch.stack(terms).mean()


# -- judging ---------------------------------------------------------------------------------------


def voltage_curve(
    faults: FaultInjector,
    technology: MemoryTechnology,
    accuracy: Callable[[], float],
    voltages: Iterable[float],
    *,
    chips: int | None = None,
    loss: float = 0.01,
    goal: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> VoltageCurve:
    """Accuracy of a model against the voltage of its memories, over many chips.

    accuracy: evaluates the model as it is and returns a share 0..1; it is called once for each
    chip (seeds ``seed`` ..., the same at every voltage) and once without errors. voltages:
    relative to vmin; vmin itself is added. chips: how many; default: until the intervals decide
    (``StopRule``). loss: of the clean accuracy, that is acceptable, in the mean, or, with a goal,
    to that share of the chips: ``lowest`` of the result is the lowest voltage that is shown to
    keep it. A mean takes 500 chips to show a loss of 0.01. For networks on an accelerator use
    ``hwsim faults``, which knows their memories word by word.

    Raises VoltageError outside the technology's data, FaultModelError for fewer than 2 chips and
    StatisticsError for a loss or goal outside 0..1.
    """
    if chips is not None and chips < 2:
        raise FaultModelError(f"chips must be at least 2, not {chips}")
    Bound(1.0, loss, goal)
    rule = StopRule() if chips is None else StopRule.fixed(chips)
    rates = {v: technology.probability(v) for v in sorted({*voltages, 1.0})}
    was_training = faults.model.training
    faults.model.eval()
    try:
        with (progress or NoProgress()).task("chips at voltages", len(rates) * rule.most) as task:
            clean = accuracy()
            bound = Bound(clean, loss, goal)
            points = []
            for voltage, rate in rates.items():
                found: list[float] = []
                count = rule if rate else StopRule.fixed(rule.least)
                while not count.done(found, bound):
                    if rate:
                        number = seed + len(found)
                        # The weights are read once, not for every batch.
                        with (
                            torch.no_grad(),
                            parametrize.cached(),
                            faults.chip(Chip(technology, number), rate=rate),
                        ):
                            found.append(accuracy())
                    else:
                        found.append(clean)
                    task.advance()
                task.advance(rule.most - len(found))
                points.append(CurvePoint(voltage, rate, tuple(found), len(rule.looks)))
    finally:
        faults.model.train(was_training)
    return VoltageCurve(tuple(points), bound)
