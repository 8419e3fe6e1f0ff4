"""YAML without surprises: the 1.2 core schema, no duplicate keys, no aliases, no tags.

PyYAML alone keeps the last of two equal keys, reads ``1e-3`` as text, ``no`` as a boolean and
``010`` as eight. Here ``1e-3`` is a number, only ``true`` and ``false`` are booleans, ``010`` is
ten, and what would be dropped or guessed silently is an error with its line.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from hwsim.errors import ConfigError
from hwsim.schema import Key, dotted

_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")}
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,32}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class _Loader(yaml.BaseLoader):
    """Leaves every scalar as text; refuses aliases, which can loop or grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str, file: Path | str = "<text>") -> tuple[Any, dict[Key, int]]:
    """Plain data of a YAML document, and the line (from 1) of every key and list entry.

    Raises ConfigError for broken syntax, duplicate keys, aliases and tags.
    """
    lines: dict[Key, int] = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        return (None if node is None else _build(node, (), lines, file)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError(f"is not valid YAML: {error.problem}", file=where) from None
    except yaml.YAMLError:
        raise ConfigError("is not valid YAML: it holds a forbidden character", file=file) from None
    except RecursionError:
        raise ConfigError("is not valid YAML: it is nested too deeply", file=file) from None


def _build(node: yaml.Node, key: Key, lines: dict[Key, int], file: Path | str) -> Any:
    """Data of ``node``, which sits at ``key``; fills ``lines``."""
    line = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        where = f"{file}:{line}"
        raise ConfigError(f"tag {node.tag!r} is not allowed", file=where, key=dotted(key) or None)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError("keys must be text", file=f"{file}:{at}", key=dotted(key) or None)
            path = (*key, key_node.value)
            if key_node.value in mapping:
                message = f"key is given twice (first on line {lines[path]})"
                raise ConfigError(message, file=f"{file}:{at}", key=dotted(path))
            lines[path] = at
            mapping[key_node.value] = _build(value_node, path, lines, file)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*key, index)] = item.start_mark.line + 1
        return [_build(item, (*key, n), lines, file) for n, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    value = _scalar(node.value) if node.style is None else node.value
    # What is larger than a float, or than the integers that NumPy and the kernels know.
    if (type(value) is int and value.bit_length() > 63) or value in (math.inf, -math.inf):
        raise ConfigError("the number is too large", file=f"{file}:{line}", key=dotted(key) or None)
    return value


def _scalar(text: str) -> Any:
    if _NULL.fullmatch(text):
        return None
    if match := _BOOL.fullmatch(text):
        return bool(match[1])
    if _INT.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
