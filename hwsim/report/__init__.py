"""The report: one HTML file, drawn from a finished experiment's folder."""

from hwsim.report.experiment import Report, read_report
from hwsim.report.page import build_report
from hwsim.report.sections import SECTIONS, Section, section

__all__ = ["SECTIONS", "Report", "Section", "build_report", "read_report", "section"]
