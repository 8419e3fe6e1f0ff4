"""Options that say how a network is mapped, shared by ``hwsim simulate`` and ``generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hwsim.config.accelerator import AcceleratorConfig, EnergyConfig
    from hwsim.schema import Key

Model = TypeVar("Model", bound="BaseModel")

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="EXPERIMENT",
        help="Experiment whose accelerator section is taken.",
    ),
]
Interval = Annotated[
    int | None,
    typer.Option("--frame-interval-cycles", help="Take the fewest lanes that keep this interval."),
]
Weights = Annotated[
    Literal["memory", "constant"] | None,
    typer.Option(help="Place of weights and taps: memories, or constants in the fabric."),
]
FifoDepth = Annotated[
    str | None, typer.Option(help="auto, or the depth of every FIFO in beats (1..65535).")
]
Clock = Annotated[float | None, typer.Option(help="Clock in MHz.")]


def accelerator_config(
    config: str | None,
    frame_interval_cycles: int | None,
    weights: str | None,
    fifo_depth: str | None,
    clock_mhz: float | None = None,
) -> AcceleratorConfig:
    """The accelerator of the experiment or the default one; options replace single values."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.config.accelerator import AcceleratorConfig

    base = load_experiment(config).accelerator if config else AcceleratorConfig()
    options = {
        "--frame-interval-cycles": frame_interval_cycles,
        "--weights": weights,
        "--fifo-depth": _depth(fifo_depth),
        "--clock-mhz": clock_mhz,
    }
    return _override(base, options)


def _depth(text: str | None) -> int | str | None:
    try:
        return text if text is None else int(text)
    except ValueError:
        return text


def energy_config(
    config: str | None, energy_table: str | None, voltage_v: float | None
) -> EnergyConfig:
    """The energy section of the experiment or the default one; options replace single values."""
    from hwsim.cli.experiment import load_experiment
    from hwsim.config.accelerator import EnergyConfig

    base = load_experiment(config).energy if config else EnergyConfig()
    return _override(base, {"--energy-table": energy_table, "--voltage-v": voltage_v})


_KEYS = {"--energy-table": "table"}
"""Options that are not called like the key they replace."""


def _override(base: Model, options: dict[str, Any]) -> Model:
    """``base`` with the options that were given; ConfigError names the option."""
    from hwsim.config.loader import validate_config

    given = {
        _KEYS.get(option, option.strip("-").replace("-", "_")): (option, value)
        for option, value in options.items()
        if value is not None
    }
    values = {**base.model_dump(mode="json"), **{key: value for key, (_, value) in given.items()}}
    places: dict[Key, str] = {(key,): option for key, (option, _) in given.items()}
    return validate_config(values, type(base), places=places)
