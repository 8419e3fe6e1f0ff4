"""``hwsim train``: the part of an experiment up to the integer network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hwsim.cli.common import Experiment, Json, Output, OutputFolder, Quiet, Settings, example
from hwsim.cli.experiment import bring_up_to_date, load_experiment, open_workspace, percent


@example("hwsim train fashion_mnist_mux -o runs/fashion")
def train(
    experiment: Experiment,
    settings: Settings = None,
    output: OutputFolder = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train, export and evaluate the network of an experiment.

    The folder gets network.hwnet; hwsim run on the same folder continues after the training. An
    interrupted training resumes at its last epoch and ends with the same weights.
    """
    from hwsim.cli.stages import STAGES
    from hwsim.cli.stages.names import NETWORK

    config = load_experiment(experiment, settings)
    out = Output("train", as_json=as_json, quiet=quiet)
    with open_workspace(config, output) as workspace:
        reports = bring_up_to_date(STAGES[:3], config, workspace, out)
    trained, evaluated = reports["train"].figures, dict(reports["evaluate"].figures)
    confusion = evaluated.pop("confusion")
    accuracy = {"float": trained["float"], "quantized": trained["quantized"], **evaluated}
    path = workspace.folder / NETWORK
    document: dict[str, Any] = {
        "seed": config.seed,
        "machine": trained["machine"],
        "accuracy": accuracy,
        "confusion": confusion,
        "network_sha256": reports["export"].figures["network_sha256"],
        "files": {"network": str(path)},
    }

    def people() -> Iterator[str]:
        if accuracy["float"] is not None:
            yield f"float twin {percent(accuracy['float'])}"
        yield f"quantized  {percent(accuracy['quantized'])}"
        yield f"integer    {percent(accuracy['integer'])}"
        yield f"agreement  {percent(accuracy['agreement'])} of the answers as in training"
        yield f"written to {path}"

    out.finish(document, people)
