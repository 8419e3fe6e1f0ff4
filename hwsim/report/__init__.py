"""The report: one HTML file, drawn from a finished experiment's folder."""

from hwsim.report.page import Report, build_report, read_report
from hwsim.report.sections import SECTIONS, Section, section

__all__ = ["SECTIONS", "Report", "Section", "build_report", "read_report", "section"]
