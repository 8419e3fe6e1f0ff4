"""Print the SRAM points of an energy table, as CACTI 7 computes them.

Needs a built copy of https://github.com/HewlettPackard/cacti (commit 1ffd8df)::

    python benchmarks/cacti_points.py path/to/cacti --node 45 --cells itrs-lstp

The settings are those of Accelergy's CACTI wrapper: one bank with one read-write port, cells and
periphery of one kind, 300 K, smallest dynamic energy, no ECC.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

WORDS = (64, 128, 256, 512, 1024, 2048, 4096, 16384, 65536)
BITS = (32, 64, 128, 256)


def settings(words: int, bits: int, node: int, cells: str) -> dict[str, str]:
    """Lines of CACTI's configuration that differ from its ``cache.cfg``, by their beginning."""
    return {
        "-size (bytes)": f" {words * bits // 8}",
        "-block size (bytes)": f" {bits // 8}",
        "-associativity": " 1",
        "-technology (u)": f" {node / 1000:.3f}",
        "-Data array cell type -": f' "{cells}"',
        "-Data array peripheral type -": f' "{cells}"',
        "-Tag array cell type -": f' "{cells}"',
        "-Tag array peripheral type -": f' "{cells}"',
        "-output/input bus width": f" {bits}",
        "-operating temperature (K)": " 300",
        "-cache type": ' "ram"',
        "-design objective (weight delay, dynamic power, leakage power, cycle time, area)": (
            " 0:100:0:0:0"
        ),
        "-Add ECC -": ' "false"',
    }


def figure(text: str, name: str) -> float:
    match = re.search(rf"{re.escape(name)}[^:]*:\s*([\d.e+-]+)", text)
    if match is None:
        raise SystemExit(f"CACTI printed no '{name}'")
    return float(match[1])


def point(folder: Path, words: int, bits: int, node: int, cells: str) -> str:
    """One YAML row: read and write energy of a word, leakage (sub-threshold and gate)."""
    config = (folder / "cache.cfg").read_text(encoding="utf-8")
    for beginning, value in settings(words, bits, node, cells).items():
        config = re.sub(
            rf"^{re.escape(beginning)}.*$",
            lambda _, line=beginning + value: line,
            config,
            flags=re.MULTILINE,
        )
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", encoding="utf-8") as file:
        file.write(config)
        file.flush()
        done = subprocess.run(
            ["./cacti", "-infile", file.name],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
        )
    read = figure(done.stdout, "Total dynamic read energy per access") * 1e3
    write = figure(done.stdout, "Total dynamic write energy per access") * 1e3
    leakage = figure(done.stdout, "Total leakage power of a bank")
    leakage += figure(done.stdout, "Total gate leakage power of a bank")
    return (
        f"    - {{words: {words}, bits: {bits}, read_pj: {read:.4g}, write_pj: {write:.4g}, "
        f"leakage_mw: {leakage:.4g}}}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("cacti", type=Path, help="folder with the built cacti")
    parser.add_argument("--node", type=int, required=True, help="nm")
    parser.add_argument("--cells", default="itrs-lstp")
    args = parser.parse_args()
    for bits in BITS:
        for words in WORDS:
            print(point(args.cacti, words, bits, args.node, args.cells), flush=True)


if __name__ == "__main__":
    main()
