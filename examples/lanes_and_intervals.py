"""What speed costs: lanes, memory bits and energy for a row of frame intervals.

python examples/lanes_and_intervals.py runs/quickstart/network.hwnet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hwsim.accelerator import estimate_energy, is_mac, memory_list, simulate
from hwsim.accelerator.mapping import map_network
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config
from hwsim.network import load


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path, help="a .hwnet file")
    parser.add_argument("--intervals", type=int, nargs="+", default=[16384, 4096, 1024, 256])
    parser.add_argument("--clock-mhz", type=float, default=100.0)
    options = parser.parse_args(arguments)

    network = load(options.network)
    table = load_config("cmos_45nm", EnergyTable, "energy")
    print("interval   frames/s   latency   lanes (pe x simd)   memory bits   nJ a frame")
    for target in options.intervals:
        pipeline = map_network(network, AcceleratorConfig(frame_interval_cycles=target))
        cycles = simulate(pipeline, frames=4)
        interval = cycles.frame_interval_cycles
        lanes = sum(s.fold.pe * s.fold.simd for s in pipeline.stages if s.op and is_mac(s.op))
        bits = sum(m.size_bits for m in memory_list(pipeline) if m.style != "constant")
        energy = estimate_energy(pipeline, table, interval, options.clock_mhz)
        print(
            f"{interval:>8,}{options.clock_mhz * 1e6 / interval:>11,.0f}"
            f"{cycles.frame_latency_cycles:>10,}{lanes:>20,}{bits:>14,}"
            f"{energy.total_pj / 1e3:>13,.1f}"
        )


if __name__ == "__main__":
    main()
