"""A chip's network: the integer network that an accelerator computes when its stores have faults.

Read-only stores are read the same in every frame, so their persistent faults are other weights,
taps, multipliers and biases, and everything that evaluates networks evaluates these too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.accelerator import Stage
from hwsim.accelerator.requantize import requantize_store
from hwsim.errors import NetworkError
from hwsim.faults.design import DesignFaults
from hwsim.faults.fields import decode_constants, decode_weights
from hwsim.network import Alphabet, Conv2d, Linear, MuxConv2d, Network, Op, Requantize, TensorType

STORES = ("weight", "constants")
"""Roles of read-only memories."""


def faulty_network(faults: DesignFaults) -> Network | None:
    """The network that the accelerator computes, where there is one.

    None where memories other than weight stores and constants have faults, where errors come and
    go, where weights are in no alphabet, and where an accumulator or a requantizer of the
    accelerator could overflow: ``FaultyExecutor`` evaluates these, too.
    """
    if any(m.memory.role not in STORES or m.transient for m in faults.memories.values()):
        return None
    pipeline = faults.pipeline
    changed: dict[str, Op] = {}
    for stage in pipeline.stages:
        if faults.of(stage.name, "weight") is not None:
            op = weighted_op(faults, stage)
            if op is None:
                return None
            changed[op.name] = op
        if faults.of(stage.name, "constants") is not None:
            scaled = requantizer(faults, stage)
            changed[scaled.name] = scaled
    original = pipeline.network
    ops = tuple(changed.get(op.name, op) for op in original.ops)
    try:
        network = replace(original, ops=ops)
    except NetworkError:  # more than 32 bits, so that the accelerator overflows
        return None
    fits = all(within(network.types[name], t) for name, t in original.types.items())
    return network if fits and all(_sums_fit(network, s) for s in pipeline.stages) else None


def weighted_op(faults: DesignFaults, stage: Stage) -> Op | None:
    """The op of ``stage`` with its weights as read; None where no alphabet has them all."""
    op = stage.op
    assert isinstance(op, (MuxConv2d, Conv2d, Linear))
    weight, tap = decode_weights(stage, faults.stored(stage.name, "weight"))
    alphabet = _alphabet(op, weight)
    if alphabet is None:
        return None
    if isinstance(op, MuxConv2d):
        assert tap is not None
        return replace(op, weight=weight, tap=tap, alphabet=alphabet)
    return replace(op, weight=weight, alphabet=alphabet)


def requantizer(faults: DesignFaults, stage: Stage) -> Requantize:
    """The requantizer of ``stage`` with its constants as read."""
    op = stage.rider
    assert op is not None
    multiplier, bias = decode_constants(stage, faults.stored(stage.name, "constants"))
    return replace(op, multiplier=multiplier, bias=bias)


def within(inner: TensorType, outer: TensorType) -> bool:
    """Whether every value of ``inner`` is one of ``outer``."""
    return outer.lo <= inner.lo and inner.hi <= outer.hi


def _alphabet(op: MuxConv2d | Conv2d | Linear, weight: np.ndarray) -> Alphabet | None:
    """The op's own alphabet, or the narrowest one of integers, that holds ``weight``."""
    zero = isinstance(op, MuxConv2d)
    names = (op.alphabet.name, *(f"int{bits}" for bits in range(2, 9)))
    alphabets = (Alphabet(name) for name in names)
    return next((a for a in alphabets if a.contains(weight, zero=zero)), None)


def _sums_fit(network: Network, stage: Stage) -> bool:
    """Whether the requantizer of ``stage`` computes without overflow in the network."""
    if stage.rider is None:
        return True
    op, store = network[stage.rider.name], requantize_store(stage)
    assert isinstance(op, Requantize)
    assert store is not None
    x = network.types[op.inputs[0]]
    ends = [int(m) * v for m in op.multiplier for v in (x.lo, x.hi)]
    lo, hi = op.sum_range(x)
    limit = 1 << (store.sum_bits - 1)
    return -limit <= min(lo, *ends) and max(hi, *ends) < limit
