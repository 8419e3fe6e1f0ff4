"""What does not fit a schema, told in one line: which key, what is allowed, what was given."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hwsim.names import printable

Key = tuple[str | int, ...]
"""Path of a value inside a file: mapping keys and list indices from the top."""


def dotted(key: Key) -> str:
    """``("a", "b", 0)`` as ``a.b[0]``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(part, 80)}" for part in key)
    return "".join(parts).lstrip(".")


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
    "string_too_long": "text of at most {max_length} characters",
    "string_too_short": "text of at least {min_length} character(s)",
    "too_short": "a list of at least {min_length} entries",
    "too_long": "a list of at most {max_length} entries",
}
_VERSIONS = (("format",), ("format_version",), ("spec_version",))
_NUMBERS = ("a number", "an integer")
_UNITS = ("mhz", "pj", "uj", "v", "ma", "nm", "s", "ms", "us", "bytes", "bits", "cycles")


def explain(errors: list[ErrorDetails], model: type[BaseModel], data: Any) -> tuple[Key, str]:
    """Key and one-line text of the first error; members of a union are told together."""
    # Another version explains everything, and an unknown key a missing one (a typo).
    errors.sort(key=lambda e: (e["loc"][-1:] not in _VERSIONS, e["type"] != "extra_forbidden"))
    key = _real_key(errors[0], data)
    group = [error for error in errors if _real_key(error, data) == key]
    first = group[0]
    if first["type"] == "extra_forbidden":
        allowed = _keys_at(model, key[:-1])
        known = f"; allowed: {', '.join(allowed)}" if allowed else ""
        return key, f"unknown key{known}{suggestion(str(key[-1]), allowed)}"
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
        text += suggestion(value, choices)
    return key, text


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(printable(value, 80) if isinstance(value, str) else value)


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
    """Keys allowed in the model, or in all models of a union, that sit at ``key`` below ``model``.

    None where there is no model.
    """
    found: list[Any] = [model]
    for part in key:
        found = [inner for kind in found for inner in _below(kind, part)]
    return list(dict.fromkeys(name for kind in found for name in kind.model_fields))


def _below(model: type[BaseModel], part: str | int) -> list[Any]:
    """Models at one key of ``model``; ``part`` may also be a place in a list or mapping there."""
    if part in model.model_fields:
        return _models(model.model_fields[str(part)].annotation)
    return [model]


def _models(annotation: Any) -> list[Any]:
    """The models that an annotation names, in whatever it wraps them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """Which of ``allowed`` was perhaps meant, as the end of a sentence."""
    close = difflib.get_close_matches(given[:80], list(allowed), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
