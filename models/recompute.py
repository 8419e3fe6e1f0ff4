"""Which block of errors a read belongs to when a backward pass computes activations anew.

Gradient checkpointing (``torch.utils.checkpoint``) runs parts of the forward pass again within
``backward``, perhaps when the block that its errors came from has ended. What is run again
belongs to a node of the graph, and autograd numbers nodes in the order in which they were made:
a block of errors is an interval of these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch._C import _current_autograd_node, _current_graph_task_id
from torch.autograd import _get_sequence_nr as now

from hwsim.models.attributes import FaultModelError

__all__ = ["Block", "block_of", "node_number", "now"]

E = TypeVar("E")

MOST_BLOCKS = 1000
"""Ended blocks that a memory remembers."""


@dataclass(eq=False)
class Block(Generic[E]):
    """What struck a memory, by the name that it had, for the nodes numbered start .. end - 1.

    end: None while the block lasts. norms: whether batch norms computed as deployed, too.
    """

    errors: E
    name: str
    start: int
    norms: bool
    end: int | None = None


def node_number() -> int | None:
    """Number of the node at which a backward pass is; None outside of backward passes."""
    if torch.compiler.is_compiling() or _current_graph_task_id() == -1:
        return None
    node = _current_autograd_node()
    return None if node is None else node._sequence_nr()


def block_of(number: int, blocks: Iterable[Block[E]]) -> Block[E] | None:
    """The innermost of ``blocks`` (in the order of their start) to which a node belongs.

    Raises FaultModelError where running the node again would not give what it gave: batch norms
    and checkpoints within reentrant checkpoints cannot be brought back.
    """
    found = active = None
    for block in blocks:
        if block.start <= number and (block.end is None or number < block.end):
            found = block
        if block.end is None:
            active = block
    if found is not active:
        where = "in the block of errors" if found is not None else "before the block of errors"
        if any(block is not None and block.norms for block in (found, active)):
            raise FaultModelError(
                f"gradient checkpointing runs a pass again that was made {where}, with batch "
                f"norms: call backward {where} too"
            )
        if not torch.is_grad_enabled():
            raise FaultModelError(
                f"reentrant checkpoints lie within each other in a pass that was made {where}: "
                f"call backward {where} too, or checkpoint(..., use_reentrant=False)"
            )
    return found
