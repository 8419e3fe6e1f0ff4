"""The integer network: all parts behind training see only this network (docs/ir.md)."""

from hwsim.network.lookups import lookup_of
from hwsim.network.network import INPUT, Network, verify
from hwsim.network.ops import (
    Add,
    ArgMax,
    AvgPool2d,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    Lookup,
    MaxPool2d,
    MuxConv2d,
    Op,
    Requantize,
    Weighted,
)
from hwsim.network.reference import evaluate
from hwsim.network.storage import SPEC_VERSION, load, network_hash, save
from hwsim.network.tabulate import hard_swish
from hwsim.network.types import MAX_BITS, Alphabet, TensorType, bits_for, tap_bits

__all__ = [
    "INPUT",
    "MAX_BITS",
    "SPEC_VERSION",
    "Add",
    "Alphabet",
    "ArgMax",
    "AvgPool2d",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Linear",
    "Lookup",
    "MaxPool2d",
    "MuxConv2d",
    "Network",
    "Op",
    "Requantize",
    "TensorType",
    "Weighted",
    "bits_for",
    "tap_bits",
    "evaluate",
    "hard_swish",
    "load",
    "lookup_of",
    "network_hash",
    "save",
    "verify",
]
