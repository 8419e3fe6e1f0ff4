"""Train the network and its teacher, the float twin."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from hwsim.cli.stages.names import FINAL, TRAINING
from hwsim.cli.stages.pictures import dataset
from hwsim.files import write_json

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.models.checkpoint import save_checkpoint
    from hwsim.models.machine import training_machine
    from hwsim.models.train import train

    config: ExperimentConfig = run.config
    folder = run.work / TRAINING
    result = train(
        dataset(config.data),
        config.model,
        config.training,
        seed=config.seed,
        folder=folder,
        progress=run.progress,
    )
    save_checkpoint(folder / FINAL, {"model": result.network.model.state_dict()})
    fits = {"network": result.network, "float": result.twin}
    write_json(
        folder / "history.json",
        {name: [asdict(record) for record in fit.history] for name, fit in fits.items() if fit},
    )
    return {
        "float": result.twin.test_accuracy if result.twin else None,
        "quantized": result.network.test_accuracy,
        "epochs": len(result.network.history),
        "machine": training_machine(config.training),
        "precision": result.network.precision,
    }
