"""Strict YAML: what a plain loader would guess or drop is read as written, or is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config.strict_yaml import parse_yaml
from hwsim.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1e3),
        (".5", 0.5),
        ("-2.", -2.0),
        ("010", 10),
        ("0x1F", 31),
        ("-7", -7),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ('"1"', "1"),
        ("'true'", "true"),
        (".inf", ".inf"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    data, _ = parse_yaml(f"key: {text}")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_lines_of_keys_and_entries() -> None:
    _, lines = parse_yaml("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - 4\n")
    assert lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 4,
        ("b", "d", 0): 5,
        ("b", "d", 1): 6,
    }


def test_empty_document() -> None:
    assert parse_yaml("# nothing\n") == (None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: a: key is given twice (first on line 1)"),
        ("a:\n  b: 1\n  b: 1\n", "x.yaml:3: a.b: key is given twice (first on line 2)"),
        ("a: &x 1\nb: *x\n", "x.yaml:2: is not valid YAML: aliases are not allowed"),
        ("a: !!int 3\n", "x.yaml:1: a: tag 'tag:yaml.org,2002:int' is not allowed"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "x.yaml:1: a: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        ("a: [1\n", "x.yaml:2: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("[a, b]: 1\n", "x.yaml:1: keys must be text"),
        ("a: \x07\n", "x.yaml: is not valid YAML: it holds a forbidden character"),
        ("[" * 3000, "x.yaml: is not valid YAML: it is nested too deeply"),
    ],
)
def test_errors_are_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value) == message


@given(st.text(max_size=60))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    message = ""
    try:
        parse_yaml(text)
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
