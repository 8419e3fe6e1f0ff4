"""Choosing lanes: the target is met with few lanes, and what cannot be mapped is explained."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.accelerator import simulate
from hwsim.accelerator.mapping import map_network
from hwsim.accelerator.plain import PipelineRecord
from hwsim.config.accelerator import AcceleratorConfig, FoldingConfig
from hwsim.errors import MappingError
from hwsim.network import (
    ArgMax,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)
from hwsim.testing import random_network


def _requantize(name: str, source: str, channels: int) -> Requantize:
    ones = np.ones(channels, np.int64)
    return Requantize(name, (source,), ones, 0 * ones, 2, 0, 15)


def network(groups: int = 1) -> Network:
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return rng.choice([-1, 1], shape)

    return Network(
        "net",
        TensorType(3, 8, 8, 8),
        (
            Conv2d("a", ("input",), 3 * weight(12, 3, 3, 3), pad=(1, 1)),
            _requantize("a_q", "a", 12),
            MuxConv2d(
                "b", ("a_q",), rng.integers(0, 9, (8, 12)), weight(8, 12), (3, 3), (2, 2), (1, 1)
            ),
            _requantize("b_q", "b", 8),
            Conv2d("c", ("b_q",), weight(8, 8 // groups, 1, 1), groups=groups),
            _requantize("c_q", "c", 8),
            GlobalAvgPool("pool", ("c_q",)),
            Linear("logits", ("pool",), weight(10, 8)),
            ArgMax("label", ("logits",)),
        ),
    )


def lanes(config: AcceleratorConfig) -> dict[str, tuple[int, int]]:
    folding = map_network(network(), config).folding
    return {name: (fold.pe, fold.simd) for name, fold in folding.items()}


def test_without_a_target_there_is_one_lane() -> None:
    assert lanes(AcceleratorConfig()) == dict.fromkeys(["a", "b", "c", "logits"], (1, 1))


@pytest.mark.parametrize("target", [64, 100, 192, 300, 1000, 10_000])
def test_targets_are_met(target: int) -> None:
    pipeline = map_network(network(), AcceleratorConfig(frame_interval_cycles=target))
    assert pipeline.ideal_interval <= target


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_reach_one_pixel_per_cycle(seed: int) -> None:
    """With all lanes every stage takes as many cycles as its larger map has pixels."""
    net = random_network(np.random.default_rng(seed))
    target = max(t.height * t.width for t in net.types.values())
    config = AcceleratorConfig(frame_interval_cycles=target, fifo_depth=64)
    assert map_network(net, config).ideal_interval == target


def test_given_folding_is_taken_as_it_is() -> None:
    config = AcceleratorConfig(
        frame_interval_cycles=400,
        weights="constant",
        folding={"b": FoldingConfig(pe=8, simd=5, weights="memory")},
    )
    folding = map_network(network(), config).folding
    assert (folding["b"].pe, folding["b"].simd, folding["b"].weights) == (8, 5, "memory")
    assert folding["a"].weights == "constant"


def test_depths() -> None:
    name = map_network(network(), AcceleratorConfig()).fifos[1].name
    pipeline = map_network(network(), AcceleratorConfig(fifo_depth=3, fifo_depths={name: 9}))
    depths = {fifo.name: fifo.depth for fifo in pipeline.fifos}
    assert depths.pop(name) == 9
    assert set(depths.values()) == {3}


def test_automatic_depths_cost_no_throughput() -> None:
    config = AcceleratorConfig(frame_interval_cycles=96)
    pipeline = map_network(network(), config)
    assert simulate(pipeline, 8).frame_interval_cycles == pipeline.ideal_interval == 96
    given = map_network(network(), config.model_copy(update={"fifo_depth": 64}))
    depths = [sum(fifo.depth for fifo in p.fifos) for p in (pipeline, given)]
    assert depths[0] < depths[1]


def test_mapping_survives_storage() -> None:
    pipeline = map_network(network(), AcceleratorConfig(frame_interval_cycles=200))
    again = PipelineRecord.model_validate(pipeline.to_plain()).restore(network())
    assert again.folding == pipeline.folding
    assert again.fifos == pipeline.fifos


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"frame_interval_cycles": 63},
            "op 'a': a frame every 63 cycles is out of reach: with all lanes it takes 64, "
            "the smallest possible interval",
        ),
        (
            {"frame_interval_cycles": 300, "folding": {"b": FoldingConfig()}},
            "op 'b': takes 1536 cycles a frame with the lanes that folding gives it, "
            "more than frame_interval_cycles (300)",
        ),
        (
            {"folding": {"b": FoldingConfig(pe=9)}},
            "op 'b': pe must be 1..8 (its outputs), not 9",
        ),
        (
            {"folding": {"b": FoldingConfig(simd=13)}},
            "op 'b': simd must be 1..12 (its channels), not 13",
        ),
        (
            {"folding": {"z": FoldingConfig()}},
            "folding: there is no stage 'z'; there are a, b, c, pool, logits, label",
        ),
        (
            {"folding": {"a_q": FoldingConfig()}},
            "folding: there is no stage 'a_q'; 'a_q' is done by the stage 'a': name that",
        ),
        (
            {"folding": {"logit": FoldingConfig()}},
            "folding: there is no stage 'logit'; there are a, b, c, pool, logits, label "
            "(did you mean 'logits'?)",
        ),
        (
            {"fifo_depths": {"a_q__c": 4}},
            "no FIFO is called 'a_q__c'; there are input__a, a_q__b, b_q__c, c_q__pool, "
            "pool__logits, logits__label, label__sink (did you mean 'b_q__c'?)",
        ),
    ],
)
def test_what_cannot_be_had_is_explained(config: dict, message: str) -> None:
    with pytest.raises(MappingError) as caught:
        map_network(network(), AcceleratorConfig(**config))
    assert str(caught.value) == message


def test_op_that_the_accelerator_does_not_have() -> None:
    with pytest.raises(MappingError) as caught:
        map_network(network(groups=2), AcceleratorConfig())
    assert str(caught.value) == (
        "op 'c': grouped convolution with 2 groups is not mapped; "
        "use groups 1, or as many groups as input and output channels"
    )
