"""Options that say how a network is mapped, shared by ``hwsim simulate`` and ``generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hwsim.config.accelerator import AcceleratorConfig

Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", metavar="EXPERIMENT", help="Take the accelerator of an experiment."
    ),
]
Interval = Annotated[
    int | None,
    typer.Option("--frame-interval-cycles", help="Fewest lanes that keep this interval."),
]
Weights = Annotated[str | None, typer.Option(help="memory or constant.")]
FifoDepth = Annotated[str | None, typer.Option(help="auto, or beats of every FIFO.")]
Clock = Annotated[float | None, typer.Option(help="Clock in MHz.")]


def accelerator_config(
    config: str | None,
    frame_interval_cycles: int | None,
    weights: str | None,
    fifo_depth: str | None,
    clock_mhz: float | None = None,
) -> AcceleratorConfig:
    """The experiment's accelerator, or the default one, with what the options say instead."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.config.accelerator import AcceleratorConfig
    from hwsim.config.loader import validate_config

    base = load_experiment(config).accelerator if config else AcceleratorConfig()
    depth: Any = int(fifo_depth) if fifo_depth and fifo_depth.isdecimal() else fifo_depth
    options = {
        "frame_interval_cycles": frame_interval_cycles,
        "weights": weights,
        "fifo_depth": depth,
        "clock_mhz": clock_mhz,
    }
    given = {key: value for key, value in options.items() if value is not None}
    return validate_config({**base.model_dump(mode="json"), **given}, AcceleratorConfig, "options")
