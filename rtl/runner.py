"""Build and run the cocotb bench with Verilator or Icarus."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import Icarus, Runner, Verilator

from hwsim.jit import cache_folder
from hwsim.rtl import tools

SIMULATORS = ("verilator", "icarus")
BENCH = "bench"

# What Yosys writes is exact by its own rules and trips these, harmless as they are.
_LINT = "".join(
    f'lint_off -rule {rule} -file "*.v"\n'
    for rule in ("WIDTHEXPAND", "WIDTHTRUNC", "CASEOVERLAP", "UNSIGNED", "CMPCONST")
)
_TRACED = ("o__valid", "o__ready", "o__payload")


class _Verilator(Verilator):
    """Keeps public what the control file names, not every signal: builds are much faster."""

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(tools.verilator())

    def _build_command(self) -> list[list[str]]:
        translate, make = super()._build_command()
        translate = [word for word in translate if word != "--public-flat-rw"]
        # The run-time library is the same for every design, and most of the work for small ones.
        kept = _kept_runtime(self.build_dir, self.waves)
        objects = [str(path) for path in kept.glob("*.o")] if kept is not None else []
        reuse = [["cp", *objects, str(self.build_dir)]] if objects else []
        options = [f"{name}={value}" for name, value in tools.compiler(self.build_dir).items()]
        # The wheel leaves out how to name a precompiled header, which large designs have.
        options.append("CFG_CXXFLAGS_PCH_I=-include")
        options.append("OPT_FAST=-O1")  # the least time to build and run together
        return [translate, *reuse, [*make, *options]]


def _kept_runtime(folder: Path, waves: bool) -> Path | None:
    """Where the compiled run-time library is kept for builds like this; None without a cache."""
    compiler = Path(tools.compiler(folder)["CXX"]).name
    return cache_folder(f"run-time library of verilator {version('verilator')} {waves} {compiler}")


def _keep_runtime(folder: Path, waves: bool) -> None:
    """Keep the objects of the run-time library in ``folder`` for the next build."""
    kept = _kept_runtime(folder, waves)
    if kept is None:
        return
    for path in folder.glob("verilated*.o"):
        if not (kept / path.name).exists():
            part = kept / f"{path.name}.{os.getpid()}"
            shutil.copyfile(path, part)
            part.replace(kept / path.name)


def _control_file(ports: Sequence[str]) -> str:
    public = [f'public_flat_rw -module "{BENCH}" -var "{port}"' for port in ports]
    public += [f'public_flat_rd -module "accelerator_fifo_*" -var "{name}"' for name in _TRACED]
    return "`verilator_config\n" + _LINT + "\n".join(public) + "\n"


def build(
    simulator: str, folder: Path, sources: Sequence[Path], ports: Sequence[str], waves: bool
) -> bool:
    """Build the bench in ``folder`` unless it is there already; True when it was built.

    ports: names of the bench's ports. Raises ToolError when a tool is missing or fails; the
    full log is ``folder/build.log``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    control = _control_file(ports)
    what = hashlib.sha256(f"{simulator} {waves} {control} {_version(simulator)}".encode())
    for source in sources:
        what.update(source.read_bytes())
    stamp = folder / "built"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == what.hexdigest():
        return False
    stamp.unlink(missing_ok=True)
    runner = _runner(simulator)
    files = list(sources)
    if simulator == "verilator":
        (folder / "bench.vlt").write_text(control, encoding="utf-8")
        files.append(folder / "bench.vlt")
    log = folder / "build.log"
    try:
        runner.build(
            sources=files,
            hdl_toplevel=BENCH,
            build_dir=folder,
            always=True,
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
            build_args=["-O3"] if simulator == "verilator" else [],
        )
    except (RuntimeError, SystemExit):
        raise tools.ToolError(f"{simulator} could not build the bench: {_reason(log)}") from None
    if simulator == "verilator":
        _keep_runtime(folder, waves)
    stamp.write_text(what.hexdigest(), encoding="utf-8")
    return True


def test(simulator: str, folder: Path, job: Path, waves: bool) -> dict[str, str | None]:
    """Run the cocotb tests on the build in ``folder``; results by test name.

    A result is None when the test passed, else what went wrong; skipped tests are left out.
    Raises ToolError when the simulator ended without results; the log is ``job/test.log``.
    """
    log, results = job / "test.log", job / "results.xml"
    # Failing tests end like this under pytest; what counts is in the results.
    with suppress(RuntimeError, SystemExit):
        _runner(simulator).test(
            test_module="hwsim.rtl.cosim",
            hdl_toplevel=BENCH,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=job,
            results_xml=str(results.resolve()),
            waves=waves,
            extra_env={"HWSIM_COSIM": str(job.resolve()), "COCOTB_LOG_LEVEL": "WARNING"},
            log_file=log,
        )
    if not results.is_file():
        raise tools.ToolError(f"{simulator} ended without results: {_reason(log)}")
    outcome: dict[str, str | None] = {}
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        name = str(case.get("name")).rsplit(".", 1)[-1]
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        if bad is not None:
            outcome[name] = bad.get("message") or bad.get("error_msg") or bad.text or "failed"
        elif case.find("skipped") is None:
            outcome[name] = None
    return outcome


def waves_file(simulator: str, folder: Path, job: Path) -> Path:
    """Where the simulator leaves its waveforms."""
    return job / "dump.vcd" if simulator == "verilator" else folder / f"{BENCH}.fst"


def _version(simulator: str) -> str:
    return version("verilator") if simulator == "verilator" else ""


def _runner(simulator: str) -> Runner:
    if simulator == "verilator":
        tools.verilator()
        runner: Runner = _Verilator()
    else:
        tools.icarus()
        runner = Icarus()
    runner.log.setLevel(logging.CRITICAL)
    return runner


def _reason(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    errors = [line.strip() for line in lines if "rror" in line]
    return f"{errors[0] if errors else 'no message'} (log: {log})"
