"""Configuration errors: file, line, key and what is allowed, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.config.accelerator import AcceleratorConfig, VerificationConfig
from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import (
    StrictModel,
    config_hash,
    load_config,
    parse_config,
    shipped_configs,
    validate_config,
)
from hwsim.errors import ConfigError

BASE = "name: a\ndata: {set: digits}\nmodel: {}\ntraining: {}\n"


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, ExperimentConfig, "x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_configs("experiments"))
def test_shipped_experiments_are_valid(name: str) -> None:
    assert load_config(name, ExperimentConfig).name == name


def test_numbers_in_scientific_notation() -> None:
    config = parse_config(BASE.replace("training: {}", "training: {learning_rate: 1e-3}"), M)
    assert config.training.learning_rate == 0.001


M = ExperimentConfig


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            "accelerater: {}",
            "x.yaml:5: accelerater: unknown key; allowed: name, seed, data, model, training, "
            "accelerator, energy, verification (did you mean 'accelerator'?)",
        ),
        (
            "accelerator:\n  clock_ghz: 1",
            "x.yaml:6: accelerator.clock_ghz: unknown key; allowed: clock_mhz, "
            "frame_interval_cycles, folding, weights, fifo_depth, fifo_depths "
            "(did you mean 'clock_mhz'?)",
        ),
        (
            "accelerator:\n  clock_mhz: 100 MHz",
            "x.yaml:6: accelerator.clock_mhz: must be a number, not '100 MHz' "
            "(the unit, mhz, is part of the key)",
        ),
        (
            "accelerator: {clock_mhz: 0}",
            "x.yaml:5: accelerator.clock_mhz: must be > 0.0, not 0",
        ),
        (
            "accelerator: {frame_interval_cycles: 1e3}",
            "x.yaml:5: accelerator.frame_interval_cycles: must be an integer, not 1000.0",
        ),
        (
            'accelerator: {frame_interval_cycles: "100"}',
            "x.yaml:5: accelerator.frame_interval_cycles: must be an integer, not '100'",
        ),
        (
            "accelerator: {fifo_depth: deep}",
            "x.yaml:5: accelerator.fifo_depth: must be 'auto' or an integer, not 'deep'",
        ),
        (
            "accelerator: {fifo_depth: 0}",
            "x.yaml:5: accelerator.fifo_depth: must be 'auto' or >= 1, not 0",
        ),
        (
            "accelerator:\n  folding:\n    conv1: {pe: 2, smid: 3}",
            "x.yaml:7: accelerator.folding.conv1.smid: unknown key; allowed: pe, simd, weights "
            "(did you mean 'simd'?)",
        ),
        (
            "accelerator:\n  folding:\n    conv1: {pe: -1}",
            "x.yaml:7: accelerator.folding.conv1.pe: must be >= 1, not -1",
        ),
        ("accelerator: fast", "x.yaml:5: accelerator: must be a mapping, not 'fast'"),
        (
            "verification: {simulator: Verilator}",
            "x.yaml:5: verification.simulator: must be 'verilator' or 'icarus', not 'Verilator' "
            "(did you mean 'verilator'?)",
        ),
        (
            "verification: {images: yes}",
            "x.yaml:5: verification.images: must be an integer, not 'yes'",
        ),
        (
            "verification: {images: true}",
            "x.yaml:5: verification.images: must be an integer, not true",
        ),
        (
            "verification: {gap_probability: 1}",
            "x.yaml:5: verification.gap_probability: must be <= 0.9, not 1",
        ),
        ("energy: {table: []}", "x.yaml:5: energy.table: must be text, not a list"),
        ("name: b", "x.yaml:5: name: key is given twice (first on line 1)"),
    ],
)
def test_wrong_keys_types_units_and_ranges(extra: str, message: str) -> None:
    assert error_of(f"{BASE}{extra}\n") == message


def test_missing_section() -> None:
    assert error_of("name: a\ndata: {set: digits}\nmodel: {}\n") == "x.yaml: training: is required"


def test_rule_between_keys_names_the_section() -> None:
    message = error_of(BASE.replace("{set: digits}", "{set: npz}"))
    assert message == "x.yaml:2: data: path must name the .npz file when set is npz"


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n"])
def test_a_file_must_hold_a_mapping(text: str) -> None:
    assert error_of(text) == "x.yaml: must hold a mapping ('key: value' lines)"


def test_entries_of_lists_have_an_index() -> None:
    message = error_of(BASE.replace("model: {}", "model: {channels: [8, wide]}"))
    assert message == "x.yaml:3: model.channels[1]: must be an integer, not 'wide'"


def test_lists_of_models() -> None:
    class Inner(StrictModel):
        size: int = 1

    class Outer(StrictModel):
        items: list[Inner] = []

    with pytest.raises(ConfigError) as caught:
        parse_config("items: [{size: 1}, {sise: 2}]", Outer, "x.yaml")
    assert str(caught.value) == (
        "x.yaml:1: items[1].sise: unknown key; allowed: size (did you mean 'size'?)"
    )


def test_unknown_name() -> None:
    names = ", ".join(shipped_configs("experiments"))
    with pytest.raises(ConfigError) as caught:
        load_config("quickstrat", ExperimentConfig)
    assert str(caught.value) == (
        f"quickstrat: is neither a file nor one of the shipped experiments: {names} "
        "(did you mean 'quickstart'?)"
    )


def test_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError) as caught:
        load_config(path, ExperimentConfig)
    assert str(caught.value) == f"{path}: is not UTF-8 text"


def test_hash_ignores_layout_and_defaults() -> None:
    a = parse_config("clock_mhz: 100\n# comment\nweights: memory\n", AcceleratorConfig)
    assert config_hash(a) == config_hash(AcceleratorConfig())
    b = parse_config("clock_mhz: 101", AcceleratorConfig)
    assert config_hash(a) != config_hash(b)


def test_validation_without_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        validate_config({"images": 0}, VerificationConfig, "options")
    assert str(caught.value) == "options: images: must be >= 1, not 0"


def test_settings_replace_and_add_values() -> None:
    settings = ["training.epochs=7", "model.channels=[8, 8]", "accelerator.fifo_depths.a=3"]
    config = parse_config(BASE.replace("model: {}", "model:"), M, "x.yaml", settings)
    assert config.training.epochs == 7
    assert config.model.channels == (8, 8)
    assert config.accelerator.fifo_depths == {"a": 3}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs", "--set training.epochs: must be KEY=VALUE, as in training.epochs=10"),
        ("training.=1", "--set training.=1: must be KEY=VALUE, as in training.epochs=10"),
        (
            "training.epochs=ten",
            "--set training.epochs: training.epochs: must be an integer, not 'ten'",
        ),
        (
            "training.epoch=10",
            "--set training.epoch: training.epoch: unknown key; allowed: ",
        ),
        ("name.x=1", "--set name.x: name: is not a mapping, so nothing in it can be set"),
        ("model.channels=[8, x]", "--set model.channels: model.channels[1]: must be an integer"),
        ("model.channels=[8", "--set model.channels:1: is not valid YAML: "),
    ],
)
def test_wrong_settings(setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(BASE, M, "x.yaml", [setting])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
