"""Export the trained network as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import NETWORK
from hwsim.cli.stages.trained import trained_network

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.models.export import export_network
    from hwsim.network import save
    from hwsim.network.summary import describe

    config: ExperimentConfig = run.config
    with run.progress.task("export integers"):
        network = export_network(trained_network(run), config.name)
        save(network, run.work / NETWORK)
    facts = describe(network)
    keys = ("name", "network_sha256", "weights", "weight_bits", "macs")
    return {**{key: facts[key] for key in keys}, "ops": len(network.ops)}
