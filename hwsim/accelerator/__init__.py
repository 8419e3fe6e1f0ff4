"""The pipelined multiplexer accelerator: mapping, exact cycles, memories, energy."""

from hwsim.accelerator.autofold import auto_fold
from hwsim.accelerator.cycles import (
    CycleReport,
    DeadlockError,
    FifoCycles,
    StageCycles,
    simulate,
)
from hwsim.accelerator.depths import smallest_depths
from hwsim.accelerator.energy import EnergyReport, Prices, estimate_energy
from hwsim.accelerator.fold import Fold, is_depthwise, is_mac
from hwsim.accelerator.kinds import StageKind
from hwsim.accelerator.memories import memory_list
from hwsim.accelerator.operations import count_operations
from hwsim.accelerator.pipeline import DEFAULT_DEPTH, Pipeline, build_pipeline
from hwsim.accelerator.stage import Fifo, Stage, Stream
from hwsim.accelerator.timeline import Timeline, steady_timeline, timeline
from hwsim.accelerator.timing import Timing
from hwsim.design.memory import MemoryInfo
from hwsim.design.operation import Operation

__all__ = [
    "DEFAULT_DEPTH",
    "CycleReport",
    "DeadlockError",
    "Fifo",
    "FifoCycles",
    "Fold",
    "MemoryInfo",
    "Pipeline",
    "Stage",
    "StageCycles",
    "StageKind",
    "Stream",
    "Timeline",
    "Timing",
    "auto_fold",
    "build_pipeline",
    "EnergyReport",
    "Operation",
    "Prices",
    "count_operations",
    "estimate_energy",
    "is_depthwise",
    "is_mac",
    "memory_list",
    "simulate",
    "steady_timeline",
    "timeline",
    "smallest_depths",
]
