"""Training: float twin, then the quantized network (soft positions, then frozen ones).

Everything random follows from the seed and the epoch's number, the learning rate and the
inverse temperature from the step's number: a checkpoint holds weights and optimizer state only,
and a resumed training ends with the very weights of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hwsim.config.training import ModelConfig, TrainingConfig
from hwsim.errors import DataError, HwsimWarning, OutputError, StorageError, TrainingError
from hwsim.history import History
from hwsim.models.augment import Batches
from hwsim.models.checkpoint import load_checkpoint, save_checkpoint
from hwsim.models.data import Dataset, warn_of_empty_classes
from hwsim.models.faults import margin_cross_entropy
from hwsim.models.inference import network_input, predict
from hwsim.models.networks import ConvNet, build_network
from hwsim.models.robust import Loss, Pass, RobustLoss, clean_pass
from hwsim.models.settle import settle_statistics
from hwsim.models.speed import Precision, best_precision, kept_memory
from hwsim.progress import NoProgress, Progress, Task

_SILENT = NoProgress()
_DARK = 64
"""Pictures whose values span less than this are likely scaled wrongly."""
_SETTLE_BATCHES = 16
"""Batches that settle the norms' statistics for the test accuracy of an epoch."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: mean loss, share of right answers (0..1), times; accuracy in training precision.

    ``cpu_seconds`` is the process' user and system time over all threads.
    """

    epoch: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    learning_rate: float
    frozen: bool
    wall_seconds: float
    cpu_seconds: float


_OTHER_CONTENT = (KeyError, RuntimeError, TypeError, ValueError, AttributeError, IndexError)
"""What torch says of states that are not of this model, or of no model."""


@dataclass(frozen=True)
class Fit:
    """One trained network with its history and its final test accuracy (0..1, float32).

    precision: what its convolutions were trained in.
    """

    model: ConvNet
    history: tuple[EpochRecord, ...]
    test_accuracy: float
    precision: Precision


@dataclass(frozen=True)
class TrainingResult:
    """The quantized network (positions frozen) and, unless it was left out, its float twin."""

    network: Fit
    twin: Fit | None
    seed: int


def train(
    data: Dataset,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    seed: int,
    folder: Path | str,
    progress: Progress = _SILENT,
) -> TrainingResult:
    """Train the float twin and the network of ``model`` on ``data``.

    Checkpoints ``twin.pt`` and ``network.pt`` go to ``folder`` after every epoch; called again
    after an interruption, it goes on from them, with ``precision: auto`` in the precision that
    they began with. Raises OutputError when they belong to another configuration, StorageError
    when one is damaged, ConfigError when model and data do not fit, TrainingError when the loss
    is no longer a number. Warns of pictures that are dark all over and of classes without any.
    """
    warn_of_empty_classes(data)
    _check_pictures(data, model.input_bits)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job(data, training, seed, training_device(training.device), progress)
    with _threads(training.threads), kept_memory():
        twin = None
        if training.twin_epochs != 0:
            twin = _Run(
                job,
                build_network(model, data.shape, data.classes, seed=seed, twin=True),
                epochs=training.twin_epochs or training.epochs,
                learning_rate=training.twin_learning_rate or training.learning_rate,
                path=folder / "twin.pt",
            ).fit("train float twin")
        network = _Run(
            job,
            build_network(model, data.shape, data.classes, seed=seed),
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            path=folder / "network.pt",
            teacher=twin.model if twin and training.distillation else None,
        ).fit("train network")
    return TrainingResult(network, twin, seed)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` CPU threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_device(name: str) -> torch.device:
    """The device that ``training.device`` asks for; raises OutputError without a GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise OutputError("training.device: cuda is not available here; use auto or cpu")
    return torch.device(name)


@dataclass(frozen=True)
class _Job:
    """What the trainings of a network and of its twin have in common."""

    data: Dataset
    config: TrainingConfig
    seed: int
    device: torch.device
    progress: Progress


