"""Options that several commands share, and one way to print results."""

from __future__ import annotations

import inspect
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer

from hwsim.progress import Progress, make_progress
from hwsim.version import __version__

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text


def _shipped_experiments(incomplete: str) -> list[str]:
    """Names of shipped experiments, for completion in shells."""
    from hwsim.config.loader import shipped_configs

    return [name for name in shipped_configs("experiments") if name.startswith(incomplete)]


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; progress goes to stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress on stderr.")]
NetworkFile = Annotated[Path, typer.Argument(metavar="NET", help="A .hwnet file.")]
Experiment = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT",
        autocompletion=_shipped_experiments,
        help="YAML file, or the name of a shipped experiment.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Replace a value of the experiment, as in training.epochs=10. Repeatable.",
    ),
]
OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Folder for the results. Default: runs/<name>."
    ),
]

Sections = Annotated[
    list[Path] | None,
    typer.Option(
        "--sections",
        metavar="FILE",
        help="Python file; its @section functions are added to the report. Repeatable.",
    ),
]

_FILE_WIDTH = 1000


class Output:
    """Writes a command's results to stdout: a JSON document, or text for people."""

    def __init__(self, command: str, *, as_json: bool, quiet: bool = False) -> None:
        self.command, self.as_json, self.quiet = command, as_json, quiet
        self.progress: Progress = make_progress(quiet=quiet)

    def finish(
        self, document: dict[str, Any], people: Callable[[], Iterable[RenderableType]]
    ) -> None:
        """Print the result: ``document`` (with ``seed``) as JSON, or the lines of ``people``."""
        if self.as_json:
            head = {"command": self.command, "hwsim_version": __version__, "seed": None}
            print(json.dumps({**head, **document}, indent=1, allow_nan=False), flush=True)
            return
        console = make_console()
        for item in people():
            console.print(item)


def show_any_text() -> None:
    """Let stdout and stderr escape characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def mark(ok: bool, *, stderr: bool = False) -> Text:
    """A coloured check mark or cross; a word if the stream's encoding lacks these signs."""
    sign, words, colour = ("✓", "ok", "green") if ok else ("✗", "FAILED", "red")
    stream = sys.stderr if stderr else sys.stdout
    try:
        sign.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        sign = words
    return styled((sign, colour))


def styled(*parts: str | Text | tuple[str, str]) -> Text:
    """A text of parts; a part is a string, or (text, style)."""
    from rich.text import Text

    return Text.assemble(*parts)


def make_console(*, stderr: bool = False) -> Console:
    """A rich console; without a terminal nothing is wrapped or cut.

    The console reads no markup: texts and cells of tables are shown unchanged. See ``styled``.
    """
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    return console


def positive(value: float | None) -> float | None:
    """Callback of options whose value must be above 0."""
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter(f"must be above 0, not {value:g}")
    return value


def fraction(value: float | None) -> float | None:
    """Callback of options whose value must lie between 0 and 1."""
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"must be a share between 0 and 1, not {value:g}")
    return value


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with options objects: a parameter whose type is a dataclass stands for options.

    Every field with a type ``Annotated[..., typer.Option(...)]`` is an option of the command, at
    the parameter's place and with the field's name and default. A field whose type is such a
    dataclass stands for the options of that one. All other fields keep their defaults.
    """
    signature = inspect.signature(command, eval_str=True)
    objects: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if is_dataclass(parameter.annotation):
            objects[parameter.name] = parameter.annotation
            parameters += _options_of(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**values: Any) -> None:
        made = {name: _made(kind, values) for name, kind in objects.items()}
        command(**values, **made)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _options_of(kind: Any) -> Iterator[inspect.Parameter]:
    """The fields of an options object as parameters of a command, in order."""
    types = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if is_dataclass(types[field.name]):
            yield from _options_of(types[field.name])
        elif get_origin(types[field.name]) is Annotated:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=types[field.name],
            )


def _made(kind: Any, values: dict[str, Any]) -> Any:
    """An options object of the values that are its fields; takes them out of ``values``."""
    types = get_type_hints(kind, include_extras=True)
    given = {}
    for field in fields(kind):
        if is_dataclass(types[field.name]):
            given[field.name] = _made(types[field.name], values)
        elif field.name in values:
            given[field.name] = values.pop(field.name)
    return kind(**given)


def example(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Append an example to a command's help."""

    def append(command: Callable[..., None]) -> Callable[..., None]:
        command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\nExample: {text}"
        return command

    return append
