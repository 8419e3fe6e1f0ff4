"""The memory list against the memories of the elaborated accelerator: sizes, accesses, cells."""

from __future__ import annotations

import numpy as np
import pytest
from support.memory_probe import elaborate, memories, probe, register_bits

from hwsim.accelerator import Fold, Pipeline, build_pipeline, memory_list
from hwsim.accelerator.kinds import GLOBAL_POOL, MAC, RESIZE
from hwsim.design import MemoryInfo
from hwsim.design.roles import STORES, Role, Style
from hwsim.network import INPUT, evaluate
from hwsim.rtl.testing import to_beats
from hwsim.testing import Limits, random_depths, random_folding, random_input, random_network

FRAMES = 2

REGISTERS = {
    MAC: r"accumulator_\d+",
    GLOBAL_POOL: r"running_\d+_\d+",
    RESIZE: r"pixel_\d+_\d+",
}
"""Names of the registers that make up a memory, by kind of stage."""


def random_pipeline(seed: int) -> Pipeline:
    network = random_network(seed, Limits(channels=5, size=6))
    rng = np.random.default_rng(seed)
    return random_depths(network, random_folding(network, rng), rng).with_depths({})


def deadlock_free(pipeline: Pipeline) -> Pipeline:
    """Keep the random depths of plain chains; forks get room for a whole frame."""
    deep = {f.name: f.stream.frame_beats + 40 for f in pipeline.fifos}
    forks = any(len(pipeline.outputs_of(stage.name)) > 1 for stage in pipeline.stages)
    return pipeline.with_depths(deep) if forks else pipeline


def by_instance(pipeline: Pipeline) -> dict[str, MemoryInfo]:
    return {path: m for m in memory_list(pipeline) for path in m.instances}


@pytest.mark.parametrize("seed", range(20))
def test_list_is_what_the_rtl_has(seed: int) -> None:
    pipeline = random_pipeline(seed)
    _, top = elaborate(pipeline)
    found = {p: (m._data.depth, m._data.shape.width) for p, m in memories(top).items()}
    listed = {p: (m.bank_words, m.bits) for p, m in by_instance(pipeline).items()}
    assert listed == found
    for memory in memory_list(pipeline):
        assert isinstance(memory.role, Role)
        assert isinstance(memory.style, Style)
        if memory.style == "registers":
            pattern = REGISTERS[pipeline.stage(memory.layer).kind]
            bits = register_bits(top, f"stage_{memory.layer}", pattern)
            assert bits == memory.size_bits, memory


@pytest.mark.parametrize("seed", range(20, 34))
def test_accesses_are_counted_exactly(seed: int) -> None:
    pipeline = deadlock_free(random_pipeline(seed))
    images = random_input(pipeline.network, seed, FRAMES)
    seen = probe(pipeline, images, gap=seed % 3, stall=seed % 2)
    for memory in memory_list(pipeline):
        if memory.style != "memory":
            continue
        probes = [seen[path] for path in memory.instances]
        assert sum(p.writes for p in probes) == FRAMES * memory.writes, memory
        reads = [p.reads for p in probes]
        if None not in reads:
            assert sum(reads) == FRAMES * memory.reads, memory


def expected_window(pipeline: Pipeline, memory: MemoryInfo, tensor: np.ndarray) -> dict[int, int]:
    """Word -> content after ``tensor`` [frames, channels, height, width] went in."""
    stage = pipeline.stage(memory.layer)
    t, x = stage.timing, stage.inputs[0]
    beats = iter(to_beats(x, tensor))
    words = {}
    for y in range(len(tensor) * t.rows):
        for column in range(t.cols):
            for beat in range(t.beats):
                padded = column + t.pad[1]
                bank = y % t.kernel[0] * t.kernel[1] + padded % t.kernel[1]
                row = y // t.kernel[0] % (t.row_slots // t.kernel[0])
                address = (row * t.bank_columns + padded // t.kernel[1]) * t.beats + beat
                words[bank * memory.bank_words + address] = next(beats)
    return words


@pytest.mark.parametrize("seed", range(40, 52))
def test_every_cell_is_where_the_list_says(seed: int) -> None:
    pipeline = deadlock_free(random_pipeline(seed))
    images = random_input(pipeline.network, seed, FRAMES)
    tensors = {INPUT: images, **evaluate(pipeline.network, images)}
    seen = probe(pipeline, images, gap=0, stall=0)
    fifos = {f"fifo.{fifo.name}": fifo for fifo in pipeline.fifos}
    for memory in memory_list(pipeline):
        if memory.style != "memory":
            continue
        words = [word for path in memory.instances for word in seen[path].contents]
        if memory.role in STORES:
            assert words == pipeline.image(memory)
        else:
            stream = (
                pipeline.stage(memory.layer).inputs[0]
                if memory.role == "window"
                else fifos[memory.name].stream
            )
            tensor = tensors[stream.tensor].reshape(FRAMES, *stream.type.shape)
            if memory.role == "window":
                expected = expected_window(pipeline, memory, tensor)
            else:
                expected = {n % memory.words: b for n, b in enumerate(to_beats(stream, tensor))}
            for word, content in expected.items():
                # Lanes past the last channel are unspecified, so only stored channels count.
                mask = content_mask(stream, word, memory)
                assert words[word] & mask == content & mask, (memory.name, word)


def content_mask(stream, word: int, memory: MemoryInfo) -> int:  # type: ignore[no-untyped-def]
    """Bits of a beat that hold channels whatever the beat's place in the pixel."""
    spare = stream.beats * stream.lanes - stream.type.channels
    return (1 << (stream.lanes - spare) * stream.type.bits) - 1


def test_names_are_unique_and_constants_have_no_accesses() -> None:
    network = random_network(3)
    folding = {
        op.name: Fold(
            network.types[op.name].channels,
            network.types[op.inputs[0]].channels,
            "constant",
        )
        for op in network.ops
        if op.kind in ("MuxConv2d", "Conv2d")
    }
    memories = memory_list(build_pipeline(network, folding))
    assert len({memory.name for memory in memories}) == len(memories)
    fixed = [m for m in memories if m.style == "constant" and m.words == 1]
    assert fixed
    assert all((m.reads, m.writes, m.instances) == (0, 0, ()) for m in fixed)
