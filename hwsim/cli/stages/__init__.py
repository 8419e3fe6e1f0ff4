"""The stages of an experiment: train, export, evaluate, simulate, generate, verify, and the report.

Each stage has a module of its own. Its ``work`` reads the outputs of earlier stages from the
experiment's folder, writes its own outputs to ``run.work``, and reports its figures as plain JSON
values. A stage is done again if the code of its module changed, or the code of an imported module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import hwsim.report as report_package
from hwsim.cli.stages import evaluate, export, generate, report, simulate, train, verify
from hwsim.cli.stages.names import (
    EVALUATION,
    GENERATED,
    NETWORK,
    REPORT,
    RESULT,
    SIMULATION,
    TRAINING,
    VERIFICATION,
    VERILOG,
)
from hwsim.cli.stages.pictures import dataset
from hwsim.hashes import path_hash, value_hash
from hwsim.result import (
    Evaluated,
    Exported,
    Generated,
    Simulated,
    Trained,
    Verification,
)
from hwsim.run import ExperimentStage
from hwsim.studies.result import FAULTS
from hwsim.synthesis import SYNTHESIS

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.config.training import DataConfig


@lru_cache(maxsize=1)
def _data_hash(config: DataConfig) -> str:
    data = dataset(config)
    digest = hashlib.sha256(f"{data.name} {data.classes}".encode())
    for array in (data.train_x, data.train_y, data.test_x, data.test_y):
        digest.update(str(array.shape).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _inputs_of_data(config: ExperimentConfig) -> str:
    return _data_hash(config.data)


def _inputs_of_training(config: ExperimentConfig) -> str:
    initial = config.training.initial
    return f"{_data_hash(config.data)} {path_hash(Path(initial)) if initial else None}"


def _inputs_of_energy(config: ExperimentConfig) -> str:
    from hwsim.config.loader import config_hash
    from hwsim.run.figures import energy_table

    return config_hash(energy_table(config.energy))


def report_stage(folder: Path, sections: Sequence[Path] = ()) -> ExperimentStage:
    """The last stage, which draws the report from ``folder``.

    sections: Python files with sections of the user's own; they count as inputs.
    """
    page = Path(report_package.__file__).parent
    styles = sorted([*page.glob("*.html"), *page.glob("*.css")])
    drawn = [folder / RESULT, folder / FAULTS, folder / VERILOG / SYNTHESIS, *styles, *sections]
    return ExperimentStage(
        "report",
        report.work,
        (REPORT,),
        needs=("train", "export"),
        inputs=lambda config: value_hash([path_hash(path) for path in drawn]),
    )


STAGES = (
    ExperimentStage(
        "train",
        train.work,
        (TRAINING,),
        schema=Trained,
        sections=("seed", "data", "model", "training"),
        inputs=_inputs_of_training,
        resumable=True,
    ),
    ExperimentStage(
        "export",
        export.work,
        (NETWORK,),
        schema=Exported,
        sections=("name", "seed", "data", "model"),
        needs=("train",),
    ),
    ExperimentStage(
        "evaluate",
        evaluate.work,
        (EVALUATION,),
        schema=Evaluated,
        sections=("seed", "data", "model"),
        needs=("train", "export"),
        inputs=_inputs_of_data,
    ),
    ExperimentStage(
        "simulate",
        simulate.work,
        (SIMULATION,),
        schema=Simulated,
        sections=("accelerator", "energy"),
        needs=("export",),
        inputs=_inputs_of_energy,
    ),
    ExperimentStage(
        "generate",
        generate.work,
        tuple(f"{VERILOG}/{name}" for name in GENERATED),
        schema=Generated,
        sections=("data", "model", "verification"),
        needs=("export", "simulate"),
        inputs=_inputs_of_data,
    ),
    ExperimentStage(
        "verify",
        verify.work,
        (VERIFICATION,),
        schema=Verification,
        sections=("verification",),
        needs=("generate",),
    ),
)
"""What ``hwsim run`` does before it writes result and report, in order."""
