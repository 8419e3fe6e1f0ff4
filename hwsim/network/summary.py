"""A network in figures: types, weights and widths of every op."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.network import MuxConv2d, Network, Weighted, network_hash, tap_bits
from hwsim.network.codes import WeightCode


def describe(network: Network) -> dict[str, Any]:
    """The figures of ``network`` that ``hwsim inspect`` prints, as plain JSON values."""
    ops = [_describe_op(network, op.name) for op in network]
    return {
        "name": network.name,
        "network_sha256": network_hash(network),
        "input": _type(network, "input"),
        "output": _type(network, network.output),
        "ops": ops,
        "weights": sum(op["weights"] for op in ops),
        "weight_bits": sum(op["weight_bits"] for op in ops),
        "macs": sum(op["macs"] for op in ops),
        "notes": dict(network.notes),
    }


def _type(network: Network, tensor: str) -> dict[str, Any]:
    t = network.types[tensor]
    return {
        "channels": t.channels,
        "height": t.height,
        "width": t.width,
        "bits": t.bits,
        "signed": t.signed,
        "text": str(t),
    }


def _describe_op(network: Network, name: str) -> dict[str, Any]:
    """One row: ``weight_bits`` counts taps and weight codes, ``macs`` multiplies per frame."""
    op = network[name]
    out = network.types[name]
    weights = weight_bits = 0
    if isinstance(op, Weighted):
        weights = int(np.count_nonzero(op.weight))
        code_bits = WeightCode.choose(op.alphabet, op.weight).bits
        if isinstance(op, MuxConv2d):
            code_bits += tap_bits(op.kernel[0] * op.kernel[1])
        weight_bits = op.weight.size * code_bits
    return {
        "name": op.name,
        "kind": op.kind,
        "inputs": list(op.inputs),
        "type": str(out),
        "bits": out.bits,
        "kernel": list(getattr(op, "kernel", ())) or None,
        "alphabet": op.alphabet.name if isinstance(op, Weighted) else None,
        "weights": weights,
        "weight_bits": weight_bits,
        "macs": weights * out.height * out.width,
    }
