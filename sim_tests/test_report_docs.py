"""The documents: links lead somewhere, commands and code in them work, pictures are up to date."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer.main
from support.report_folder import balanced, four_layers, write_folder

from hwsim.cli.main import app
from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import parse_config
from hwsim.config.training import DataConfig
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
    for script in re.findall(r"python (\S+\.py)", path.read_text()):
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


def test_section_in_tutorial_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwsim.report.sections.SECTIONS", list(SECTIONS))
    folder = write_folder(tmp_path / "runs" / "quickstart", balanced(four_layers(), 1024))
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in blocks(TUTORIALS[1], "python") if "@section" in block)
    exec(compile(code, "tutorial", "exec"), {})
    assert "0 slices are pruned away." in (folder / "report.html").read_text()


def test_code_in_the_tutorial_for_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for code in blocks(TUTORIALS[2], "python"):
        exec(compile(code, "tutorial", "exec"), {})
    assert load_data(DataConfig(set="npz", path="mine.npz")).shape == (1, 12, 12)
    network = load("mine.hwnet")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(network.types)


def test_picture_of_architecture_is_up_to_date() -> None:
    draw = runpy.run_path(str(ROOT / "docs" / "images" / "draw_architecture.py"))["draw"]
    assert (ROOT / "docs" / "images" / "architecture.svg").read_text() == draw() + "\n"


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs" / "images").glob("*.[ps][nv]g"):
        assert path.stat().st_size < 200_000, path.name
