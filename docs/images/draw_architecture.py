"""Draw the picture of docs/architecture.md.

python docs/images/draw_architecture.py docs/images/architecture.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from markupsafe import Markup

from hwsim.report.svg import box, drawing, el, label

WIDTH, HEIGHT = 1000, 542
COLUMN, ROW = 248, 134
BOX_WIDTH, BOX_HEIGHT = 208, 78

# Column, row, colour, what it is called, what it does.
BOXES = {
    "configs": (0, 0, "f5", "configs/", "YAML: experiments, tables,", "memory technologies"),
    "models": (1, 0, "f3", "models/", "PyTorch: train, prune,", "quantize, export"),
    "network": (2, 0, "f4", "network.hwnet", "hwsim.network: typed ops,", "integers only"),
    "mapping": (3, 0, "f0", "hwsim.accelerator", "stages, FIFOs, a timing", "contract for each"),
    "golden": (0, 1, "f3", "models/golden.py", "the integers,", "evaluated by torch"),
    "reference": (1, 1, "f4", "reference.py", "hwsim.network: the meaning", "of every op"),
    "execute": (2, 1, "f0", "hwsim.execute", "numba, narrow accumulators,", "all test images"),
    "faults": (1, 2, "f0", "lowvoltage, faults", "which cells fail; what a", "design makes of it"),
    "cycles": (2, 2, "f0", "cycles, memories", "exact cycles (numba), one", "memory list, energy"),
    "rtl": (3, 2, "f2", "rtl/", "Amaranth: one component", "for each kind of stage"),
    "report": (0, 3, "f0", "hwsim.report", "report.html", ""),
    "run": (1, 3, "f0", "hwsim.run", "nothing is done twice;", "result.json"),
    "verify": (2, 3, "f2", "rtl/verify.py", "cocotb on the Verilog,", "real images, pauses"),
    "verilog": (3, 3, "f2", "accelerator.v", "plain Verilog, manifest,", "test vectors"),
}  # fmt: skip


def corner(name: str) -> tuple[float, float]:
    column, row = BOXES[name][:2]
    return 24 + COLUMN * column, 44 + ROW * row


def draw() -> Markup:
    parts: list[Markup] = [
        label(24, 24, "From PyTorch to verified Verilog: where each thing lives", "l b"),
        *arrows(),
        *legend(),
    ]
    for name, (_, _, class_, title, *lines) in BOXES.items():
        x, y = corner(name)
        parts += [
            box(x, y, BOX_WIDTH, BOX_HEIGHT, "card", rx=5),
            box(x, y, 6, BOX_HEIGHT, class_, rx=2),
            label(x + 18, y + 25, title, "l b"),
            *(label(x + 18, y + 46 + 16 * n, text, "m") for n, text in enumerate(lines) if text),
        ]
    return drawing(parts, WIDTH, HEIGHT, "Architecture of hwsim", alone=True)


def arrows() -> list[Markup]:
    """Data flow, and where two worlds must be equal."""
    parts = [
        *right("configs", "models"),
        *right("models", "network"),
        *right("network", "mapping"),
        *down("mapping", "rtl"),
        *down("rtl", "verilog"),
        *left("cycles", "faults"),
        *left("verilog", "verify"),
        *left("verify", "run"),
        *left("run", "report"),
    ]
    # The network goes to the three worlds below it ...
    x, y = corner("network")
    low = y + BOX_HEIGHT
    parts.append(edge(f"M{x + 104} {low}V{low + 24}"))
    for name in ("golden", "reference", "execute"):
        at, top = corner(name)
        parts.append(edge(f"M{x + 104} {low + 24}H{at + 104}V{top - 5}"))
        parts.append(tip(at + 104, top, "down"))
    for a in ("golden", "reference"):
        at, top = corner(a)
        parts.append(label(at + BOX_WIDTH + 20, top + 44, "=", "l b mid"))
    at, top = corner("reference")
    parts.append(label(at + 104, top + BOX_HEIGHT + 20, "equal in every tensor", "s m mid"))
    # ... and the mapped stages to the cycle model.
    x, y = corner("mapping")
    at, top = corner("cycles")
    parts.append(edge(f"M{x + 60} {y + BOX_HEIGHT}V{top - 22}H{at + 150}V{top - 5}"))
    parts.append(tip(at + 150, top, "down"))
    parts.append(
        label(at + 104, top + BOX_HEIGHT + 33, "=  equal in every output and cycle", "s b mid")
    )
    return parts


def legend() -> list[Markup]:
    """Who may import what, by colour."""
    x, y = corner("golden")[0], corner("cycles")[1] + 14
    parts = []
    for class_, text in (
        ("f3", "PyTorch ends at network.hwnet"),
        ("f4", "the network and its meaning"),
        ("f0", "no PyTorch, no Amaranth"),
        ("f2", "hardware, its simulation"),
    ):
        parts += [box(x, y - 10, 12, 12, class_, rx=2), label(x + 20, y, text, "m")]
        y += 22
    return parts


def edge(path: str) -> Markup:
    return el("path", d=path, class_="edge")


def tip(x: float, y: float, way: str) -> Markup:
    shape = {"right": "l-7 -3.5v7z", "left": "l7 -3.5v7z", "down": "l-3.5 -7h7z"}[way]
    return el("path", d=f"M{x} {y}{shape}", class_="tip")


def right(a: str, b: str) -> list[Markup]:
    (x, y), (end, _) = corner(a), corner(b)
    y += BOX_HEIGHT / 2
    return [edge(f"M{x + BOX_WIDTH} {y}H{end - 5}"), tip(end, y, "right")]


def left(a: str, b: str) -> list[Markup]:
    (x, y), (end, _) = corner(a), corner(b)
    y += BOX_HEIGHT / 2
    return [edge(f"M{x} {y}H{end + BOX_WIDTH + 5}"), tip(end + BOX_WIDTH, y, "left")]


def down(a: str, b: str) -> list[Markup]:
    (x, y), (_, end) = corner(a), corner(b)
    x += BOX_WIDTH / 2
    return [edge(f"M{x} {y + BOX_HEIGHT}V{end - 5}"), tip(x, end, "down")]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw() + "\n", encoding="utf-8")
