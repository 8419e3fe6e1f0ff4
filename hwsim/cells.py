"""How a failing memory cell reads, and how it is written: the rules, whatever holds the bits.

======================  ====  ====
a cell that             keep  flip
======================  ====  ====
is sound                1     0
reads the opposite      1     1
always reads 0          0     0
always reads 1          0     1
======================  ====  ====

A cell whose write fails keeps what it held.
"""

from __future__ import annotations

from typing import Any

from hwsim.jit import njit


def read_cells(stored: Any, keep: Any, flip: Any) -> Any:
    """The bits that cells read: integers, NumPy arrays, torch tensors or Amaranth values.

    stored: what the cells hold. keep, flip: their masks; see the table in the module text.
    """
    return (stored & keep) ^ flip


def failing_cells(keep: Any, flip: Any) -> Any:
    """The bits whose cells are not sound: of integers, NumPy arrays or torch tensors.

    Bits above those of the masks are those of ``~keep``.
    """
    return ~keep | flip


def write_cells(held: Any, value: Any, failing: Any) -> Any:
    """What cells hold after a write of ``value``, of integers or arrays as in ``read_cells``.

    held: what they held before. failing: the bits whose write fails.
    """
    return value ^ ((value ^ held) & failing)


def masks_in_access(keep: Any, flip: Any, erring: Any) -> tuple[Any, Any]:
    """The masks ``keep`` and ``flip`` in an access in which only the cells in ``erring`` err."""
    return keep | ~erring, flip & erring


read_cells_jit = njit(read_cells)
failing_cells_jit = njit(failing_cells)
masks_in_access_jit = njit(masks_in_access)
write_cells_jit = njit(write_cells)
"""The same functions, from the same text, for kernels."""
