"""Evaluate the integers on all test images: executor, torch golden model, trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.cli.stages.names import EVALUATION, NETWORK
from hwsim.cli.stages.pictures import dataset, network_images
from hwsim.cli.stages.trained import trained_network
from hwsim.files import write_json

if TYPE_CHECKING:
    import numpy as np

    from hwsim.config.experiment import ExperimentConfig
    from hwsim.models.golden import GoldenNetwork
    from hwsim.run.engine import Figures, StageRun


def work(run: StageRun) -> Figures:
    import numpy as np

    from hwsim.execute import Executor
    from hwsim.models.golden import GoldenNetwork
    from hwsim.models.inference import predict
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
        quantized = predict(trained_network(run), data.test_x)
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
