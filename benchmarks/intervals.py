"""How often the intervals of ``hwsim faults`` hold the truth, and how wide they are.

    python benchmarks/intervals.py [runs/quickstart/network.hwnet --data digits -o DIR]

Of each voltage many chips are evaluated (seeds that no campaign has by default), and taken for all
the chips there are: their mean accuracy, and the share of them within a point, are the truth, which
is then known exactly. Studies draw chips from them at random and are asked for their intervals:

    t          Student's interval of so many chips
    bootstrap  percentiles of the means of 1,000 resamples of so many chips
    betting    ``estimate`` of so many chips
    yield      ``share_of_chips`` of so many chips (Clopper and Pearson)

and by the default rule of ``hwsim faults``, which adds chips until the bound of one point is
decided, for the mean and for a yield of 99 %. Counted chips are kept in DIR.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from hwsim.accelerator.mapping import map_network
from hwsim.cli.images import labelled_images
from hwsim.config.accelerator import AcceleratorConfig
from hwsim.lowvoltage import load_technology
from hwsim.network import load
from hwsim.progress import make_progress
from hwsim.studies.curve import measure_curve
from hwsim.studies.statistics import Bound, Estimate, StopRule, estimate
from hwsim.studies.study import ChipRecords, Study

VOLTAGES = (0.875, 0.891, 0.898, 0.906)
FIRST_SEED = 1_000_000
COUNTS = (20, 200)
LOSS, GOAL = 0.01, 0.99

Interval = Callable[[np.ndarray, np.random.Generator], Estimate]


def t_interval(values: np.ndarray, rng: np.random.Generator) -> Estimate:
    mean, count = float(values.mean()), len(values)
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


def bootstrap(values: np.ndarray, rng: np.random.Generator) -> Estimate:
    means = rng.choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def betting(values: np.ndarray, rng: np.random.Generator) -> Estimate:
    return estimate(values)


class Population:
    """All chips there are at one voltage. clean: accuracy without faults."""

    def __init__(self, accuracies: np.ndarray, clean: float, studies: int) -> None:
        self.all, self.clean, self.studies = accuracies, clean, studies
        self.mean = float(accuracies.mean())
        self.share = Bound(clean, LOSS).share(accuracies).mean

    def row(self, name: str, truth: float, rule: StopRule, interval: Interval,
            goal: float | None = None) -> str:  # fmt: skip
        """A line of the table: coverage, width in points, chips, over the studies."""
        rng, bound = np.random.default_rng(0), Bound(self.clean, LOSS, goal)
        hits, width, chips = 0, 0.0, 0
        for _ in range(self.studies):
            values = rng.choice(self.all, rule.most)
            count = next(n for n in rule.looks if rule.done(values[:n], bound))
            found = interval(values[:count], rng)
            hits += found.low <= truth <= found.high
            width += found.width
            chips += count
        share, width, mean = hits / self.studies, width / self.studies, chips / self.studies
        return f"| {name} | {mean:,.0f} | {100 * share:.1f} % | {100 * width:.2f} |"

    def table(self) -> list[str]:
        lines = ["| interval | chips | covers | width, points |", "|---|---|---|---|"]
        for count in COUNTS:
            rule = StopRule.fixed(count)
            for name, interval in (("t", t_interval), ("bootstrap", bootstrap),
                                   ("betting", betting)):  # fmt: skip
                lines.append(self.row(f"mean, {name}", self.mean, rule, interval))
            lines.append(self.row("yield", self.share, rule, self._yield(1)))
        rule = StopRule()
        looks = len(rule.looks)
        lines.append(self.row("mean, default rule", self.mean, rule, betting))
        lines.append(self.row("yield, the same chips", self.share, rule, self._yield(looks)))
        lines.append(
            self.row(f"yield, default rule, --yield {GOAL}", self.share, rule,
                     self._yield(looks), GOAL)
        )  # fmt: skip
        return lines

    def _yield(self, looks: int) -> Interval:
        def interval(values: np.ndarray, rng: np.random.Generator) -> Estimate:
            return Bound(self.clean, LOSS).share(values, looks)

        return interval


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "network", type=Path, nargs="?", default=Path("runs/quickstart/network.hwnet")
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--path", help="where the data set is")
    parser.add_argument("--chips", type=int, default=6000, help="that there are at each voltage")
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--voltages", type=float, nargs="+", default=list(VOLTAGES))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/intervals"))
    arguments = parser.parse_args()
    network = load(arguments.network)
    _, x, labels = labelled_images(network, arguments.data, arguments.path, None)
    pipeline = map_network(network, AcceleratorConfig())
    study = Study(pipeline, load_technology("sram_14nm"), x, labels)
    arguments.output.mkdir(parents=True, exist_ok=True)
    curve = measure_curve(
        study,
        arguments.voltages,
        StopRule.fixed(arguments.chips),
        seed=FIRST_SEED,
        records=ChipRecords(arguments.output / "chips.jsonl"),
        progress=make_progress(),
    )
    for point in curve.points[:-1]:
        there = Population(np.array(point.accuracies), curve.clean, arguments.studies)
        print(
            f"\n{point.voltage_rel:g} of Vmin: {len(there.all):,} chips, mean "
            f"{100 * there.mean:.2f} %, {100 * there.share:.1f} % of them within a point of "
            f"{100 * there.clean:.2f} %, worst {100 * there.all.min():.2f} %\n"
        )
        print("\n".join(there.table()), flush=True)


if __name__ == "__main__":
    main()
