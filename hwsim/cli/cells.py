"""Options that say which cells fail, shared by ``hwsim faults`` and ``hwsim generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

if TYPE_CHECKING:
    from hwsim.faults.chip import Spatial
    from hwsim.faults.map import FaultMap, Holds
    from hwsim.faults.technology import MemoryTechnology

Clusters = Annotated[
    str | None,
    typer.Option(
        "--spatial", metavar="KEY=VALUE,...", help="Failures cluster, as in column=0.3,banks=4."
    ),
]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", metavar="FILE", help="Measured cells (.npy, .csv) instead of chips."),
]
MapHolds = Annotated[
    Literal["fails", "rate", "voltage"], typer.Option(help="What a cell of the map says.")
]
MapReads = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What its failing cells read: 0, 1, or -1 to flip."),
]
MapInterleave = Annotated[
    int, typer.Option(min=1, help="Words that share a row of it, bit by bit.")
]


def failing_cells(
    technology: MemoryTechnology,
    spatial: str | None,
    cell_map: Path | None,
    holds: str,
    reads: Path | None,
    interleave: int,
) -> tuple[Spatial, FaultMap | None]:
    """How failures cluster, and the map that the options name; raises ConfigError, ChipError."""
    from hwsim.errors import ConfigError
    from hwsim.faults.map import load_map

    clusters = _spatial(spatial)
    if cell_map is None:
        if reads is not None:
            raise ConfigError("needs the cells of --map", key="--map-reads")
        return clusters, None
    if spatial is not None:
        raise ConfigError("does not go with --map, which says where cells fail", key="--spatial")
    cells = load_map(
        cell_map, technology, cast("Holds", holds), reads=reads, interleave=interleave, repeat=True
    )
    return clusters, cells


def words(text: str) -> list[str]:
    """Words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def some_words(text: str, key: str, what: str) -> list[str]:
    """The same; ConfigError at option ``key`` where there is none."""
    from hwsim.errors import ConfigError

    if not (found := words(text)):
        raise ConfigError(f"needs at least one {what}", key=key)
    return found


def _spatial(text: str | None) -> Spatial:
    """``column=0.3,banks=4`` as a ``Spatial``."""
    from math import isfinite

    from hwsim.errors import ConfigError
    from hwsim.faults.chip import Spatial

    plain = vars(Spatial())
    values = {}
    for word in words(text or ""):
        key, _, value = word.partition("=")
        try:
            values[key] = type(plain[key])(value)
        except (KeyError, ValueError):
            values[key] = float("nan")
        if not isfinite(values[key]):
            raise ConfigError(
                f"must be of {', '.join(plain)}, with numbers as in column=0.3,banks=4, "
                f"not {word!r}",
                key="--spatial",
            )
    return Spatial(**values)
