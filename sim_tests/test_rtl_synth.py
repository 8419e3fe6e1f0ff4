"""``hwsim synth`` on a very small accelerator: mapped, placed, routed and timed for real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hwsim.accelerator import build_pipeline
from hwsim.cli.main import app
from hwsim.network import MuxConv2d, Network, TensorType
from hwsim.rtl.emit import generate


def test_the_command_places_and_times_a_design(tmp_path: Path) -> None:
    op = MuxConv2d("conv", ("input",), np.array([[3]]), np.array([[-1]]), (2, 2))
    network = Network("n", TensorType(1, 2, 2, 2), (op,))
    pipeline = build_pipeline(network, depths=2)
    generate(pipeline, tmp_path / "design")
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "design"), "--json", "-q"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    written = json.loads((tmp_path / "design" / "synthesis.json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in written} == written
    assert written["target"] == "ecp5"
    resources, cells = written["resources"], written["cells"]
    assert resources["ff"] == cells["TRELLIS_FF"]
    luts = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
    assert resources["lut"] == sum(cells.get(name, 0) * each for name, each in luts.items())
    # Nothing needs a multiplier or a block memory; FIFOs this small lie in registers.
    assert (resources["dsp"], resources["bram"]) == (0, 0)
    assert sum(fifo.depth * fifo.stream.bits for fifo in pipeline.fifos) < resources["ff"] < 200
    path = written["slowest"]
    assert path["logic_ns"] > 0
    # The slowest path is what sets the clock; both figures are rounded.
    assert path["logic_ns"] + path["routing_ns"] == pytest.approx(
        1000 / written["fmax_mhz"], abs=0.03
    )
    registers = ("stage_conv.", "fifo_input__conv.", "fifo_conv__sink.")
    assert path["start"].startswith(registers)
    assert path["end"].startswith(registers)
