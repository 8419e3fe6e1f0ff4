"""The pipelined multiplexer accelerator: mapping, exact cycles, memories, energy."""

from hwsim.accelerator.cycles import (
    CycleReport,
    DeadlockError,
    FifoCycles,
    StageCycles,
    simulate,
)
from hwsim.accelerator.folding import Fold, is_depthwise, is_mac
from hwsim.accelerator.memories import MemoryInfo, memory_list
from hwsim.accelerator.pipeline import (
    DEFAULT_DEPTH,
    SINK,
    SOURCE,
    Fifo,
    Pipeline,
    Stage,
    Stream,
    build_pipeline,
)
from hwsim.accelerator.timeline import Timeline, steady_timeline, timeline
from hwsim.accelerator.timing import Timing

__all__ = [
    "DEFAULT_DEPTH",
    "SINK",
    "SOURCE",
    "CycleReport",
    "DeadlockError",
    "Fifo",
    "FifoCycles",
    "Fold",
    "MemoryInfo",
    "Pipeline",
    "Stage",
    "StageCycles",
    "Stream",
    "Timeline",
    "Timing",
    "build_pipeline",
    "is_depthwise",
    "is_mac",
    "memory_list",
    "simulate",
    "steady_timeline",
    "timeline",
]
