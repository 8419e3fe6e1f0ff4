"""Voltages of single memories: cheaper than one for all, never below the bound, no mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.accelerator import build_pipeline, memory_list
from hwsim.execute import Executor
from hwsim.faults import VoltageError, load_technology
from hwsim.faults.statistics import StatisticsError
from hwsim.faults.study import Study
from hwsim.faults.voltages import search_voltages
from hwsim.network import (
    Alphabet,
    ArgMax,
    Flatten,
    GlobalAvgPool,
    Linear,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)

SRAM = load_technology("sram_14nm")
LEVELS = (0.75, 0.8, 0.85, 0.9, 0.95)


def study(count: int = 60) -> Study:
    """A network whose big first layer hardly matters: it only nudges what the head sums up."""
    rng = np.random.default_rng(4)
    channels = 16
    network = Network(
        "uneven",
        TensorType(channels, 4, 4, 4),
        (
            MuxConv2d(
                "conv",
                ("input",),
                rng.integers(0, 9, (channels, channels)),
                rng.integers(-8, 8, (channels, channels)),
                (3, 3),
                pad=(1, 1),
                alphabet=Alphabet("int4"),
            ),
            Requantize("quant", ("conv",), np.ones(channels, int), np.full(channels, 64), 4, 0, 15),
            GlobalAvgPool("pool", ("quant",)),
            Flatten("flat", ("pool",)),
            Linear("head", ("flat",), rng.integers(-128, 128, (5, channels))),
            ArgMax("label", ("head",)),
        ),
    )
    x = rng.integers(0, 16, (count, channels, 4, 4))
    labels = Executor(network).run(x)[:, 0, 0, 0]
    return Study(build_pipeline(network), SRAM, x, labels, ("weight",))


def energies(subject: Study) -> dict[str, float]:
    memories = memory_list(subject.pipeline)
    return {m.name: float(m.reads * m.bits) for m in memories if m.role == "weight"}


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_cheaper_than_one_voltage_and_within_the_bound(loss: float) -> None:
    subject = study()
    found = search_voltages(subject, energies(subject), LEVELS, chips=6, loss=loss)
    assert found.clean == 1.0
    assert found.levels == (*LEVELS, 1.0)
    for one in (found.uniform, found.best):
        assert one.accuracy.low >= 1 - loss
        assert set(one.voltages) == {"conv.weight", "head.weight"}
        total = sum(energies(subject).values())
        energy = sum(energies(subject)[n] * v**2 for n, v in one.voltages.items()) / total
        assert one.energy_rel_vmin == pytest.approx(energy)
    assert len(set(found.uniform.voltages.values())) == 1
    assert found.best.energy_rel_vmin <= found.uniform.energy_rel_vmin < 1
    assert all(len(row) == len(found.levels) and row[-1] == 1.0 for row in found.alone.values())


def test_memories_that_differ_get_voltages_that_differ() -> None:
    subject = study()
    found = search_voltages(subject, energies(subject), LEVELS, chips=6, loss=0.05)
    assert found.best.voltages["conv.weight"] != found.best.voltages["head.weight"]
    assert found.best.energy_rel_vmin < found.uniform.energy_rel_vmin


def test_mistakes_get_one_line() -> None:
    subject = study(4)
    with pytest.raises(StatisticsError, match=r"^chips must be at least 2, not 1$"):
        search_voltages(subject, energies(subject), LEVELS, chips=1)
    with pytest.raises(StatisticsError, match=r"must be between 0 and 1, not 1$"):
        search_voltages(subject, energies(subject), LEVELS, loss=1)
    with pytest.raises(VoltageError, match=r"^voltage must be 0\.75\.\..*, not 0\.6$"):
        search_voltages(subject, energies(subject), (0.6, 0.8))
