"""Images of read-only memories, bit by bit, and sizes that are known without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwsim.accelerator import Pipeline, Stage, build_pipeline, count_operations, memory_list
from hwsim.accelerator.fields import memory_fields
from hwsim.accelerator.kinds import DEPTHWISE, MAC
from hwsim.design.fields import Fields
from hwsim.design.roles import STORES
from hwsim.network import Alphabet, MuxConv2d, Requantize
from hwsim.testing import Limits, random_folding, random_network

SEEDS = range(60)


def random_pipeline(seed: int) -> Pipeline:
    """A random network with random lanes, so that padding lanes are common.

    Every third seed has no multipliers other than 1, which are not stored.
    """
    rng = np.random.default_rng(seed)
    network = random_network(rng, Limits(channels=7, size=6, blocks=4))
    if seed % 3 == 0:
        ops = (
            replace(op, multiplier=np.ones_like(op.multiplier))
            if isinstance(op, Requantize)
            else op
            for op in network.ops
        )
        network = replace(network, ops=tuple(ops))
    return build_pipeline(network, random_folding(network, rng))


# -- the same words once more, one bit after the other ---------------------------------------------


def digits(value: int, bits: int) -> str:
    """``bits`` binary digits of ``value``, two's complement, lowest bit first."""
    return "".join(str(value >> n & 1) for n in range(bits))


def width(low: int, high: int) -> int:
    """Fewest bits, 2 or more where none is negative, of a two's complement number of low..high."""
    return next(
        n for n in range(1 if low < 0 else 2, 99) if -(1 << n - 1) <= low and high < 1 << n - 1
    )


def code_of(weight: int, alphabet: Alphabet, zeros: bool) -> str:
    """Digits of one weight; ``zeros``: the store holds a weight 0 somewhere."""
    if alphabet.name == "ternary":
        return digits(weight, 2)
    if alphabet.name.startswith("int"):
        return digits(weight, int(alphabet.name[3:]))
    exponent_bits = int(alphabet.name[5:]) - 1 if alphabet.name.startswith("pow2") else 0
    exponent = abs(weight).bit_length() - 1 if weight else 0
    return (
        str(int(weight < 0)) + digits(exponent, exponent_bits) + (str(int(not weight)) * int(zeros))
    )


def weight_words(stage: Stage) -> list[str]:
    op, x, pe = stage.op, stage.inputs[0], stage.fold.pe
    kernel = np.asarray(op.weight).reshape(*op.weight.shape[:2], -1)
    outputs, inputs, positions = kernel.shape
    slots = []  # (word, [(output, input) or None of each slot])
    if stage.kind is DEPTHWISE:
        for beat in range(x.beats):
            channels = range(beat * x.lanes, (beat + 1) * x.lanes)
            slots.append([(c, 0) if c < outputs else None for c in channels])
    else:
        pixels = x.type.height * x.type.width if x.flat else 1
        for first in range(0, outputs, pe):
            for pixel in range(pixels):
                for beat in range(x.beats):
                    slots.append(
                        [
                            (o, c * pixels + pixel) if o < outputs and c < x.type.channels else None
                            for o in range(first, first + pe)
                            for c in range(beat * x.lanes, (beat + 1) * x.lanes)
                        ]
                    )
    zeros = any(place is None for word in slots for place in word) or not kernel.all()
    taps = 0
    if isinstance(op, MuxConv2d):
        taps = (op.kernel[0] * op.kernel[1] - 1).bit_length()
    words = []
    for word in slots:
        text = ""
        for place in word:
            text += digits(int(op.tap[place]) if taps and place else 0, taps)
            for position in range(positions):
                weight = int(kernel[(*place, position)]) if place else 0
                text += code_of(weight, op.alphabet, zeros)
        words.append(text)
    return words


def constant_words(stage: Stage) -> list[str]:
    op, y = stage.requantize, stage.output
    multipliers = [int(v) for v in op.multiplier]
    biases = [int(v) for v in op.bias]
    bias_bits = width(min(biases), max(biases))
    same = set(multipliers) == {1}
    multiplier_bits = 0 if same else width(min(multipliers), max(multipliers))
    channels = y.type.channels
    pixels = len(biases) // channels
    words = []
    for pixel in range(pixels):
        for first in range(0, y.beats * y.lanes, y.lanes):
            text = ""
            for c in range(first, first + y.lanes):
                at = c * pixels + pixel
                text += digits(multipliers[at] if c < channels else 0, multiplier_bits)
                text += digits(biases[at] if c < channels else 0, bias_bits)
            words.append(text)
    return words


