"""Test images of a data set for a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hwsim.network import Network


def check_count(count: int | None, held: int, name: str) -> None:
    """Raise DataError if ``--images`` asks for more images than the data set has."""
    from hwsim.errors import DataError

    if count is not None and count > held:
        raise DataError(f"--images: must be 1..{held} (the test images of {name}), not {count}")


def labelled_images(
    network: Network, data: str, path: str | None, count: int | None
) -> tuple[str, np.ndarray, np.ndarray]:
    """(name of the set, inputs [images, C, H, W], labels [images]) of the first test images.

    count: None for all images. Raises DataError if the network reads images of another shape.
    """
    from hwsim.config.loader import validate_config
    from hwsim.config.training import DataConfig
    from hwsim.errors import DataError
    from hwsim.models.data import load_data
    from hwsim.models.inference import network_input

    values = {"set": data} | ({"path": path} if path else {})
    held = load_data(validate_config(values, DataConfig, "--data"))
    if held.shape != network.input.shape or network.input.signed or network.input.bits > 8:
        raise DataError(
            f"{held.name}: images are {list(held.shape)}, the network reads {network.input}"
        )
    check_count(count, len(held.test_x), held.name)
    x, y = held.test_x[:count], held.test_y[:count]
    return held.name, network_input(x, network.input.bits), y
