"""From a YAML file, or the name of a shipped one, to a validated configuration model."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from hwsim.config.strict_yaml import Key, dotted, parse_yaml
from hwsim.errors import ConfigError


class StrictModel(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", file=path) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", file=path) from None
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
        + _suggestion(str(source), shipped),
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
        key, message = _explain(error.errors(), model, data)
        known = places or {}
        where = next((known[key[:n]] for n in range(len(key), 0, -1) if key[:n] in known), file)
        raise ConfigError(message, file=where, key=dotted(key) or None) from None


def config_hash(config: BaseModel) -> str:
    """SHA-256 (hex) of the values of ``config``; layout, comments and key order do not count."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


# What each pydantic error says is allowed; ``{}`` fields come from the error's context.
_ALLOWED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "text (a path)",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "greater_than_equal": ">= {ge}",
    "greater_than": "> {gt}",
    "less_than_equal": "<= {le}",
    "less_than": "< {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_short": "text of at least {min_length} character(s)",
    "too_short": "a list of at least {min_length} entries",
    "too_long": "a list of at most {max_length} entries",
}
_NUMBERS = ("a number", "an integer")
_UNITS = ("mhz", "pj", "uj", "v", "ma", "nm", "s", "ms", "us", "bytes", "bits", "cycles")


def _explain(errors: list[ErrorDetails], model: type[BaseModel], data: Any) -> tuple[Key, str]:
    """Key and one-line text of the first error; members of a union are told together."""
    # An unknown key explains a missing one (a typo), so it goes first.
    errors.sort(key=lambda e: e["type"] != "extra_forbidden")
    key = _real_key(errors[0], data)
    group = [error for error in errors if _real_key(error, data) == key]
    first = group[0]
    if first["type"] == "extra_forbidden":
        allowed = _keys_at(model, key[:-1])
        return key, f"unknown key; allowed: {', '.join(allowed)}" + _suggestion(
            str(key[-1]), allowed
        )
    if first["type"] == "missing":
        return key, "is required"
    if first["type"] == "value_error":
        return key, str(first["ctx"]["error"])
    phrases = [
        _ALLOWED[e["type"]].format(**e.get("ctx", {})) for e in group if e["type"] in _ALLOWED
    ]
    if not phrases:
        return key, first["msg"].replace("\n", " ")
    value = first["input"]
    text = f"must be {' or '.join(dict.fromkeys(phrases))}, not {_shown(value)}"
    unit = str(key[-1]).rpartition("_")[2]
    if phrases[0] in _NUMBERS and unit in _UNITS and re.match(r"[0-9.]+ *[a-zA-Z]", str(value)):
        text += f" (the unit, {unit}, is part of the key)"
    elif isinstance(value, str) and first["type"] == "literal_error":
        choices = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        text += _suggestion(value, choices)
    return key, text


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)


def _real_key(error: ErrorDetails, data: Any) -> Key:
    """The error's location without the tags that pydantic inserts for members of a union."""
    key: list[str | int] = []
    for n, part in enumerate(error["loc"]):
        last = n == len(error["loc"]) - 1
        inside = (
            part in data
            if isinstance(data, dict)
            else isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            data = data[part]
            key.append(part)
        elif last and error["type"] == "missing":
            key.append(part)
    return tuple(key)


def _keys_at(model: type[BaseModel], key: Key) -> list[str]:
    """Keys allowed in the model that sits at ``key`` below ``model``."""
    current: Any = model
    for part in key:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = _required(current.model_fields[str(part)].annotation)
        else:
            args = get_args(current)
            current = _required(args[-1] if get_origin(current) is dict else args[0])
    return list(current.model_fields)


def _required(annotation: Any) -> Any:
    """``annotation`` without ``Annotated`` and ``| None``."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = get_args(annotation)[0]
    return annotation


def _suggestion(given: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
