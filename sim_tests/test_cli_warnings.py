"""Warnings on the command line: one line each, and work goes on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hwsim.cli.experiment import LOW_AGREEMENT, warn_of_agreement
from hwsim.cli.main import main
from hwsim.errors import HwsimWarning


def test_a_warning_is_one_line_and_work_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures = (np.arange(6 * 64) % 41).astype(np.uint8).reshape(6, 8, 8)
    labels = np.array([1, 2, 1, 2, 1, 2])
    np.savez("dim.npz", train_x=pictures, train_y=labels, test_x=pictures, test_y=labels)
    (tmp_path / "dim.yaml").write_text(
        "name: dim\ndata: {set: npz, path: dim.npz}\nmodel: {channels: [4], strides: [2]}\n"
        "training: {epochs: 1, twin_epochs: 0, threads: 1}\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("default", HwsimWarning)
        with pytest.raises(SystemExit) as caught:
            main(["train", "dim.yaml", "-o", "out", "--quiet"])
    assert caught.value.code == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
        "hwsim: warning: dim: no picture to train on is of class 0 (do the labels start at 1?)",
        "hwsim: warning: dim: the pictures' values are 0..40 of 0..255; at model.input_bits 8 41 "
        "levels are left: scale them to 0..255",
    ]


def test_integers_that_answer_otherwise_are_warned_of():
    warn_of_agreement(LOW_AGREEMENT)  # warnings are errors
    with pytest.warns(HwsimWarning, match=r"^integers and training model agree on 97\.99 % of"):
        warn_of_agreement(LOW_AGREEMENT - 1e-4)
