"""The runner: what is redone, what is taken over, what an interruption leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwsim.config.loader import StrictModel
from hwsim.errors import OutputError
from hwsim.files import Document, write_json, write_text
from hwsim.hashes import path_hash
from hwsim.progress import NoProgress
from hwsim.run import ExperimentStage, StageRun, Workspace, run_stages


class Config(StrictModel):
    a: int = 1
    b: int = 1


class Value(Document):
    value: int


class Toy:
    """Two stages, ``b`` after ``a``, that note when they run; ``fail`` names one that raises."""

    def __init__(self, folder: Path, *, resumable: bool = False) -> None:
        self.folder, self.done = folder, []  # type: tuple[Path, list[str]]
        self.fail: BaseException | None = None
        self.outside = "1"
        self.stages = (
            ExperimentStage(
                "a", self._a, ("a.txt", "sub/a.txt"), ("a",), resumable=resumable, schema=Value
            ),
            ExperimentStage(
                "b", self._b, ("b.txt",), ("b",), ("a",), inputs=lambda config: self.outside
            ),
        )

    def _a(self, run: StageRun) -> dict[str, Any]:
        steps = run.work / "steps"
        before = steps.read_text() if steps.exists() else ""
        steps.write_text(before + "x")
        if self.fail is not None:
            raise self.fail
        self.done.append("a")
        (run.work / "a.txt").write_text(str(run.config.a))
        (run.work / "sub").mkdir()
        (run.work / "sub" / "a.txt").write_text(before + "x")
        return {"value": run.config.a}

    def _b(self, run: StageRun) -> dict[str, Any]:
        self.done.append("b")
        text = (run.folder / "a.txt").read_text()
        (run.work / "b.txt").write_text(text + str(run.config.b))
        return {"value": run.figures["a"]["value"] + run.config.b}

    def run(self, config: Config | None = None) -> list[str]:
        """Names of the stages that were done."""
        self.done.clear()
        workspace = Workspace(self.folder, "toy", self.stages)
        with workspace.locked():
            reports = run_stages(self.stages, config or Config(), workspace, NoProgress())
        assert [r.name for r in reports.values() if not r.cached] == self.done
        return list(self.done)

    def files(self) -> list[str]:
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "out")


def test_second_run_does_nothing(toy: Toy) -> None:
    assert toy.run() == ["a", "b"]
    before = {name: path_hash(toy.folder / name) for name in toy.files()}
    assert toy.run() == []
    assert {name: path_hash(toy.folder / name) for name in toy.files()} == before
    assert set(before) == {".lock", "a.txt", "b.txt", "state.json", "sub/a.txt"}


def test_only_what_depends_on_a_change_is_redone(toy: Toy) -> None:
    toy.run()
    assert toy.run(Config(b=2)) == ["b"]
    assert toy.run(Config(a=2, b=2)) == ["a", "b"]
    assert (toy.folder / "b.txt").read_text() == "22"
    toy.outside = "2"
    assert toy.run(Config(a=2, b=2)) == ["b"]


def test_derived_files_go_when_a_stage_is_redone(toy: Toy) -> None:
    toy.run()
    summary = toy.folder / "summary"
    for config, kept in ((Config(), True), (Config(b=2), False)):
        summary.write_text("of both stages")
        workspace = Workspace(toy.folder, "toy", toy.stages)
        with workspace.locked():
            run_stages(toy.stages, config, workspace, NoProgress(), derived=["summary"])
        assert summary.exists() == kept


@pytest.mark.parametrize("name", ["a.txt", "sub/a.txt"])
def test_missing_or_edited_outputs_are_made_again(toy: Toy, name: str) -> None:
    toy.run()
    (toy.folder / name).unlink()
    # What stage a writes is what it was, so stage b is still right.
    assert toy.run() == ["a"]
    (toy.folder / name).write_text("edited")
    assert toy.run() == ["a"]
    assert (toy.folder / name).read_text() != "edited"


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_failed_stage_leaves_nothing(toy: Toy, error: BaseException) -> None:
    toy.fail = error
    with pytest.raises(type(error)):
        toy.run()
    assert not toy.folder.exists()
    toy.fail = None
    assert toy.run() == ["a", "b"]
    assert (toy.folder / "sub" / "a.txt").read_text() == "x"


def test_a_folder_that_was_there_stays(toy: Toy) -> None:
    toy.folder.mkdir(parents=True)
    toy.fail = RuntimeError("broken")
    with pytest.raises(RuntimeError):
        toy.run()
    assert toy.folder.is_dir()
    assert toy.files() == []


def test_failed_stage_removes_what_an_older_run_of_it_left(toy: Toy) -> None:
    toy.run()
    toy.fail = RuntimeError("broken")
    with pytest.raises(RuntimeError):
        toy.run(Config(a=2))
    assert "a.txt" not in toy.files()


def test_resumable_stage_finds_what_it_wrote(tmp_path: Path) -> None:
    toy = Toy(tmp_path, resumable=True)
    toy.fail = KeyboardInterrupt()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            toy.run()
    toy.fail = None
    toy.run()
    assert (toy.folder / "sub" / "a.txt").read_text() == "xxx"
    assert not (toy.folder / ".work-a").exists()


def test_resumable_stage_starts_over_when_its_configuration_changed(tmp_path: Path) -> None:
    toy = Toy(tmp_path, resumable=True)
    toy.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        toy.run()
    toy.fail = None
    toy.run(Config(a=5))
    assert (toy.folder / "sub" / "a.txt").read_text() == "x"


def test_folder_of_another_experiment(toy: Toy) -> None:
    toy.run()
    with pytest.raises(OutputError) as caught:
        Workspace(toy.folder, "other", toy.stages)
    assert str(caught.value) == (
        f"{toy.folder}: holds experiment 'toy', not 'other'; choose another folder with -o"
    )


def test_folder_with_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(OutputError) as caught:
        Workspace(tmp_path, "toy", ())
    assert str(caught.value) == (
        f"{tmp_path}: is not empty and holds no experiment; choose another folder with -o"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OutputError) as caught:
        Workspace(path, "toy", ())
    assert str(caught.value) == f"{path}: cannot be made (File exists)"


def refusal(toy: Toy) -> str:
    """What is said about ``state.json``; nothing in the folder, or around it, is touched."""
    state = toy.folder / "state.json"
    around = toy.folder.parent
    before = {path: path_hash(path) for path in around.rglob("*")}
    with pytest.raises(OutputError) as caught:
        toy.run(Config(a=7, b=7))
    assert {path: path_hash(path) for path in around.rglob("*")} == before
    text = str(caught.value)
    assert text.isprintable()
    start = f"{state}: is damaged, or of another version ("
    end = f"); delete {toy.folder} or choose another folder with -o"
    assert text.startswith(start)
    assert text.endswith(end)
    return text.removeprefix(start).removesuffix(end)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "{state}:1: is not JSON (Expecting value)"),
        ("[]", "must hold a mapping"),
        ('{"format": 1}', "experiment: is required"),
        ('{"stages": 3}', "format: is required"),
        ('{"format": 9, "more": 1}', "format: must be 1, not 9"),
        ('{"format": true, "experiment": "toy"}', "format: must be an integer, not true"),
    ],
)
def test_damaged_state(toy: Toy, text: str, why: str) -> None:
    toy.run()
    state = toy.folder / "state.json"
    state.write_text(text)
    assert refusal(toy) == why.replace("{state}", str(state))


NAMES = [
    "../home", "/etc/hostname", "{home}", "sub/../../home", "..", ".", "", "link", "link/precious",
    "precious", "sub", "b.txt", "sub/../a.txt", "a.txt\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_owns_nothing_but_its_outputs(toy: Toy, name: str) -> None:
    """Names that leave the folder, and names in it that another hand put there."""
    toy.run()
    home = toy.folder.parent / "home"
    home.mkdir()
    (home / "precious").write_text("years of work")
    (toy.folder / "precious").write_text("too")
    (toy.folder / "link").symlink_to(home)
    state = json.loads((toy.folder / "state.json").read_text())
    state["stages"]["a"]["outputs"][name.format(home=home)] = 64 * "0"
    write_json(toy.folder / "state.json", state)
    assert refusal(toy).startswith("stages.a.outputs")


@pytest.mark.parametrize("output", ["a.txt", "sub"])
def test_outputs_behind_links_are_not_touched(toy: Toy, output: str) -> None:
    toy.run()
    home = toy.folder.parent / "home"
    (toy.folder / output).rename(home)
    (toy.folder / output).symlink_to(home)
    assert "is a link, or below one" in refusal(toy)


def test_a_lock_behind_a_link_is_not_opened(toy: Toy) -> None:
    toy.run()
    home = toy.folder.parent / "home"
    home.write_text("years of work")
    (toy.folder / ".lock").unlink()
    (toy.folder / ".lock").symlink_to(home)
    with pytest.raises(OSError):
        toy.run(Config(a=2))
    assert home.read_text() == "years of work"
    assert (toy.folder / "a.txt").read_text() == "1"


def test_work_behind_a_link_is_not_resumed(toy: Toy) -> None:
    resumed = Toy(toy.folder, resumable=True)
    resumed.fail = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        resumed.run()
    work, home = toy.folder / ".work-a", toy.folder.parent / "home"
    work.rename(home)
    work.symlink_to(home)
    before = path_hash(home)
    resumed.fail = None
    resumed.run()
    assert (toy.folder / "sub" / "a.txt").read_text() == "x"
    assert path_hash(home) == before


def test_every_value_of_the_state_has_a_type(toy: Toy) -> None:
    toy.run()
    path = toy.folder / "state.json"
    whole = json.loads(path.read_text())
    record = {name: whole["stages"]["a"][name] for name in whole["stages"]["a"]}
    assert set(record) == {"key", "outputs", "figures", "seconds"}
    for key in record:
        for value in (
            None,
            True,
            "x",
            [1],
            {"a.txt": 3},
            -1,
            10**30,
            {"value": "x"},
            {"value": True},
        ):
            stage = {**record, key: value}
            write_json(path, {**whole, "stages": {**whole["stages"], "a": stage}})
            assert refusal(toy).startswith(f"stages.a.{key}"), (key, value)
    for name, stages in (("c", {"c": record}), ("../a", {"../a": record})):
        write_json(path, {**whole, "stages": stages})
        assert refusal(toy) == f"stages: '{name}' is no stage"
    write_json(path, whole)
    assert toy.run() == []


def test_one_process_at_a_time(toy: Toy) -> None:
    workspace = Workspace(toy.folder, "toy", toy.stages)
    with workspace.locked(), pytest.raises(OutputError) as caught:
        toy.run()
    assert str(caught.value) == (
        f"{toy.folder}: another hwsim command is using it; wait for it to end"
    )


def test_files_are_whole_or_as_before(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "before")
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    with pytest.raises(ValueError):
        write_json(path, float("nan"))
    assert path.read_text() == "before"
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]
