"""The timing contract of a stage: one record; the RTL is built from it, the model solves it.

A stage is a controller, a datapath of fixed latency that never stalls, and one output FIFO per
consumer whose free slots the controller counts (credits). The controller issues *steps*, at most
one a cycle. All dates below are clock cycles; ``start(u)`` is the cycle in which step u issues.

* A **streaming** stage has no storage: step u takes beat u from every input FIFO in the cycle in
  which it starts.
* A **windowed** stage keeps ``row_slots`` rows of input in a ring. Beats are accepted in raster
  order, ``accept(j) >= start(u) + release``, where u is the last step before the window has moved
  on past the pixel whose slot beat j takes over, and a step waits for the last beat of its
  window, ``start(u) >= accept(need(u)) + 1``.
* A step that emits waits for a credit of every output FIFO:
  ``start(u) >= pop(t - depth) + 1`` for output beat t; the beat enters the FIFO at
  ``start(u) + latency`` and can be taken ``FIFO latency`` cycles later.

Nothing else delays a stage, so these recurrences *are* its cycle-exact behaviour
(docs/cycle-model.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.network.ops import window_size

TREE_LEVELS_PER_REGISTER = 2
"""Adder levels between two registers of an adder tree."""

WEIGHT_READ = 2
"""Cycles from an address to the weight word: the memory, then a register behind it."""

SHALLOW_FIFO = 32
"""FIFOs up to this depth read their memory asynchronously (LUT RAM), deeper ones in one clock."""


def fifo_latency(depth: int) -> int:
    """Cycles from entering a FIFO to being offered at its output."""
    return 1 if depth <= SHALLOW_FIFO else 2


def window_read(kernel: tuple[int, int]) -> int:
    """Cycles from a step's start to its window.

    A register for the addresses, the memories, and one register for each direction in which
    there is more than one bank to turn into place.
    """
    return 2 + (kernel[0] > 1) + (kernel[1] > 1)


def tree_registers(terms: int) -> int:
    """Pipeline registers of an adder (or maximum) tree over ``terms`` values."""
    levels = max(terms - 1, 0).bit_length()
    return -(-levels // TREE_LEVELS_PER_REGISTER)


@dataclass(frozen=True)
class Timing:
    """Timing contract of one stage; see the module text for what the fields mean.

    rows, cols, beats: input pixels per column and row, beats per pixel.
    kernel, stride, pad: window geometry, (vertical, horizontal); 1x1 for pointwise stages.
    row_slots: rows that the input ring holds, a power of two times the kernel's; 0 for a streaming
    stage.
    groups, steps: for each output pixel, ``groups`` times ``steps`` steps are issued.
    need: input beat of the window's last pixel that step n of a group waits for, one per step.
    emit_last_pixel / emit_last_step: an output beat leaves only in steps of the frame's last
    pixel / only in the last step of a group (both False: in every step).
    latency: cycles from the start of an emitting step to the write into the output FIFOs.
    """

    rows: int
    cols: int
    beats: int
    latency: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    row_slots: int = 0
    groups: int = 1
    steps: int = 1
    need: tuple[int, ...] = (0,)
    emit_last_pixel: bool = False
    emit_last_step: bool = False

    @property
    def streaming(self) -> bool:
        return self.row_slots == 0

    @property
    def release(self) -> int:
        """Cycles from the last step on a slot to the first beat that may take the slot over.

        One cycle to move on, and if columns have to be compared, one for the register that tells
        the writer.
        """
        return 1 if self.cols == 1 else 2

    @property
    def out_rows(self) -> int:
        return window_size(self.rows, self.kernel[0], self.stride[0], self.pad[0])

    @property
    def out_cols(self) -> int:
        return window_size(self.cols, self.kernel[1], self.stride[1], self.pad[1])

    @property
    def input_beats(self) -> int:
        """Beats that one frame brings on each input."""
        return self.rows * self.cols * self.beats

    @property
    def frame_steps(self) -> int:
        """Steps of one frame: the stage's busy cycles per frame."""
        return self.out_rows * self.out_cols * self.groups * self.steps

    @property
    def output_beats(self) -> int:
        """Beats that one frame yields."""
        pixels = 1 if self.emit_last_pixel else self.out_rows * self.out_cols
        return pixels * self.groups * (1 if self.emit_last_step else self.steps)

    @property
    def ideal_interval(self) -> int:
        """Fewest cycles a frame can take in steady state: one step, one beat per cycle."""
        return max(self.frame_steps, self.input_beats, self.output_beats)

    @property
    def bank_columns(self) -> int:
        """Columns of the padded image that each bank of the ring holds (one bank per tap)."""
        last = max(
            self.pad[1] + self.cols - 1,
            self.stride[1] * (self.out_cols - 1) + self.kernel[1] - 1,
        )
        return last // self.kernel[1] + 1

    @property
    def bank_words(self) -> int:
        """Words of each bank of the ring; 0 for a streaming stage."""
        return self.row_slots // self.kernel[0] * self.bank_columns * self.beats

    def first_row(self, p: int) -> int:
        """First real input row of output row ``p``; below it nothing is needed any more."""
        return max(0, self.stride[0] * p - self.pad[0])

    def last_row(self, p: int) -> int:
        """Last real input row of output row ``p``."""
        return min(self.rows - 1, self.stride[0] * p - self.pad[0] + self.kernel[0] - 1)

    def last_col(self, q: int) -> int:
        """Last real input column of output column ``q``."""
        return min(self.cols - 1, self.stride[1] * q - self.pad[1] + self.kernel[1] - 1)

    def row_advance(self, p: int) -> int:
        """Rows that become free when output row ``p`` is done."""
        following = self.rows if p == self.out_rows - 1 else self.first_row(p + 1)
        return following - self.first_row(p)

    def free_cols(self, q: int) -> int:
        """Columns that no output pixel from ``q`` on needs within the row."""
        return max(0, self.stride[1] * q - self.pad[1])
