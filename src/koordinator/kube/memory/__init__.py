"""A cluster in memory: the ``Store`` that the simulator and tests run components against. No I/O, no time of its own."""

from koordinator.kube.memory.store import MemoryStore

__all__ = ["MemoryStore"]
