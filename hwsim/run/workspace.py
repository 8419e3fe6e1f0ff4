"""The output folder of one experiment and its ``state.json``.

A stage works in ``.work-<stage>``; when all its outputs are written they are renamed into the
folder, and then the stage is recorded with the hashes of its outputs. So a crash at any moment
leaves a folder in which every recorded stage is complete.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hwsim.errors import OutputError
from hwsim.files import remove, write_json
from hwsim.run.files import path_hash

_FORMAT = 1
_STATE = "state.json"
_LOCK = ".lock"


class Workspace:
    """The folder of the experiment called ``experiment``, made when it is missing.

    Raises OutputError when the folder holds something else or cannot be written.
    """

    def __init__(self, folder: Path | str, experiment: str) -> None:
        self.folder = Path(folder)
        self.experiment = experiment
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror})") from None
        self._stages = self._load()

    def _load(self) -> dict[str, dict[str, Any]]:
        path = self.folder / _STATE
        if not path.exists():
            if any(item.name != _LOCK for item in self.folder.iterdir()):
                raise OutputError(
                    f"{self.folder}: is not empty and holds no experiment; "
                    "choose another folder with -o"
                )
            return {}
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            form, name, stages = state["format"], state["experiment"], dict(state["stages"])
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(
                f"{path}: is damaged; delete {self.folder} or choose another folder with -o"
            ) from None
        if form != _FORMAT:
            raise OutputError(
                f"{path}: format must be {_FORMAT}, not {form!r}; choose another folder with -o"
            )
        if name != self.experiment:
            raise OutputError(
                f"{self.folder}: holds experiment '{name}', not '{self.experiment}'; "
                "choose another folder with -o"
            )
        return stages

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; raises OutputError when one is in.

        Folders that were made for this workspace go again when nothing came of it.
        """
        with (self.folder / _LOCK).open("w", encoding="utf-8") as file:
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
                if {item.name for item in self.folder.iterdir()} <= {_STATE, _LOCK}:
                    self._leave_nothing()

    def _leave_nothing(self) -> None:
        if self._stages or not self._made:
            return
        (self.folder / _STATE).unlink(missing_ok=True)
        (self.folder / _LOCK).unlink(missing_ok=True)
        for path in self._made:
            with suppress(OSError):  # somebody else uses it by now
                path.rmdir()

    def is_current(self, stage: str, key: str) -> bool:
        """True when ``stage`` was finished with ``key`` and its outputs are as it left them."""
        record = self._stages.get(stage)
        return (
            record is not None
            and record["key"] == key
            and all(
                path_hash(self.folder / name) == digest
                for name, digest in record["outputs"].items()
            )
        )

    def outputs(self, stage: str) -> dict[str, str]:
        """Name and hash of each output of a finished stage."""
        return dict(self._stages[stage]["outputs"])

    def figures(self, stage: str) -> dict[str, Any]:
        """What a finished stage reported."""
        return dict(self._stages[stage]["figures"])

    def seconds(self, stage: str) -> float:
        """How long a finished stage took when it was last done."""
        return float(self._stages[stage]["seconds"])

    def begin(self, stage: str, key: str, *, resumable: bool) -> Path:
        """Forget an older run of ``stage``; returns the folder to work in.

        The folder is empty, except that a ``resumable`` stage finds what an interrupted run of
        the same ``key`` left there.
        """
        record = self._stages.pop(stage, None)
        if record is not None:
            self._save()
            for name in record["outputs"]:
                remove(self.folder / name)
        work = self._work(stage)
        mark = work / ".key"
        if not (resumable and mark.is_file() and mark.read_text(encoding="utf-8") == key):
            remove(work)
            work.mkdir()
            mark.write_text(key, encoding="utf-8")
        return work

    def abandon(self, stage: str) -> None:
        """Remove what an unfinished stage wrote."""
        remove(self._work(stage))

    def finish(
        self, stage: str, key: str, names: Sequence[str], figures: dict[str, Any], seconds: float
    ) -> None:
        """Move the outputs ``names`` into the folder and record the stage."""
        work = self._work(stage)
        for name in names:
            (self.folder / name).parent.mkdir(exist_ok=True)
            remove(self.folder / name)
            (work / name).rename(self.folder / name)
        remove(work)
        outputs = {name: path_hash(self.folder / name) for name in names}
        self._stages[stage] = {
            "key": key,
            "outputs": outputs,
            "figures": figures,
            "seconds": round(seconds, 3),
        }
        self._save()

    def _work(self, stage: str) -> Path:
        return self.folder / f".work-{stage}"

    def _save(self) -> None:
        state = {"format": _FORMAT, "experiment": self.experiment, "stages": self._stages}
        write_json(self.folder / _STATE, state)
