"""From an experiment's folder to its report."""

from __future__ import annotations

from pathlib import Path

from hwsim.files import whole_file
from hwsim.report import sections
from hwsim.report.experiment import read_report
from hwsim.report.templates import render_page

REPORT = "report.html"


def build_report(folder: Path | str, path: Path | str | None = None) -> Path:
    """Draw the report of a folder that ``hwsim run`` filled; returns the file's path.

    path: of the file; default: ``report.html`` in the folder. The file needs no other file and no
    network. Raises StorageError when ``result.json`` or the network is missing, or they are not
    of one experiment.
    """
    folder = Path(folder)
    report = read_report(folder)
    built = [(section, section.build(report)) for section in sections.SECTIONS]
    parts = [(section.key, section.title, body) for section, body in built if body is not None]
    text = render_page(report.result.experiment, report.result.hwsim_version, parts)
    path = folder / REPORT if path is None else Path(path)
    with whole_file(path) as file:
        file.write(text.encode())
    return path
