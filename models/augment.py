"""Shuffled, augmented batches on tensors; each epoch's order follows from (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Batches:
    """The training set as batches of network inputs.

    pictures: uint8 [N, C, H, W] already reduced to the network's input bits; labels int64 [N].
    shift: random shift of up to so many pixels along each axis longer than 1, zeros enter;
    flip: horizontal flip of every other picture. The last, incomplete batch of an epoch is left
    out (its pictures differ from epoch to epoch).
    """

    def __init__(
        self,
        pictures: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        seed: int,
        shift: int = 0,
        flip: bool = False,
    ):
        self.pictures, self.labels = pictures, labels
        self.batch_size = min(batch_size, len(labels))
        self.seed, self.shift, self.flip = seed, shift, flip

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.labels) // self.batch_size

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (inputs, labels) of epoch ``number``; the same for the same seed."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(len(self.labels), generator=generator)
        for index in range(len(self)):
            rows = order[index * self.batch_size : (index + 1) * self.batch_size]
            rows = rows.to(self.labels.device)
            yield self._augment(self.pictures[rows], generator), self.labels[rows]

    def _augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = x.shape
        device = x.device
        if self.flip:
            chosen = torch.rand(count, generator=generator).to(device) < 0.5
            x = torch.where(chosen[:, None, None, None], x.flip(3), x)
        if self.shift:
            s = self.shift
            vertical = s if height > 1 else 0
            x = torch.nn.functional.pad(x, (s, s, vertical, vertical))
            dy = torch.randint(0, 2 * vertical + 1, (count, 1), generator=generator).to(device)
            dx = torch.randint(0, 2 * s + 1, (count, 1), generator=generator).to(device)
            rows = dy + torch.arange(height, device=device)
            columns = dx + torch.arange(width, device=device)
            picture = torch.arange(count, device=device)
            # Advanced indices around the channel slice put it last: [N, H, W, C].
            x = x[picture[:, None, None], :, rows[:, :, None], columns[:, None, :]]
            x = x.permute(0, 3, 1, 2)
        return x
