"""The costs of a design: a ledger of entries, and a basis for each quantity.

Energy is one quantity, area, time and memory of a board are others. All are entered alike, so that
whoever sums, compares or draws them need not know what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.files import Document
from hwsim.names import Line

BasisKind = Literal["exact", "measured", "model", "assumed"]


class Basis(Document):
    """The basis of a number.

    kind: ``exact`` follows from the design and holds for what is built of it; ``measured`` was
    observed; ``model`` is computed with constants that were measured elsewhere; ``assumed`` was
    set by somebody. source: where it comes from. error: of a model, how far it is off and on what
    that was seen, or that nobody has compared it.
    """

    kind: BasisKind
    source: Line
    error: Line | None = None

    @model_validator(mode="after")
    def _models_tell_their_error(self) -> Basis:
        if (self.kind == "model") != (self.error is not None):
            raise ValueError("a model, and nothing else, has an error")
        return self


class Entry(Document):
    """``value`` of ``quantity``, spent by ``part`` on ``kind``.

    part: a stage, a layer, a memory. quantity: its name ends in its unit, as ``energy_pj``.
    """

    part: Line
    kind: Line
    quantity: Line
    value: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Ledger:
    """Entries, and the basis of every quantity that occurs in them.

    Raises ValueError for a quantity without a basis.
    """

    entries: tuple[Entry, ...]
    bases: Mapping[str, Basis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = {entry.quantity for entry in self.entries} - set(self.bases)
        if missing:
            raise ValueError(f"quantity '{min(missing)}' has no basis")

    def __add__(self, other: Ledger) -> Ledger:
        """Both together; a quantity of both has one basis."""
        for quantity in self.bases.keys() & other.bases.keys():
            if self.bases[quantity] != other.bases[quantity]:
                raise ValueError(f"quantity '{quantity}' has two bases")
        return Ledger(self.entries + other.entries, {**self.bases, **other.bases})

    def of(self, quantity: str) -> Iterator[Entry]:
        """Entries of a quantity, in order; raises KeyError for one without a basis."""
        _ = self.bases[quantity]
        return (entry for entry in self.entries if entry.quantity == quantity)

    def total(self, quantity: str) -> float:
        return sum(entry.value for entry in self.of(quantity))

    def by_part(self, quantity: str) -> dict[str, float]:
        """Sums by part, in the order in which parts first occur."""
        return _sums(self.of(quantity), lambda entry: entry.part)

    def by_kind(self, quantity: str, kinds: Iterable[str] = ()) -> dict[str, float]:
        """Sums by kind; ``kinds`` come first, with 0 where nothing is entered."""
        return _sums(self.of(quantity), lambda entry: entry.kind, kinds)

    def by_part_and_kind(
        self, quantity: str, kinds: Iterable[str] = ()
    ) -> dict[str, dict[str, float]]:
        """Sums by kind for each part."""
        parts: dict[str, list[Entry]] = {}
        for entry in self.of(quantity):
            parts.setdefault(entry.part, []).append(entry)
        kinds = tuple(kinds)
        return {
            part: _sums(entries, lambda entry: entry.kind, kinds) for part, entries in parts.items()
        }


def _sums(
    entries: Iterable[Entry], key: Callable[[Entry], str], first: Iterable[str] = ()
) -> dict[str, float]:
    sums = dict.fromkeys(first, 0.0)
    for entry in entries:
        sums[key(entry)] = sums.get(key(entry), 0.0) + entry.value
    return sums


class LedgerRecord(Document):
    """A ``Ledger`` in a file."""

    entries: list[Entry]
    bases: dict[Line, Basis]

    def ledger(self) -> Ledger:
        """Raises ValueError for a quantity without a basis."""
        return Ledger(tuple(self.entries), self.bases)
