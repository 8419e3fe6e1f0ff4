"""The content of an experiment's folder, for its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hwsim.accelerator import Pipeline, simulate
from hwsim.errors import MappingError, StorageError
from hwsim.files import inside, read_json
from hwsim.history import History
from hwsim.network import Network, load, network_hash
from hwsim.report.templates import render
from hwsim.result import Result, load_result
from hwsim.studies.result import FAULTS, FaultsResult, load_faults
from hwsim.synthesis import SYNTHESIS, Synthesis

RESULT = "result.json"
HISTORY = Path("train") / "history.json"


@dataclass(frozen=True)
class Report:
    """What the sections draw from.

    history: records of each epoch by what was trained (``network``, ``float``); empty where the
    folder has none. faults: what ``hwsim faults`` found for this network, synthesis: what
    ``hwsim synth`` found for this Verilog; None where they were not asked.
    """

    result: Result
    network: Network
    pipeline: Pipeline
    history: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: FaultsResult | None = None
    synthesis: Synthesis | None = None

    def render(self, template: str, **values: Any) -> Markup:
        """A template of this package, filled in."""
        return render(template, report=self, r=self.result, t=self.result.accelerator, **values)


def read_report(folder: Path | str) -> Report:
    """Result, network and the pipeline that the result describes; raises StorageError."""
    folder = Path(folder)
    result = load_result(folder / RESULT)
    path = inside(folder, result.files.network)
    network = load(path)
    if network_hash(network) != result.network_sha256:
        raise StorageError(f"{path}: is not the network of {folder / RESULT}")
    return Report(
        result,
        network,
        _pipeline(result, network),
        _history(folder / HISTORY),
        _faults(folder / FAULTS, result.network_sha256),
        _synthesis(
            inside(folder, result.files.verilog) / SYNTHESIS, result.accelerator.verilog_sha256
        ),
    )


def _synthesis(path: Path, verilog_sha256: str) -> Synthesis | None:
    """Nothing where there is none, or of other Verilog."""
    found = read_json(path, Synthesis) if path.exists() else None
    return found if found is not None and found.verilog_sha256 == verilog_sha256 else None


def _faults(path: Path, network_sha256: str) -> FaultsResult | None:
    """Nothing where there is none; none of an earlier network of the folder either."""
    found = load_faults(path) if path.exists() else None
    return found if found is not None and found.network_sha256 == network_sha256 else None


def _pipeline(result: Result, network: Network) -> Pipeline:
    """The pipeline that ``result`` describes; its cycles must be the result's."""
    target = result.accelerator
    stated = target.cycles
    try:
        pipeline = target.design.restore(network)
    except MappingError as error:
        raise StorageError(f"{RESULT}: {error}") from None
    seen = simulate(pipeline, stated.frames)
    if (seen.first_output_cycles, seen.frame_interval_cycles) != (
        stated.first_output_cycles,
        stated.frame_interval_cycles,
    ):
        raise StorageError(
            f"{RESULT}: its cycles are those of another version of hwsim; run the experiment again"
        )
    return pipeline


def _history(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Training history, or nothing where there is none."""
    if not path.exists():
        return {}
    return read_json(path, History).model_dump()
