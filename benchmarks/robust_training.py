"""Does robust training pay? One base network, fine-tuned by four methods, judged on many chips.

A network with 8-bit weights is trained once; then it is fine-tuned, by each method for the same
number of epochs, with 8-bit and with 4-bit weights:

    plain      as before
    clipped    weights clipped to 1.4 times their mean magnitude
    randbet    clipped, clean plus faulty loss (RandBET); bit error rate: TRAINED_AT
    deviation  clipped, clean loss plus the deviation that errors cause in activations

The exported integer networks are judged on the test images with faults in the weight memories of
their accelerators (taps and weights), on the same chips for all methods.

    python benchmarks/robust_training.py fashion_mnist [--bits 8 4] [--chips 50] [-o DIR]
    python benchmarks/robust_training.py cifar10 --path FOLDER [--images 4000]

Networks and figures are kept in DIR, so another recipe (--channels, --epochs, --rate) needs
another one. With --per-memory each memory also gets a voltage of its own, looked for on
SEARCH_CHIPS chips and the first half of the test images, judged on other chips and the other half.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.accelerator import Prices
from hwsim.accelerator.mapping import map_network
from hwsim.config.accelerator import AcceleratorConfig, EnergyConfig
from hwsim.config.training import DataConfig, FaultTrainingConfig, ModelConfig, TrainingConfig
from hwsim.faults.costs import memory_energy
from hwsim.lowvoltage import load_technology
from hwsim.models.checkpoint import save_checkpoint
from hwsim.models.data import Dataset, load_data
from hwsim.models.export import export_network
from hwsim.models.inference import network_input
from hwsim.models.train import train
from hwsim.network import Network, load, save
from hwsim.progress import make_progress
from hwsim.run.figures import energy_table
from hwsim.studies.curve import measure_curve
from hwsim.studies.statistics import Bound, StopRule, estimate
from hwsim.studies.study import ChipRecords, Study
from hwsim.studies.voltages import halves, judge_voltages, search_voltages

RATES = (1e-4, 1e-3, 5e-3, 1e-2, 1.5e-2, 2.5e-2)
METHODS = ("plain", "clipped", "randbet", "deviation")
VOLTAGES = tuple(n / 100 for n in range(86, 96, 2))
LEVELS = tuple(n / 100 for n in range(84, 97))
"""Voltages that single memories may have, besides Vmin."""
SEARCH_CHIPS = 20
LOSS, YIELD = 0.01, 0.9
"""The lowest voltage: at which so many chips lose no more. A mean would take 500 chips and more."""
REACH = 1.4
TRAINED_AT = {"fashion_mnist": 1e-2, "cifar10": 3e-3}
"""Bit error rate in training: at 1 % the small CIFAR-10 network loses eight points at once."""

MODELS: dict[str, dict[str, Any]] = {
    "fashion_mnist": {
        "network": "cnn",
        "channels": (32, 32, 64, 64, 64, 64),
        "strides": (2, 1, 2, 1, 1, 1),
        "stem_kernel": 5,
    },
    "cifar10": {"network": "resnet", "channels": (16, 32, 64), "blocks": 1},
}
EPOCHS = {"fashion_mnist": (14, 6), "cifar10": (20, 5)}
"""Of the base network, and of each fine-tuning."""

PICTURES: dict[str, dict[str, Any]] = {
    "fashion_mnist": {"flip": True},
    "cifar10": {"flip": True, "shift": 4},
}


def model_config(data: str, bits: int, reach: float) -> ModelConfig:
    weights = f"int{bits}"
    return ModelConfig(
        **MODELS[data], weights=weights, head_weights=weights, weight_reach=reach
    )  # fmt: skip


def training_config(data: str, **values: Any) -> TrainingConfig:
    return TrainingConfig(
        twin_epochs=0, batch_size=128, precision="auto", threads=1, **PICTURES[data], **values
    )


def base(data: Dataset, folder: Path) -> Path:
    """Checkpoint of the base network."""
    done = folder / "base.pt"
    if not done.exists():
        epochs = EPOCHS[data.name][0]
        config = training_config(data.name, epochs=epochs, learning_rate=5e-3)
        result = train(
            data,
            model_config(data.name, 8, 4.0),
            config,
            seed=0,
            folder=folder / "base",
            progress=make_progress(),
        )
        save_checkpoint(done, {"model": result.network.model.state_dict()})
    return done


def fine_tuned(data: Dataset, bits: int, method: str, folder: Path) -> Network:
    """Integer network after fine-tuning the base network by ``method``."""
    name = f"{bits}bit_{method}"
    done = folder / f"{name}.hwnet"
    if not done.exists():
        faults = None
        if method in ("randbet", "deviation"):
            faults = FaultTrainingConfig(bit_error_rate=TRAINED_AT[data.name], method=method)  # type: ignore[arg-type]
        config = training_config(
            data.name,
            epochs=EPOCHS[data.name][1],
            learning_rate=2e-3,
            initial=str(base(data, folder)),
            faults=faults,
        )
        result = train(
            data,
            model_config(data.name, bits, 4.0 if method == "plain" else REACH),
            config,
            seed=1,
            folder=folder / name,
            progress=make_progress(),
        )
        model = result.network.model
        save(export_network(model, name), done)
        seconds = [record.wall_seconds for record in result.network.history]
        print(f"{name}: test accuracy {result.network.test_accuracy:.4f}, "
              f"{np.mean(seconds):.1f} s an epoch", flush=True)  # fmt: skip
    return load(done)


def weight_study(network: Network, data: Dataset) -> Study:
    """The weight memories of the network's accelerator on the test images."""
    x = network_input(data.test_x, network.input.bits)
    technology = load_technology("sram_14nm")
    pipeline = map_network(network, AcceleratorConfig())
    return Study(pipeline, technology, x, data.test_y, ("weight",))


