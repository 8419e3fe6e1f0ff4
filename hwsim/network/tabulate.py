"""Tables of real functions, such as activations that no clamp computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import NetworkError
from hwsim.network.types import TensorType

MOST_INDEX_BITS = 8
"""The bits that the input of a table has at most."""

RealFunction = Callable[[np.ndarray], np.ndarray]
"""A function of real numbers, element by element."""


def hard_swish(x: np.ndarray) -> np.ndarray:
    """``x * clamp(x + 3, 0, 6) / 6`` (arXiv 1905.02244)."""
    return x * np.clip(x + 3, 0, 6) / 6


def tabulate(
    function: RealFunction, x: TensorType, x_step: float, y: TensorType, y_step: float
) -> np.ndarray:
    """``clamp(floor(function(v * x_step) / y_step + 1/2))`` for all values v of x, ascending.

    x_step, y_step: what one step of an integer is worth, > 0. Bits and signs of the two types
    count, their shapes do not. Returns int64 [1, entries]. Raises NetworkError for an input of
    more than MOST_INDEX_BITS bits, and where a step or a value of the function is no such number.
    """
    if x.bits > MOST_INDEX_BITS:
        raise NetworkError(f"a table has at most {MOST_INDEX_BITS} bits of input, not {x.bits}")
    for what, step in (("x_step", x_step), ("y_step", y_step)):
        if not 0 < step < np.inf:
            raise NetworkError(f"{what} must be above 0 and finite, not {step:g}")
    values = np.arange(x.lo, x.hi + 1) * float(x_step)
    results = np.asarray(function(values), np.float64)
    if results.shape != values.shape:
        raise NetworkError(f"the function must return {len(values)} values for {len(values)}")
    bad = np.flatnonzero(~np.isfinite(results))
    if bad.size:
        raise NetworkError(f"the function is not finite at {values[bad[0]]:g}")
    steps = np.floor(results / float(y_step) + 0.5)
    return np.clip(steps, y.lo, y.hi).astype(np.int64)[np.newaxis]