def table_words(stage: Stage) -> list[str]:
    """Lane after lane the tables of its channels, entry after entry."""
    table, y = stage.lookup.table.tolist(), stage.output
    low, high = min(map(min, table)), max(map(max, table))
    bits = width(low, high) if low < 0 else max(1, high.bit_length())
    pixels = max(1, len(table) // y.type.channels)
    words = []
    for lane in range(y.lanes):
        for beat in range(pixels * y.beats if len(table) > 1 else 1):
            pixel, first = divmod(beat, y.beats)
            c = first * y.lanes + lane
            at = c * pixels + pixel if len(table) > 1 else 0
            entries = table[at] if c < y.type.channels else [0] * len(table[0])
            words += [digits(entry, bits) for entry in entries]
    return words


WORDS = {"weight": weight_words, "constants": constant_words, "table": table_words}


@pytest.mark.parametrize("seed", SEEDS)
def test_images_bit_by_bit(seed: int) -> None:
    pipeline = random_pipeline(seed)
    for memory in memory_list(pipeline):
        words = pipeline.image(memory)
        if memory.role not in STORES:
            assert words is None
            continue
        assert words is not None
        stage = pipeline.stage(memory.layer)
        expected = WORDS[memory.role](stage)
        assert {len(text) for text in expected} == {memory.bits}
        assert words == [int(text[::-1], 2) for text in expected], memory.name


def test_random_networks_have_every_kind_of_store() -> None:
    """The oracle above has branches; each is taken."""
    stages = [stage for seed in SEEDS for stage in random_pipeline(seed).stages]
    weighted = [stage for stage in stages if hasattr(stage.op, "weight")]
    assert {stage.kind for stage in weighted} == {MAC, DEPTHWISE}
    names = {stage.op.alphabet.name.rstrip("2345678") for stage in weighted}
    assert names == {"binary", "ternary", "int", "pow2_"}
    assert {stage.inputs[0].flat for stage in weighted} == {False, True}
    riders = [stage for stage in stages if stage.requantize is not None]
    assert {len(s.requantize.bias) > s.output.type.channels for s in riders} == {False, True}
    assert {bool((s.requantize.multiplier == 1).all()) for s in riders} == {False, True}
    tables = [stage for stage in stages if stage.lookup is not None]
    assert {len(s.lookup.table) > 1 for s in tables} == {False, True}
    assert {s.output.flat for s in tables} == {False, True}
    assert {s.output.type.signed for s in tables} == {False, True}


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_come_without_images(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = random_pipeline(seed)

    def refuse(*_: object) -> None:
        raise AssertionError("an image was made")

    with monkeypatch.context() as patch:
        patch.setattr(Fields, "pack", refuse)
        listed = memory_list(pipeline)
        for stage in pipeline.stages:
            count_operations(stage)
        for memory in listed:
            if memory.role in STORES:
                with pytest.raises(AssertionError, match="an image was made"):
                    pipeline.image(memory)
    for memory in listed:
        fields = memory_fields(pipeline, memory)
        assert (len(fields.real), fields.bits) == (memory.words, memory.bits)
        words = pipeline.image(memory)
        if words is not None:
            assert len(words) == memory.words
            assert max(words).bit_length() <= memory.bits


@pytest.mark.parametrize("seed", range(5))
def test_packing_is_undone(seed: int) -> None:
    """Widths up to 63 bits, words wider than any machine word."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(1, 64, rng.integers(1, 9))
    fields = Fields(widths, np.ones((5, len(widths)), bool), 1, ("value",) * len(widths))
    values = rng.integers(0, 2**63, (5, len(widths))) & ((np.int64(1) << widths) - 1)
    assert np.array_equal(fields.unpack(fields.pack(values)), values)
    for word, row in zip(fields.words(values), values, strict=True):
        text = "".join(digits(int(v), int(w)) for v, w in zip(row, widths, strict=True))
        assert word == int(text[::-1], 2)