class _Run:
    """Training of one network, from its checkpoint where there is one."""

    def __init__(
        self,
        job: _Job,
        model: ConvNet,
        *,
        epochs: int,
        learning_rate: float,
        path: Path,
        teacher: ConvNet | None = None,
    ):
        config, data, device = job.config, job.data, job.device
        self.model, self.config, self.data, self.device = model.to(device), config, data, device
        self.progress, self.teacher = job.progress, teacher
        self.epochs, self.learning_rate, self.path = epochs, learning_rate, path
        self.history: list[EpochRecord] = []
        self.batches = Batches(
            torch.from_numpy(network_input(data.train_x, model.config.input_bits)).to(device),
            torch.from_numpy(data.train_y).to(device),
            batch_size=config.batch_size,
            seed=job.seed,
            shift=config.shift,
            flip=config.flip,
        )
        self.steps = epochs * len(self.batches)
        if config.initial is not None and not model.twin:
            load_initial(model, Path(config.initial), device)
        frozen = all(layer.frozen for layer in model.mux_layers())
        self.freeze_step = 0 if frozen else round(config.freeze_at * self.steps)
        self.precision: Precision = (
            best_precision(device) if config.precision == "auto" else config.precision
        )
        self.robust = None
        if config.faults is not None and not model.twin:
            self.robust = RobustLoss(self.model, config.faults, job.seed)
        self.optimizer = self._optimizer()
        self.fingerprint = _fingerprint(model, data, config, job.seed, epochs, learning_rate)

    def _optimizer(self) -> torch.optim.Optimizer:
        decay: list[Tensor] = []
        free: list[Tensor] = []
        for name, parameter in self.model.named_parameters():
            (decay if name.endswith("weight") else free).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decay, "weight_decay": self.config.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.learning_rate, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)

    def rate(self, step: int) -> float:
        """Learning rate of ``step``: linear warm-up, then half a cosine down."""
        c = self.config
        warmup = c.warmup * self.steps
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        share = (step - warmup) / max(self.steps - warmup, 1)
        low = c.final_learning_rate
        return self.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share)))

    def beta(self, step: int) -> float:
        """Inverse temperature of ``step`` before the freeze: geometric."""
        share = step / max(self.freeze_step, 1)
        return self.config.beta_start * (self.config.beta_end / self.config.beta_start) ** share

    def fit(self, title: str) -> Fit:
        """Train the epochs that the checkpoint lacks; returns the finished network in eval mode."""
        self._resume()
        done = len(self.history)
        # On a GPU, the fastest convolution algorithms add in an order that varies.
        repeatable = torch.backends.cudnn.flags(benchmark=False, deterministic=True)
        title = f"{title} ({self.device.type}, {self.precision})"
        with repeatable, self.progress.task(title, self.epochs * len(self.batches)) as bar:
            bar.advance(done * len(self.batches))
            for epoch in range(done, self.epochs):
                record = self._epoch(epoch, bar)
                if not math.isfinite(record.loss):
                    raise TrainingError(
                        f"{title}: the loss is {record.loss} in epoch {epoch + 1}; "
                        "lower training.learning_rate"
                    )
                self.history.append(record)
                self._save()
                bar.note(
                    f"epoch {epoch + 1} of {self.epochs}, loss {record.loss:.4g}, "
                    f"test accuracy {record.test_accuracy:.2%}"
                )
        self.model.freeze_positions()
        self._settle()
        accuracy = float(np.mean(predict(self.model, self.data.test_x) == self.data.test_y))
        return Fit(self.model.eval(), tuple(self.history), accuracy, self.precision)

    def _settle(self, batches: int | None = None) -> None:
        """Measure the norms' statistics on the first batches of the epoch after the last."""
        inputs = (x for x, _ in self.batches.epoch(self.epochs))
        settle_statistics(self.model, islice(inputs, batches))

    def _epoch(self, epoch: int, bar: Task) -> EpochRecord:
        wall, cpu = time.perf_counter(), time.process_time()
        loss_sum = torch.zeros((), device=self.device)
        right = torch.zeros((), device=self.device)
        self.model.train()
        for index, (x, y) in enumerate(self.batches.epoch(epoch)):
            step = epoch * len(self.batches) + index
            loss, logits = self._step(step, x, y)
            loss_sum += loss
            right += (logits.argmax(dim=1) == y).sum()
            bar.advance(1)
        count = len(self.batches)
        self._settle(_SETTLE_BATCHES)
        return EpochRecord(
            epoch=epoch,
            loss=float(loss_sum) / count,
            train_accuracy=float(right) / (count * self.batches.batch_size),
            test_accuracy=self._quick_accuracy(),
            learning_rate=self.rate(epoch * count),
            frozen=(epoch + 1) * count > self.freeze_step,
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
        )

    def _step(self, step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if step < self.freeze_step:
            self.model.set_beta(self.beta(step))
        else:
            self.model.freeze_positions()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.zero_grad()
        done = [self._gradient(forward) for forward in self._passes(step, x, self._loss(x, y))]
        self.optimizer.step()
        terms, logits = zip(*done, strict=True)
        return torch.stack(terms).sum(), logits[0]

    def _passes(self, step: int, x: Tensor, loss: Loss) -> list[Pass]:
        if self.robust is None or step < self.freeze_step:
            return [clean_pass(self.model, x, loss)]
        share = (step - self.freeze_step) / max(self.steps - self.freeze_step, 1)
        return self.robust.passes(x, loss, step, share)

    def _gradient(self, forward: Pass) -> tuple[Tensor, Tensor]:
        """Loss and logits of a pass, whose gradients are added to those of the parameters."""
        with self._autocast():
            loss, logits = forward()
        loss.backward()
        return loss.detach(), logits.detach()

    def _loss(self, x: Tensor, y: Tensor) -> Loss:
        """Loss of the logits for a batch: labels, and the teacher's answers where there is one."""
        c, t = self.config, self.config.temperature

        def by_labels(logits: Tensor) -> Tensor:
            return margin_cross_entropy(logits, y, c.margin, c.label_smoothing)

        if self.teacher is None:
            return by_labels
        with torch.no_grad(), self._autocast():
            target = (self.teacher(x).float() / t).log_softmax(dim=1)

        def with_teacher(logits: Tensor) -> Tensor:
            answer = (logits / t).log_softmax(dim=1)
            distance = F.kl_div(answer, target, reduction="batchmean", log_target=True)
            return (1 - c.distillation) * by_labels(logits) + c.distillation * t * t * distance

        return with_teacher

    def _autocast(self) -> torch.autocast:
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def _quick_accuracy(self) -> float:
        with self._autocast():
            labels = predict(self.model, self.data.test_x)
        return float(np.mean(labels == self.data.test_y))

    def _save(self) -> None:
        save_checkpoint(
            self.path,
            {
                "fingerprint": self.fingerprint,
                "precision": self.precision,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "history": [asdict(record) for record in self.history],
            },
        )

    def _resume(self) -> None:
        if not self.path.exists():
            return
        state = load_checkpoint(self.path, self.device)
        if state.get("fingerprint") != self.fingerprint:
            raise OutputError(
                f"{self.path}: belongs to another data set, model, training or seed; "
                "use another folder or delete it"
            )
        if self.config.precision == "auto" and state.get("precision") in ("fp32", "bf16"):
            self.precision = state["precision"]
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            history = History.model_validate({"network": state["history"]})
            self.history = [EpochRecord(**dict(record)) for record in history.network]
        except _OTHER_CONTENT:
            raise StorageError(f"{self.path}: is damaged; delete it to start over") from None


def load_initial(model: ConvNet, path: Path, device: torch.device) -> None:
    """Start from the weights of a checkpoint of the same shape; raises OutputError."""
    if not path.is_file():
        raise OutputError(f"training.initial: {path} is not there; name a network.pt or final.pt")
    try:
        model.load_state_dict(load_checkpoint(path, device)["model"])
    except _OTHER_CONTENT:
        raise OutputError(
            f"training.initial: {path} is not a checkpoint of this model (same section model but "
            "for number formats)"
        ) from None


def _fingerprint(
    model: ConvNet, data: Dataset, config: TrainingConfig, seed: int, epochs: int, rate: float
) -> str:
    digest = hashlib.sha256()
    network = model.config.model_dump(exclude={"multiplier_bits"})
    parts = [network, model.twin, config.model_dump(), data.name, seed, epochs, rate]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    if config.initial is not None:
        digest.update(Path(config.initial).read_bytes())
    for array in (data.train_x, data.train_y):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_pictures(data: Dataset, input_bits: int) -> None:
    """Refuse pictures that are all alike to the network, and warn of a range hardly used."""
    top, low = int(data.train_x.max()), int(data.train_x.min())
    levels = (top >> (8 - input_bits)) - (low >> (8 - input_bits)) + 1
    text = (
        f"{data.name}: the pictures' values are {low}..{top} of 0..255; "
        f"at model.input_bits {input_bits} {levels} level{'s are' if levels > 1 else ' is'} left"
    )
    if levels == 1:
        raise DataError(f"{text}, all pictures look alike: scale them to 0..255")
    if top - low < _DARK and not (levels == 2 and input_bits == 1):
        warnings.warn(f"{text}: scale them to 0..255", HwsimWarning, stacklevel=3)
