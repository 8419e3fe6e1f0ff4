"""Errors that a user can cause; the command line prints each as one line and exits with 2."""

from __future__ import annotations

from pathlib import Path


class HwsimError(Exception):
    """Base of every error whose cause is the user's input; its text is one line."""


class HwsimWarning(UserWarning):
    """Something that is allowed and likely a mistake; its text is one line."""


class ConfigError(HwsimError):
    """A configuration file is wrong; the text names the file, the key and the allowed values."""

    def __init__(self, message: str, *, file: Path | str | None = None, key: str | None = None):
        self.file = None if file is None else str(file)
        self.key = key
        where = ": ".join(part for part in (self.file, key) if part)
        super().__init__(f"{where}: {message}" if where else message)


class NetworkError(HwsimError):
    """An integer network breaks a rule; the text names the op and the rule."""

    def __init__(self, message: str, *, op: str | None = None):
        self.op = op
        super().__init__(f"op '{op}': {message}" if op else message)


class StorageError(HwsimError):
    """A ``.hwnet`` file cannot be read: truncated, edited, foreign or of another version."""


class MappingError(HwsimError):
    """The accelerator cannot run this network or folding; names the op, why and what to do."""

    def __init__(self, message: str, *, op: str | None = None):
        self.op = op
        super().__init__(f"op '{op}': {message}" if op else message)


class DataError(HwsimError):
    """A data set is missing or malformed; says which file goes where."""


class TrainingError(HwsimError):
    """A training cannot go on; says why and which key to change."""


class OutputError(HwsimError):
    """An output folder cannot be used, for example because it holds another experiment."""
