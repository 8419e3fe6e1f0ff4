"""The faults of a design: which cells of which memories fail, and what words are made of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hwsim.accelerator import Pipeline, build_pipeline, memory_list
from hwsim.accelerator.fields import (
    decode_constants,
    decode_tables,
    decode_weights,
    memory_fields,
    store_fields,
    stored_fields,
)
from hwsim.design.bits import bits_to_ints
from hwsim.design.roles import STORES, Role
from hwsim.errors import StorageError
from hwsim.faults import design_faults
from hwsim.faults.description import FaultRecord, describe_faults, fault_arrays, restore_faults
from hwsim.faults.design import memory_protections, memory_shapes
from hwsim.lowvoltage import ChipError, FaultList, FaultMap, VoltageError, load_technology
from hwsim.lowvoltage.map import Holds
from hwsim.lowvoltage.protection import parse_protection
from hwsim.lowvoltage.transient import transient_key
from hwsim.network import Alphabet, MuxConv2d, Network, TensorType
from hwsim.testing import Limits, random_pipeline
from hwsim.testing.faulty import chip, residual_pipeline

LIMITS = Limits(channels=5, size=6)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return residual_pipeline()


def pipelines(count: int) -> list[Pipeline]:
    drawn = (random_pipeline(seed, LIMITS, 2) for seed in range(count))
    return [pipeline for pipeline in drawn if pipeline is not None]


@pytest.mark.parametrize("pipeline", pipelines(20))
def test_fields_are_the_words(pipeline: Pipeline) -> None:
    for memory in memory_list(pipeline):
        fields = memory_fields(pipeline, memory)
        assert (len(fields.real), fields.bits) == (memory.words, memory.bits)
        if memory.role not in STORES:
            continue
        stage = pipeline.stage(memory.layer)
        stored = stored_fields(stage, memory.role)
        bits = fields.pack(stored)
        assert np.array_equal(fields.unpack(bits), stored)
        assert bits_to_ints(bits) == pipeline.image(memory)
        if memory.role == "weight":
            weight, tap = decode_weights(stage, stored)
            assert np.array_equal(weight, stage.op.weight)
            assert tap is None or np.array_equal(tap, stage.op.tap)
        elif memory.role == "table":
            table = decode_tables(stage, stored)
            assert np.array_equal(table, np.broadcast_to(stage.lookup.table, table.shape))
            assert len(table) == pipeline.network.types[stage.lookup.name].channels
        else:
            multiplier, bias = decode_constants(stage, stored)
            assert np.array_equal(multiplier, stage.requantize.multiplier)
            assert np.array_equal(bias, stage.requantize.bias)


def test_cells_of_padding_lanes_do_not_fail(pipeline: Pipeline) -> None:
    faults = design_faults(pipeline, chip("flip", 1), 1.0)
    stage = pipeline.stage("conv2")
    real = store_fields(stage, "weight").real_bits()
    found = faults.memories["conv2.weight"].faults
    # Groups of 3 and 3 of 5 outputs, steps of 2, 2 and 2 of 5 inputs.
    assert real.sum() == 5 * 5 * (4 + 2) < real.size
    assert len(found) == real.sum()
    assert real[found.word, found.bit].all()
    window = faults.memories["conv2.window"]
    lanes = window.memory.bits // 3
    assert lanes == 2
    # In the last of three beats of a pixel, the second lane is no channel.
    assert len(window.faults) == window.memory.size_bits * 5 // 6
    assert len(faults.memories["fifo.input__conv1"].faults) == 5 * 2 * 4


def test_the_chip_decides(pipeline: Pipeline) -> None:
    faults = design_faults(pipeline, chip("preferred", 3), 0.1, ["fifo"])
    assert {m.memory.role for m in faults.memories.values()} == {"fifo"}
    assert len(faults) == sum(len(m.faults) for m in faults.memories.values()) > 0
    for name, found in faults.memories.items():
        asked = chip("preferred", 3).faults_at(name, found.memory.words, found.memory.bits, 0.1)
        for key in ("word", "bit", "reads"):
            assert np.array_equal(getattr(found.faults, key), getattr(asked, key))


def test_rates_by_name_layer_and_role(pipeline: Pipeline) -> None:
    rates = {"conv1": 0.1, "conv1.weight": 0.2, "fifo": 0.3, "source": 0.4, "weight": 0.5}
    used = design_faults(pipeline, chip("flip", 0), rates).probability
    assert used["conv1.weight"] == 0.2
    assert used["conv1.window"] == 0.1
    assert used["fifo.input__conv1"] == 0.4
    assert used["conv2.weight"] == 0.5
    assert used["fifo.top__sink"] == 0.3
    assert "conv2.window" not in used


def test_banks_have_keys_of_their_own(pipeline: Pipeline) -> None:
    faults = design_faults(pipeline, chip("transient_flip", 5), 0.2)
    keys = faults.memories["conv1.window"].keys
    assert keys == tuple(transient_key(5, "conv1.window", bank) for bank in range(9))
    assert faults.memories["conv1.weight"].keys == (transient_key(5, "conv1.weight"),)


def test_taps_that_do_not_exist_select_nothing() -> None:
    op = MuxConv2d("conv", ("input",), [[0]], [[1]], (3, 3), alphabet=Alphabet("binary"))
    stage = build_pipeline(Network("n", TensorType(1, 3, 3, 4), (op,))).stage("conv")
    expected = [(1, 8), *[(0, 8)] * 7]
    for code, (weight, tap) in enumerate(expected, start=8):
        found = decode_weights(stage, np.array([[code, 0]]))
        assert (found[0].item(), found[1].item()) == (weight, tap)


class Map:
    """Knows one list of faults; has no seed."""

    def __init__(self, faults: FaultList) -> None:
        self.faults = faults

    def faults_at(
        self, memory: str, words: int, bits: int, probability: float, checks: int = 0
    ) -> FaultList:
        return self.faults


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        ({"memories": ["wait"]}, ChipError, "memories must be of weight, window, constants, table, "
         "fifo, accumulator, or names as conv1.window, not 'wait'"),
        ({"probability": {"conv9": 0.1}}, ChipError, "bit error rate must be given for memories, "
         "layers or weight, window, constants, table, fifo, accumulator, not 'conv9'"),
        ({"protection": {"conv9": parse_protection("secded")}}, ChipError, "protection must be "
         "given for memories, layers or weight, window, constants, table, fifo, accumulator, "
         "not 'conv9'"),
        ({"probability": 1.5}, VoltageError, "conv1.window: bit error rate must be 0..1, not 1.5"),
        ({"protection": {"accumulator": parse_protection("secded")}}, ChipError,
         "conv1.accumulator: protection secded is for memories of weight, window, constants, "
         "table, fifo, not for registers"),
        ({"chip": chip("transient_flip", 0), "protection": parse_protection("secded")}, ChipError,
         "conv1.window: protection secded needs faults of persistence 1; errors that come and go "
         "in protected words are not simulated"),
        ({"chip": chip("write_failure", 0), "protection": parse_protection("secded")}, ChipError,
         "conv1.window: protection secded is for faults of reading; write failures in protected "
         "words are not simulated: protect weight, constants, table, or nothing"),
        ({"chip": Map(chip("flip", 0).faults_at("a", 3, 3, 0.1)), "memories": ["fifo"]}, ChipError,
         "fifo.input__conv1: has 5 words of 8 bits, its faults are of 3 words of 3 bits"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(pipeline: Pipeline, words: dict, error: type, text: str) -> None:
    arguments = {"chip": chip("flip", 0), "probability": 0.2, **words}
    with pytest.raises(error) as caught:
        design_faults(pipeline, **arguments)
    assert str(caught.value) == text


def test_weights_in_the_fabric_have_no_cells() -> None:
    from support.emitted import tiny_pipeline

    pipeline = tiny_pipeline()
    assert "conv2.weight" not in design_faults(pipeline, chip("flip", 0), 1.0).memories
    with pytest.raises(
        ChipError, match=r"^memory 'conv2.weight' is in the fabric and has no cells that"
    ):
        design_faults(pipeline, chip("flip", 0), 1.0, ["conv2.weight"])


def test_registers_stay_bare_under_a_protection_of_everything(pipeline: Pipeline) -> None:
    faults = design_faults(pipeline, chip("flip", 0), 0.2, tuple(Role), parse_protection("secded"))
    for memory in faults.memories.values():
        assert memory.protected == (memory.memory.style == "memory")


@pytest.mark.parametrize("protection", ["parity", "secded", "tmr:2"])
def test_data_fail_alike_whatever_protects_them(pipeline: Pipeline, protection: str) -> None:
    source = chip("asymmetric", 4)
    bare = design_faults(pipeline, source, 0.1)
    code = parse_protection(protection)
    checks = 0
    for name, memory in design_faults(pipeline, source, 0.1, protection=code).memories.items():
        data = memory.faults.where(memory.faults.bit < memory.memory.bits)
        checks += len(memory.faults) - len(data)
        for key in ("word", "bit", "reads", "critical"):
            assert np.array_equal(getattr(data, key), getattr(bare.memories[name].faults, key))
    assert checks > 0


def recorded(described: dict[str, Any]) -> FaultRecord:
    """As a file has it."""
    return FaultRecord.model_validate_json(json.dumps(described))


@pytest.mark.parametrize("protection", ["none", "secded", "tmr:1"])
def test_faults_can_be_written_down(pipeline: Pipeline, protection: str) -> None:
    rates = {"weight": 0.1, "fifo": 0.02, "conv1.window": 0.0}
    faults = design_faults(
        pipeline, chip("asymmetric", 9), rates, protection=parse_protection(protection)
    )
    described = describe_faults(faults)
    again = restore_faults(pipeline, recorded(described), fault_arrays(faults))
    assert again.memories.keys() == faults.memories.keys()
    for name, memory in faults.memories.items():
        for key in ("word", "bit", "reads"):
            assert np.array_equal(
                getattr(memory.faults, key), getattr(again.memories[name].faults, key)
            )
    described["seed"] = 10
    with pytest.raises(StorageError, match=r"^the chip has other failing cells than are written"):
        restore_faults(pipeline, recorded(described), {})


@pytest.mark.parametrize("holds", ["fails", "rate", "voltage"])
def test_maps_can_be_written_down(pipeline: Pipeline, holds: Holds) -> None:
    rng = np.random.default_rng(3)
    cells = rng.random((12, 20))
    cells = (cells < 0.1).astype(np.int8) if holds == "fails" else cells
    technology = load_technology("sram_14nm")
    reads = rng.integers(-1, 2, cells.shape)
    whole = FaultMap(technology, cells, holds, reads, interleave=2)
    protections = memory_protections(pipeline, ["weight", "fifo"])
    source = whole.laid_out(memory_shapes(pipeline, protections), 5)
    faults = design_faults(pipeline, source, 0.05, protections)
    assert len(faults) > 20
    described = recorded(describe_faults(faults))
    arrays = fault_arrays(faults)
    again = restore_faults(pipeline, described, arrays)
    assert again.memories.keys() == faults.memories.keys()
    for name, memory in faults.memories.items():
        for key in ("word", "bit", "reads"):
            assert np.array_equal(
                getattr(memory.faults, key), getattr(again.memories[name].faults, key)
            )
    other = {**arrays, "cells": 1 - arrays["cells"]}
    with pytest.raises(StorageError, match=r"^the chip has other failing cells than are written"):
        restore_faults(pipeline, described, other)


def test_other_sources_cannot_be_written_down(pipeline: Pipeline) -> None:
    source = Map(chip("flip", 0).faults_at("fifo.input__conv1", 5, 8, 0.1))
    faults = design_faults(pipeline, source, 0.1, ["fifo.input__conv1"])
    with pytest.raises(
        ChipError, match=r"^only the faults of a Chip or a FaultMap can be written down"
    ):
        describe_faults(faults)


def test_registers_are_protected_by_no_name(pipeline: Pipeline) -> None:
    """Asked for by name it is a mistake; a layer or all memories include what cannot be."""
    secded = parse_protection("secded")
    register = "conv1.accumulator"
    with pytest.raises(ChipError, match=rf"^{register}: protection secded is for memories of"):
        design_faults(pipeline, chip("flip", 0), 0.1, protection={register: secded})
    faults = design_faults(pipeline, chip("flip", 0), 0.1, protection={"conv1": secded})
    assert faults.protections[register].name == "none"
    assert faults.protections["conv1.weight"].name == "secded"
    assert faults.protections["conv2.weight"].name == "none"
    # No check bits is no protection, whatever it is called.
    none = {register: parse_protection("none")}
    assert design_faults(pipeline, chip("flip", 0), 0.1, protection=none).protections
