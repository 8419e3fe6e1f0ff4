"""Options that say how a network is mapped, shared by ``hwsim simulate`` and ``generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hwsim.config.accelerator import AcceleratorConfig, EnergyConfig

Model = TypeVar("Model", bound="BaseModel")

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

    base = load_experiment(config).accelerator if config else AcceleratorConfig()
    depth: Any = int(fifo_depth) if fifo_depth and fifo_depth.isdecimal() else fifo_depth
    options = {
        "frame_interval_cycles": frame_interval_cycles,
        "weights": weights,
        "fifo_depth": depth,
        "clock_mhz": clock_mhz,
    }
    return _override(base, options)


def energy_config(
    config: str | None, energy_table: str | None, voltage_v: float | None
) -> EnergyConfig:
    """The experiment's energy section, or the default one, with what the options say instead."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.config.accelerator import EnergyConfig

    base = load_experiment(config).energy if config else EnergyConfig()
    return _override(base, {"table": energy_table, "voltage_v": voltage_v})


def _override(base: Model, options: dict[str, Any]) -> Model:
    from hwsim.config.loader import validate_config

    given = {key: value for key, value in options.items() if value is not None}
    return validate_config({**base.model_dump(mode="json"), **given}, type(base), "options")
