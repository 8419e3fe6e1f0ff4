"""How the conformance classes give their cases to pytest, which they do not import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np


class Cases:
    """Base of the conformance classes.

    A class derived from it whose name begins with ``Test`` is found by pytest like every other
    one. Each of its tests that has an argument called ``argument`` runs once for each of its
    ``cases``. Nothing needs pytest but to collect them: a test is a method that raises
    AssertionError.
    """

    argument: ClassVar[str]

    def cases(self) -> Iterable[tuple[str, Any]]:
        """(label, value of the argument) of every case; labels differ."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Called by pytest for each test of the class."""
        if self.argument in metafunc.fixturenames:
            labels, values = zip(*self.cases(), strict=True)
            metafunc.parametrize(self.argument, values, ids=labels)


def assert_same(name: str, got: np.ndarray, expected: np.ndarray) -> None:
    """Raise AssertionError, which says where first, unless shapes and all values are equal.

    name: of the tensor, for the message. got, expected: integers of any width.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape:
        raise AssertionError(f"{name}: shape {got.shape}, must be {expected.shape}")
    wrong = np.argwhere(got != expected)
    if len(wrong):
        at = tuple(int(n) for n in wrong[0])
        raise AssertionError(
            f"{name}{list(at)}: {got[at]}, must be {expected[at]}; "
            f"{len(wrong)} of {got.size} values differ"
        )
