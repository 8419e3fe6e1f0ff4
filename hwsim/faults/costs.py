"""Energy of memories at low voltage, with the costs of protection.

Accesses are counted and priced as in ``hwsim.accelerator.energy``, whose tables are for the
nominal voltage. At another voltage the energy of an access is proportional to the square of the
voltage. Check bits raise it in proportion. Encoders and decoders are logic and stay at the voltage
of the logic: each of their gates is priced as a 2:1 multiplexer of one bit, which is an assumption.
Leakage is not part of a memory's energy here; the accelerator's energy has it, at nominal voltage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.accelerator.energy import Prices, access_pj, estimate_energy
from hwsim.design import Design, Operation
from hwsim.lowvoltage.protection import Protection
from hwsim.lowvoltage.technology import MemoryTechnology

_GATE = Operation("select", 1)
_FRAMES = 8

Voltages = float | Mapping[str, float]


@dataclass(frozen=True)
class MemoryEnergy:
    """Energy of some memories of an accelerator in a frame, in pJ.

    bare_pj: their accesses at nominal voltage without check bits. accesses: accesses with check
    bits, by memory. gates_pj: encoders and decoders. total_pj: the whole accelerator at nominal
    voltage, without protection. cells, check_cells: number of stored bits.

    Voltages are relative to vmin: one for all memories, or one for each memory by name.
    """

    technology: MemoryTechnology
    bare_pj: float
    accesses: Mapping[str, float]
    gates_pj: float
    total_pj: float
    cells: int
    check_cells: int

    @property
    def accesses_pj(self) -> float:
        """Accesses of all memories, check bits included, at nominal voltage."""
        return sum(self.accesses.values())

    def at(self, voltage_rel: Voltages) -> float:
        """pJ of the memories, protected."""
        if isinstance(voltage_rel, Mapping):
            each = (pj * self._scale(voltage_rel[name]) for name, pj in self.accesses.items())
            return sum(each) + self.gates_pj
        return self.accesses_pj * self._scale(voltage_rel) + self.gates_pj

    def rel_vmin(self, voltage_rel: Voltages) -> float:
        """``at`` relative to the bare memories at vmin."""
        return self.at(voltage_rel) * self._energy_nominal / self.bare_pj

    def rel_nominal(self, voltage_rel: Voltages) -> float:
        """``at`` relative to the bare memories at nominal voltage."""
        return self.at(voltage_rel) / self.bare_pj

    def accelerator_rel(self, voltage_rel: Voltages) -> float:
        """Energy of the whole accelerator relative to its energy at nominal voltage."""
        return 1 + (self.at(voltage_rel) - self.bare_pj) / self.total_pj

    @property
    def share(self) -> float:
        """Share of these memories in the accelerator's energy, all at nominal voltage."""
        return self.bare_pj / self.total_pj

    def _scale(self, voltage_rel: float) -> float:
        """Energy of an access relative to that at nominal voltage."""
        return self.technology.energy_rel(voltage_rel) / self._energy_nominal

    @property
    def _energy_nominal(self) -> float:
        """Energy at nominal voltage relative to that at vmin."""
        return self.technology.energy_rel(self.technology.nominal_rel)


def memory_energy(
    design: Design,
    technology: MemoryTechnology,
    protections: Mapping[str, Protection],
    prices: Prices,
    clock_mhz: float,
) -> MemoryEnergy:
    """Energy of the memories named in ``protections``, each with its own protection.

    prices: prices at nominal voltage. clock_mhz: turns leakage power into energy.
    """
    bare = gates = 0.0
    accesses: dict[str, float] = {}
    cells = check_cells = 0
    for memory in design.memories():
        if memory.name not in protections:
            continue
        protection = protections[memory.name]
        pj, count = access_pj(memory, prices), protection.gates(memory.bits)
        bare += pj
        accesses[memory.name] = pj * protection.storage(memory.bits)
        switched = memory.writes * count.encode + memory.reads * count.decode
        gates += switched * prices.operation(_GATE)
        cells += memory.size_bits
        check_cells += memory.words * protection.check_bits(memory.bits)
    interval = design.cycles(_FRAMES).frame_interval_cycles
    total = estimate_energy(design, prices.table, interval, clock_mhz, prices.voltage_v).total_pj
    return MemoryEnergy(technology, bare, accesses, gates, total, cells, check_cells)
