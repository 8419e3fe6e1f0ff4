"""The output folder of one experiment and its ``state.json``.

A stage works in ``.work-<stage>``; when all its outputs are written they are renamed into the
folder, and then the stage is recorded with the hashes of its outputs. So a crash at any moment
leaves a folder in which every recorded stage is complete.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, Field

from hwsim.errors import OutputError, StorageError
from hwsim.files import (
    Document,
    RelativePath,
    Sha256,
    Version1,
    inside,
    parse_json,
    read_json,
    remove,
    write_json,
)
from hwsim.hashes import path_hash
from hwsim.names import Line, printable

_FORMAT = 1
STATE = "state.json"
_LOCK = ".lock"


class StageRecord(Document):
    """A finished stage. outputs: hash of each, by its path in the folder; figures: by its schema.

    key: hash of what the outputs depend on.
    """

    key: Sha256
    outputs: dict[RelativePath, Sha256]
    figures: dict[str, Any]
    seconds: Annotated[float, Field(ge=0)]


class State(Document):
    """The content of ``state.json``."""

    format: Version1
    experiment: Line
    stages: dict[Line, StageRecord] = {}


class StageOutputs(Protocol):
    """All that a workspace has to know about a stage."""

    @property
    def name(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def schema(self) -> type[BaseModel] | None: ...


class Workspace:
    """The folder of the experiment called ``experiment``, made when it is missing.

    stages: all that may have left something here. What ``state.json`` says is believed only as
    far as they could have left it: a stage's own outputs, which lie in the folder, and figures
    that fit its schema. Raises OutputError when the folder holds something else or cannot be
    written; nothing in it was changed then.
    """

    def __init__(self, folder: Path | str, experiment: str, stages: Iterable[StageOutputs]) -> None:
        self.folder = Path(folder)
        self.experiment = experiment
        self._kinds = {kind.name: kind for kind in stages}
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from None
        self._new = not (self.folder / STATE).exists()
        self._stages = self._load()

    def _load(self) -> dict[str, StageRecord]:
        path = self.folder / STATE
        if not path.exists():
            if any(item.name != _LOCK for item in self.folder.iterdir()):
                raise OutputError(
                    f"{self.folder}: is not empty and holds no experiment; "
                    "choose another folder with -o"
                )
            return {}
        try:
            state = read_json(path, State)
            for name, record in state.stages.items():
                self._check(path, name, record)
            for kind in self._kinds.values():
                for name in kind.outputs:
                    inside(self.folder, name)
        except StorageError as error:
            raise OutputError(
                f"{path}: is damaged, or of another version "
                f"({str(error).removeprefix(f'{path}: ')}); "
                f"delete {self.folder} or choose another folder with -o"
            ) from None
        if state.experiment != self.experiment:
            raise OutputError(
                f"{self.folder}: holds experiment '{state.experiment}', not '{self.experiment}'; "
                "choose another folder with -o"
            )
        return dict(state.stages)

    def _check(self, path: Path, name: str, record: StageRecord) -> None:
        """Raise StorageError unless the stage ``name`` could have left ``record``."""
        kind = self._kinds.get(name)
        if kind is None:
            raise StorageError(f"{path}: stages: '{name}' is no stage")
        for output in record.outputs:
            if output not in kind.outputs:
                raise StorageError(
                    f"{path}: stages.{name}.outputs: '{printable(output)}' is no output of it"
                )
        if kind.schema is not None:
            parse_json(json.dumps(record.figures), kind.schema, f"{path}: stages.{name}.figures")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; raises OutputError when one is in.

        What was made for this workspace, folders too, goes again when nothing came of it.
        """
        # Not through a link: what it names would be emptied.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(self.folder / _LOCK, flags, 0o644), "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise OutputError(
                    f"{self.folder}: another hwsim command is using it; wait for it to end"
                ) from None
            try:
                self._save()
                yield
            finally:
                if {item.name for item in self.folder.iterdir()} <= {STATE, _LOCK}:
                    self._leave_nothing()

    def _leave_nothing(self) -> None:
        if self._stages or not self._new:
            return
        (self.folder / STATE).unlink(missing_ok=True)
        (self.folder / _LOCK).unlink(missing_ok=True)
        for path in self._made:
            with suppress(OSError):  # somebody else uses it by now
                path.rmdir()

    def is_current(self, stage: str, key: str) -> bool:
        """True when ``stage`` was finished with ``key`` and its outputs are as it left them."""
        record = self._stages.get(stage)
        return (
            record is not None
            and record.key == key
            and set(record.outputs) == set(self._kinds[stage].outputs)
            and all(
                path_hash(self.folder / name) == digest for name, digest in record.outputs.items()
            )
        )

    def outputs(self, stage: str) -> dict[str, str]:
        """Name and hash of each output of a finished stage."""
        return dict(self._stages[stage].outputs)

    def figures(self, stage: str) -> dict[str, Any]:
        """The figures that a finished stage reported."""
        return dict(self._stages[stage].figures)

    def seconds(self, stage: str) -> float:
        """How long a finished stage took when it was last done."""
        return self._stages[stage].seconds

    def begin(self, stage: str, key: str, *, resumable: bool) -> Path:
        """Forget an older run of ``stage``; returns the folder to work in.

        The folder is empty, except that a ``resumable`` stage finds what an interrupted run of
        the same ``key`` left there.
        """
        record = self._stages.pop(stage, None)
        if record is not None:
            self._save()
            for name in record.outputs:
                remove(inside(self.folder, name))
        work = self._work(stage)
        mark = work / ".key"
        ours = not work.is_symlink() and mark.is_file()
        if not (resumable and ours and mark.read_bytes()[: len(key) + 1] == key.encode()):
            remove(work)
            work.mkdir()
            mark.write_text(key, encoding="utf-8")
        return work

    def abandon(self, stage: str) -> None:
        """Remove the outputs of an unfinished stage."""
        remove(self._work(stage))

    def finish(
        self, stage: str, key: str, names: Sequence[str], figures: dict[str, Any], seconds: float
    ) -> None:
        """Move the outputs ``names`` into the folder and record the stage."""
        work = self._work(stage)
        for name in names:
            path = inside(self.folder, name)
            path.parent.mkdir(exist_ok=True)
            remove(path)
            (work / name).rename(path)
        remove(work)
        outputs = {name: path_hash(self.folder / name) for name in names}
        record = {"key": key, "outputs": outputs, "figures": figures, "seconds": round(seconds, 3)}
        self._stages[stage] = StageRecord.model_validate(record)
        self._save()

    def _work(self, stage: str) -> Path:
        return self.folder / f".work-{stage}"

    def _save(self) -> None:
        state = State(format=_FORMAT, experiment=self.experiment, stages=self._stages)
        write_json(self.folder / STATE, state.model_dump(mode="json"))
