"""``FaultyExecutor``: the answers of an accelerator with faulty memories, bit for bit.

The faults can be evaluated on several *paths*, which all give the same answers:

===========  =====================================================================================
``steps``    the definition: every memory is read access by access, in the order of the hardware
             (``hwsim.faults.faulty_stages`` with all of ``hwsim.faults.kernels``).
``stages``   stage by stage; sums that no single access has an influence on are taken at once.
``circuit``  the whole accelerator as a network with edits of its tensors, where errors always
             occur (``hwsim.faults.faulty_circuit`` with ``rings``): about as fast as the network
             without faults.
``auto``     ``circuit`` where there is one, else ``stages``.
===========  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from hwsim.errors import NetworkError
from hwsim.execute import Executor
from hwsim.execute.executor import share_right
from hwsim.faults.design import DesignFaults
from hwsim.faults.faulty_circuit import faulty_circuit
from hwsim.faults.faulty_stages import History, StageEvaluator, read_fifo
from hwsim.lowvoltage.chip import ChipError
from hwsim.network import INPUT, Flatten
from hwsim.network.reference import check_input

EvaluationPath = Literal["auto", "circuit", "stages", "steps"]

_BLOCK = 64
"""Images in a block; a multiple of the block of the executor's kernels."""


class FaultyExecutor:
    """Evaluates the network of ``faults.pipeline`` as the accelerator with these faults does.

    Frames count from reset: words of FIFOs and windows, and with them the errors, depend on a
    frame's number. Where some writes fail, a frame's errors depend on the values of all frames
    since reset: these can only be evaluated from frame 0 on. threads: how many; by default as many
    as the process may use CPUs. path: see the module text; it changes the speed alone. Raises
    ChipError for a path that is not known, and for ``circuit`` where the faults have none.
    """

    def __init__(
        self, faults: DesignFaults, threads: int | None = None, *, path: EvaluationPath = "auto"
    ):
        if path not in get_args(EvaluationPath):
            raise ChipError(f"path must be {', '.join(get_args(EvaluationPath))}, not {path!r}")
        self.faults = faults
        self.network = faults.pipeline.network
        self.threads = Executor(self.network, threads).threads
        self.path = path
        if path == "circuit" and self._executor is None:
            raise ChipError("these faults have no circuit: evaluate them with path 'auto'")

    @cached_property
    def _executor(self) -> Executor | None:
        """Of the circuit; None where stages are evaluated one by one."""
        circuit = faulty_circuit(self.faults) if self.path in ("auto", "circuit") else None
        return None if circuit is None else Executor(circuit, self.threads)

    @cached_property
    def _stages(self) -> dict[str, StageEvaluator]:
        stages = self.faults.pipeline.stages
        by_step = self.path == "steps"
        return {s.name: StageEvaluator(self.faults, s, by_step) for s in stages}

    def run(self, x: np.ndarray, first_frame: int = 0) -> np.ndarray:
        """The output of the accelerator, behind the output FIFO: int64 as in ``Executor.run``.

        x: integers [images, channels, height, width], image n being frame ``first_frame + n``
        since reset. Raises NetworkError when ``x`` has another shape, is not of integers or
        leaves its range, and for a negative ``first_frame``; ChipError for any but 0 where a
        frame's errors depend on those before it.
        """
        if self._executor is not None:
            output = self._executor.run(self._checked(x, first_frame), first_frame)
            return output.reshape(len(output), *self.network.output_type.shape)
        last = self.faults.pipeline.fifos[-1].name
        output = self._by_block(x, first_frame, lambda block: {last: block.links[last]})[last]
        return output.reshape(len(output), *self.network.output_type.shape)

    def tensors(self, x: np.ndarray, first_frame: int = 0) -> dict[str, np.ndarray]:
        """Every tensor as its stage yields it, before any FIFO, by name, the input included.

        int64; arguments and errors as ``run``.
        """
        if self._executor is not None:
            tensors = self._executor.tensors(self._checked(x, first_frame), first_frame)
        else:
            tensors = self._by_block(x, first_frame, lambda block: block.tensors)
        for op in self.network.ops:
            if isinstance(op, Flatten):
                tensors[op.name] = tensors[op.inputs[0]]
        types = self.network.types
        return {name: tensors[name].reshape(-1, *types[name].shape) for name in types}

    def links(self, x: np.ndarray, first_frame: int = 0) -> dict[str, np.ndarray]:
        """The values that every FIFO passes on, by name of the FIFO, in the shape of its tensor.

        int64; arguments and errors as ``run``. A circuit has no links: stages are evaluated.
        """
        found = self._by_block(x, first_frame, lambda block: block.links)
        types = self.network.types
        return {
            fifo.name: found[fifo.name].reshape(-1, *types[fifo.stream.tensor].shape)
            for fifo in self.faults.pipeline.fifos
        }

    def accuracy(self, x: np.ndarray, labels: np.ndarray, first_frame: int = 0) -> float:
        """Share (0..1) of images whose class is ``labels`` [images].

        Raises NetworkError if the network does not end in ArgMax or the counts differ.
        """
        return share_right(self.network, lambda images: self.run(images, first_frame), x, labels)

    def _checked(self, x: np.ndarray, first_frame: int) -> np.ndarray:
        if first_frame < 0:
            raise NetworkError(f"first_frame must be >= 0, not {first_frame}")
        if first_frame and self.faults.lasting:
            raise ChipError(
                f"first_frame must be 0, not {first_frame}: some writes fail, so what memories "
                "hold depends on all frames since reset"
            )
        return check_input(self.network, x)

    def _by_block(
        self,
        x: np.ndarray,
        first_frame: int,
        wanted: Callable[[_Block], dict[str, np.ndarray]],
    ) -> dict[str, np.ndarray]:
        """Evaluate stage by stage, block after block; whole arrays of what is wanted."""
        x = self._checked(x, first_frame).astype(np.int64)
        starts = range(0, max(len(x), 1), _BLOCK)
        # Blocks come in their order where one hands its history on to the next.
        one_by_one = self.threads == 1 or len(starts) == 1 or self.faults.lasting
        since_reset: History = {}

        def work(start: int) -> dict[str, np.ndarray]:
            history = since_reset if one_by_one else {}
            return wanted(_Block(self, x[start : start + _BLOCK], first_frame + start, history))

        if one_by_one:
            parts = [work(start) for start in starts]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                parts = list(pool.map(work, starts))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Block:
    """Some frames on their way through the accelerator.

    tensors: of every op but Flatten, by name. links: what each FIFO passes on. All are maps.
    history: what memories hold of the frames before, and then of these.
    """

    def __init__(
        self, executor: FaultyExecutor, x: np.ndarray, first: int, history: History
    ) -> None:
        pipeline = executor.faults.pipeline
        self._history = history
        self.tensors = {INPUT: x}
        self.links: dict[str, np.ndarray] = {}
        self._pass_on(executor, pipeline.source, x, first)
        for stage in pipeline.stages:
            inputs = [self.links[fifo.name] for fifo in pipeline.inputs_of(stage.name)]
            results = executor._stages[stage.name](inputs, first, history)
            self.tensors.update(zip(stage.tensors, results, strict=stage.op is not None))
            self._pass_on(executor, stage.name, results[-1], first)

    def _pass_on(self, executor: FaultyExecutor, producer: str, x: np.ndarray, first: int) -> None:
        for fifo in executor.faults.pipeline.outputs_of(producer):
            faulty = executor.faults.fifo(fifo.name)
            if faulty is not None:
                self.links[fifo.name] = read_fifo(faulty, fifo, x, first, self._history)
            else:
                self.links[fifo.name] = x
