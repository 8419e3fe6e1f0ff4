"""Makes the files of this folder: ``python sim_tests/golden/make.py`` after a format changed.

One small file of each format, as today's writers write it. ``test_files_golden.py`` reads them,
and makes them again: a file that comes out otherwise is a change that users' files see too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support.report_folder import write_folder  # noqa: E402
from support.small_study import own_answers, small_pipeline  # noqa: E402

from hwsim.accelerator import Fold, Prices, build_pipeline  # noqa: E402
from hwsim.config.energy_table import EnergyTable  # noqa: E402
from hwsim.config.loader import load_config  # noqa: E402
from hwsim.faults import design_faults  # noqa: E402
from hwsim.faults.design import memory_protections, memory_shapes  # noqa: E402
from hwsim.files import write_json  # noqa: E402
from hwsim.lowvoltage import FaultMap, load_technology  # noqa: E402
from hwsim.models.checkpoint import save_checkpoint  # noqa: E402
from hwsim.network import (  # noqa: E402
    INPUT,
    Alphabet,
    ArgMax,
    Flatten,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
    save,
)
from hwsim.progress import NoProgress  # noqa: E402
from hwsim.rtl.emit import generate  # noqa: E402
from hwsim.run.workspace import Workspace  # noqa: E402
from hwsim.studies.campaign import CampaignPlan, Names, measure_faults  # noqa: E402
from hwsim.studies.statistics import StopRule  # noqa: E402
from hwsim.studies.study import ChipRecords, Study  # noqa: E402


def network() -> Network:
    """Arrays at the ends of every type that files have, and one step beyond them."""
    ops = (
        MuxConv2d(
            "mux", (INPUT,), np.array([[0, 8], [4, 2]]), np.array([[1, -1], [0, 1]]), (3, 3),
            pad=(1, 1), alphabet=Alphabet("ternary"),
        ),
        Requantize(
            "q8", ("mux",), np.array([-128, 127]), np.array([-32768, 32767]), 8, 0, 15
        ),
        Requantize(
            "q16", ("q8",), np.array([-129, 127]), np.array([-(2**31), 2**31 - 1]), 28, -8, 7
        ),
        Requantize(
            "q32", ("q16",), np.array([128, -32769]), np.array([-(2**31) - 1, 2**31]), 30, 0, 3
        ),
        Flatten("flat", ("q32",)),
        Linear("fc", ("flat",), np.array([[-128, 127] * 4, [-127, 126] * 4])),
        ArgMax("answer", ("fc",)),
    )  # fmt: skip
    notes = {"text": "naïve", "scales": [0.5, 1e-3], "seed": 3, "none": None, "yes": True}
    return Network("golden: naïve", TensorType(2, 2, 2, 4), ops, notes)


class Toy:
    """A stage for ``state.json``."""

    name, outputs, schema = "toy", ("toy.txt",), None


def make(folder: Path) -> None:
    """Write every file into ``folder``."""
    net = network()
    save(net, folder / "network.hwnet")

    work = Workspace(folder / "run", "golden", [Toy()])
    with work.locked():
        (work.begin("toy", 64 * "a", resumable=False) / "toy.txt").write_text("toy\n")
        work.finish("toy", 64 * "a", Toy.outputs, {"share": 0.5}, 1.25)
    for name in ("toy.txt", ".lock"):
        (folder / "run" / name).unlink()

    pipeline = build_pipeline(net, {"mux": Fold(2, 1)}, 40)
    write_json(folder / "simulation.json", {"design": pipeline.to_plain()})
    cells = (np.arange(64 * 8).reshape(64, 8) % 7 == 0).astype(np.int8)
    whole = FaultMap(load_technology("sram_14nm"), cells, reads=cells - 1)
    memories = ("weight",)
    shapes = memory_shapes(pipeline, memory_protections(pipeline, memories))
    faults = design_faults(pipeline, whole.laid_out(shapes, 1), 0.05, memories)
    images = np.arange(16).reshape(2, 2, 2, 2)
    generate(pipeline, folder / "verilog", images, np.array([0, 1]), faults=faults)
    for name in ("accelerator.v", "network.hwnet"):
        (folder / "verilog" / name).unlink()

    state = {"weight": torch.arange(-2, 2).float()}
    save_checkpoint(folder / "final.pt", {"model": state})

    write_folder(folder / "report", pipeline)
    (folder / "report" / "network.hwnet").unlink()

    small, x_labels = small_pipeline(), own_answers(small_pipeline().network)
    records = folder / "faults.jsonl"
    records.unlink(missing_ok=True)
    found = measure_faults(
        [Study(small, load_technology("sram_14nm"), *x_labels, ("weight",))],
        CampaignPlan((0.85, 0.9), StopRule.fixed(2)),
        Prices(load_config("cmos_45nm", EnergyTable, "energy")),
        100.0,
        Names("sram_14nm", "mine", "cmos_45nm"),
        ChipRecords(records),
        NoProgress(),
    )
    write_json(folder / "faults.json", found.model_dump(mode="json"))


if __name__ == "__main__":
    import shutil

    for path in HERE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    make(HERE)
