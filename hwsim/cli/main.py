"""Entry point: subcommands, exit codes and error lines.

Exit codes: 0 success; 2 an error of the user, one line on stderr; 130 interrupted; 1 other errors.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from hwsim.cli import (
    evaluate,
    faults,
    generate,
    inspect,
    memory,
    report,
    run,
    simulate,
    synth,
    train,
    verify,
)
from hwsim.cli.common import show_any_text
from hwsim.errors import HwsimError, HwsimWarning
from hwsim.version import __version__

_INTERRUPTED = 130
_LONGEST_LINE = 600
_TOO_LARGE = re.compile(r"(--[\w-]+=)?[-+]?\d{19,}")

app = typer.Typer(
    name="hwsim",
    help="From PyTorch to verified Verilog: simulate small CNNs and their hardware exactly.",
    epilog="Example: hwsim run quickstart",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help that wraps on narrow terminals; boxes cut the names of options
)
for _command in (
    run.run,
    train.train,
    evaluate.evaluate,
    inspect.inspect,
    simulate.simulate,
    faults.faults,
    generate.generate,
    verify.verify,
    synth.synth,
    report.report,
):
    app.command()(_command)
app.add_typer(memory.app)


def _print_version(value: bool) -> None:
    if value:
        print(f"hwsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks of errors. Allowed anywhere in the line."),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    show_any_text()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_invoke([word for word in words if word != "--debug"] or ["--help"], debug))


def _invoke(words: list[str], debug: bool) -> int:
    """Run a command line and return its exit code; every error is one line on stderr."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, HwsimWarning):
                _say(f"warning: {message}")
            else:
                shown(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        return _run(words, debug)


def _run(words: list[str], debug: bool) -> int:
    try:
        _check_words(words)
        code = app(words, prog_name="hwsim", standalone_mode=False)
        if code == _INTERRUPTED:  # typer's word for Ctrl-C
            _say("interrupted; run the same command again to resume")
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "hwsim"
        text = error.format_message().replace("Value error, ", "").rstrip(".")
        _say(f"{text} (see {command} --help)")
        return 2
    except HwsimError as error:
        if debug:
            raise
        _say(str(error))
        return 2
    except OSError as error:
        if debug:
            raise
        # A disk that is full, a folder that may not be written, a name that is too long, ...
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        _say(": ".join([*names, error.strerror or str(error) or "cannot be read or written"]))
        return 2
    except MemoryError as error:
        if debug:
            raise
        _say(f"needs more memory than there is ({error})")
        return 2
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or "no message"
        _say(f"{type(error).__name__}: {text} (an error of hwsim; --debug shows where)")
        return 1


def _say(text: str) -> None:
    """Print one line for people, without control characters for terminals."""
    from hwsim.names import printable

    print(f"hwsim: {printable(' '.join(text.split()), _LONGEST_LINE)}", file=sys.stderr)


def _check_words(words: list[str]) -> None:
    """Raise HwsimError for words that no option and no argument allows.

    One kind is the empty word, which an unset variable of a shell gives: nothing has an empty name,
    and as a path it would mean the current folder. The other kind is a number beyond 64 bits.
    """
    for n, word in enumerate(words):
        if _TOO_LARGE.fullmatch(word):
            from hwsim.names import printable

            option = f"{words[n - 1]}: " if n and words[n - 1].startswith("-") else ""
            raise HwsimError(f"{option}{printable(word, 40)}: the number is too large")
        if not word or (word.startswith("--") and word.endswith("=") and word.count("=") == 1):
            place = word or (f"after {words[n - 1]}" if n else "argument")
            raise HwsimError(f"{place}: is empty")
