"""Options objects: dataclasses that stand for options of a command."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from hwsim.cli.common import takes_options
from hwsim.cli.main import app


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, typer.Option(min=1, help="How large.")] = 3
    kind: Annotated[str | None, typer.Option("--inner-kind")] = None


@dataclass(frozen=True)
class Outer:
    name: Annotated[str, typer.Option()]
    inner: Inner = field(default_factory=Inner)
    loud: Annotated[bool, typer.Option("--loud")] = False
    found: int = 7


seen: list[Any] = []


@takes_options
def command(*, first: str, outer: Outer, last: Annotated[int, typer.Option()] = 0) -> None:
    """Says what it got."""
    seen.append((first, outer, last))


def run(*words: str) -> Any:
    own = typer.Typer()
    own.command()(command)
    seen.clear()
    return CliRunner().invoke(own, words)


def test_fields_are_options_in_their_place() -> None:
    assert list(inspect.signature(command).parameters) == [
        *("first", "name", "size", "kind", "loud", "last"),
    ]
    assert run("x", "--name", "n").exit_code == 0
    assert seen == [("x", Outer("n"), 0)]
    words = ["x", "--name", "n", "--size", "5", "--inner-kind", "k", "--loud", "--last", "2"]
    assert run(*words).exit_code == 0
    assert seen == [("x", Outer("n", Inner(5, "k"), True), 2)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["x"], "Missing option"),
        (["x", "--name", "n", "--size", "0"], "greater than or equal to 1"),
        (["x", "--name", "n", "--found", "1"], "No such option"),
    ],
)
def test_they_are_checked_as_others_are(words: list[str], text: str) -> None:
    found = run(*words)
    assert found.exit_code == 2
    assert text in found.output
    assert seen == []


def test_no_command_takes_more_than_a_dozen_parameters() -> None:
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    commands = [found.callback for group in groups for found in group.registered_commands]
    assert len(commands) >= 12
    for callback in commands:
        own = inspect.unwrap(callback)  # type: ignore[arg-type]
        assert len(own.__annotations__) - 1 <= 12, own.__name__
