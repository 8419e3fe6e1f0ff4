"""Run the commands whose output the documents show, and put in what they print now.

    python docs/refresh_outputs.py [WORD]

A block is kept up to date when a comment stands above it: ``<!-- output of: python ... -->``.
WORD: only commands that contain it. Needs runs/quickstart (``hwsim run quickstart``).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- output of: python (.+?) -->\n```\n)(.*?)```", re.S)


def output_of(command: str) -> str:
    """What ``python <command>`` prints; what it writes goes to a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("examples", "runs"):
            (Path(folder) / name).symlink_to(ROOT / name)
        words = [sys.executable, *shlex.split(command)]
        done = subprocess.run(
            words, cwd=folder, check=True, capture_output=True, text=True, encoding="utf-8"
        )
    return done.stdout


def refresh(text: str, only: str = "") -> str:
    """``text`` with the blocks of all commands that contain ``only`` filled in anew."""

    def fill(match: re.Match[str]) -> str:
        body = output_of(match[2]) if only in match[2] else match[3]
        return f"{match[1]}{body}```"

    return BLOCK.sub(fill, text)


if __name__ == "__main__":
    for path in sorted((ROOT / "docs").glob("*.md")):
        path.write_text(refresh(path.read_text(encoding="utf-8"), *sys.argv[1:2]), encoding="utf-8")
