"""Accuracy on a measured memory, and what two fitted models of it would have predicted.

The list of failing cells of one FPGA (``kc705_bram_faults.csv``, derived from the raw maps of
Salami et al., MICRO 2018) is fitted: a law with offsets of banks, and the same law with independent
cells. Of each model ``--memories`` memories of the same shape are drawn. All are asked alike: the
network's memories lie one after another from ``--places`` places on, spread evenly over the memory,
and failing cells read 0. A figure of the measured memory should lie where 95 % of drawn memories
lie: the mean accuracy over places, its standard deviation, the worst place, and the share of
places that lose nothing.

    python benchmarks/measured_map.py kc705_bram_faults.csv --network NET.hwnet --data digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hwsim.accelerator import Pipeline
from hwsim.accelerator.mapping import map_network
from hwsim.cli.images import labelled_images
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.execute import Executor
from hwsim.faults import FaultyExecutor, design_faults
from hwsim.faults.design import memory_protections, memory_shapes
from hwsim.lowvoltage import Chip, FaultMap, FaultModel, Spatial
from hwsim.lowvoltage.banks import fit_banks
from hwsim.lowvoltage.cell_list import CellList, parse_shape, read_cells
from hwsim.lowvoltage.fit import technology_of
from hwsim.lowvoltage.technology import MemoryTechnology
from hwsim.network import load

FIGURES = ("mean accuracy, %", "its s.d. over places", "worst place, %", "places without loss, %")


class Subject:
    """A network, its images, and where its memories lie in a memory of ``cells`` cells."""

    def __init__(self, pipeline: Pipeline, x: np.ndarray, labels: np.ndarray, places: int) -> None:
        self.pipeline, self.x, self.labels = pipeline, x, labels
        self.memories = memory_protections(pipeline, ("weight", "constants", "window", "fifo"))
        self.shapes = memory_shapes(pipeline, self.memories)
        self.bits = sum(words * bits for words, bits in self.shapes.values())
        self.places = places
        self.clean = self._accuracy(Executor(pipeline.network).run(x))

    def figures(self, whole: FaultMap, rate: float) -> tuple[float, ...]:
        """What FIGURES names, of one memory at a bit error rate."""
        size, found = whole.cells.size, []
        for place in range(self.places):
            starts, at = {}, place * size // self.places
            for name, shape in self.shapes.items():
                starts[name], at = at % size, at + whole.room(*shape)
            faults = design_faults(self.pipeline, whole.moved(starts), rate, tuple(self.memories))
            found.append(
                self._accuracy(FaultyExecutor(faults, threads=1).run(self.x))
                if len(faults)
                else self.clean
            )
        accuracy = 100 * np.array(found)
        kept = 100 * (np.array(found) >= self.clean).mean()
        return accuracy.mean(), accuracy.std(), accuracy.min(), kept

    def _accuracy(self, answers: np.ndarray) -> float:
        return float((answers[:, 0, 0, 0] == self.labels).mean())


def drawn(
    technology: MemoryTechnology, cells: CellList, seed: int, spatial: Spatial, rate: float
) -> FaultMap:
    """A memory of a model; what fails above ``rate`` is left out."""
    banks, rows, bits = cells.shape
    found = Chip(technology, seed, spatial).faults_at("memory", banks * rows, bits, rate)
    critical = np.ones((banks * rows, bits))
    critical[found.word, found.bit] = found.critical
    return FaultMap(technology, critical, "rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cells", type=Path)
    parser.add_argument("--shape", default="890x1024x8")
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--voltages", type=float, nargs="+", default=[0.53, 0.54])
    parser.add_argument("--places", type=int, default=100)
    parser.add_argument("--memories", type=int, default=60)
    arguments = parser.parse_args()

    cells = read_cells(arguments.cells, parse_shape(arguments.shape))
    fitted = fit_banks(cells, "probit", "measured")
    technology = technology_of(
        fitted,
        nominal=1.0,
        vmin=round(cells.voltages[-1] + 0.01, 9),
        faults=FaultModel(kind="stuck", ones=0.0),
    )
    network = load(arguments.network)
    pipeline = map_network(network, AcceleratorConfig())
    _, x, labels = labelled_images(network, arguments.data, None, arguments.images)
    subject = Subject(pipeline, x, labels, arguments.places)
    print(
        f"{network.name}: {subject.bits:,} bits of memories, {len(x)} images, "
        f"{100 * subject.clean:.2f} % without faults; {arguments.places} places; bank share "
        f"{technology.banks.share:.3f}"  # type: ignore[union-attr]
    )
    real = FaultMap(technology, cells.critical(technology.vmin), "voltage")
    models = {"banks as fitted": Spatial.of(technology), "independent cells": Spatial()}
    for voltage in arguments.voltages:
        rate = technology.probability(voltage / technology.vmin)
        seen = subject.figures(real, rate)
        intervals = {}
        for name, spatial in models.items():
            figures = [
                subject.figures(drawn(technology, cells, seed, spatial, rate), rate)
                for seed in range(arguments.memories)
            ]
            intervals[name] = np.percentile(figures, [2.5, 97.5], axis=0)
        print(f"\n{voltage:g} V, {rate:.3g} of the cells fail by the law")
        print(f"{'':<24}{'measured':>10}" + "".join(f"{name:>28}" for name in models))
        for n, name in enumerate(FIGURES):
            line = f"{name:<24}{seen[n]:>10.2f}"
            for low, high in intervals.values():
                inside = "inside" if low[n] <= seen[n] <= high[n] else "OUTSIDE"
                line += f"{f'{low[n]:.2f}..{high[n]:.2f} {inside}':>28}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
