"""Options that say which cells fail and at what voltages, of ``faults`` and ``generate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from hwsim.lowvoltage.chip import Spatial
    from hwsim.lowvoltage.map import FaultMap
    from hwsim.lowvoltage.technology import MemoryTechnology


@dataclass(frozen=True)
class CellOptions:
    """Which cells fail, as the options say it; None: not said."""

    spatial: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="Failures cluster, as in column=0.3,banks=4."),
    ] = None
    map: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measured cells (.npy, .npz, .csv) instead of chips."),
    ] = None
    holds: Annotated[
        Literal["fails", "rate", "voltage"] | None,
        typer.Option(
            "--map-holds",
            help="What a cell of the map says; default: fails, of a list its voltages.",
        ),
    ] = None
    reads: Annotated[
        Path | None,
        typer.Option(
            "--map-reads", metavar="FILE", help="What its failing cells read: 0, 1, or -1 to flip."
        ),
    ] = None
    interleave: Annotated[
        int,
        typer.Option("--map-interleave", min=1, help="Words that share a row of it, bit by bit."),
    ] = 1
    shape: Annotated[
        str | None,
        typer.Option(
            "--map-shape",
            metavar="BANKSxROWSxBITS",
            help="All cells there are, where the map lists those that fail.",
        ),
    ] = None

    def failing(self, technology: MemoryTechnology) -> tuple[Spatial | None, FaultMap | None]:
        """How failures cluster, and the map; None: as the technology says, and no map.

        Raises ConfigError, ChipError.
        """
        from hwsim.errors import ConfigError
        from hwsim.lowvoltage.cell_list import parse_shape
        from hwsim.lowvoltage.map import load_map
        from hwsim.lowvoltage.tables import TableError

        if self.map is None:
            for value, key in ((self.reads, "reads"), (self.holds, "holds"), (self.shape, "shape")):
                if value is not None:
                    raise ConfigError("needs the cells of --map", key=f"--map-{key}")
            return None if self.spatial is None else parse_spatial(self.spatial), None
        if self.spatial is not None:
            raise ConfigError(
                "does not go with --map, which says where cells fail", key="--spatial"
            )
        try:
            shape = None if self.shape is None else parse_shape(self.shape)
        except TableError as error:
            raise ConfigError(str(error), key="--map-shape") from None
        cells = load_map(
            self.map, technology, self.holds,
            reads=self.reads, shape=shape, interleave=self.interleave, repeat=True,
        )  # fmt: skip
        if not cells.share(technology.probability(technology.lowest_rel)):
            raise ConfigError(
                f"{self.map}: no cell of it fails at any voltage of the technology", key="--map"
            )
        return None, cells


@dataclass(frozen=True)
class ChipOptions:
    """The faulty chip of ``hwsim generate``, as the options say it; None: not said."""

    technology: Annotated[
        str | None, typer.Option(help="Memories fail: YAML file or shipped technology.")
    ] = None
    voltage: Annotated[
        str | None,
        typer.Option(
            metavar="V",
            help="Relative to vmin, or with %, V or mV; or NAME=V,... of memories, layers or "
            "roles, all others at vmin; or the faults.json of hwsim faults, which says all this.",
        ),
    ] = None
    chip: Annotated[int | None, typer.Option(min=0, help="Seed: which cells fail; default 0.")] = (
        None
    )
    cells: CellOptions = field(default_factory=CellOptions)
    protection: Annotated[
        str | None,
        typer.Option(
            metavar="P", help="Of weights and constants: none, parity, secded, ...; default: none."
        ),
    ] = None
    faulty: Annotated[
        str | None,
        typer.Option(
            metavar="MEMORIES",
            help="Which memories fail: roles or names, separated by commas; default: all.",
        ),
    ] = None


def relative_voltage(text: str, technology: MemoryTechnology, key: str) -> float:
    """A voltage of option ``key`` relative to vmin: a number, percent of vmin, or V or mV.

    Raises ConfigError where the unit says nothing of the technology, VoltageError where the
    technology has no data.
    """
    from hwsim.errors import ConfigError
    from hwsim.lowvoltage.tables import TableError, parse_voltage

    try:
        value, unit = parse_voltage(text)
    except TableError as error:
        raise ConfigError(str(error), key=key) from None
    if unit == "volts":
        if technology.vmin == 1:
            raise ConfigError(
                f"{text}: the technology tells voltages as shares of its vmin, not in volts",
                key=key,
            )
        value /= technology.vmin
    technology.probability(value)
    return value


def words(text: str) -> list[str]:
    """Words between commas, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def some_words(text: str, key: str, what: str) -> list[str]:
    """The same; ConfigError at option ``key`` where there is none."""
    from hwsim.errors import ConfigError

    if not (found := words(text)):
        raise ConfigError(f"needs at least one {what}", key=key)
    return found


def parse_spatial(text: str) -> Spatial:
    """``column=0.3,banks=4`` as a ``Spatial``."""
    from math import isfinite

    from hwsim.errors import ConfigError
    from hwsim.lowvoltage.chip import Spatial

    plain = vars(Spatial())
    values = {}
    for word in words(text):
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
