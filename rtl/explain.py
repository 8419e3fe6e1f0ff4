"""From a failed run to the first wrong value or figure, in words that help a designer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.accelerator import Fifo, Pipeline, Stream
from hwsim.accelerator.beats import pack_bits, unpack_bits, valid_bits
from hwsim.design.bits import ints_to_bits

_DATES = {
    "first_input": "first input beat",
    "last_input": "last input beat",
    "first_output": "first output beat",
    "last_output": "last output beat",
}


@dataclass(frozen=True)
class Failure:
    """One difference. kind: ``output`` (a wrong value), ``cycles`` (a wrong figure), ``run``, or
    ``disturbance`` (one that disturbed nothing).

    where: what the text says, as values: for ``output`` image, layer, tensor, row, column,
    channel, expected and got; for ``cycles`` figure, stage, frame or fifo, predicted, measured.
    """

    test: str
    kind: str
    text: str
    where: Mapping[str, Any] | None = None


def explain_output(
    test: str,
    pipeline: Pipeline,
    links: Mapping[str, np.ndarray],
    trace: Mapping[str, Sequence[str]],
    measured: Mapping[str, Any],
    names: Sequence[str],
) -> list[Failure]:
    """The first tensor, in the order of the stages, that is not as it should be.

    links: what each FIFO is to pass on of the frames that were run, by its name. trace: beats
    (hexadecimal) that each one passed on. measured: what the run showed. names: of the run's
    images. Of a run that came to a
    stop, the FIFO that got least far counts, when all that passed was right.
    """
    order = {pipeline.source: -1} | {stage.name: n for n, stage in enumerate(pipeline.stages)}
    fifos = sorted(pipeline.fifos, key=lambda fifo: order[fifo.producer])
    last = pipeline.fifos[-1]
    for fifo, passed in [(f, trace[f.name]) for f in fifos] + [(last, measured["output"])]:
        beats = [int(beat, 16) for beat in passed]
        failure = _first_wrong(test, pipeline, fifo, links[fifo.name], beats, names)
        if failure is not None:
            return [failure]
    if measured["finished"]:
        return []
    stuck = min(fifos, key=lambda fifo: len(trace[fifo.name]) / fifo.stream.frame_beats)
    passed, due = len(trace[stuck.name]), stuck.stream.frame_beats
    text = (
        f"{test}: FIFO {stuck.name} from {stuck.producer} to {stuck.consumer} passed on "
        f"{passed} beats of {due} a frame, then nothing"
    )
    where = {"fifo": stuck.name, "layer": stuck.producer, "beats": passed}
    return [Failure(test, "output", text, where)]


def _first_wrong(
    test: str,
    pipeline: Pipeline,
    fifo: Fifo,
    values: np.ndarray,
    beats: list[int],
    names: Sequence[str],
) -> Failure | None:
    stream = fifo.stream
    expected = pack_bits(stream, values)[: len(beats)]
    care = np.resize(valid_bits(stream), expected.shape)
    got = ints_to_bits(beats, stream.bits)[: len(expected)]
    wrong = ((got ^ expected) & care).any(axis=1)
    if not wrong.any():
        return None
    beat = int(wrong.argmax())
    image, at = divmod(beat, stream.frame_beats)
    frames = [_frame(stream, bits, image) for bits in (expected, got)]
    pixel, group = divmod(at, stream.beats)
    row, column = divmod(pixel, stream.type.width)
    first = group * stream.lanes
    pair = [frame[first : first + stream.lanes, row, column] for frame in frames]
    lane = int((pair[0] != pair[1]).argmax())
    layer = _layer(pipeline, fifo)
    where = {
        "image": image,
        "layer": fifo.producer,
        "tensor": stream.tensor,
        "row": row,
        "column": column,
        "channel": first + lane,
        "expected": int(pair[0][lane]),
        "got": int(pair[1][lane]),
    }
    text = (
        f"{test}: {names[image]}: {layer}: pixel (row {row}, column {column}), channel "
        f"{first + lane}: expected {where['expected']}, got {where['got']}"
    )
    return Failure(test, "output", text, where)


def _layer(pipeline: Pipeline, fifo: Fifo) -> str:
    if fifo is pipeline.fifos[0]:
        return "the input"
    stage = pipeline.stage(fifo.producer)
    tensor = fifo.stream.tensor
    kind = stage.op.kind if stage.op is not None else stage.kind.name
    after = f", tensor {tensor}" if tensor != stage.name else ""
    return f"layer {stage.name} ({kind}{after})"


def _frame(stream: Stream, bits: np.ndarray, image: int) -> np.ndarray:
    """Frame ``image`` of ``bits`` as [channels, height, width]; missing beats are 0."""
    frame = np.zeros((stream.frame_beats, stream.bits), np.uint8)
    rows = bits[image * stream.frame_beats : (image + 1) * stream.frame_beats]
    frame[: len(rows)] = rows
    return unpack_bits(stream, frame).reshape(stream.type.shape)


def explain_cycles(
    test: str, pipeline: Pipeline, predicted: Mapping[str, Any], measured: Mapping[str, Any]
) -> list[Failure]:
    """Every cycle figure that is not as the model says; of each date, the first wrong frame."""
    if not measured["finished"]:
        frames = len(measured["last_output"])
        text = (
            f"{test}: stopped: {frames} of {len(predicted['last_output'])} frames after "
            f"{measured['cycles']} cycles, {predicted['cycles']} predicted"
        )
        return [Failure(test, "cycles", text, {"figure": "total_cycles"})]
    found = []

    def compare(
        name: str, label: str, where: dict[str, Any], want: int, got: int, more: str = ""
    ) -> None:
        if want != got:
            text = f"{test}: {label}: {want} predicted, {got} measured{more}"
            details = {"figure": name, **where, "predicted": want, "measured": got}
            found.append(Failure(test, "cycles", text, details))

    for key, label in _DATES.items():
        pairs = list(zip(predicted[key], measured[key], strict=True))
        wrong = [frame for frame, (want, got) in enumerate(pairs) if want != got]
        for frame in wrong[:1]:
            more = f", and {len(wrong) - 1} later frames" if len(wrong) > 1 else ""
            label = f"frame {frame}: cycle of the {label}"
            compare(key, label, {"frame": frame}, *pairs[frame], more)
    total = predicted["cycles"], measured["cycles"]
    for n, stage in enumerate(pipeline.stages):
        where = {"stage": stage.name}
        busy, blocked = ([side[key][n] for side in (predicted, measured)] for key in _COUNTED)
        starved = [t - b - k for t, b, k in zip(total, busy, blocked, strict=True)]
        for key, pair in (("busy", busy), ("blocked", blocked), ("starved", starved)):
            compare(f"{key}_cycles", f"stage {stage.name}: {key} cycles", where, *pair)
    for n, fifo in enumerate(pipeline.fifos):
        pair = [side["high_water"][n] for side in (predicted, measured)]
        label = f"FIFO {fifo.name}: high-water mark"
        compare("high_water", label, {"fifo": fifo.name}, *pair)
    for key, label in _COUNTS.items():
        compare(key, label, {}, predicted[key], measured[key])
    return found


_COUNTED = ("busy", "blocked")
_COUNTS = {
    "refused": "cycles in which an output beat was refused",
    "extra": "beats after the last frame",
    "unstable": "output beats that changed or vanished before they were taken",
    "wrong_last": "output beats with a wrong o__last",
    "misaligned": "i__misaligned",
    "misaligned_at": "input beats until i__misaligned rose",
}
