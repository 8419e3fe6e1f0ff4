"""Where the memories of a model lie in the accelerator's: one faulty chip in training, too.

A model has a memory of its own for the weights of each layer, and one for the taps. The
accelerator packs both into words, as its lanes need them, in a memory with another name. With a
``Placement`` errors strike the cells that the accelerator uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from hwsim.accelerator import Pipeline
from hwsim.faults.placement import ArrayPlace, array_place
from hwsim.models.attributes import FaultModelError
from hwsim.models.layers import MuxConv2d
from hwsim.models.networks import ConvNet, weighted_layers
from hwsim.models.places import join, places
from hwsim.network import Network, Weighted


@dataclass(frozen=True, eq=False)
class Placement:
    """places: by name of a model's memory (``FaultInjector.memories``), where its words lie.

    None for what has no cells: it lies in the fabric and does not fail.
    """

    places: Mapping[str, ArrayPlace | None]

    @property
    def memories(self) -> tuple[str, ...]:
        """Names of the accelerator's memories that hold something of the model."""
        return tuple(dict.fromkeys(p.memory for p in self.places.values() if p is not None))


def placement_of(
    model: nn.Module, pipeline: Pipeline, layers: Mapping[str, str] | None = None
) -> Placement:
    """Where ``pipeline`` keeps the weights and taps of ``model``.

    pipeline: of the network that the model was exported to, before or after it was trained
    further: weights move, places do not. layers: name of the op that each layer became, by the
    layer's path in the model; not needed for networks of hwsim. Elements of ``layer.weight`` and
    of the op's weights are in the same order.

    Raises FaultModelError for layers and ops that do not exist or differ in shape.
    """
    found = dict(places(model))
    paths = {module: path for path, module in found.items()}
    if layers is None:
        inner = found[""]
        if not isinstance(inner, ConvNet):
            raise FaultModelError(
                "layers must say which op each layer became, by its path, for a model that is no "
                "network of hwsim"
            )
        layers = {paths[layer]: op for op, layer in weighted_layers(inner).items()}
    placed: dict[str, ArrayPlace | None] = {}
    for path, name in layers.items():
        layer = found.get(path)
        if layer is None:
            raise FaultModelError(f"the model has no layer '{path}'")
        _check(path, layer, name, pipeline.network)
        placed[join(path, "weight")] = array_place(pipeline, name, "weight")
        if isinstance(layer, MuxConv2d):
            placed[join(path, "tap")] = array_place(pipeline, name, "tap")
    return Placement(placed)


def _check(path: str, layer: nn.Module, name: str, network: Network) -> None:
    """Raise FaultModelError unless ``layer`` can have become the op ``name``."""
    op = next((op for op in network.ops if op.name == name), None)
    if not isinstance(op, Weighted):
        raise FaultModelError(f"{path}: the network has no op '{name}' with weights")
    kept = layer.tap if isinstance(layer, MuxConv2d) else getattr(layer, "weight", None)
    shape = list(kept.shape) if isinstance(kept, Tensor) else None
    if shape != list(op.weight.shape):
        raise FaultModelError(
            f"{path}: has weights of {shape}, the op '{name}' of {list(op.weight.shape)}"
        )
    alphabet = getattr(layer, "alphabet", op.alphabet)
    if alphabet != op.alphabet:
        raise FaultModelError(
            f"{path}: has {alphabet.name} weights, the op '{name}' has {op.alphabet.name}"
        )
