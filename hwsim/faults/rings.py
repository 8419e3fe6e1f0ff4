"""Ring buffers (FIFOs, windows) as edits of tensors: persistent faults, applied to whole blocks.

A *unit* is the step by which the ring advances: a beat of a FIFO, a row of a window. Unit u since
reset lies in place ``u mod size`` of the ring, so which values a failing word holds follows from
the number of the frame, and repeats after some frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np

from hwsim.accelerator import Fifo, Stage, Stream
from hwsim.accelerator.kinds import Window
from hwsim.cells import read_cells_jit
from hwsim.design.fields import signed, unsigned
from hwsim.execute.circuit import Change
from hwsim.execute.layout import Layout
from hwsim.faults.design import MemoryFaults
from hwsim.faults.kernels import extend
from hwsim.jit import njit
from hwsim.network import TensorType

_NOWHERE = -1


@dataclass(frozen=True, eq=False)
class _Places:
    """Where units and words lie in a tensor's buffer.

    size: units that the ring holds. unit: first element of each unit of a frame. word: of each
    word in its unit; turn: the place of that unit in the ring, _NOWHERE for words that no value
    is ever in. room: lanes that exist, by unit and by word, the smaller counts.
    """

    size: int
    unit: np.ndarray
    word: np.ndarray
    turn: np.ndarray
    unit_room: np.ndarray
    word_room: np.ndarray

    @property
    def phases(self) -> int:
        """Frames after which the same values lie in the same words."""
        return self.size // gcd(self.size, len(self.unit))


@dataclass(frozen=True, eq=False)
class Ring:
    """What a value is when it comes out of the ring of ``faulty``, an edit of its tensor.

    stream: as it is written. rows: the stage whose window it is, where units are rows of it; else
    units are beats and every one takes a word.
    """

    faulty: MemoryFaults
    stream: Stream
    rows: Stage | None = None

    def bind(self, layout: Layout) -> Change:
        places = self._beats(layout) if self.rows is None else self._rows(self.rows, layout)
        if self.faulty.protected:
            return _protected(self.faulty, places, self.stream, layout)
        return _bare(self.faulty, places, self.stream.type, layout)

    def _beats(self, layout: Layout) -> _Places:
        stream, words = self.stream, self.faulty.memory.words
        pixel, beat = np.divmod(np.arange(stream.frame_beats), stream.beats)
        y, x = np.divmod(pixel, stream.type.width)
        channel = beat * stream.lanes
        return _Places(
            words,
            layout.first + layout.offset(channel, y, x, layout.pad),
            np.zeros(words, np.int64),
            np.arange(words),
            stream.type.channels - channel,
            np.full(words, stream.lanes),
        )

    def _rows(self, stage: Stage, layout: Layout) -> _Places:
        t, stream = stage.timing, self.stream
        height, width = t.kernel
        bank, rest = np.divmod(np.arange(self.faulty.memory.words), t.bank_words)
        held, beat = np.divmod(rest, t.beats)
        slot, column = np.divmod(held, t.bank_columns)
        column = column * width + bank % width - t.pad[1]
        inside = (column >= 0) & (column < t.cols)
        # All values of a flattened map count as one pixel.
        further, beat = np.divmod(beat, stream.beats)
        pixel = column * (t.beats // stream.beats) + further
        channel = beat * stream.lanes
        # A single row of pixels may be walked as a column: then a row is one pixel of it.
        top, left = np.divmod(np.arange(t.rows) * t.cols, stream.type.width)
        y, x = np.divmod(pixel, stream.type.width)
        return _Places(
            t.row_slots,
            layout.first + layout.offset(0, top, left, layout.pad),
            layout.offset(channel, y, x, layout.pad),
            np.where(inside, bank // width + slot * height, _NOWHERE),
            np.full(t.rows, stream.lanes),
            stream.type.channels - channel,
        )


def _bare(faulty: MemoryFaults, places: _Places, t: TensorType, layout: Layout) -> Change:
    masks = faulty.masks
    word, lane = np.nonzero(masks.failing)
    turn = places.turn[word]
    used = turn != _NOWHERE
    word, lane, turn = word[used], lane[used], turn[used]
    arguments = (
        turn,
        lane,
        places.word[word] + lane * layout.channel,
        places.word_room[word] > lane,
        masks.keep[word, lane],
        masks.flip[word, lane],
        places.unit,
        places.unit_room,
        (places.size, places.phases, t.bits, t.signed),
    )
    return lambda flat, first, count: _read_ring(flat, *arguments, first, count)


@njit
def _read_ring(x, turn, lane, at, real, keep, flip, unit, room, ring, first, count):  # type: ignore[no-untyped-def]
    """Every failing field k, wherever it lies: flat tensor x, in place."""
    size, phases, bits, is_signed = ring
    units = len(unit)
    for k in range(len(turn)):
        if not real[k]:
            continue
        for phase in range(min(phases, count)):
            for u in range((turn[k] - (first + phase) * units) % size, units, size):
                if lane[k] < room[u]:
                    start = unit[u] + at[k]
                    for n in range(phase, count, phases):
                        seen = read_cells_jit(np.int64(x[start + n]), keep[k], flip[k])
                        x[start + n] = extend(seen, bits, is_signed)


def _protected(faulty: MemoryFaults, places: _Places, stream: Stream, layout: Layout) -> Change:
    """Words with failing cells are taken out, decoded and put back."""
    t, phases, units = stream.type, places.phases, len(places.unit)
    words = np.unique(faulty.faults.word)
    words = words[places.turn[words] != _NOWHERE]
    lanes = np.arange(stream.lanes)

    @cache
    def hit(phase: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Words, elements [words, lanes] and which of these exist, of frames of ``phase``."""
        turn = places.turn[words]
        starts = (turn - phase * units) % places.size
        unit = [np.arange(start, units, places.size) for start in starts]
        word = np.repeat(words, [len(each) for each in unit])
        at = np.concatenate(unit) if unit else np.zeros(0, np.int64)
        room = np.minimum(places.unit_room[at], places.word_room[word])
        first = places.unit[at] + places.word[word]
        elements = first[:, np.newaxis] + lanes * layout.channel
        return word, elements, lanes < room[:, np.newaxis]

    def change(flat: np.ndarray, first: int, count: int) -> None:
        for number in range(count):
            word, elements, real = hit((first + number) % phases)
            at = np.where(real, elements + number, 0)
            stored = np.where(real, unsigned(flat[at].astype(np.int64), t.bits), 0)
            seen = faulty.read(stored, word)
            seen = signed(seen, t.bits) if t.signed else unsigned(seen, t.bits)
            flat[at[real]] = seen[real]

    return change


def fifo_ring(faulty: MemoryFaults, fifo: Fifo) -> Ring:
    """The memory of a FIFO."""
    return Ring(faulty, fifo.stream)


def window_ring(faulty: MemoryFaults, stage: Stage) -> Ring:
    """The memory that ``stage`` keeps its input in."""
    return Ring(faulty, stage.inputs[0], None if stage.kind.window is Window.PIXELS else stage)
