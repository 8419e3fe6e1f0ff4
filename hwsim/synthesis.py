"""The schema of ``synthesis.json``: what ``hwsim synth`` found."""

from __future__ import annotations

from hwsim.files import Count, Document, Sha256
from hwsim.names import Line


class SlowestPath(Document):
    """The path that limits the clock: the registers at its ends, and its time."""

    start: str
    end: str
    logic_ns: float
    routing_ns: float


SYNTHESIS = "synthesis.json"


class Synthesis(Document):
    """What ``hwsim synth`` leaves in ``SYNTHESIS`` beside the Verilog of that hash.

    resources: lut, ff, carry, bram, dsp. cells: count by cell type. fmax_mhz, slowest: null for
    families that are only mapped.
    """

    verilog_sha256: Sha256
    target: Line
    resources: dict[str, float]
    fmax_mhz: float | None
    slowest: SlowestPath | None
    cells: dict[str, Count]
    tools: dict[str, str]
