"""Training: reproducible, resumable to the same weights, and as accurate as stated."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hwsim.config.experiment import ExperimentConfig
from hwsim.config.loader import load_config
from hwsim.config.training import DataConfig, FaultTrainingConfig, ModelConfig, TrainingConfig
from hwsim.errors import DataError, HwsimWarning, OutputError, StorageError, TrainingError
from hwsim.models import speed
from hwsim.models.augment import Batches
from hwsim.models.checkpoint import load_checkpoint, save_checkpoint
from hwsim.models.data import Dataset, load_data
from hwsim.models.export import agreement, export_network
from hwsim.models.memory import Memory
from hwsim.models.train import TrainingResult, train

MODEL = ModelConfig(channels=(6, 8), strides=(1, 2))
TRAINING = TrainingConfig(
    epochs=4,
    twin_epochs=2,
    batch_size=64,
    shift=1,
    flip=True,
    distillation=0.5,
    device="cpu",
    threads=1,
)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data(DataConfig())


class Interrupt:
    """Progress that interrupts, as Ctrl-C does, after so many batches."""

    def __init__(self, batches: int):
        self.left = batches

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Interrupt]:
        self.fresh = True
        yield self

    def advance(self, n: float = 1) -> None:
        if self.fresh:  # the first call reports what the checkpoint holds
            self.fresh = False
            return
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


def weights(result: TrainingResult) -> dict[str, torch.Tensor]:
    return result.network.model.state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resumed_training_ends_with_the_same_weights(digits, tmp_path, optimizer):
    config = TRAINING.model_copy(update={"optimizer": optimizer, "learning_rate": 5e-3})
    whole = train(digits, MODEL, config, seed=3, folder=tmp_path / "whole")
    # In the twin, before, at and after the freeze, and in the last epoch.
    for batches in (30, 44 + 20, 44 + 36, 44 + 60, 44 + 87):
        folder = tmp_path / f"{batches}"
        with pytest.raises(KeyboardInterrupt):
            train(digits, MODEL, config, seed=3, folder=folder, progress=Interrupt(batches))
        again = train(digits, MODEL, config, seed=3, folder=folder)
        assert_same(weights(again), weights(whole))
        assert again.network.test_accuracy == whole.network.test_accuracy
        assert len(again.network.history) == config.epochs
        assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_interrupted_again_and_again(digits, tmp_path):
    whole = train(digits, MODEL, TRAINING, seed=0, folder=tmp_path / "whole")
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            train(digits, MODEL, TRAINING, seed=0, folder=tmp_path / "n", progress=Interrupt(22))
    again = train(digits, MODEL, TRAINING, seed=0, folder=tmp_path / "n")
    assert_same(weights(again), weights(whole))


def test_a_finished_training_is_not_redone(digits, tmp_path):
    first = train(digits, MODEL, TRAINING, seed=0, folder=tmp_path)
    again = train(digits, MODEL, TRAINING, seed=0, folder=tmp_path, progress=Interrupt(0))
    assert_same(weights(again), weights(first))
    assert again.network.history == first.network.history


def test_seed_decides(digits, tmp_path):
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    torch.manual_seed(1)
    one = train(digits, MODEL, config, seed=5, folder=tmp_path / "a")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = train(digits, MODEL, config, seed=5, folder=tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(weights(one), weights(two))
    other = train(digits, MODEL, config, seed=6, folder=tmp_path / "c")
    assert not torch.equal(weights(other)["head.weight"], weights(one)["head.weight"])
    assert (one.twin, one.seed) == (None, 5)


FAULTS: dict[str, Any] = {"randbet": {}, "single": {"ramp": 0}, "deviation": {"memories": ("tap",)}}


@pytest.mark.parametrize("method", sorted(FAULTS))
def test_training_against_errors_resumes_too(digits, tmp_path, method):
    faults = FaultTrainingConfig(bit_error_rate=0.01, method=method, **FAULTS[method])
    config = TRAINING.model_copy(
        update={"epochs": 3, "twin_epochs": 0, "distillation": 0.0, "faults": faults}
    )
    whole = train(digits, MODEL, config, seed=3, folder=tmp_path / "whole")
    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        train(digits, MODEL, config, seed=3, folder=folder, progress=Interrupt(60))
    again = train(digits, MODEL, config, seed=3, folder=folder)
    assert_same(weights(again), weights(whole))
    clean = train(
        digits,
        MODEL,
        config.model_copy(update={"faults": None}),
        seed=3,
        folder=tmp_path / "clean",
    )
    assert not torch.equal(weights(clean)["head.weight"], weights(whole)["head.weight"])
    assert all(m.errors is None for m in whole.network.model.modules() if isinstance(m, Memory))


def test_going_on_from_a_checkpoint(digits, tmp_path):
    config = TRAINING.model_copy(update={"epochs": 2, "twin_epochs": 0, "distillation": 0.0})
    first = train(digits, MODEL, config, seed=0, folder=tmp_path / "first")
    save_checkpoint(tmp_path / "final.pt", {"model": first.network.model.state_dict()})
    further = config.model_copy(
        update={"epochs": 1, "initial": str(tmp_path / "final.pt"), "learning_rate": 1e-3}
    )
    fewer_bits = MODEL.model_copy(update={"weights": "int3", "weight_reach": 2.0})
    second = train(digits, fewer_bits, further, seed=1, folder=tmp_path / "second")
    assert second.network.history[0].frozen
    for a, b in zip(
        first.network.model.mux_layers(), second.network.model.mux_layers(), strict=True
    ):
        assert torch.equal(a.tap, b.tap)
    other = ModelConfig(channels=(4, 8), strides=(1, 2))
    with pytest.raises(
        OutputError, match=r"^training\.initial: .*final\.pt is not a checkpoint of "
    ):
        train(digits, other, further, seed=1, folder=tmp_path / "third")
    gone = further.model_copy(update={"initial": str(tmp_path / "gone.pt")})
    with pytest.raises(OutputError, match=r"^training\.initial: .*gone\.pt is not there; name "):
        train(digits, MODEL, gone, seed=1, folder=tmp_path / "fourth")


def test_history_says_when_positions_froze(digits, tmp_path):
    result = train(digits, MODEL, TRAINING, seed=0, folder=tmp_path)
    assert [record.frozen for record in result.network.history] == [False, True, True, True]
    rates = [record.learning_rate for record in result.network.history]
    assert rates[0] < rates[1]
    assert rates[1] > rates[2] > rates[3]
    assert all(layer.frozen for layer in result.network.model.mux_layers())


def test_folder_of_another_training(digits, tmp_path):
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    train(digits, MODEL, config, seed=0, folder=tmp_path)
    other = MODEL.model_copy(update={"activation_bits": 3})
    for model, seed in ((other, 0), (MODEL, 1)):
        with pytest.raises(OutputError, match=r"network\.pt: belongs to another data set, model"):
            train(digits, model, config, seed=seed, folder=tmp_path)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)


DAMAGES = ["truncated", "foreign", "pickle", "version", "empty", "bomb"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint(digits, tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    train(digits, MODEL, config, seed=0, folder=tmp_path)
    path = tmp_path / "network.pt"
    blob = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(blob[: len(blob) // 2])
    elif damage == "foreign":
        path.write_bytes(b"not a checkpoint at all")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps({"format": 1, "model": Malicious()}, protocol=2))
    elif damage == "version":
        torch.save({"format": 99}, path)
    elif damage == "bomb":
        monkeypatch.setattr("hwsim.models.checkpoint._LARGEST", 2 * len(blob))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/zeros", bytes(2 * len(blob)))
        assert path.stat().st_size < 2 * len(blob)
    else:
        path.write_bytes(b"")
    with pytest.raises(StorageError, match=r"network\.pt: is not a checkpoint.*delete it"):
        train(digits, MODEL, config, seed=0, folder=tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("key", ["model", "optimizer", "history"])
def test_checkpoints_of_other_content(digits, tmp_path, key):
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    train(digits, MODEL, config, seed=0, folder=tmp_path)
    path = tmp_path / "network.pt"
    state = load_checkpoint(path)
    for value in (None, 3, [], {}, [{"epoch": "x"}], [3], {"state": 3}):
        if (key, value) == ("history", []):
            continue
        save_checkpoint(path, {**state, key: value})
        with pytest.raises(StorageError, match=r"network\.pt: is damaged; delete it"):
            train(digits, MODEL, config, seed=0, folder=tmp_path)
    del state[key]
    save_checkpoint(path, state)
    with pytest.raises(StorageError, match=r"network\.pt: is damaged; delete it"):
        train(digits, MODEL, config, seed=0, folder=tmp_path)


def test_checkpoint_without_execution(digits, tmp_path):
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    train(digits, MODEL, config, seed=0, folder=tmp_path)
    state = load_checkpoint(tmp_path / "network.pt")
    assert state["history"][0]["epoch"] == 0


def test_cuda_where_there_is_none(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = TRAINING.model_copy(update={"device": "cuda"})
    with pytest.raises(OutputError, match="cuda is not available here"):
        train(digits, MODEL, config, seed=0, folder=tmp_path)


def test_threads_are_given_back(digits, tmp_path):
    before = torch.get_num_threads()
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    try:
        torch.set_num_threads(2)
        train(digits, MODEL, config, seed=0, folder=tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_picture_counts(digits, tmp_path):
    """A checkpoint of the same labels and all but one pixel of the pictures is not taken up."""
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    train(digits, MODEL, config, seed=0, folder=tmp_path)
    for picture in (1, 96, 98, len(digits.train_x) - 1):
        changed = digits.train_x.copy()
        changed[picture, 0, 3, 3] ^= 1
        other = dataclasses.replace(digits, train_x=changed)
        with pytest.raises(OutputError, match=r"network\.pt: belongs to another data set"):
            train(other, MODEL, config, seed=0, folder=tmp_path)


def small(pictures: np.ndarray, count: int = 4) -> Dataset:
    labels = np.arange(count) % 2
    return Dataset("mine", pictures[:count], labels, pictures[:count], labels, 2)


@pytest.mark.parametrize(
    ("top", "bits", "line"),
    [
        (
            1,
            8,
            r"^mine: the pictures' values are 0\.\.1 of 0\.\.255; .* 8 2 levels are left",
        ),
        (40, 4, r"at model\.input_bits 4 3 levels are left: scale them to 0\.\.255$"),
    ],
)
def test_dark_pictures_are_warned_of(tmp_path, top, bits, line):
    pictures = (np.arange(4 * 64) % (top + 1)).astype(np.uint8).reshape(4, 1, 8, 8)
    model = MODEL.model_copy(update={"input_bits": bits})
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    with pytest.warns(HwsimWarning, match=line):
        train(small(pictures), model, config, seed=0, folder=tmp_path)


def test_classes_without_pictures_are_warned_of(tmp_path):
    pictures = (np.arange(4 * 64) % 256).astype(np.uint8).reshape(4, 1, 8, 8)
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    data = dataclasses.replace(small(pictures), classes=3)
    with pytest.warns(HwsimWarning, match="^mine: no picture to train on is of class 2$"):
        train(data, MODEL, config, seed=0, folder=tmp_path)


def test_pictures_that_are_all_alike_are_refused(tmp_path):
    model = MODEL.model_copy(update={"input_bits": 4})
    pictures = (np.arange(4 * 64) % 2).astype(np.uint8).reshape(4, 1, 8, 8)
    with pytest.raises(DataError, match=r"input_bits 4 1 level is left, all pictures look alike"):
        train(small(pictures), model, TRAINING, seed=0, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_bright_and_black_and_white_pictures_pass_without_a_word(tmp_path):
    config = TRAINING.model_copy(update={"epochs": 1, "twin_epochs": 0, "distillation": 0.0})
    pictures = (np.arange(4 * 64) % 2 * 255).astype(np.uint8).reshape(4, 1, 8, 8)
    for bits in (1, 4):
        model = MODEL.model_copy(update={"input_bits": bits})
        train(small(pictures), model, config, seed=0, folder=tmp_path / str(bits))
    # Two pictures, fewer than a batch: the smallest set that can be trained on.
    train(small(pictures, 2), MODEL, config, seed=0, folder=tmp_path / "two")


def test_a_training_that_diverges_says_so(digits, tmp_path):
    config = TRAINING.model_copy(
        update={"epochs": 2, "twin_epochs": 0, "distillation": 0.0, "optimizer": "sgd",
                "learning_rate": 1e30, "warmup": 0.0}
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1; lower training\."):
        train(digits, MODEL, config, seed=0, folder=tmp_path)
    assert not (tmp_path / "network.pt").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f"}, "fp32"),
        ({"avx512f", "avx512_bf16"}, "bf16"),
        ({"amx_bf16", "amx_tile"}, "bf16"),
        (set(), "fp32"),
    ],
)
def test_precision_follows_the_cpu(monkeypatch, flags, expected):
    monkeypatch.setattr(speed, "cpu_flags", lambda: frozenset(flags))
    assert speed.best_precision(torch.device("cpu")) == expected


def test_cpu_flags_are_read():
    flags = speed.cpu_flags()
    assert "fpu" in flags or not Path("/proc/cpuinfo").exists() or "flags" not in Path(
        "/proc/cpuinfo"
    ).read_text()  # fmt: skip


def test_auto_is_what_the_machine_is_good_at_and_a_resume_stays_with_it(
    digits, tmp_path, monkeypatch
):
    """Begun where bf16 is fast, ended where it is not: the weights of the former."""
    config = TRAINING.model_copy(
        update={"precision": "auto", "epochs": 2, "twin_epochs": 0, "distillation": 0.0}
    )
    results = {}
    for name in ("bf16", "fp32"):
        monkeypatch.setattr("hwsim.models.train.best_precision", lambda _, name=name: name)
        results[name] = train(digits, MODEL, config, seed=0, folder=tmp_path / name)
        assert results[name].network.precision == name
        assert load_checkpoint(tmp_path / name / "network.pt")["precision"] == name
        # Said outright, it is the same training.
        said = config.model_copy(update={"precision": name})
        again = train(digits, MODEL, said, seed=0, folder=tmp_path / f"said {name}")
        assert_same(weights(again), weights(results[name]))
    assert not torch.equal(
        weights(results["bf16"])["head.weight"], weights(results["fp32"])["head.weight"]
    )
    monkeypatch.setattr("hwsim.models.train.best_precision", lambda _: "bf16")
    with pytest.raises(KeyboardInterrupt):
        train(digits, MODEL, config, seed=0, folder=tmp_path / "moved", progress=Interrupt(30))
    monkeypatch.setattr("hwsim.models.train.best_precision", lambda _: "fp32")
    moved = train(digits, MODEL, config, seed=0, folder=tmp_path / "moved")
    assert moved.network.precision == "bf16"
    assert_same(weights(moved), weights(results["bf16"]))


def test_bf16_training(digits, tmp_path):
    config = TRAINING.model_copy(update={"precision": "bf16", "epochs": 6})
    result = train(digits, MODEL, config, seed=0, folder=tmp_path)
    losses = [record.loss for record in result.network.history]
    assert losses[-1] < losses[0]


def test_batches():
    x = torch.arange(10 * 2 * 4 * 5, dtype=torch.uint8).reshape(10, 2, 4, 5)
    y = torch.arange(10)
    plain = Batches(x, y, batch_size=4, seed=0)
    seen = list(plain.epoch(0))
    assert len(seen) == len(plain) == 2
    for images, labels in seen:
        assert torch.equal(images, x[labels])
    again = list(plain.epoch(0))
    assert torch.equal(again[1][1], seen[1][1])
    assert not torch.equal(next(plain.epoch(1))[1], seen[0][1])


def test_shift_and_flip_move_pixels_only():
    x = torch.arange(1, 21, dtype=torch.uint8).reshape(1, 1, 4, 5).repeat(64, 2, 1, 1)
    moved = Batches(x, torch.zeros(64, dtype=torch.int64), batch_size=64, seed=0, shift=1)
    allowed = set()
    padded = np.pad(x[0, 0].numpy(), 1)
    for dy in range(3):
        for dx in range(3):
            allowed.add(padded[dy : dy + 4, dx : dx + 5].tobytes())
    images, _ = next(moved.epoch(0))
    assert {image[c].numpy().tobytes() for image in images for c in (0, 1)} == allowed
    flipped = Batches(x, torch.zeros(64, dtype=torch.int64), batch_size=64, seed=0, flip=True)
    images, _ = next(flipped.epoch(0))
    expected = {x[0, 0].numpy().tobytes(), x[0, 0].flip(1).numpy().tobytes()}
    assert {image[0].numpy().tobytes() for image in images} == expected


def test_signals_shift_sideways_only():
    x = torch.arange(1, 9, dtype=torch.uint8).reshape(1, 1, 1, 8).repeat(32, 1, 1, 1)
    images, _ = next(
        Batches(x, torch.zeros(32, dtype=torch.int64), batch_size=32, seed=0, shift=1).epoch(0)
    )
    assert bool((images[..., 3] > 0).all())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"beta_start": 80.0}, "beta_end must be at least beta_start"),
        ({"distillation": 0.5, "twin_epochs": 0}, "distillation needs the float twin"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"precision": "fp16"}, "Input should be 'auto', 'fp32' or 'bf16'"),
    ],
)
def test_training_config_rules(config, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**config)


@pytest.mark.parametrize("name", ["quickstart", "fashion_mnist_mux", "cifar10_resnet20_mux"])
def test_shipped_experiments_are_valid(name):
    config = load_config(name, ExperimentConfig)
    assert config.model.convolution == "mux"
    assert config.model.weights == "binary"
    assert config.training.twin_epochs != 0
    assert config.training.precision == "auto"


def test_quickstart_reaches_its_accuracy(tmp_path):
    config = load_config("quickstart", ExperimentConfig)
    data = load_data(config.data)
    result = train(data, config.model, config.training, seed=config.seed, folder=tmp_path)
    network = export_network(result.network.model)
    assert result.twin is not None
    assert result.network.test_accuracy >= 0.975
    assert result.network.test_accuracy >= result.twin.test_accuracy - 0.015
    assert agreement(result.network.model, network, data.test_x) >= 0.99
