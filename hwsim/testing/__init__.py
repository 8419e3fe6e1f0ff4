"""What tests whoever adds to hwsim: an op, a fault, a design, a back end."""

from hwsim.testing.conformance import ROWS, Conformance, Row
from hwsim.testing.extreme_networks import extreme_network
from hwsim.testing.pipelines import random_depths, random_folding, random_pipeline
from hwsim.testing.random_networks import ALPHABETS, Limits, random_input, random_network

__all__ = [
    "ALPHABETS",
    "ROWS",
    "Conformance",
    "Limits",
    "Row",
    "extreme_network",
    "random_depths",
    "random_folding",
    "random_input",
    "random_network",
    "random_pipeline",
]
