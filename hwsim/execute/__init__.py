"""Fast, bit-exact execution of integer networks on the CPU."""

from hwsim.execute.executor import Executor

__all__ = ["Executor"]
