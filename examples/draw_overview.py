"""Draw the pipeline of a finished experiment and what each stage does while one frame passes.

    python examples/draw_overview.py runs/quickstart docs/images/quickstart.svg

The README's picture is made by exactly this command.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hwsim.accelerator import timeline
from hwsim.report import read_report
from hwsim.report.overview import draw_overview


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what hwsim run filled")
    parser.add_argument("picture", type=Path, help="the .svg file to write")
    options = parser.parse_args(arguments)

    report = read_report(options.folder)
    result = report.result
    high_water = {fifo.name: fifo.high_water_beats for fifo in result.accelerator.fifos}
    title = (
        f"{result.experiment}: one frame passes the pipeline, a new one may follow every "
        f"{result.accelerator.cycles.frame_interval_cycles:,} cycles"
    )
    picture = draw_overview(report.pipeline, high_water, timeline(report.pipeline), title)
    options.picture.write_text(picture + "\n", encoding="utf-8")
    print(f"written to {options.picture}")


if __name__ == "__main__":
    main()
