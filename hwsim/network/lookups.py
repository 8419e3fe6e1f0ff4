"""Lookup ops of real functions."""

from __future__ import annotations

from hwsim.errors import NetworkError
from hwsim.network.ops import Lookup
from hwsim.network.tabulate import RealFunction, tabulate
from hwsim.network.types import TensorType


def lookup_of(
    name: str,
    source: str,
    function: RealFunction,
    x: TensorType,
    x_step: float,
    y: TensorType,
    y_step: float,
) -> Lookup:
    """The op ``name`` that takes ``function`` of the tensor ``source``, of type x.

    The other arguments and errors are those of ``tabulate``. The op yields the narrowest type for
    the entries, which may be narrower than y.
    """
    try:
        table = tabulate(function, x, x_step, y, y_step)
    except NetworkError as error:
        raise NetworkError(str(error), op=name) from None
    return Lookup(name, (source,), table, x.lo)
