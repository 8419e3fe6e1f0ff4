"""The schema of ``train/history.json``: figures of each epoch of a training."""

from __future__ import annotations

from hwsim.files import Count, Document, Share


class Epoch(Document):
    """One epoch of a training, in ``train/history.json``; see ``models/train.py``."""

    epoch: Count
    loss: float
    train_accuracy: Share
    test_accuracy: Share
    frozen: bool
    wall_seconds: float
    learning_rate: float
    cpu_seconds: float


class History(Document):
    """``train/history.json``: the epochs of the network, and of its float twin."""

    network: list[Epoch] = []
    float: list[Epoch] = []
