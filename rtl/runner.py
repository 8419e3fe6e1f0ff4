"""Build and run the cocotb bench with Verilator or Icarus."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools
from cocotb_tools.runner import Icarus, Runner, Verilator

from hwsim.files import remove
from hwsim.jit import cache_folder
from hwsim.rtl import tools

try:
    import fcntl
except ImportError:  # no POSIX locks on this system
    fcntl = None  # type: ignore[assignment]

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


@contextmanager
def build(
    simulator: str, sources: Mapping[str, str], ports: Sequence[str], waves: bool
) -> Iterator[Build]:
    """The bench, built from the texts in ``sources`` (by file name), while the context lasts.

    ports: names of the bench's ports. Builds lie in the user's cache, in folders that are named
    by all that they are built from, and nothing else is ever executed; without a cache, or where
    its path is none for ``make``, in a temporary folder. Raises ToolError with the tool's message
    when a tool is missing or fails.
    """
    control = _control_file(ports)
    what = [simulator, _version(simulator), str(waves), control, *_linked()]
    what += [f"{name}\n{text}" for name, text in sorted(sources.items())]
    digest = hashlib.sha256("\0".join(what).encode()).hexdigest()
    # Icarus writes waveforms to the build's folder, so that only one run may use it.
    kept = None if waves else cache_folder(f"build of the bench {digest}")
    with ExitStack() as stack:
        if kept is not None and safe_path(kept):
            folder = kept
        else:
            folder = stack.enter_context(scratch_folder())
        stamp = folder / "built"
        with _locked(folder):
            fresh = not stamp.is_file()
            if fresh:
                _make(simulator, folder, sources, control, waves)
                stamp.touch()
        yield Build(folder, fresh)


def _linked() -> tuple[str, str]:
    """What a build is linked to, where it lies: cocotb's libraries in this environment."""
    return version("cocotb"), str(Path(cocotb_tools.__file__).resolve().parent)


@dataclass(frozen=True)
class Build:
    """Where the bench was built; fresh: just now, not taken from the cache."""

    folder: Path
    fresh: bool


_SAFE = re.compile(r"[A-Za-z0-9/._+@-]+")


def safe_path(path: Path) -> bool:
    """Whether ``make``, which knows no quotes, can work in ``path``."""
    return _SAFE.fullmatch(str(path.absolute())) is not None


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder whose path any tool can work in."""
    places = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
    base = next((p for p in places if safe_path(p) and os.access(p, os.W_OK)), None)
    if base is None:
        raise tools.ToolError(
            f"{places[0]}: simulators cannot be built in such a path; set TMPDIR to one of "
            "letters, digits and . _ + @ - /"
        )
    with tempfile.TemporaryDirectory(dir=base, prefix="hwsim-") as folder:
        yield Path(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time builds in ``folder``."""
    with (folder / ".lock").open("wb") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(
    simulator: str, folder: Path, sources: Mapping[str, str], control: str, waves: bool
) -> None:
    """Build the bench in ``folder``."""
    runner = _runner(simulator)
    files = []
    for name, text in sources.items():
        files.append(folder / name)
        files[-1].write_text(text, encoding="utf-8")
    if simulator == "verilator":
        files.append(folder / "bench.vlt")
        files[-1].write_text(control, encoding="utf-8")
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
    except (RuntimeError, SystemExit) as error:
        reason = _reason(log) or str(error)
        raise tools.ToolError(f"{simulator} could not build the bench: {reason}") from None
    if simulator == "verilator":
        _keep_runtime(folder, waves)
        for path in folder.iterdir():  # the program stands for itself
            if path.name not in (BENCH, ".lock"):
                remove(path)


def test(simulator: str, folder: Path, job: Path, waves: bool) -> dict[str, str | None]:
    """Run the cocotb tests on the build in ``folder``; results by test name.

    A result is None when the test passed, else what went wrong; skipped tests are left out.
    Raises ToolError with the simulator's message when it ended without results.
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
        reason = _reason(log) or "no message"
        raise tools.ToolError(f"{simulator} ended without results: {reason}")
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
    """The first error in a log, else its last line; empty when nothing was written."""
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines[-1:] or [""])[0].replace(f"{log.parent}/", "")
