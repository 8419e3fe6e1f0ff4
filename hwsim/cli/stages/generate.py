"""Write the accelerator's Verilog, its manifest and its test vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import NETWORK, SIMULATION, VERILOG
from hwsim.cli.stages.pictures import check_images, dataset, network_images
from hwsim.files import read_json
from hwsim.hashes import path_hash

if TYPE_CHECKING:
    from hwsim.config.experiment import ExperimentConfig
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    from hwsim.accelerator.plain import Simulation
    from hwsim.network import load
    from hwsim.rtl.emit import generate

    config: ExperimentConfig = run.config
    data = dataset(config.data)
    check_images(config, data)
    count = config.verification.images
    design = read_json(run.folder / SIMULATION, Simulation).design
    pipeline = design.restore(load(run.folder / NETWORK))
    folder = run.work / VERILOG
    generate(pipeline, folder, network_images(config, count), data.test_y[:count], run.progress)
    lines = len((folder / "accelerator.v").read_text(encoding="utf-8").splitlines())
    return {"lines": lines, "sha256": path_hash(folder / "accelerator.v")}
