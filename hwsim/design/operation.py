"""The operations of a datapath, as energy and area count them."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("add", "negate", "compare", "multiply", "select")


@dataclass(frozen=True)
class Operation:
    """An operation on ``bits`` bits; a multiplication has a second operand of ``other`` bits.

    kind: add; negate (the sign flip of a weight); compare (of two values); multiply; select (a
    2:1 multiplexer).
    """

    kind: str
    bits: int
    other: int = 0
