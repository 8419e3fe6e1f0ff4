"""Options of ``faults`` and ``generate``: which cells fail, and at which voltages."""

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
    """Which cells fail, according to the options; None: the option is not given."""

    spatial: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE,...", help="Clusters of failing cells, as in column=0.3,banks=4."
        ),
    ] = None
    map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of measured cells (.npy, .npz, .csv), instead of random chips.",
        ),
    ] = None
    holds: Annotated[
        Literal["fails", "rate", "voltage"] | None,
        typer.Option(
            "--map-holds",
            help="Meaning of a cell of the map. Default: fails; for a list: voltage.",
        ),
    ] = None
    reads: Annotated[
        Path | None,
        typer.Option(
            "--map-reads",
            metavar="FILE",
            help="Bit that the failing cells read: 0, 1, or -1 to flip.",
        ),
    ] = None
    interleave: Annotated[
        int,
        typer.Option(
            "--map-interleave",
            min=1,
            help="Number of words that share a row of the map, bit by bit.",
        ),
    ] = 1
    shape: Annotated[
        str | None,
        typer.Option(
            "--map-shape",
            metavar="BANKSxROWSxBITS",
            help="Shape of all cells, if the map is a list of failing cells.",
        ),
    ] = None

    def failing(self, technology: MemoryTechnology) -> tuple[Spatial | None, FaultMap | None]:
        """How failures cluster, and the map.

        None: failures cluster as the technology says; there is no map.

        Raises ConfigError, ChipError.
        """
        from hwsim.errors import ConfigError
        from hwsim.lowvoltage.cell_list import parse_shape
        from hwsim.lowvoltage.map import load_map
        from hwsim.lowvoltage.tables import TableError

        if self.map is None:
            for value, key in ((self.reads, "reads"), (self.holds, "holds"), (self.shape, "shape")):
                if value is not None:
                    raise ConfigError("needs --map", key=f"--map-{key}")
            return None if self.spatial is None else parse_spatial(self.spatial), None
        if self.spatial is not None:
            raise ConfigError(
                "cannot be combined with --map, since the map says where cells fail",
                key="--spatial",
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
                f"{self.map}: no cell of the map fails at any voltage of the technology",
                key="--map",
            )
        return None, cells


@dataclass(frozen=True)
class ChipOptions:
    """The faulty chip of ``hwsim generate``, as the options say it; None: not said."""

    technology: Annotated[
        str | None, typer.Option(help="Let memories fail: a shipped technology, or a YAML file.")
    ] = None
    voltage: Annotated[
        str | None,
        typer.Option(
            metavar="V",
            help="Relative to vmin, or with %, V or mV; or NAME=V,... of memories, layers or "
            "roles, all others at vmin; or the faults.json of hwsim faults, which says all this.",
        ),
    ] = None
    chip: Annotated[
        int | None, typer.Option(min=0, help="Number of the chip whose cells fail. Default: 0.")
    ] = None
    cells: CellOptions = field(default_factory=CellOptions)
    protection: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Protection of weights and constants: none, parity, ... Default: none.",
        ),
    ] = None
    faulty: Annotated[
        str | None,
        typer.Option(
            metavar="MEMORIES",
            help="Memories that fail: roles or names, separated by commas. Default: all.",
        ),
    ] = None


def relative_voltage(text: str, technology: MemoryTechnology, key: str) -> float:
    """The voltage of option ``key``, relative to vmin; given as a number, in percent, V or mV.

    Raises ConfigError if the technology does not know the unit, VoltageError if it has no data at
    this voltage.
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
    """The words between commas, without repetitions."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def some_words(text: str, key: str, what: str) -> list[str]:
    """The words between commas; ConfigError at option ``key`` if there are none."""
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
