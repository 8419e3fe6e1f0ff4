"""Sections of the user's own: Python files that add them to the report."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path

from hwsim.errors import ConfigError


def load_sections(files: Iterable[Path]) -> None:
    """Run each file; what it defines with ``@section`` is in every report from now on.

    Raises ConfigError with what went wrong in which file.
    """
    for path in files:
        try:
            runpy.run_path(str(path), run_name="sections")
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", file=path, key="--sections"
            ) from None
        except Exception as error:
            raise ConfigError(
                f"{type(error).__name__}: {error}", file=path, key="--sections"
            ) from error
