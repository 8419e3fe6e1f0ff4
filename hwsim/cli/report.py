"""``hwsim report``: the HTML report of a finished experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.common import Json, Output, Quiet, Sections, example


@example("hwsim report runs/quickstart")
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished hwsim run.")],
    sections: Sections = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html into an experiment's folder: one file that needs no network access."""
    from hwsim.report import build_report
    from hwsim.report.own import load_sections
    from hwsim.result import load_result

    out = Output("report", as_json=as_json, quiet=quiet)
    result = load_result(folder / "result.json")
    load_sections(sections or ())
    with out.progress.task("report"):
        path = build_report(folder)
    document = {
        "seed": result.seed,
        "experiment": result.experiment,
        "files": {"report": str(path)},
    }
    out.finish(document, lambda: [f"written to {path}"])
