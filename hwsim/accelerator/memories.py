"""The one list of an accelerator's memories, for energy, faults, resources and the RTL.

A cell is named by memory, word and bit: "bit 3 of word 17 of conv2.weight". Words and bits are:

=====================  ==========================================================================
``<op>.weight``        word = step within an output pixel, ``group * steps + n`` (depthwise: beat
                       of the pixel). Bits: for each output lane, for each input lane: the tap,
                       then the weight codes (``hwsim.accelerator.weights``).
``<op>.requantize``    word = beat of the output pixel (flattened maps: beat of the frame). Bits:
                       for each lane the multiplier, then the bias, two's complement
                       (``hwsim.accelerator.requantize``).
``<op>.table``         word = ``lane * bank_words + table * entries + (x - lo)``: each lane has a
                       copy of the table of all channels (table 0), or of those of its channels
                       (table = beat of the output pixel; flattened maps: of the frame). Bits:
                       one entry (``hwsim.accelerator.tables``).
``<op>.window``        word = ``bank * bank_words + address``. Bank ``(y mod kernel rows) *
                       kernel columns + (x + pad) mod kernel columns`` holds pixel (y, x), y
                       counted over all frames; address = ``(row of the bank * bank_columns +
                       (x + pad) // kernel columns) * beats + beat``, row of the bank = ``y //
                       kernel rows`` mod the rows that a bank holds. Bits: one beat, lane 0 lowest.
``<stage>.window``     of a resize stage, in registers: word = ``slot * beats + beat``, slot =
                       pixel mod 2.
``fifo.<link>``        word = beat number since reset mod depth. Bits: one beat, lane 0 lowest.
``<op>.accumulator``   registers. Word = channel group (one word where it is summed up in one
                       go), bits: one accumulator per lane, lane 0 lowest.
=====================  ==========================================================================

If op, requantizer and lookup share a stage, all memories carry the name of the stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from hwsim.accelerator.kinds import Accumulator, Window
from hwsim.accelerator.requantize import requantize_store
from hwsim.accelerator.stage import Fifo, Stage
from hwsim.accelerator.tables import table_store
from hwsim.accelerator.weights import weight_store
from hwsim.design.memory import MemoryInfo
from hwsim.design.roles import Role, Style

if TYPE_CHECKING:
    from hwsim.accelerator.pipeline import Pipeline


def memory_list(pipeline: Pipeline) -> tuple[MemoryInfo, ...]:
    """Every memory of ``pipeline``: stage by stage, then the FIFOs.

    Pipeline registers, controllers and the best-so-far register of an ArgMax are not memories.
    """
    memories = [memory for stage in pipeline.stages for memory in _of_stage(stage)]
    return (*memories, *(_fifo(fifo) for fifo in pipeline.fifos))


def _of_stage(stage: Stage) -> list[MemoryInfo]:
    candidates = (
        _window(stage), _weights(stage), _accumulator(stage), _constants(stage), _tables(stage)
    )  # fmt: skip
    return [memory for memory in candidates if memory is not None]


def _window(stage: Stage) -> MemoryInfo | None:
    t = stage.timing
    if t.streaming:
        return None
    name, bits = Role.WINDOW.memory(stage.name), stage.inputs[0].bits
    if stage.kind.window is Window.PIXELS:
        words, reads = t.row_slots * t.beats, t.out_rows * t.out_cols * _resize_reads(stage)
        return MemoryInfo(
            name, Role.WINDOW, stage.name, words, bits, Style.REGISTERS, reads, t.input_beats
        )
    instances = tuple(
        f"stage_{stage.name}.bank_{y}_{x}" for y in range(t.kernel[0]) for x in range(t.kernel[1])
    )
    words, reads = len(instances) * t.bank_words, len(instances) * t.frame_steps
    return MemoryInfo(
        name, Role.WINDOW, stage.name, words, bits, Style.MEMORY, reads, t.input_beats, instances
    )


def _resize_reads(stage: Stage) -> int:
    """Input beats that a resize stage looks at for one pixel, summed over its output beats."""
    x, y = stage.inputs[0], stage.output
    return sum(
        last - beat * y.lanes // x.lanes + 1
        for beat, last in zip(range(y.beats), stage.timing.need, strict=True)
    )


def _weights(stage: Stage) -> MemoryInfo | None:
    if stage.weights is None:
        return None
    store = weight_store(stage)
    return _store(
        stage,
        Role.WEIGHT,
        store.words,
        store.bits,
        stage.weights == "memory",
        stage.timing.frame_steps,
        "weights",
    )


def _constants(stage: Stage) -> MemoryInfo | None:
    if stage.requantize is None:
        return None
    store = requantize_store(stage)
    return _store(
        stage,
        Role.CONSTANTS,
        store.words,
        store.bits,
        store.words > 1,
        stage.timing.output_beats,
        "constants",
    )


def _tables(stage: Stage) -> MemoryInfo | None:
    if stage.lookup is None:
        return None
    store, in_memory = table_store(stage), stage.fold.weights == "memory"
    banks = range(store.lanes) if in_memory else ()
    return MemoryInfo(
        Role.TABLE.memory(stage.name),
        Role.TABLE,
        stage.name,
        store.words,
        store.bits,
        Style.MEMORY if in_memory else Style.CONSTANT,
        store.lanes * stage.timing.output_beats,
        0,
        tuple(f"stage_{stage.name}.table_{lane}" for lane in banks),
    )


def _store(
    stage: Stage,
    role: Role,
    words: int,
    bits: int,
    in_memory: bool,
    reads: int,
    instance: str,
) -> MemoryInfo:
    """A read-only store; a single word in the fabric is wiring, which nothing reads."""
    instances = (f"stage_{stage.name}.{instance}",) if in_memory else ()
    style = Style.MEMORY if in_memory else Style.CONSTANT
    reads = 0 if not in_memory and words == 1 else reads
    return MemoryInfo(
        role.memory(stage.name), role, stage.name, words, bits, style, reads, 0, instances
    )


def _accumulator(stage: Stage) -> MemoryInfo | None:
    t, name = stage.timing, Role.ACCUMULATOR.memory(stage.name)
    match stage.kind.accumulator:
        case Accumulator.NONE:
            return None
        case Accumulator.GROUP:
            if t.steps == 1:
                return None
            # The first step of a group ignores what is there.
            words, lanes = 1, stage.fold.pe
            reads, writes = t.frame_steps // t.steps * (t.steps - 1), t.frame_steps
        case Accumulator.FRAME:
            # A ring of registers: all words move with each beat; the first pixel starts afresh.
            words, lanes = t.steps, stage.output.lanes
            reads, writes = t.frame_steps - t.steps, t.frame_steps * t.steps
        case _:
            assert_never(stage.kind.accumulator)
    bits = lanes * stage.accumulator.bits
    return MemoryInfo(
        name, Role.ACCUMULATOR, stage.name, words, bits, Style.REGISTERS, reads, writes
    )


def _fifo(fifo: Fifo) -> MemoryInfo:
    beats = fifo.stream.frame_beats
    return MemoryInfo(
        Role.FIFO.memory(fifo.name),
        Role.FIFO,
        fifo.producer,
        fifo.depth,
        fifo.stream.bits,
        Style.MEMORY,
        beats,
        beats,
        (f"fifo_{fifo.name}.memory",),
    )
