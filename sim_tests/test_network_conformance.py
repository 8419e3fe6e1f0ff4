"""Every op in the worlds that need no hardware: reference, PyTorch, numba."""

from __future__ import annotations

from hwsim.models.testing import GoldenConformance
from hwsim.network.ops import OP_TYPES
from hwsim.testing import (
    ROWS,
    ExecutorConformance,
    FusedExecutorConformance,
    ReferenceConformance,
)


class TestReference(ReferenceConformance):
    pass


class TestTorch(GoldenConformance):
    pass


class TestExecutor(ExecutorConformance):
    pass


class TestFusedExecutor(FusedExecutorConformance):
    pass


def test_every_op_has_a_row() -> None:
    assert set(ROWS) == set(OP_TYPES.values())
