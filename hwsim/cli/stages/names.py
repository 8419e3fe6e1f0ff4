"""Names of the files in an experiment's folder."""

from __future__ import annotations

TRAINING, NETWORK, VERILOG = "train", "network.hwnet", "verilog"
RESULT, REPORT = "result.json", "report.html"
EVALUATION, SIMULATION, VERIFICATION = "evaluation.json", "simulation.json", "verification.json"
FINAL = "final.pt"
GENERATED = ("accelerator.v", "manifest.json", "network.hwnet", "vectors.npz")
