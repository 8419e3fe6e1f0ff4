"""The command line as a user meets it: help, exit codes, one-line errors, JSON."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import typer.main
from rich.console import Console

from hwsim import __version__
from hwsim.cli.common import mark
from hwsim.cli.main import app, main
from hwsim.cli.tables import Grid
from hwsim.config.loader import shipped_configs
from hwsim.network import Network, network_hash, save
from hwsim.testing import random_network

COMMANDS = [command.callback.__name__ for command in app.registered_commands]


@pytest.fixture
def network() -> Network:
    return random_network(np.random.default_rng(0))


@pytest.fixture
def hwnet(network: Network, tmp_path: Path) -> Path:
    path = tmp_path / "net.hwnet"
    save(network, path)
    return path


def call(capsys: Any, *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_version(capsys: Any) -> None:
    assert call(capsys, "--version") == (0, f"hwsim {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(capsys: Any, command: str) -> None:
    code, out, err = call(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert f"Example: hwsim {command}" in out
    assert "--json" in out


def test_no_command_shows_the_help(capsys: Any) -> None:
    code, out, _ = call(capsys)
    assert code == 0
    assert "hwsim run quickstart" in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from hwsim.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numba', 'amaranth', 'numpy', 'pydantic', 'yaml', 'matplotlib'}\n"
        "sys.exit(','.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_marks_are_what_the_stream_can_write(monkeypatch: Any, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", stream)
    signs = [mark(True), mark(False)]
    print(*signs, flush=True)
    seen = [(sign.plain, str(sign.spans[0].style)) for sign in signs]
    plain = encoding != "utf-8"
    good, bad = ("ok", "FAILED") if plain else ("✓", "✗")
    assert seen == [(good, "green"), (bad, "red")]


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "cp1252:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environment: "-".join(environment.values()),
)
def test_terminals_of_any_encoding(
    hwnet: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Help, tables and errors come out whole; what an encoding lacks is escaped."""

    def hwsim(*words: object) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", "from hwsim.cli.main import main; main()", *map(str, words)],
            env={**os.environ, **environment, "COLUMNS": "60"},
            capture_output=True,
        )
        return done.returncode, done.stdout.decode("cp1252"), done.stderr.decode("cp1252")

    assert hwsim("inspect", "--help")[::2] == (0, "")
    code, out, err = hwsim("inspect", hwnet)
    assert (code, err) == (0, "")
    assert "sha256" in out
    assert hwsim("inspect", "☃.hwnet")[0] == 2
    (tmp_path / "x.yaml").write_text("name: ☃\n", encoding="utf-8")
    code, out, err = hwsim("run", tmp_path / "x.yaml")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert r"\u2603" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "No such command 'fly' (see hwsim --help)"),
        (["run"], "Missing argument 'EXPERIMENT' (see hwsim run --help)"),
        (["run", "quickstart", "--xyzzy"], "No such option: --xyzzy (see hwsim run --help)"),
        (
            ["run", "quickstrat"],
            "quickstrat: is neither a file nor one of the shipped experiments: "
            f"{', '.join(shipped_configs('experiments'))} (did you mean 'quickstart'?)",
        ),
        (["inspect", "no.hwnet"], "no.hwnet: cannot be read (No such file or directory)"),
        (["verify", "."], ".: holds no manifest.json of an accelerator; run hwsim generate"),
    ],
)
def test_users_errors(
    capsys: Any, tmp_path: Path, monkeypatch: Any, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(capsys, *words) == (2, "", f"hwsim: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_errors_of_a_configuration_file(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("name: x\ndata: {set: digits}\nmodel: {}\ntraining:\n  epoch: 3\n")
    code, out, err = call(capsys, "run", "x.yaml", "--json")
    assert (code, out) == (2, "")
    assert err.startswith("hwsim: x.yaml:5: training.epoch: unknown key; allowed: epochs, ")
    assert err.endswith(" (did you mean 'epochs'?)\n")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_missing_data(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HWSIM_DATA", raising=False)
    Path("x.yaml").write_text("name: x\ndata: {set: mnist}\nmodel: {}\ntraining: {}\n")
    code, out, err = call(capsys, "run", "x.yaml", "-q")
    assert (code, out) == (2, "")
    assert err == (
        "hwsim: mnist not found: put the four MNIST IDX files (train-images-idx3-ubyte, ..., with "
        "or without .gz) into data/mnist or set data.path or HWSIM_DATA (looked in data/mnist)\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda blob: blob[:-1], "is not a .hwnet file, or is truncated"),
        (lambda blob: b"PK\x03\x04" + blob, "is not a .hwnet file, or is truncated"),
        (
            lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]),
            "content does not match its hash; the file was edited",
        ),
    ],
)
def test_damaged_networks(capsys: Any, hwnet: Path, damage: Any, message: str) -> None:
    hwnet.write_bytes(damage(hwnet.read_bytes()))
    for command in ("inspect", "simulate"):
        assert call(capsys, command, hwnet) == (2, "", f"hwsim: {hwnet}: {message}\n")


def test_debug_shows_the_traceback(hwnet: Path) -> None:
    hwnet.write_bytes(b"")
    for words in (["--debug", "inspect", str(hwnet)], ["inspect", str(hwnet), "--debug"]):
        with pytest.raises(Exception, match="is not a .hwnet file"):
            main(words)


def test_errors_of_the_program_exit_with_one(capsys: Any, hwnet: Path, monkeypatch: Any) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("hwsim.network.load", broken)
    assert call(capsys, "inspect", hwnet) == (
        1,
        "",
        "hwsim: ZeroDivisionError: two lines (an error of hwsim; --debug shows where)\n",
    )


