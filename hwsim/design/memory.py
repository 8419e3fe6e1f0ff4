"""One memory of a design: name, role, size and accesses."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.design.roles import Role, Style


@dataclass(frozen=True)
class MemoryInfo:
    """One memory; ``words`` x ``bits`` cells, spread evenly over ``banks`` equal arrays.

    name: unique in the design. layer: the part that owns the memory; a FIFO belongs to the stage
    that fills it (``source`` for the FIFO of the input). instances: path of each bank
    in the RTL, empty unless style is ``memory``. reads, writes: words per frame, in which every
    bank counts for itself: the exact number of cycles with its enable set.
    """

    name: str
    role: Role
    layer: str
    words: int
    bits: int
    style: Style
    reads: int
    writes: int
    instances: tuple[str, ...] = ()

    @property
    def banks(self) -> int:
        return max(1, len(self.instances))

    @property
    def bank_words(self) -> int:
        """Words of each bank."""
        return self.words // self.banks

    @property
    def size_bits(self) -> int:
        """Number of all cells."""
        return self.words * self.bits
