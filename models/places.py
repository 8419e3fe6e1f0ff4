"""Where modules are in a model: names that wrappers around it do not change."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.optim.swa_utils import AveragedModel

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
"""Wrappers that have the model under the name ``module``."""

_WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Names under which torch.compile and others have what they wrap."""


def places(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module, as ``named_modules``, of the model that is within all wrappers.

    Each module once, by its first place; wrappers themselves are left out, within the model too.
    """
    seen: set[nn.Module] = set()

    def walk(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        if module in seen:
            return
        seen.add(module)
        inner = _wrapped(module)
        if inner is not None:
            yield from walk(path, inner)
            return
        yield path, module
        for name, child in module._modules.items():
            if child is not None:
                yield from walk(join(path, name), child)

    return walk("", model)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _WRAPPERS):
        return module.module
    return next((module._modules[name] for name in _WRAPPED if name in module._modules), None)
