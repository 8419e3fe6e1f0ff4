"""Energy: operations counted by hand on small stages, tables at their points, sums that add up."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.accelerator import (
    Fold,
    Operation,
    Prices,
    build_pipeline,
    count_operations,
    estimate_energy,
    memory_list,
)
from hwsim.accelerator.energy import KINDS
from hwsim.config.energy_table import EnergyTable
from hwsim.config.loader import load_config, parse_config, shipped_configs
from hwsim.errors import ConfigError
from hwsim.network import (
    Alphabet,
    Conv2d,
    Linear,
    MaxPool2d,
    MuxConv2d,
    Network,
    Requantize,
    TensorType,
)
from hwsim.testing import random_folding, random_network

TABLE = load_config("cmos_45nm", EnergyTable, "energy")


def mux_network() -> Network:
    """4 -> 3 channels of 5x5 unsigned 4-bit pixels, 3x3, binary."""
    rng = np.random.default_rng(0)
    conv = MuxConv2d(
        "conv",
        ("input",),
        tap=rng.integers(0, 9, (3, 4)),
        weight=np.array([[1, -1, 1, 1], [1, 1, -1, -1], [1, 1, 1, 1]]),
        kernel=(3, 3),
        pad=(1, 1),
    )
    q = Requantize("q", ("conv",), np.full(3, 5), np.full(3, 8), 4, 0, 15)
    return Network("mux", TensorType(4, 5, 5, 4), (conv, q))


def test_operations_of_a_folded_multiplexer_stage() -> None:
    stage = build_pipeline(mux_network(), {"conv": Fold(2, 2)}).stage("conv")
    # 25 pixels, 2 groups of 2 outputs (the last lane of which is idle), 2 groups of 2 inputs.
    steps, lanes = 25 * 2 * 2, 4
    assert stage.timing.frame_steps == steps
    # Four products of -15..15 are at most 60 in size: 7 bits with sign.
    assert stage.accumulator.bits == 7
    count = count_operations(stage)
    turning, taps = 9 * 4 * steps, 8 * lanes * steps
    # Beats of two 4-bit lanes are turned into place; taps are single lanes.
    assert count[Operation("select", 8)] == turning
    # Two more 4-bit choices clamp each result: 25 pixels, 2 beats of 2 lanes.
    assert count[Operation("select", 4)] == taps + 2 * 25 * 2 * 2
    assert count[Operation("negate", 5)] == lanes * steps
    # Sign, and zero: the idle lane's weight is 0.
    assert count[Operation("select", 5)] == 2 * lanes * steps
    assert count[Operation("add", 6)] == 2 * steps  # one adder in each tree
    assert count[Operation("multiply", 7, 4)] == 25 * 4
    accumulations = 2 * steps
    biases = {op: n for op, n in count.items() if op.kind == "add" and op.bits > 6}
    assert sum(biases.values()) == accumulations + 25 * 4
    assert sum(n for op, n in count.items() if op.kind == "compare") == 2 * 25 * 4


def test_constant_weights_cost_only_what_is_left_of_them() -> None:
    weight = np.array([[0, 4, -4, 7]])
    linear = Linear("fc", ("input",), weight, Alphabet("int4"))
    network = Network("fc", TensorType(4, 1, 1, 4), (linear,))
    stage = build_pipeline(network, {"fc": Fold(1, 4, "constant")}).stage("fc")
    count = count_operations(stage)
    # x * 7 = 8x - x is one addition of 7 bits; -4x is a negation; three terms need two adders.
    assert count.total() == 1 + 1 + 2
    assert count[Operation("add", 7)] >= 1
    assert count[Operation("negate", 7)] == 1
    assert "multiply" not in {op.kind for op in count}


def test_operations_of_pools_and_dense_convolutions() -> None:
    pool = MaxPool2d("pool", ("input",), (2, 2), (2, 2))
    conv = Conv2d(
        "conv", ("pool",), np.full((2, 3, 3, 3), 5), pad=(1, 1), alphabet=Alphabet("int4")
    )
    network = Network("n", TensorType(3, 6, 6, 5), (pool, conv))
    pipeline = build_pipeline(network, {"pool": Fold(1, 3), "conv": Fold(1, 3)})
    pooled = count_operations(pipeline.stage("pool"))
    assert pooled[Operation("compare", 5)] == 3 * 3 * 9
    dense = count_operations(pipeline.stage("conv"))
    assert dense[Operation("multiply", 5, 4)] == 27 * 2 * 9
    assert sum(n for op, n in dense.items() if op.kind == "add") == 26 * 2 * 9


def test_energy_of_a_tiny_accelerator_by_hand() -> None:
    linear = Linear("fc", ("input",), np.array([[3]]), Alphabet("int8"))
    network = Network("one", TensorType(1, 1, 1, 8), (linear,))
    pipeline = build_pipeline(network, {}, 16)
    report = estimate_energy(pipeline, TABLE, interval_cycles=10, clock_mhz=100)
    points = {(p.words, p.bits): p for p in TABLE.sram.points}
    small = points[64, 32]
    fifos = [m for m in memory_list(pipeline) if m.role == "fifo"]
    assert [m.bits for m in fifos] == [8, 10]

    def scale(words: int, bits: int) -> float:
        return (words / 64) ** 0.78 * (0.3 + 0.7 * bits / 32)

    both = small.read_pj + small.write_pj
    assert report.by_kind["fifo"] == pytest.approx(both * (scale(16, 8) + scale(16, 10)))
    assert report.by_kind["weight"] == pytest.approx(small.read_pj * scale(1, 8))
    assert report.by_kind["logic"] == pytest.approx(0.2)  # one 8 x 8 bit product
    cells = (16 * 8 + 16 * 10 + 1 * 8) / (64 * 32)
    assert report.by_kind["leakage"] == pytest.approx(small.leakage_mw * cells * 0.1e3)
    assert report.frame_us == pytest.approx(0.1)
    assert report.power_mw == pytest.approx(report.total_pj * 1e-12 / 0.1e-6 * 1e3)


@pytest.mark.parametrize("seed", range(15))
def test_parts_add_up_and_every_stage_is_there(seed: int) -> None:
    network = random_network(seed)
    pipeline = build_pipeline(network, random_folding(network, np.random.default_rng(seed)))
    report = estimate_energy(pipeline, TABLE, 1000, 50.0)
    assert set(report.by_kind) == set(KINDS)
    assert list(report.by_stage) == ["source", *(stage.name for stage in pipeline.stages)]
    assert sum(report.by_kind.values()) == pytest.approx(report.total_pj)
    for kind, pj in report.by_kind.items():
        assert sum(kinds[kind] for kinds in report.by_stage_and_kind.values()) == pytest.approx(pj)
    assert min(entry.value for entry in report.ledger.entries) >= 0


def test_voltage_scales_dynamic_energy_squared_and_leakage_linearly() -> None:
    pipeline = build_pipeline(mux_network())
    high, low = (estimate_energy(pipeline, TABLE, 100, 50.0, v) for v in (0.8, 0.4))
    for kind in KINDS:
        factor = 2 if kind == "leakage" else 4
        assert high.by_kind[kind] == pytest.approx(factor * low.by_kind[kind])
    slow = estimate_energy(pipeline, TABLE, 200, 50.0, 0.8)
    assert slow.by_kind["leakage"] == pytest.approx(2 * high.by_kind["leakage"])
    assert slow.by_kind["fifo"] == high.by_kind["fifo"]


@pytest.mark.parametrize("name", sorted(shipped_configs("energy")))
def test_shipped_tables_give_their_own_points(name: str) -> None:
    table = load_config(name, EnergyTable, "energy")
    prices = Prices(table)
    for point in table.sram.points:
        price = prices.memory(point.words, point.bits)
        assert price.read_pj == pytest.approx(point.read_pj)
        assert price.write_pj == pytest.approx(point.write_pj)
        assert price.leakage_mw == pytest.approx(point.leakage_mw)
    for entry in table.add:
        assert prices.operation(Operation("add", entry.bits)) == pytest.approx(entry.pj)
    for entry in table.multiply:
        got = prices.operation(Operation("multiply", entry.bits, entry.bits))
        assert got == pytest.approx(entry.pj)


def test_default_table_agrees_with_horowitz_on_sram() -> None:
    # ISSCC 2014: 10, 20 and 100 pJ for 64 bits from 8 KB, 32 KB and 1 MB at 45 nm; CACTI's
    # low-power arrays lie at 0.6 to 1.0 of that.
    for kilobytes, pj in ((8, 10), (32, 20), (1024, 100)):
        ratio = Prices(TABLE).memory(kilobytes * 128, 64).read_pj / pj
        assert 0.6 < ratio < 1.0


def test_wide_words_are_arrays_side_by_side() -> None:
    prices = Prices(TABLE)
    one, four = prices.memory(512, 256), prices.memory(512, 1024)
    assert four.read_pj == pytest.approx(4 * one.read_pj)
    assert four.leakage_mw == pytest.approx(4 * one.leakage_mw)


def test_broken_tables_are_refused() -> None:
    text = shipped_configs("energy")["cmos_45nm"].read_text()
    for old, new, message in (
        ("{words: 64, bits: 32,", "{words: 65, bits: 32,", "every pair"),
        ("words: 128, bits: 32", "words: 64, bits: 32", "each size once"),
        ("read_pj: 0.6716", "read_pj: -1", "must be > 0"),
        ("  - bits: 8\n    pj: 0.03", "  - bits: 40\n    pj: 0.03", "add must list ascending"),
        ("node_nm: 45", "node: 45", "unknown key"),
    ):
        assert old in text
        with pytest.raises(ConfigError, match=message):
            parse_config(text.replace(old, new, 1), EnergyTable)


def test_interval_and_clock_are_checked() -> None:
    pipeline = build_pipeline(mux_network())
    with pytest.raises(ValueError, match="interval_cycles must be >= 1"):
        estimate_energy(pipeline, TABLE, 0, 100.0)
    with pytest.raises(ValueError, match="clock_mhz > 0"):
        estimate_energy(pipeline, TABLE, 1, 0.0)
