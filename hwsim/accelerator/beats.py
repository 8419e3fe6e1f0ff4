"""Images as beats of a stream, and back: how tensors travel through the accelerator's ports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.accelerator.stage import Stream
from hwsim.design.bits import bits_to_ints, ints_to_bits


def pack_bits(stream: Stream, x: np.ndarray) -> np.ndarray:
    """Bits of every beat of ``x`` in transfer order: uint8 0/1 [beats, stream.bits], LSB first.

    x: integers [images, channels, height, width], or [images, values, 1, 1] in the order of
    ``Flatten`` for a flat stream. Lanes past the last channel are 0.
    """
    t = stream.type
    maps = np.asarray(x, np.int64).reshape(-1, *t.shape)
    lanes = np.zeros((len(maps), t.height, t.width, stream.beats * stream.lanes), np.int64)
    lanes[..., : t.channels] = maps.transpose(0, 2, 3, 1)
    bits = lanes.reshape(-1, stream.lanes, 1) >> np.arange(t.bits) & 1
    return bits.reshape(-1, stream.bits).astype(np.uint8)


def unpack_bits(stream: Stream, bits: np.ndarray) -> np.ndarray:
    """The inverse of ``pack_bits``: int64 images, vectors [images, values, 1, 1] when flat.

    bits: [beats, stream.bits], whole frames. Lanes past the last channel are ignored.
    """
    t = stream.type
    fields = np.asarray(bits, np.int64).reshape(-1, t.bits)
    weights = 1 << np.arange(t.bits, dtype=np.int64)
    if t.signed:
        weights[-1] = -weights[-1]
    lanes = (fields @ weights).reshape(-1, t.height, t.width, stream.beats * stream.lanes)
    maps = lanes[..., : t.channels].transpose(0, 3, 1, 2)
    return maps.reshape(-1, t.size, 1, 1) if stream.flat else maps


def valid_bits(stream: Stream) -> np.ndarray:
    """1 for each bit of one frame's beats that carries a channel: uint8 [beats, stream.bits]."""
    t = stream.type
    lanes = np.zeros((stream.beats, stream.lanes, 1), np.uint8)
    lanes.reshape(-1)[: t.channels] = 1
    pixel = np.repeat(lanes, t.bits, axis=2).reshape(stream.beats, stream.bits)
    return np.tile(pixel, (t.height * t.width, 1))


def pack(stream: Stream, x: np.ndarray) -> list[int]:
    """Beats of the images ``x``, frame after frame, each an unsigned integer (lane 0 lowest).

    x: integers [images, channels, height, width] in the range of ``stream.type``; for a flat
    stream also [images, values, 1, 1] in the order of ``Flatten``.
    """
    return bits_to_ints(pack_bits(stream, x))


def unpack(stream: Stream, beats: Sequence[int]) -> np.ndarray:
    """Images of whole frames of ``beats``: the inverse of ``pack``, int64.

    Raises ValueError when the beats are not whole frames.
    """
    if len(beats) % stream.frame_beats:
        raise ValueError(f"{len(beats)} beats are not whole frames of {stream.frame_beats}")
    return unpack_bits(stream, ints_to_bits(beats, stream.bits))
