"""Checks before an experiment starts: everything except the weights is known."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig

_AMPLE = 4096


def check_experiment(config: ExperimentConfig, stages: Collection[str]) -> None:
    """Raise the error with which one of ``stages`` (names) would end after the training.

    Tools, energy table, data set and counts; then the untrained network is exported and mapped.
    """
    from hwsim.accelerator import simulate
    from hwsim.accelerator.mapping import map_network
    from hwsim.cli.stages.pictures import check_images, dataset
    from hwsim.models.preview import preview_network
    from hwsim.run.figures import energy_table

    if "verify" in stages:
        from hwsim.rtl.tools import check_simulator

        check_simulator(config.verification.simulator)
    if "simulate" in stages:
        energy_table(config.energy)
    data = dataset(config.data)
    if "generate" in stages:
        check_images(config, data)
    network = preview_network(config, data)
    if "simulate" in stages:
        accelerator = config.accelerator
        if accelerator.fifo_depth == "auto":  # the search is long, and always finds depths
            accelerator = accelerator.model_copy(update={"fifo_depth": _AMPLE})
        simulate(map_network(network, accelerator), 2)  # given depths may deadlock
