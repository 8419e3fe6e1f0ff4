"""The data set of an experiment, and its test images as a network reads them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hwsim.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from hwsim.config.experiment import ExperimentConfig
    from hwsim.config.training import DataConfig
    from hwsim.models.data import Dataset


@lru_cache(maxsize=1)
def dataset(config: DataConfig) -> Dataset:
    """The data set of ``config``, loaded once per process."""
    from hwsim.models.data import load_data

    return load_data(config)


def network_images(config: ExperimentConfig, count: int) -> np.ndarray:
    """The first ``count`` test images as network inputs, integers [count, C, H, W]."""
    from hwsim.models.inference import network_input

    return network_input(dataset(config.data).test_x[:count], config.model.input_bits)


def check_images(config: ExperimentConfig, data: Dataset) -> None:
    """Raise ConfigError if more images are to be verified than the data set has."""
    count = config.verification.images
    if count > len(data.test_x):
        raise ConfigError(
            f"must be 1..{len(data.test_x)} (the test images of {data.name}), not {count}",
            key="verification.images",
        )
