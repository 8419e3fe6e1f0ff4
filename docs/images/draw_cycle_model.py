"""Draw the figure of docs/cycle-model.md: one stage and its dates, and a pipeline at work.

python docs/images/draw_cycle_model.py docs/images/cycle-model.svg
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Patch

from hwsim.accelerator import Fold, Pipeline, build_pipeline, smallest_depths
from hwsim.accelerator.timeline import timeline
from hwsim.network import (
    Alphabet,
    ArgMax,
    Flatten,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)

BUSY, BLOCKED, STARVED = "#2f6db3", "#d9822b", "#e8eaed"
INK = "#1f2328"


def example() -> Pipeline:
    """Multiplexer convolution, pool, classifier on 12x12 images, at 576 cycles a frame."""
    rng = np.random.default_rng(0)
    ops = (
        MuxConv2d(
            "conv1", ("input",), rng.integers(0, 9, (8, 1)), rng.choice([-1, 1], (8, 1)),
            (3, 3), (1, 1), (1, 1),
        ),
        Requantize("q1", ("conv1",), np.full(8, 1), np.full(8, 0), 0, 0, 15),
        MaxPool2d("pool", ("q1",), (2, 2), (2, 2)),
        MuxConv2d(
            "conv2", ("pool",), rng.integers(0, 9, (16, 8)), rng.choice([-1, 1], (16, 8)),
            (3, 3), (1, 1), (1, 1),
        ),
        Requantize("q2", ("conv2",), np.full(16, 1), np.full(16, 0), 2, 0, 15),
        Flatten("flat", ("q2",)),
        Linear("fc", ("flat",), rng.integers(-8, 8, (10, 576)), Alphabet("int4")),
        ArgMax("answer", ("fc",)),
    )  # fmt: skip
    network = Network("example", TensorType(1, 12, 12, 4), ops)
    folding = {"conv1": Fold(2, 1), "conv2": Fold(4, 2), "fc": Fold(5, 4)}
    pipeline = build_pipeline(network, folding)
    return pipeline.with_depths(smallest_depths(pipeline))


def block(
    axes: Axes, x: float, y: float, text: str, width: float = 1.5, face: str = "#f6f8fa"
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, 0.8, boxstyle="round,pad=0.02,rounding_size=0.08", fc=face, ec="#57606a"
        )
    )
    axes.text(x + width / 2, y + 0.4, text, ha="center", va="center", fontsize=9, color=INK)


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0
) -> None:
    style = {"arrowstyle": "-|>", "color": "#57606a", "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def draw_stage(axes: Axes) -> None:
    """Schematic of a stage with the dates of the contract."""
    axes.set_xlim(0, 12.4)
    axes.set_ylim(-0.5, 3.2)
    axes.axis("off")
    block(axes, 0.2, 1.0, "input FIFO", face="#ddf4ff")
    block(axes, 3.0, 1.0, "ring of rows", face="#fff8c5")
    block(axes, 6.0, 1.0, "datapath\n(never stalls)", 2.0)
    block(axes, 9.6, 1.0, "output FIFO", face="#ddf4ff")
    block(axes, 5.0, 2.3, "controller", face="#f6f8fa")
    arrow(axes, (1.75, 1.4), (2.95, 1.4))
    axes.text(2.35, 1.5, "accept(j)", ha="center", fontsize=8.5)
    arrow(axes, (4.55, 1.4), (5.95, 1.4))
    axes.text(5.25, 1.5, "start(u)", ha="center", fontsize=8.5)
    arrow(axes, (8.05, 1.4), (9.55, 1.4))
    axes.text(8.8, 1.5, "+ latency", ha="center", fontsize=8.5)
    arrow(axes, (11.15, 1.4), (12.3, 1.4))
    axes.text(11.75, 1.5, "pop(t)", ha="center", fontsize=8.5)
    arrow(axes, (3.9, 1.85), (5.0, 2.6), -0.2)
    axes.text(3.35, 2.45, "need(u) is in", ha="center", fontsize=8.5)
    arrow(axes, (6.55, 2.6), (7.0, 1.85), -0.2)
    arrow(axes, (10.4, 1.85), (6.55, 2.85), 0.2)
    axes.text(9.4, 2.95, "credit: pop(t - depth) + 1", ha="center", fontsize=8.5)
    arrow(axes, (6.9, 0.95), (3.8, 0.95), -0.35)
    axes.text(5.35, -0.05, "slot free: start(last window on it) + 1", ha="center", fontsize=8.5)
    axes.set_title("One stage: nothing else than these dates can delay it", fontsize=10, loc="left")


def draw_run(axes: Axes) -> None:
    """Busy, blocked and starved shares of every stage over three frames."""
    pipeline = example()
    shown = timeline(pipeline, frames=3, bins=200)
    edges = shown.first_cycle + np.arange(shown.busy.shape[1] + 1) * shown.bin_cycles
    for row, name in enumerate(shown.names):
        # The axis points down: layers are stacked upwards from the row's lower edge.
        axes.barh(row, edges[-1], 0.8, color=STARVED)
        level = np.full(len(edges) - 1, row + 0.4)
        for part, colour in ((shown.busy[row], BUSY), (shown.blocked[row], BLOCKED)):
            if part.any():
                share = 0.8 * part / shown.bin_cycles
                axes.stairs(level - share, edges, baseline=level, color=colour, fill=True)
                level = level - share
        axes.text(-25, row, name, ha="right", va="center", fontsize=8.5)
    for frame, date in enumerate(shown.frame_last_output):
        axes.axvline(date, color=INK, lw=0.8, ls=":")
        axes.text(date, -0.75, f"frame {frame} out\n{date}", ha="right", va="bottom", fontsize=7.5)
    axes.set_ylim(len(shown.names) - 0.4, -1.6)
    axes.set_xlim(0, shown.last_cycle + 5)
    axes.set_yticks([])
    axes.set_xlabel("cycle", fontsize=9)
    axes.tick_params(labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    parts = ((BUSY, "busy"), (BLOCKED, "blocked by a full FIFO"), (STARVED, "starved"))
    axes.legend(
        handles=[Patch(color=c, label=t) for c, t in parts], ncols=3, fontsize=8, frameon=False,
        loc="upper center", bbox_to_anchor=(0.5, -0.13),
    )  # fmt: skip
    title = (
        f"Three frames, one every {pipeline.ideal_interval} cycles (share of cycles in each bin)"
    )
    axes.set_title(title, fontsize=10, loc="left")


def main(target: str) -> None:
    plt.rcParams.update({"svg.hashsalt": "hwsim", "svg.fonttype": "none"})
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6.4), height_ratios=[1, 1.5])
    draw_stage(top)
    draw_run(bottom)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})
    # A hundredth of a pixel is more than anyone sees.
    path = Path(target)
    path.write_text(
        re.sub(r"(\d+\.\d\d)\d+", r"\1", path.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    main(sys.argv[1])
