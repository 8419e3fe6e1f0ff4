"""Errors in stored weights and activations while a network trains; works on any ``nn.Module``.

In a training loop of one's own::

    store_weights(model, bits=8)
    faults = FaultInjector(model, seed=0)
    criterion(model(x), y).backward()
    with faults.errors(0.01):
        criterion(model(x), y).backward()

which is RandBET (Stutz et al., MLSys 2021, arXiv 2006.13977): clean plus faulty loss, a new
pattern of errors in each step, gradients straight through to the float weights. The layers of
``hwsim.models.layers`` have memories already; ``store_weights`` and ``store_activations`` give
them to others, ``remove_memories`` takes them away.
"""

from hwsim.models.attributes import FaultModelError
from hwsim.models.curves import voltage_curve
from hwsim.models.injector import ChipErrors, FaultInjector, FreshErrors
from hwsim.models.placement import Placement, placement_of
from hwsim.models.recipes import (
    Curriculum,
    Deviation,
    clip_weights,
    margin_cross_entropy,
)
from hwsim.models.stored import (
    ACTIVATIONS,
    QUANTIZERS,
    StoredActivation,
    StoredWeight,
    StoredWeights,
    remove_memories,
    store_activations,
    store_weights,
)

__all__ = [
    "ACTIVATIONS",
    "QUANTIZERS",
    "ChipErrors",
    "Curriculum",
    "Deviation",
    "FaultInjector",
    "FaultModelError",
    "FreshErrors",
    "Placement",
    "StoredActivation",
    "StoredWeight",
    "StoredWeights",
    "clip_weights",
    "margin_cross_entropy",
    "placement_of",
    "remove_memories",
    "store_activations",
    "store_weights",
    "voltage_curve",
]
