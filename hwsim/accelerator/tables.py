"""How lookup tables lie in a stage's memory: every lane has a copy, since all read at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hwsim.accelerator.stage import Stage


@dataclass(frozen=True)
class TableStore:
    """The tables of one stage; ``hwsim.accelerator.fields`` packs their words.

    index: the step counter that tells which channels a beat has, "" where one table serves all.
    lanes: each has a bank of its own. tables: of a lane, one for each beat, or one. entries: of a
    table, the one for the lowest value first. bits: of an entry, which is a word.
    """

    index: str
    lanes: int
    tables: int
    entries: int
    bits: int

    @property
    def words(self) -> int:
        """Words of all banks."""
        return self.lanes * self.tables * self.entries


@lru_cache(maxsize=256)
def table_store(stage: Stage) -> TableStore:
    """The store of the lookup tables in ``stage``; raises TypeError for a stage without one."""
    count, entries = stage.table.table.shape
    y = stage.output
    beats = y.frame_beats if y.flat else y.beats
    tables = beats if count > 1 else 1
    index = stage.beat_counter if tables > 1 else ""
    return TableStore(index, y.lanes, tables, entries, y.type.bits)
