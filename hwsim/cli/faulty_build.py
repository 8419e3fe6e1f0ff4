"""The faults of a build, from the options of ``hwsim generate`` or from a study's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hwsim.accelerator import Pipeline, memory_list
from hwsim.cli.cells import CellOptions, ChipOptions, parse_spatial, relative_voltage, words
from hwsim.design.roles import Role
from hwsim.errors import ConfigError, StorageError
from hwsim.faults import DesignFaults, design_faults
from hwsim.faults.design import memory_protections, memory_shapes
from hwsim.lowvoltage import Chip, FaultSource, Spatial, load_technology
from hwsim.lowvoltage.map import Holds
from hwsim.lowvoltage.protection import parse_protection
from hwsim.network import network_hash
from hwsim.studies.result import CellMap, load_faults


@dataclass(frozen=True)
class FaultyBuild(ChipOptions):
    """The options made whole.

    supply: voltages relative to vmin that ``voltage`` stands for, of all memories or by name, layer
    or role. clusters: of a study.
    """

    supply: float | dict[str, float] = 1.0
    clusters: Spatial | None = None

    @property
    def memories(self) -> tuple[str, ...]:
        """Roles or names of the memories that fail."""
        return tuple(Role) if self.faulty is None else tuple(words(self.faulty))

    def faults(self, pipeline: Pipeline) -> DesignFaults:
        """The faults of a pipeline under these options."""
        technology = load_technology(self.technology or "")
        rates = (
            {name: technology.probability(v) for name, v in self.supply.items()}
            if isinstance(self.supply, dict)
            else technology.probability(self.supply)
        )
        code = parse_protection(self.protection or "none")
        spatial, cells = self.cells.failing(technology)
        of_chip: FaultSource = Chip(technology, self.chip or 0, spatial or self.clusters)
        if cells is not None:
            shapes = memory_shapes(pipeline, memory_protections(pipeline, self.memories, code))
            of_chip = cells.laid_out(shapes, self.chip or 0)
        return design_faults(pipeline, of_chip, rates, self.memories, code)

    def described(self) -> dict[str, Any]:
        """The options in the form of ``hwsim generate --json``."""
        return {
            "technology": self.technology,
            "voltage_rel": self.supply,
            "chip": self.chip or 0,
            "map": None if self.cells.map is None else str(self.cells.map),
            "protection": self.protection or "none",
        }


def faulty_build(options: ChipOptions, pipeline: Pipeline) -> FaultyBuild | None:
    """The complete options, or None if no option is given; raises ConfigError, VoltageError."""
    given = FaultyBuild(**vars(options))
    if given.voltage is not None and given.voltage.endswith(".json"):
        return _of_study(Path(given.voltage), given, pipeline)
    if given.technology is None and given.voltage is None:
        if given != FaultyBuild():
            raise ConfigError(
                "--chip, --faulty, --spatial, --map and --protection need --technology and "
                "--voltage"
            )
        return None
    if given.technology is None or given.voltage is None:
        raise ConfigError("give both --technology and --voltage, or neither")
    technology = load_technology(given.technology)
    supplies = {}
    for word in words(given.voltage):
        name, equals, value = word.rpartition("=")
        if bool(equals) != ("=" in given.voltage) or (equals and not name.strip()):
            raise _no_voltage(given.voltage)
        supplies[name.strip()] = relative_voltage(value, technology, "--voltage")
    if not supplies or ("=" not in given.voltage and "," in given.voltage):
        raise _no_voltage(given.voltage)
    return replace(given, supply=supplies if "=" in given.voltage else supplies[""])


def _no_voltage(text: str) -> ConfigError:
    return ConfigError(
        f"must be a number, NAME=V,... or a faults.json, not {text!r}", key="--voltage"
    )


def _of_study(path: Path, given: FaultyBuild, pipeline: Pipeline) -> FaultyBuild:
    """The chip, memories and voltages of a study; an option that contradicts them is an error."""
    try:
        found = load_faults(path)
    except StorageError as error:
        raise ConfigError(str(error), key="--voltage") from None
    if found.network_sha256 != network_hash(pipeline.network):
        raise ConfigError(f"{path}: belongs to another network", key="--voltage")
    bits = {memory.name: memory.words * memory.bits for memory in memory_list(pipeline)}
    missing = [name for name in found.memories if name not in bits]
    if missing or sum(bits[name] for name in found.memories) != found.memory_bits:
        raise ConfigError(
            f"{path}: belongs to another mapping of this network; "
            "give the --config of hwsim faults",
            key="--voltage",
        )

    def same(option: str, theirs: object, mine: object | None) -> None:
        if mine is not None and mine != theirs:
            raise ConfigError(f"{path} has {theirs or 'none'}; leave the option out", key=option)

    for name in {given.technology or found.technology, found.technology}:
        technology = load_technology(name)
        kind = (technology.description, technology.nominal_rel)
        if kind != (found.technology_description, found.nominal_voltage_rel):
            raise ConfigError(
                f"{path} has cells of {found.technology_description}", key="--technology"
            )
    protection = given.protection and parse_protection(given.protection).name
    same("--protection", found.protection, protection)
    code = parse_protection(found.protection)
    if given.faulty is not None:
        chosen = memory_protections(pipeline, given.memories, code)
        same("--faulty", ", ".join(sorted(found.memories)), ", ".join(sorted(chosen)))
    plain = vars(Spatial())
    clusters = Spatial(**{key: type(plain[key])(v) for key, v in found.spatial.items()})
    if given.cells.spatial is not None:
        same("--spatial", clusters, parse_spatial(given.cells.spatial))
    per = found.per_memory
    return replace(
        given,
        technology=given.technology or found.technology,
        chip=found.seed if given.chip is None else given.chip,
        faulty=",".join(found.memories),
        cells=_cells_of(found.map, given.cells, same),
        protection=found.protection,
        supply=found.lowest_voltage_rel
        if per is None
        else {memory.name: memory.voltage_rel for memory in per.memories},
        clusters=clusters,
    )


def _cells_of(
    used: CellMap | None, given: CellOptions, same: Callable[[str, object, object | None], None]
) -> CellOptions:
    """The map of a study; ``same`` refuses options that name another map."""
    if used is None:
        for key in ("map", "holds", "reads", "shape"):
            option = "--map" if key == "map" else f"--map-{key}"
            same(option, None, getattr(given, key))
        return CellOptions()
    same("--map", Path(used.file), given.map)
    same("--map-holds", used.holds, given.holds)
    same("--map-reads", used.reads and Path(used.reads), given.reads)
    same("--map-shape", used.shape, given.shape)
    same("--map-interleave", used.interleave, None if given.interleave == 1 else given.interleave)
    reads = None if used.reads is None else Path(used.reads)
    holds = cast("Holds", used.holds)
    return CellOptions(None, Path(used.file), holds, reads, used.interleave, used.shape)
