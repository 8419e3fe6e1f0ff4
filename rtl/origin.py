"""Whether hwsim wrote the Verilog of a folder, and the treatment of other Verilog.

Verilog is code: a simulator does what it says. The folder's is trusted only when the pipeline
that the folder describes gives exactly this text, written anew. That takes as long as writing it,
once: that a text was found equal is noted in the user's cache.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hwsim.errors import StorageError
from hwsim.files import read_bytes
from hwsim.progress import NoProgress, Progress
from hwsim.rtl.emit import TEXT_LIMIT, VERILOG, Emitted, verilog_text
from hwsim.rtl.plain import plain
from hwsim.rtl.written import is_noted, note


@dataclass(frozen=True)
class Source:
    """Verilog that may be given to tools.

    edited: it is not what hwsim writes. sha256: of the file, whatever became of its text.
    """

    text: str
    edited: bool
    sha256: str


def verilog_of(
    emitted: Emitted, allow_edited: bool = False, progress: Progress | None = None
) -> Source:
    """The Verilog of a folder, read once, as data.

    Verilog that differs from what hwsim writes is refused with StorageError, unless
    ``allow_edited``: then it is checked (``plain``), which raises StorageError for everything that
    could act, and comes back without comments.
    """
    file = emitted.folder / VERILOG
    content = read_bytes(file, TEXT_LIMIT)
    digest = hashlib.sha256(content).hexdigest()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise StorageError(f"{file}: is not UTF-8 text") from None
    if _as_written(emitted, text, progress or NoProgress()):
        return Source(text, False, digest)
    if not allow_edited:
        raise StorageError(
            f"{file}: is not what this version of hwsim generates (edited, or of another version); "
            "generate again, or use it as it is with --allow-edited (allow_edited=True)"
        )
    return Source(plain(text, str(file)), True, digest)


def _as_written(emitted: Emitted, text: str, progress: Progress) -> bool:
    pipeline, faults = emitted.pipeline, emitted.faults
    if is_noted(pipeline, faults, text):
        return True
    with progress.task("compare with what hwsim writes"):
        if verilog_text(pipeline, faults) != text:
            return False
    note(pipeline, faults, text)
    return True
