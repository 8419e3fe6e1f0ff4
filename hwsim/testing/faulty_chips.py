"""The conformance class of whoever computes what an accelerator with failing cells answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from hwsim.design import Role
from hwsim.errors import MappingError
from hwsim.faults import DesignFaults, FaultyExecutor, design_faults
from hwsim.network import INPUT, Flatten, evaluate
from hwsim.testing.cases import Cases, assert_same
from hwsim.testing.faulty import (
    KINDS,
    PROTECTIONS,
    RATES,
    chip,
    residual_images,
    residual_pipeline,
)


class Answers(NamedTuple):
    """What a faulty accelerator computes of some frames.

    tensors: of every op by name, integers [frames, channels, height, width], as the stage yields
    it; the input and Flatten, which have no stage, may be left out. output: the network's output
    as it leaves the last FIFO, in the same shape.
    """

    tensors: Mapping[str, np.ndarray]
    output: np.ndarray


class FaultConformance(Cases):
    """Derive from it, define ``answers``, and every kind of fault, role and protection is a test.

    Compared with ``==`` to the definition (``FaultyExecutor`` with ``path="steps"``), which
    must differ from the network without faults in each case. A row of ``KINDS`` or
    ``PROTECTIONS``, and a ``Role``, are cases of every class derived from this one.
    """

    argument = "faults"
    frames = 2
    first_frame = 5
    """Number of the first frame since reset: which words a frame meets depends on it."""

    def answers(self, faults: DesignFaults, x: np.ndarray, first_frame: int) -> Answers:
        """Of frames x [frames, channels, height, width], the first of that number since reset."""
        raise NotImplementedError

    def accepts(self, faults: DesignFaults) -> bool:
        """False for faults that must be refused with a MappingError."""
        return True

    def cases(self) -> Iterator[tuple[str, DesignFaults]]:
        pipeline = residual_pipeline()
        for n, kind in enumerate(KINDS):
            yield kind, design_faults(pipeline, chip(kind, n), RATES[1 + n % 2])
        for role in Role:
            yield role.value, design_faults(pipeline, chip("flip", 0), 0.2, [role])
        for name, code in PROTECTIONS.items():
            yield name, design_faults(pipeline, chip("flip", 2), 0.03, protection=code)

    def test_faulty_chip(self, faults: DesignFaults) -> None:
        x = residual_images(self.frames)
        # Where some writes fail, errors depend on all frames since reset.
        first = 0 if faults.lasting else self.first_frame
        if not self.accepts(faults):
            try:
                self.answers(faults, x, first)
            except MappingError:
                return
            raise AssertionError("faults that must be refused were accepted")
        got = self.answers(faults, x, first)
        definition = FaultyExecutor(faults, path="steps")
        expected = definition.tensors(x, first)
        network = faults.pipeline.network
        clean = evaluate(network, x)
        flat = {op.name for op in network if isinstance(op, Flatten)}
        assert set(expected) - set(got.tensors) <= {INPUT, *flat}, "tensors are missing"
        for name, tensor in got.tensors.items():
            assert_same(name, tensor, expected[name])
        assert_same("output", got.output, definition.run(x, first))
        assert any((expected[name] != clean[name]).any() for name in clean), "no fault is seen"
