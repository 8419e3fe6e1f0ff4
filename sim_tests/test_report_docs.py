"""The documents: links lead somewhere, commands and code in them work, pictures are up to date."""

from __future__ import annotations

import ast
import importlib
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from support.report_folder import balanced, four_layers, write_folder

import hwsim
from hwsim.cli.main import app
from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import parse_config
from hwsim.config.training import DataConfig
from hwsim.execute import Executor
from hwsim.models.data import load_data
from hwsim.network import load
from hwsim.report import SECTIONS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TUTORIALS = [ROOT / "docs" / f"tutorial-{name}.md" for name in ("fpga", "research", "ml")]


def blocks(path: Path, language: str = "") -> list[str]:
    """Fenced blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.M | re.S)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist_with_their_options(path: Path) -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for block in blocks(path):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["hwsim"] and not words[1].startswith("-"):
                command, rest = known[words[1]], words[2:]
                if hasattr(command, "commands"):
                    command, rest = command.commands[rest[0]], rest[1:]
                options = {o for p in command.params for o in p.opts}
                for word in rest:
                    assert not word.startswith("-") or word in options, line


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_scripts_exist(path: Path) -> None:
    for script in re.findall(r"python (\S+/\S+\.py)", path.read_text()):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_imports_in_code_exist(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), name.name


def test_experiment_in_tutorial_is_valid() -> None:
    (whole,) = (b for b in blocks(TUTORIALS[1], "yaml") if b.startswith("name:"))
    assert parse_config(whole, ExperimentConfig).model.weights == "ternary"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_output_in_tutorials_is_what_the_examples_print(path: Path) -> None:
    """Those that need neither training nor a finished run."""
    refresh = runpy.run_path(str(ROOT / "docs" / "refresh_outputs.py"))["refresh"]
    shown = path.read_text()
    assert refresh(shown, "mux_by_hand") == shown, "python docs/refresh_outputs.py mux_by_hand"


def follow(path: Path) -> None:
    """Run the Python of a tutorial, block by block, as one would paste it into one session."""
    session: dict[str, object] = {"__name__": "__main__"}
    for code in blocks(path, "python"):
        exec(compile(code, path.name, "exec"), session)


def test_code_in_the_tutorial_for_research_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hwsim.report.sections.SECTIONS", list(SECTIONS))
    folder = write_folder(tmp_path / "runs" / "quickstart", balanced(four_layers(), 1024))
    before = sorted(folder.iterdir())
    monkeypatch.chdir(tmp_path)
    follow(TUTORIALS[1])
    assert "0 slices are pruned away." in Path("slices.html").read_text(encoding="utf-8")
    assert sorted(folder.iterdir()) == before
    first, accuracy = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "0.9806"
    data = load_data(DataConfig(set="digits"))
    network = load(folder / "network.hwnet")
    assert accuracy == str(Executor(network).accuracy(data.test_x, data.test_y))


def test_code_in_the_tutorial_for_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    follow(TUTORIALS[2])
    assert load_data(DataConfig(set="npz", path="mine.npz")).shape == (1, 12, 12)
    network = load("mine.hwnet")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(network.types)


LONG = (
    "fashion_mnist",
    "one_chip",
    "chip7",
    "weight_alphabets",
    "own_training_loop",
    "harden_a_model",
    "runs/hard",
)
"""Commands of the tutorials that train for long, or need data that has to be brought."""


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.name)
def test_commands_of_a_tutorial_followed_literally(path: Path, tmp_path: Path) -> None:
    """Every block in order, in a folder where only `make demo` has run."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    tools = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def call(*words: str) -> None:
        done = subprocess.run(words, cwd=tmp_path, env=tools, capture_output=True)
        assert done.returncode == 0, (words, done.stdout.decode(), done.stderr.decode())

    call("hwsim", "run", "quickstart", "-o", "runs/quickstart")
    (experiment,) = (b for b in blocks(TUTORIALS[1], "yaml") if b.startswith("name:"))
    (tmp_path / "digits_ternary.yaml").write_text(experiment, encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    for name, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
        if name == "python":
            (tmp_path / "slices.py").write_text(block, encoding="utf-8")
            call("python", "slices.py")
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if not name else []
            if words[:1] in (["hwsim"], ["python"]) and not any(long in line for long in LONG):
                call(*words)


def test_picture_of_architecture_is_up_to_date() -> None:
    draw = runpy.run_path(str(ROOT / "docs" / "images" / "draw_architecture.py"))["draw"]
    assert (ROOT / "docs" / "images" / "architecture.svg").read_text() == draw() + "\n"


def test_picture_of_imports_is_up_to_date() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "images" / "draw_imports.py"))
    picture = ROOT / "docs" / "images" / "imports.svg"
    assert picture.read_text(encoding="utf-8") == str(drawn["draw"](ROOT)) + "\n"
    edges, _ = drawn["picture"](ROOT)
    rows, upward = drawn["floors"](edges)
    assert upward == []
    floor = {name: n for n, row in enumerate(rows) for name in row}
    assert all(floor[below] < floor[name] for name, found in edges.items() for below in found)
    assert "run" not in edges["studies"] | edges["faults"] | edges["accelerator"]


def test_circles_of_imports_are_named() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "images" / "draw_imports.py"))
    rows, upward = drawn["floors"]({"a": {"b", "c"}, "b": {"c"}, "c": {"b"}})
    assert len(upward) == 1
    assert set(upward[0]) == {"b", "c"}
    assert [len(row) for row in rows] == [1, 1, 1]
    assert rows[2] == ["a"]


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").glob("*.[ps][nv]g"):
        assert path.stat().st_size < 200_000, path.name


def test_code_of_the_interface_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "runs" / "quickstart", balanced(four_layers(), 1024))
    monkeypatch.chdir(tmp_path)
    follow(ROOT / "docs" / "api.md")
    cycles, failing = capsys.readouterr().out.splitlines()
    assert len(cycles.split()) == 3
    assert int(failing.split()[0]) > 0
    assert (tmp_path / "verilog" / "accelerator.v").is_file()


def test_interface_in_python_is_what_its_page_says() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    assert set(hwsim.__all__) - {"__version__"} == set(hwsim._MODULES)
    for name in hwsim._MODULES:
        assert re.search(rf"`[^`]*\b{name}\b", table), name
        assert getattr(hwsim, name).__doc__
    assert set(hwsim.__all__) <= set(dir(hwsim))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hwsim.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import hwsim, sys; print([m for m in ('numpy', 'torch', 'numba') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert found.stdout == "[]\n"