def test_interruption(capsys: Any, hwnet: Path, monkeypatch: Any) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwsim.network.load", interrupted)
    assert call(capsys, "inspect", hwnet) == (
        130,
        "",
        "hwsim: interrupted; run the same command again to resume\n",
    )


def test_inspect_json(capsys: Any, hwnet: Path, network: Network) -> None:
    code, out, err = call(capsys, "inspect", hwnet, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["command"] == "inspect"
    assert document["hwsim_version"] == __version__
    assert document["seed"] is None
    assert document["network_sha256"] == network_hash(network)
    assert [op["name"] for op in document["ops"]] == [op.name for op in network]
    assert [op["bits"] for op in document["ops"]] == [network.types[op.name].bits for op in network]


def test_inspect_for_people(capsys: Any, hwnet: Path, network: Network) -> None:
    code, out, err = call(capsys, "inspect", hwnet)
    assert (code, err) == (0, "")
    for op in network:
        assert op.name in out
    assert network_hash(network) in out


@pytest.mark.parametrize("width", range(32, 128, 4))
def test_no_number_of_a_table_is_cut(width: int) -> None:
    """In every part of a narrow table a row begins with its name and has its own numbers."""
    names = ("conv[0]", "a_rather_long_name")
    numbers = [f"{11 ** (n % 7):,}" for n in range(12)]
    grid = Grid("op", *(f"h{n}" for n in range(12)), title="a title", words=1)
    for row, name in enumerate(names):
        grid.add(name, *numbers[row:], *numbers[:row])
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(grid)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    assert lines[0].strip() == "a title"
    for row, name in enumerate(names):
        mine = [line.split()[1:] for line in lines if line.split()[:1] == [name]]
        assert sum(mine, []) == [*numbers[row:], *numbers[:row]]
    heads = [line.split()[1:] for line in lines if line.split()[:1] == ["op"]]
    assert sum(heads, []) == [f"h{n}" for n in range(12)]
    wide = [max(len(numbers[n]), len(numbers[n - 11])) for n in range(12)]
    assert (len(heads) == 1) == (width >= 2 + len(names[1]) + sum(2 + size for size in wide))


@pytest.mark.parametrize("command", ["inspect", "simulate"])
def test_tables_on_a_narrow_terminal(
    capsys: Any, hwnet: Path, monkeypatch: Any, command: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    seen = {}
    for width in ("60", "400"):
        monkeypatch.setenv("COLUMNS", width)
        code, out, _ = call(capsys, command, hwnet)
        assert code == 0
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out.partition("sha256")[0])
        assert all(len(line) <= int(width) for line in plain.splitlines())
        seen[width] = set(re.findall(r"\d[\d,]*(?:\.\d+)?(?![\w,])", plain))
    assert seen["60"] == seen["400"]


def commands() -> dict[str, Any]:
    """Every command that does something, by its words: ``run``, ``memory show``."""
    found: dict[str, Any] = {}

    def visit(command: Any, words: str) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[words] = command
        for name, below in (inner or {}).items():
            visit(below, f"{words} {name}".strip())

    visit(typer.main.get_command(app), "")
    return found


def wrong_values(hint: Any) -> tuple[str, ...]:
    """What no option of such a type can take, nor any of hwsim's numbers."""
    kinds = get_args(hint) or (hint,)
    if str in kinds or bool in kinds:
        return ()
    if float in kinds:
        return ("-1", "nan", "five")
    return ("-1", "2.5", "five") if int in kinds else ("xyzzy",) if "Literal" in str(hint) else ()


WRONG = [
    (words, parameter.opts[0], value)
    for words, command in commands().items()
    for parameter in command.params
    if parameter.opts[0].startswith("--") and parameter.name in get_type_hints(command.callback)
    for value in wrong_values(get_type_hints(command.callback)[parameter.name])
]


@pytest.mark.parametrize(("command", "option", "value"), WRONG)
def test_a_wrong_value_is_told_with_its_option(
    capsys: Any,
    hwnet: Path,
    tmp_path: Path,
    monkeypatch: Any,
    command: str,
    option: str,
    value: str,
) -> None:
    """One line, before anything is written."""
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("voltage,failed,cells\n0.5,90,100\n0.6,50,100\n0.7,9,100\n0.8,0,100\n")
    before = sorted(tmp_path.iterdir())
    given = {
        "evaluate": [hwnet, "--data", "digits"],
        "faults": [hwnet, "--data", "digits"],
        "generate": [hwnet, "-o", "v", "-c", "quickstart"],
        "memory fit": ["m.csv", "--nominal", "1"],
        "memory show": ["sram_14nm"],
        "simulate": [hwnet],
        "synth": ["."],
        "verify": ["."],
    }[command]
    code, out, err = call(capsys, *command.split(), *given, option, value)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert option in err
    assert sorted(tmp_path.iterdir()) == before


def test_options_of_a_limited_range_are_there() -> None:
    assert len({(words, option) for words, option, _ in WRONG}) > 25


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hwsim ver", ["verify"]),
        ("hwsim verify --simulator ", ["verilator", "icarus"]),
        ("hwsim run quick", ["quickstart"]),
        ("hwsim memory ", ["show", "fit"]),
    ],
)
def test_shells_complete_commands_and_values(line: str, found: list[str]) -> None:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_HWSIM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from hwsim.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stderr == b""
    assert done.stdout.decode().split() == found


def test_completion_can_be_installed(capsys: Any) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    assert "--install-completion" in out
    assert "--show-completion" in out


@pytest.mark.parametrize("command", commands())
def test_no_option_is_cut_in_a_narrow_help(capsys: Any, monkeypatch: Any, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    code, out, _ = call(capsys, *command.split(), "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 50
    for parameter in commands()[command].params:
        for name in parameter.opts:
            assert re.search(rf"(^|\s){re.escape(name)}\b", out) or parameter.metavar in out, name
