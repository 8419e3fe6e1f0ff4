"""Attributes of modules that are read through something else.

``read_through(layer, "weight", reader)`` lets everybody who asks for ``layer.weight`` have
``reader(weight)``: the layer itself, attention that reads its layers' weights without calling
them, fused kernels, code that knows nothing of it. The tensor stays where it was, so names of
parameters, saved states, optimizers and ties do not change.

It is a property of a class of the module's own, made from its class, as in
``torch.nn.utils.parametrize``; unlike there, copies, pickles and the way back are exact, and what
is read may be a parameter, a tensor that a hook computes (``torch.nn.utils.weight_norm``, pruning)
or a parametrization.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
import torch.fx._symbolic_trace as symbolic_trace
from torch import Tensor, nn
from torch.fx import GraphModule

from hwsim.errors import HwsimError

Reader = Callable[[Tensor], Tensor]


class FaultModelError(HwsimError):
    """A model cannot have errors in the way that was asked for."""


_READERS = "_readers"
"""Where a module keeps its readers by name of attribute."""


def _reading(module: nn.Module) -> Any:
    """The class that was made for ``module``, or for what its class was derived from since."""
    return next((c for c in type(module).__mro__ if "reads_through" in vars(c)), None)


# What goes into these classes; mixins would change the layout, so that modules could not change
# their class.


@contextmanager
def _plain(module: nn.Module) -> Iterator[None]:
    """Of its former class within the block."""
    own = type(module)
    module.__class__ = _reading(module).plain
    try:
        yield
    finally:
        module.__class__ = own


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    names, found = _reading(self).reads_through, self.__dict__[_READERS]
    with _plain(self):
        twin = copy.deepcopy(self, memo)
    return _attach(twin, names, copy.deepcopy(found, memo))


def _reduce_ex(self: Any, protocol: Any) -> tuple[Any, ...]:
    names, found = _reading(self).reads_through, self.__dict__[_READERS]
    with _plain(self):
        make, arguments, *state = self.__reduce_ex__(protocol)
    return _rebuild, (make, arguments, names, found), *state


def _prepare_scriptable(self: Any) -> None:
    raise FaultModelError(
        "a model with stored weights cannot be scripted: "
        "use torch.compile, or remove_memories(model) first"
    )


_BODY = {
    "__deepcopy__": _deepcopy,
    "__reduce_ex__": _reduce_ex,
    "__prepare_scriptable__": _prepare_scriptable,
}


def _flat_weights(self: Any) -> list[Tensor | None]:
    """What a recurrent layer computes with, read anew each time."""
    return [getattr(self, name, None) for name in self._flat_weights_names]


def _put_flat_weights(self: Any, weights: object) -> None:
    """The list that the layer has when nothing is stored any more."""
    self.__dict__["_flat_weights"] = list(map(self._parameters.get, self._flat_weights_names))


def _nothing(self: Any) -> None:
    """The list is never out of date, and what is read is not where the parameters are."""


_RECURRENT_BODY = {
    "_flat_weights": property(_flat_weights, _put_flat_weights),
    "_update_flat_weights": _nothing,
    "flatten_parameters": _nothing,
}


def _rebuild(make: Any, arguments: Any, names: tuple[str, ...], readers: dict[str, Reader]) -> Any:
    return _attach(make(*arguments), names, readers)


def _attach(module: Any, names: tuple[str, ...], readers: dict[str, Reader]) -> Any:
    module.__class__ = _class(type(module), names)  # type: ignore[arg-type]
    module.__dict__[_READERS] = readers
    return module


@lru_cache(maxsize=1024)
def _class(plain: Any, names: tuple[str, ...]) -> Any:
    body: dict[str, Any] = {name: _property(name) for name in names}
    body |= _BODY | {"__module__": plain.__module__, "__doc__": plain.__doc__}
    body |= {"plain": plain, "reads_through": names}
    if issubclass(plain, nn.RNNBase):
        body |= _RECURRENT_BODY
    if issubclass(plain, GraphModule):
        body["_wrapped_call"] = plain._wrapped_call  # else recompile() would wrap it once more
    return type(plain)(f"Stored{plain.__name__}", (plain,), body)


def _property(name: str) -> property:
    def read(module: nn.Module) -> Tensor:
        held = raw(module, name)
        if not torch.compiler.is_compiling():
            _refuse_traces(name)
        try:
            return module._readers[name](held)  # type: ignore[operator,index,union-attr]
        except AttributeError as error:
            # nn.Module would take it for "there is no such attribute" and give the raw tensor.
            raise RuntimeError(f"cannot read '{name}': {error}") from error

    def put(module: nn.Module, value: object) -> None:
        """A tensor that a hook computes, or a value for a parametrization."""
        computed = getattr(_reading(module).plain, name, None)
        if isinstance(computed, property) and computed.fset is not None:
            computed.fset(module, value)
        else:
            module.__dict__[name] = value

    def drop(module: nn.Module) -> None:
        module.__dict__.pop(name)

    return property(read, put, drop)


def _refuse_traces(name: str) -> None:
    """Raise FaultModelError where what is read now would be frozen."""
    if symbolic_trace._is_fx_tracing_flag:
        raise FaultModelError(
            f"'{name}' is stored, a trace would freeze what it reads now: "
            "trace the model first, then store its weights"
        )
    if torch.jit.is_tracing():
        raise FaultModelError(
            f"'{name}' is stored, a trace would freeze what it reads now: use torch.compile or "
            "torch.export, or remove_memories(model, quantized=True) first"
        )


def raw(module: nn.Module, name: str) -> Tensor:
    """The tensor behind an attribute that is read through something."""
    held = module._parameters.get(name)
    if held is None:
        held = module.__dict__.get(name)
    return getattr(super(_reading(module), module), name) if held is None else held


def readers(module: nn.Module) -> dict[str, Reader]:
    """Readers of a module's attributes, by name.

    Raises FaultModelError where something else has taken an attribute over since.
    """
    found: dict[str, Reader] = module.__dict__.get(_READERS, {})
    for name in found:
        first = next((c for c in type(module).__mro__ if name in vars(c)), None)
        if first is not _reading(module):
            raise FaultModelError(
                f"'{name}' of a {type(module).__name__} was parametrized after it was stored: "
                "parametrize first, then store"
            )
    return found


def read_through(module: nn.Module, name: str, reader: Reader) -> None:
    """Let attribute ``name`` of ``module`` read as ``reader`` makes it from the tensor there.

    Raises FaultModelError for a module whose class cannot be changed.
    """
    others = readers(module)
    if others:
        module.__class__ = _reading(module).plain
    try:
        _attach(module, (*others, name), {**others, name: reader})
    except TypeError:
        kind = type(module).__name__
        raise FaultModelError(f"'{name}' cannot be stored: {kind} is a class of its own") from None


def read_plainly(module: nn.Module) -> None:
    """Take all readers of ``module`` away."""
    if not readers(module):
        return
    del module.__dict__[_READERS]
    module.__class__ = _reading(module).plain
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    if isinstance(module, GraphModule):
        module.recompile()
