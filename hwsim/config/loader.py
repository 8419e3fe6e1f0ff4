"""From a YAML file, or the name of a shipped one, to a validated configuration model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hwsim.config.strict_yaml import parse_yaml
from hwsim.errors import ConfigError, StorageError
from hwsim.files import read_text
from hwsim.schema import Key, dotted, explain, suggestion

_LIMIT = 16 << 20
"""Bytes of a file."""


class StrictModel(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def load_config(
    source: Path | str,
    model: type[Model],
    folder: str = "experiments",
    settings: Sequence[str] = (),
) -> Model:
    """Read ``source`` as a ``model``.

    source: path of a YAML file, or the bare name of one shipped in ``hwsim/configs/<folder>``.
    settings: ``KEY=VALUE`` texts that replace or add values, KEY dotted as in
    ``training.epochs``, VALUE as in YAML.
    Raises ConfigError with file, line (or setting), key and what is allowed.
    """
    path = find_config(source, folder)
    try:
        text = read_text(path, _LIMIT)
    except StorageError as error:
        raise ConfigError(str(error)) from None
    return parse_config(text, model, path, settings)


def find_config(source: Path | str, folder: str = "experiments") -> Path:
    """Path of ``source``, which is a file or the name of one shipped in ``folder``."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = shipped_configs(folder)
    if str(source) in shipped:
        return shipped[str(source)]
    raise ConfigError(
        f"is neither a file nor one of the shipped {folder}: {', '.join(shipped) or 'none'}"
        + suggestion(str(source), shipped),
        file=path,
    )


def shipped_configs(folder: str) -> dict[str, Path]:
    """Name and path of every YAML file in ``hwsim/configs/<folder>``, by name."""
    root = Path(str(resources.files("hwsim.configs"))) / folder
    return {path.stem: path for path in sorted(root.glob("*.yaml"))}


def parse_config(
    text: str, model: type[Model], file: Path | str = "<text>", settings: Sequence[str] = ()
) -> Model:
    """Validate YAML ``text`` as a ``model``; ``file`` serves the error's text only."""
    data, lines = parse_yaml(text, file)
    places = {key: f"{file}:{line}" for key, line in lines.items()}
    for setting in settings:
        places |= _replace(data, setting)
    return validate_config(data, model, file, places)


def _replace(data: Any, setting: str) -> dict[Key, str]:
    """Put the value of a ``KEY=VALUE`` text into ``data``; the places of all that is new."""
    name, equals, text = setting.partition("=")
    place = f"--set {name}"
    *above, last = name.strip().split(".")
    if not equals or not all((*above, last)):
        raise ConfigError("must be KEY=VALUE, as in training.epochs=10", file=f"--set {setting}")
    value, lines = parse_yaml(text, place)
    key: Key = ()
    for part in above:
        if isinstance(data, dict):
            if data.get(part) is None:
                data[part] = {}
            data, key = data[part], (*key, part)
    if not isinstance(data, dict):
        raise ConfigError(
            "is not a mapping, so nothing in it can be set", file=place, key=dotted(key)
        )
    data[last] = value
    return {(*above, last, *inner): place for inner in ((), *lines)}


def validate_config(
    data: Any,
    model: type[Model],
    file: Path | str | None = None,
    places: Mapping[Key, str] | None = None,
) -> Model:
    """Validate plain data as a ``model``.

    file, places: where the data, and where each key of it, came from, for the error's text.
    """
    if not isinstance(data, dict):
        raise ConfigError("must hold a mapping ('key: value' lines)", file=file)
    try:
        # JSON mode is strict about types (no "3" for 3, no 1.0 for 1) yet takes lists for tuples.
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        key, message = explain(error.errors(), model, data)
        known = places or {}
        where = next((known[key[:n]] for n in range(len(key), 0, -1) if key[:n] in known), file)
        raise ConfigError(message, file=where, key=dotted(key) or None) from None


def config_hash(config: BaseModel) -> str:
    """SHA-256 (hex) of the values of ``config``; layout, comments and key order do not count."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
