"""Map the network to an accelerator; its cycles, memories and energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import NETWORK, SIMULATION
from hwsim.files import write_json

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.accelerator.mapping import map_network
    from hwsim.network import load
    from hwsim.run.figures import simulate_figures

    config: ExperimentConfig = run.config
    with run.progress.task("cycles, memories, energy"):
        pipeline = map_network(load(run.folder / NETWORK), config.accelerator)
        figures = simulate_figures(pipeline, config.accelerator.clock_mhz, config.energy)
        write_json(run.work / SIMULATION, figures)
    return figures
