"""``hwsim inspect``: the ops of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hwsim.cli.common import Json, NetworkFile, Output, example
from hwsim.cli.tables import Grid

if TYPE_CHECKING:
    from rich.console import RenderableType


@example("hwsim inspect runs/quickstart/network.hwnet")
def inspect(network: NetworkFile, as_json: Json = False) -> None:
    """Print a table of a network's ops: types, weights and widths."""
    from hwsim.network import load
    from hwsim.network.summary import describe

    net = load(network)
    document = describe(net)
    Output("inspect", as_json=as_json).finish(document, lambda: _table(document))


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