def judge(network: Network, data: Dataset, chips: int, folder: Path) -> dict[str, Any]:
    """Error on every chip at every rate, and the lowest voltage at which YIELD of chips lose LOSS.

    Kept in ``folder``; delete the file to judge again.
    """
    done = folder / f"{network.name}_{chips}chips.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    study = weight_study(network, data)
    technology = study.technology
    records = ChipRecords(folder / "answers.jsonl")
    errors = {}
    for rate in RATES:
        rows = []
        for seed in range(chips):
            key = f"{study.key} {rate}"
            right = records.get(key, seed)
            if right is None:
                right = study.right(study.faults(seed, rate))
                records.add(key, seed, right)
            rows.append(1 - right / study.images)
        errors[rate] = rows
    curve = measure_curve(
        study,
        VOLTAGES,
        StopRule(most=280),
        loss=LOSS,
        goal=YIELD,
        refine=2,
        records=records,
    )
    lowest = curve.lowest
    found = {
        "clean_error": 1 - study.clean / study.images,
        "errors": {f"{rate:g}": rows for rate, rows in errors.items()},
        "lowest_voltage_rel": lowest.voltage_rel,
        "bit_error_rate": lowest.bit_error_rate,
        "energy_saved_vs_vmin": 1 - technology.energy_rel(lowest.voltage_rel),
        "energy_saved_vs_nominal": 1 - technology.energy_rel(lowest.voltage_rel)
        / technology.energy_rel(technology.nominal_rel),
    }  # fmt: skip
    done.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def judge_supplies(network: Network, data: Dataset, chips: int, folder: Path) -> dict[str, Any]:
    """A voltage for each memory, and the best single one: energy saved, accuracy on others.

    Kept in ``folder``; delete the file to judge again.
    """
    done = folder / f"{network.name}_{chips}chips_supplies.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    study = weight_study(network, data)
    energy = EnergyConfig()
    cost = memory_energy(
        study.pipeline,
        study.technology,
        study.protections,
        Prices(energy_table(energy), energy.voltage_v),
        AcceleratorConfig().clock_mhz,
    )
    records = ChipRecords(folder / "answers.jsonl")
    searched, judged = halves(study)
    priced = {name: pj for name, pj in cost.accesses.items() if pj > 0}
    best = search_voltages(searched, priced, LEVELS, chips=SEARCH_CHIPS, records=records)
    found: dict[str, Any] = {"clean_error": 1 - judged.clean / judged.images}
    for name, assignment in (("single", best.uniform), ("own", best.best)):
        voltages = {**dict.fromkeys(cost.accesses, 1.0), **assignment.voltages}
        seen = judge_voltages(
            judged,
            voltages,
            StopRule.fixed(chips),
            Bound(judged.clean / judged.images, LOSS, YIELD),
            seed=SEARCH_CHIPS,
            records=records,
        ).accuracy
        found[name] = {
            "voltages": voltages,
            "energy_saved_vs_vmin": 1 - cost.rel_vmin(voltages),
            "error": 1 - seen.mean,
            "error_low": 1 - seen.high,
            "error_high": 1 - seen.low,
        }
    done.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def supplies_table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: error in % without errors, and at the voltages found, with what these save."""
    head = ["weights", "clean", "one voltage", "error", "energy saved"]
    head += ["voltages", "error", "energy saved"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        cells = [name, f"{100 * found['clean_error']:.2f}"]
        for way in ("single", "own"):
            supply = found[way]
            low, high = min(supply["voltages"].values()), max(supply["voltages"].values())
            cells.append(f"{high:.2f}" if low == high else f"{low:.2f} to {high:.2f}")
            ends = f"{100 * supply['error_low']:.2f}..{100 * supply['error_high']:.2f}"
            cells.append(f"{100 * supply['error']:.2f} ({ends})")
            cells.append(f"{100 * supply['energy_saved_vs_vmin']:.1f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: test error in % with its 95 % interval over the chips."""
    head = ["weights", "clean", *(f"p = {100 * rate:g} %" for rate in RATES)]
    head += ["V / Vmin", "energy saved"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        cells = [name, f"{100 * found['clean_error']:.2f}"]
        for rows in found["errors"].values():
            one = estimate(rows)
            cells.append(f"{100 * one.mean:.2f} ({100 * one.low:.2f}..{100 * one.high:.2f})")
        cells.append(f"{found['lowest_voltage_rel']:.3f}")
        cells.append(f"{100 * found['energy_saved_vs_vmin']:.1f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", choices=sorted(MODELS))
    parser.add_argument("--path", help="where the data set is")
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4], choices=range(2, 9))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--chips", type=int, default=50)
    parser.add_argument("--images", type=int, help="the first test images judge (default: all)")
    parser.add_argument("--per-memory", action="store_true")
    parser.add_argument("--channels", type=int, nargs="+", help="of another network's stages")
    parser.add_argument("--base-epochs", type=int, help="of the base network")
    parser.add_argument("--epochs", type=int, help="of each fine-tuning")
    parser.add_argument("--rate", type=float, help="bit error rate in training")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.channels:
        MODELS[arguments.data]["channels"] = tuple(arguments.channels)
    base_epochs, epochs = EPOCHS[arguments.data]
    EPOCHS[arguments.data] = arguments.base_epochs or base_epochs, arguments.epochs or epochs
    if arguments.rate:
        TRAINED_AT[arguments.data] = arguments.rate
    folder = arguments.output or Path("runs") / f"robust_{arguments.data}"
    folder.mkdir(parents=True, exist_ok=True)
    data = load_data(DataConfig(set=arguments.data, path=arguments.path))
    judging = dataclasses.replace(
        data, test_x=data.test_x[: arguments.images], test_y=data.test_y[: arguments.images]
    )
    networks = {
        f"{bits} bit, {method}": fine_tuned(data, bits, method, folder)
        for bits in arguments.bits
        for method in arguments.methods
    }
    results = {}
    for name, network in networks.items():
        results[name] = judge(network, judging, arguments.chips, folder)
        print(f"{name}: judged on {arguments.chips} chips", file=sys.stderr, flush=True)
    print(table(results))
    if arguments.per_memory:
        supplies = {}
        for name, network in networks.items():
            supplies[name] = judge_supplies(network, judging, arguments.chips, folder)
            print(f"{name}: voltages found", file=sys.stderr, flush=True)
        print("\n" + supplies_table(supplies))


if __name__ == "__main__":
    main()
