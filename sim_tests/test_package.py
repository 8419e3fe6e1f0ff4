"""The package: what is shipped, who may import whom, and that the wheel works on its own."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "hwsim": "hwsim",
    "models": "hwsim.models",
    "rtl": "hwsim.rtl",
    "configs": "hwsim.configs",
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_every_package_is_listed() -> None:
    found = {
        ".".join((FOLDERS[folder], *path.parent.relative_to(ROOT / folder).parts))
        for folder in FOLDERS
        for path in sources(folder)
        if path.name == "__init__.py"
    }
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_python_file_is_in_a_package() -> None:
    for folder in FOLDERS:
        for path in sources(folder):
            assert (path.parent / "__init__.py").is_file(), path


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if not line.startswith("#")}
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {re.match(r"[\w-]+", text)[0].lower() for text in wanted}
    assert names <= pinned


def imports(path: Path, *, top: bool) -> set[str]:
    """Modules that a file imports; ``top``: only outside functions and TYPE_CHECKING blocks."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not (top and (lazy or typing)):
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(path.read_text()))
    return found


def reaches(found: set[str], *modules: str) -> set[str]:
    return {
        name
        for name in found
        for module in modules
        if name == module or name.startswith(f"{module}.")
    }


@pytest.mark.parametrize(
    "path", sources("hwsim"), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_hwsim_imports_neither_torch_nor_models_nor_rtl(path: Path) -> None:
    command_line = path.is_relative_to(ROOT / "hwsim" / "cli")
    door = path == ROOT / "hwsim" / "__init__.py"  # imports what is asked for, when it is
    found = imports(path, top=command_line or door)
    forbidden = reaches(found, "torch", "amaranth", "cocotb", "hwsim.models", "hwsim.rtl")
    assert forbidden == set()


def test_models_and_rtl_do_not_import_each_other() -> None:
    for folder, other in (("models", "hwsim.rtl"), ("rtl", "hwsim.models")):
        for path in sources(folder):
            assert reaches(imports(path, top=False), other, "hwsim.cli", "hwsim.run") == set(), path
    for path in sources("rtl"):
        assert reaches(imports(path, top=False), "torch") == set(), path


def module_name(path: Path) -> str:
    folder, *parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((FOLDERS[folder], *(part for part in parts if part != "__init__")))


def test_no_modules_import_each_other() -> None:
    """Not even inside functions; only types may be named both ways."""
    paths = {module_name(path): path for folder in FOLDERS for path in sources(folder)}
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        tree = ast.parse(path.read_text("utf-8"))
        typing = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for inner in ast.walk(node)
        }
        graph[module] = {
            name if (name := f"{node.module}.{alias.name}") in paths else node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in paths and node not in typing
            for alias in node.names
        }
    assert sum(len(found) for found in graph.values()) > len(paths)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def floors() -> dict[str, int]:
    """Floor of every package, as docs/architecture.md tells it."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.partition("## Who may import whom")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.M)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`([^`]+)`", names)}


def package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_every_package_has_a_floor() -> None:
    found = {package(module_name(path)) for folder in FOLDERS for path in sources(folder)}
    assert set(floors()) == found - {"hwsim"}


@pytest.mark.parametrize("name", sorted(floors()))
def test_imports_go_down(name: str) -> None:
    """Imports inside functions and imports of types alone count, too."""
    floor = floors()
    files = [p for folder in FOLDERS for p in sources(folder) if package(module_name(p)) == name]
    assert files
    for path in files:
        found = {package(module) for module in imports(path, top=False)}
        wrong = {
            other
            for other in (found & floor.keys()) - {name}
            if floor[other] > floor[name] or floor[other] == floor[name] > 1
        }
        assert wrong == set(), path


def calls_without_encoding(tree: ast.AST) -> list[str]:
    """Calls that read or write text in whatever encoding the machine happens to have."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        given = {word.arg: word.value for word in node.keywords}
        values = [*node.args, *given.values()]
        modes = [v.value for v in values if isinstance(v, ast.Constant) and type(v.value) is str]
        text = (
            (name in ("read_text", "write_text") and len(node.args) <= (name == "write_text"))
            or (
                name in ("open", "fdopen", "TemporaryFile", "NamedTemporaryFile")
                and not any("b" in mode for mode in modes)
                and ast.unparse(node.func)
                not in ("archive.open", "gzip.open", "os.open")  # of bytes
            )
            or bool({"text", "universal_newlines"} & given.keys())
        )
        if text and "encoding" not in given:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("folder", [*FOLDERS, "benchmarks", "docs", "examples"])
def test_text_is_read_and_written_in_a_named_encoding(folder: str) -> None:
    for path in sources(folder):
        assert calls_without_encoding(ast.parse(path.read_bytes())) == [], path


def test_calls_without_encoding_are_seen() -> None:
    code = (
        "p.read_text()\np.write_text(t)\nopen(p)\np.open('w')\nrun(x, text=True)\n"
        "p.read_text('utf-8')\np.open('rb')\nrun(x)\np.write_text(t, encoding=e)\n"
    )
    assert calls_without_encoding(ast.parse(code)) == [
        "p.read_text()",
        "p.write_text(t)",
        "open(p)",
        "p.open('w')",
        "run(x, text=True)",
    ]


HANGS = """
import time
import pytest

def test_default():
    time.sleep(60)

@pytest.mark.slow
def test_long(request):
    assert request.node.get_closest_marker("timeout").args == (3600,)

@pytest.mark.slow
@pytest.mark.timeout(7)
def test_own(request):
    assert request.node.get_closest_marker("timeout").args == (7,)
"""


def test_every_test_has_a_limit(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The limit of pyproject.toml ends a test that hangs; long tests have a longer one."""
    assert float(pytestconfig.getini("timeout")) == 300
    (tmp_path / "test_hangs.py").write_text(HANGS, encoding="utf-8")
    (tmp_path / "conftest.py").write_bytes((ROOT / "sim_tests" / "conftest.py").read_bytes())
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        ROOT / "pyproject.toml",
        "-m",
        "slow or not slow",
    ]
    done = subprocess.run(
        [*words, "--rootdir", tmp_path, "-p", "no:cacheprovider", "-o", "timeout=1", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert "1 failed, 2 passed" in done.stdout
    assert "Failed: Timeout" in done.stdout


@pytest.mark.slow
def test_wheel_works_in_an_empty_environment(tmp_path: Path) -> None:
    """Built, installed with its pinned dependencies, and run from a folder of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*words: object, cwd: Path) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    source = tmp_path / "source"
    run("git", "clone", "--quiet", ROOT, source, cwd=tmp_path)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, cwd=source)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    tools = tmp_path / "venv" / "bin"
    constraints = ROOT / "constraints.txt"
    run(tools / "python", "-m", "pip", "install", "-qq", "-c", constraints, wheel, cwd=tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    out = run(tools / "hwsim", "run", "quickstart", "--json", cwd=folder)
    document = json.loads(out)
    assert document["verification"]["passed"]
    assert (folder / "runs" / "quickstart" / "network.hwnet").is_file()
