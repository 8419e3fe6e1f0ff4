"""The ledger: sums by part and kind, and a basis for every quantity."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hwsim.costs import Basis, Entry, Ledger, LedgerRecord

EXACT = Basis(kind="exact", source="counted")
MODEL = Basis(kind="model", source="a table", error="4 % on 20 designs")


def entry(part: str, kind: str, quantity: str, value: float) -> Entry:
    return Entry(part=part, kind=kind, quantity=quantity, value=value)


LEDGER = Ledger(
    (
        entry("b", "logic", "energy_pj", 1.5),
        entry("a", "logic", "energy_pj", 2.0),
        entry("b", "fifo", "energy_pj", 4.0),
        entry("b", "logic", "energy_pj", 8.0),
        entry("a", "weights", "memory_bits", 64),
    ),
    {"energy_pj": MODEL, "memory_bits": EXACT, "lut": MODEL},
)


def test_sums() -> None:
    assert LEDGER.total("energy_pj") == 15.5
    assert LEDGER.by_part("energy_pj") == {"b": 13.5, "a": 2.0}
    assert list(LEDGER.by_part("energy_pj")) == ["b", "a"]
    assert LEDGER.by_kind("energy_pj") == {"logic": 11.5, "fifo": 4.0}
    by_kind = LEDGER.by_kind("energy_pj", ("window", "fifo"))
    assert list(by_kind.items()) == [("window", 0.0), ("fifo", 4.0), ("logic", 11.5)]
    assert LEDGER.by_part_and_kind("energy_pj", ("logic", "fifo")) == {
        "b": {"logic": 9.5, "fifo": 4.0},
        "a": {"logic": 2.0, "fifo": 0.0},
    }
    assert LEDGER.total("memory_bits") == 64
    assert LEDGER.total("lut") == 0


def test_every_quantity_has_a_basis() -> None:
    with pytest.raises(ValueError, match="quantity 'lut' has no basis"):
        Ledger((entry("a", "logic", "lut", 1.0),), {"energy_pj": MODEL})
    with pytest.raises(KeyError):
        LEDGER.total("latency_ms")


def test_ledgers_add_up() -> None:
    other = Ledger((entry("c", "logic", "lut", 7),), {"lut": MODEL})
    assert (LEDGER + other).total("lut") == 7
    assert (LEDGER + other).total("energy_pj") == 15.5
    with pytest.raises(ValueError, match="quantity 'lut' has two bases"):
        LEDGER + Ledger((), {"lut": EXACT})


@pytest.mark.parametrize("kind", ["exact", "measured", "assumed"])
def test_a_model_and_nothing_else_tells_its_error(kind: str) -> None:
    Basis(kind=kind, source="x")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Basis(kind=kind, source="x", error="1 %")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Basis(kind="model", source="x")
    with pytest.raises(ValidationError):
        Basis(kind="guess", source="x")  # type: ignore[arg-type]


def test_there_and_back() -> None:
    record = LedgerRecord(entries=list(LEDGER.entries), bases=dict(LEDGER.bases))
    again = LedgerRecord.model_validate_json(record.model_dump_json())
    assert again.ledger() == LEDGER
