"""hwsim: co-design of small CNNs and their hardware.

A notebook needs the names of ``__all__`` (docs/api.md). Each is imported from its module
when it is first used, so that ``import hwsim`` takes no time, and torch and Amaranth are needed by
those names only that use them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hwsim.version import __version__

if TYPE_CHECKING:
    from hwsim.accelerator import Fold, build_pipeline, memory_list, simulate
    from hwsim.accelerator.mapping import map_network
    from hwsim.config.accelerator import AcceleratorConfig
    from hwsim.execute import Executor
    from hwsim.faults import FaultyExecutor, design_faults
    from hwsim.lowvoltage import Chip, load_technology
    from hwsim.models.data import load_data
    from hwsim.models.export import export_network
    from hwsim.models.faults import FaultInjector, store_activations, store_weights
    from hwsim.network import Network, evaluate, load, save
    from hwsim.rtl.emit import generate
    from hwsim.rtl.verify import verify

_HOMES = {
    "hwsim.accelerator": ("Fold", "build_pipeline", "memory_list", "simulate"),
    "hwsim.accelerator.mapping": ("map_network",),
    "hwsim.config.accelerator": ("AcceleratorConfig",),
    "hwsim.execute": ("Executor",),
    "hwsim.faults": ("FaultyExecutor", "design_faults"),
    "hwsim.lowvoltage": ("Chip", "load_technology"),
    "hwsim.models.data": ("load_data",),
    "hwsim.models.export": ("export_network",),
    "hwsim.models.faults": ("FaultInjector", "store_activations", "store_weights"),
    "hwsim.network": ("Network", "evaluate", "load", "save"),
    "hwsim.rtl.emit": ("generate",),
    "hwsim.rtl.verify": ("verify",),
}
"""The module of each name."""
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AcceleratorConfig",
    "Chip",
    "Executor",
    "FaultInjector",
    "FaultyExecutor",
    "Fold",
    "Network",
    "__version__",
    "build_pipeline",
    "design_faults",
    "evaluate",
    "export_network",
    "generate",
    "load",
    "load_data",
    "load_technology",
    "map_network",
    "memory_list",
    "save",
    "simulate",
    "store_activations",
    "store_weights",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'hwsim' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
