"""The stages of an experiment: train, export, evaluate, simulate, generate, verify.

Each reads the outputs of earlier ones from the experiment's folder, writes its own to
``run.work``, and reports its figures as plain JSON values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hwsim.cli.checks import check_images
from hwsim.files import read_json, write_json
from hwsim.hashes import path_hash, value_hash
from hwsim.result import (
    SYNTHESIS,
    Evaluated,
    Exported,
    Generated,
    Simulated,
    Trained,
    Verification,
)
from hwsim.run import Stage, StageRun
from hwsim.run.engine import Figures
from hwsim.studies.result import FAULTS

if TYPE_CHECKING:
    import numpy as np

    from hwsim.config.experiment import ExperimentConfig
    from hwsim.config.training import DataConfig
    from hwsim.models.data import Dataset
    from hwsim.models.golden import GoldenNetwork
    from hwsim.models.networks import ConvNet
    from hwsim.rtl.verify import VerificationResult

TRAINING, NETWORK, VERILOG = "train", "network.hwnet", "verilog"
RESULT, REPORT = "result.json", "report.html"
EVALUATION, SIMULATION, VERIFICATION = "evaluation.json", "simulation.json", "verification.json"
_FINAL = "final.pt"
_GENERATED = ("accelerator.v", "manifest.json", "network.hwnet", "vectors.npz")
_TRAINING_CODE = tuple(
    f"hwsim.models.{name}"
    for name in (
        "augment", "data", "faults", "inject", "layers", "memory", "networks", "quantize",
        "robust", "settle", "speed", "train",
    )
) + ("hwsim.lowvoltage.fresh", "hwsim.lowvoltage.inject", "hwsim.lowvoltage.philox")  # fmt: skip


@lru_cache(maxsize=1)
def dataset(config: DataConfig) -> Dataset:
    """The data set of ``config``, loaded once per process."""
    from hwsim.models.data import load_data

    return load_data(config)


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


def _train(run: StageRun) -> Figures:
    from hwsim.models.machine import training_machine
    from hwsim.models.train import save_checkpoint, train

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
    save_checkpoint(folder / _FINAL, {"model": result.network.model.state_dict()})
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


def _trained(run: StageRun) -> ConvNet:
    """The network as the training stage left it."""
    from hwsim.models.networks import build_network
    from hwsim.models.train import load_checkpoint

    config: ExperimentConfig = run.config
    data = dataset(config.data)
    model = build_network(config.model, data.shape, data.classes, seed=config.seed)
    model.load_state_dict(load_checkpoint(run.folder / TRAINING / _FINAL)["model"])
    return model.eval()


def _export(run: StageRun) -> Figures:
    from hwsim.cli.inspect import describe
    from hwsim.models.export import export_network
    from hwsim.network import save

    config: ExperimentConfig = run.config
    with run.progress.task("export integers"):
        network = export_network(_trained(run), config.name)
        save(network, run.work / NETWORK)
    facts = describe(network)
    keys = ("name", "network_sha256", "weights", "weight_bits", "macs")
    return {**{key: facts[key] for key in keys}, "ops": len(network.ops)}


def _evaluate(run: StageRun) -> Figures:
    import numpy as np

    from hwsim.execute import Executor
    from hwsim.models.export import predict
    from hwsim.models.golden import GoldenNetwork
    from hwsim.network import load

    config: ExperimentConfig = run.config
    data = dataset(config.data)
    network = load(run.folder / NETWORK)
    x = network_images(config, len(data.test_x))
    with run.progress.task("evaluate on all test images", 3) as task:
        integer = Executor(network).run(x).reshape(-1)
        task.advance()
        golden = run_golden(GoldenNetwork(network), x)
        task.advance()
        quantized = predict(_trained(run), data.test_x)
        task.advance()
    figures = {
        "integer": float(np.mean(integer == data.test_y)),
        "golden": float(np.mean(golden == data.test_y)),
        "agreement": float(np.mean(integer == quantized)),
        "test_images": len(x),
        "confusion": _confusion(data.test_y, integer, data.classes),
    }
    write_json(run.work / EVALUATION, {**figures, "predictions": integer.tolist()})
    return figures


def _confusion(labels: np.ndarray, answers: np.ndarray, classes: int) -> list[list[int]]:
    """``counts[label][answer]`` of test images."""
    import numpy as np

    pairs = np.bincount(labels * classes + answers, minlength=classes * classes)
    return pairs.reshape(classes, classes).tolist()


def run_golden(golden: GoldenNetwork, x: np.ndarray, batch: int = 500) -> np.ndarray:
    """Answers [images] of the torch golden model."""
    import numpy as np
    import torch

    with torch.no_grad():
        parts = [
            golden(torch.from_numpy(x[start : start + batch].astype(np.int64))).numpy()
            for start in range(0, len(x), batch)
        ]
    return np.concatenate(parts).reshape(len(x), -1)[:, 0]


def network_images(config: ExperimentConfig, count: int) -> np.ndarray:
    """The first ``count`` test images as network inputs, integers [count, C, H, W]."""
    from hwsim.models.export import network_input

    return network_input(dataset(config.data).test_x[:count], config.model.input_bits)


def _simulate(run: StageRun) -> Figures:
    from hwsim.accelerator.mapping import map_network, mapping_of
    from hwsim.network import load
    from hwsim.run.figures import simulate_figures

    config: ExperimentConfig = run.config
    with run.progress.task("cycles, memories, energy"):
        pipeline = map_network(load(run.folder / NETWORK), config.accelerator)
        figures = simulate_figures(pipeline, config.accelerator.clock_mhz, config.energy)
        write_json(run.work / SIMULATION, {**figures, "mapping": mapping_of(pipeline)})
    return figures


def _generate(run: StageRun) -> Figures:
    from hwsim.accelerator.mapping import Simulation, restore_mapping
    from hwsim.network import load
    from hwsim.rtl.emit import generate

    config: ExperimentConfig = run.config
    data = dataset(config.data)
    check_images(config, data)
    count = config.verification.images
    mapping = read_json(run.folder / SIMULATION, Simulation).mapping
    pipeline = restore_mapping(load(run.folder / NETWORK), mapping)
    folder = run.work / VERILOG
    generate(pipeline, folder, network_images(config, count), data.test_y[:count], run.progress)
    lines = len((folder / "accelerator.v").read_text(encoding="utf-8").splitlines())
    return {"lines": lines, "sha256": path_hash(folder / "accelerator.v")}


def _verify(run: StageRun) -> Figures:
    from hwsim.rtl.verify import verify

    v = run.config.verification
    result = verify(
        run.folder / VERILOG,
        simulator=v.simulator,
        images=v.images,
        gap_probability=v.gap_probability,
        stall_probability=v.stall_probability,
        seed=v.seed,
        progress=run.progress,
    )
    figures = verification_figures(result)
    write_json(run.work / VERIFICATION, result.to_json())
    return figures


def _report(run: StageRun) -> Figures:
    from hwsim.report import build_report

    with run.progress.task("report"):
        build_report(run.folder, run.work / REPORT)
    return {}


def report_stage(folder: Path, sections: Sequence[Path] = ()) -> Stage:
    """The last stage, which draws what is in ``folder``.

    sections: Python files with sections of the user's own; they count as inputs.
    """
    drawn = [folder / RESULT, folder / FAULTS, folder / VERILOG / SYNTHESIS, *sections]
    return Stage(
        "report",
        _report,
        (REPORT,),
        needs=("train", "export"),
        code=("hwsim.report", "hwsim.accelerator"),
        inputs=lambda config: value_hash([path_hash(path) for path in drawn]),
    )


def verification_figures(result: VerificationResult) -> Figures:
    """The ``verification`` section of results."""
    return {
        "passed": result.passed,
        "simulator": result.simulator,
        "tests": result.tests,
        "images": result.images,
        "directed": result.directed,
        "correct": result.correct,
        "outputs_equal": result.outputs_equal,
        "cycles_equal": result.cycles_equal,
        "disturbed": result.disturbed,
        "not_seen": list(result.coverage.not_seen),
        "notes": list(result.notes),
        "cycles_simulated": result.cycles_simulated,
        "failures": [failure.text for failure in result.failures],
        "figures": [
            {"test": run.test, "figure": name, "predicted": predicted, "measured": measured}
            for run in result.runs
            for name, (predicted, measured) in run.figures.items()
        ],
    }


STAGES = (
    Stage(
        "train",
        _train,
        (TRAINING,),
        schema=Trained,
        sections=("seed", "data", "model", "training"),
        code=_TRAINING_CODE,
        inputs=_inputs_of_training,
        resumable=True,
    ),
    Stage(
        "export",
        _export,
        (NETWORK,),
        schema=Exported,
        sections=("name", "seed", "data", "model"),
        needs=("train",),
        code=("hwsim.models.export", "hwsim.models.fixed_point", "hwsim.network"),
    ),
    Stage(
        "evaluate",
        _evaluate,
        (EVALUATION,),
        schema=Evaluated,
        sections=("seed", "data", "model"),
        needs=("train", "export"),
        code=("hwsim.models.golden", "hwsim.models.export", "hwsim.execute", "hwsim.network"),
        inputs=_inputs_of_data,
    ),
    Stage(
        "simulate",
        _simulate,
        (SIMULATION,),
        schema=Simulated,
        sections=("accelerator", "energy"),
        needs=("export",),
        code=(
            "hwsim.accelerator",
            "hwsim.network",
            "hwsim.run.figures",
        ),
        inputs=_inputs_of_energy,
    ),
    Stage(
        "generate",
        _generate,
        tuple(f"{VERILOG}/{name}" for name in _GENERATED),
        schema=Generated,
        sections=("data", "model", "verification"),
        needs=("export", "simulate"),
        code=("hwsim.accelerator", "hwsim.network", "hwsim.rtl"),
        inputs=_inputs_of_data,
    ),
    Stage(
        "verify",
        _verify,
        (VERIFICATION,),
        schema=Verification,
        sections=("verification",),
        needs=("generate",),
        code=("hwsim.accelerator", "hwsim.network", "hwsim.rtl"),
    ),
)
"""What ``hwsim run`` does before it writes result and report, in order."""
