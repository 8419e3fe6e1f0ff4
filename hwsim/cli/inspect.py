"""``hwsim inspect``: what is in a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hwsim.cli.common import Json, NetworkFile, Output, example
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hwsim.network import Network


@example("hwsim inspect runs/quickstart/network.hwnet")
def inspect(network: NetworkFile, as_json: Json = False) -> None:
    """Table of a network's ops: types, weights and widths."""
    from hwsim.network import load

    net = load(network)
    document = describe(net)
    Output("inspect", as_json=as_json).finish(document, lambda: _table(document))


def describe(network: Network) -> dict[str, Any]:
    """Everything about ``network`` that ``hwsim inspect`` prints, as plain JSON values."""
    from hwsim.network import network_hash

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
    import numpy as np

    from hwsim.accelerator.weights import WeightCode
    from hwsim.network import MuxConv2d, Weighted, tap_bits

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


def _table(document: dict[str, Any]) -> Iterator[RenderableType]:
    words = ("op", "kind", "reads", "yields", "kernel", "alphabet")
    table = Grid(*words, "weights", "weight bits", "MACs", words=len(words))
    for op in document["ops"]:
        numbers = (op["weights"], op["weight_bits"], op["macs"])
        table.add(
            op["name"],
            op["kind"],
            ", ".join(op["inputs"]),
            op["type"],
            "x".join(str(side) for side in op["kernel"] or ()),
            op["alphabet"] or "",
            *(f"{n:,}" if n else "" for n in numbers),
        )
    yield f"{document['name']}: {document['input']['text']} -> {document['output']['text']}"
    yield table
    yield (
        f"{len(document['ops'])} ops, {document['weights']:,} weights in "
        f"{document['weight_bits']:,} bits, {document['macs']:,} MACs a frame"
    )
    yield f"sha256 {document['network_sha256']}"
