"""Process nodes: this machine as a node whose pods run as real processes in the kubelet's cgroup layout.

The way in: ``run``. A pod goes ``node`` (admission) → ``worker`` → ``plan`` (what next, pure) → ``runtime`` → ``shim`` (one
small process per container), and back as ``status`` (pure) through ``reports``.
"""

from collections.abc import Callable

from koordinator.clock import Clock
from koordinator.cluster.nodes.process.options import ProcessOptions, usable
from koordinator.kube.store import Store


async def run(options: ProcessOptions, store: Store, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Be this machine's node until cancelled. Raises Unavailable when the machine cannot be one."""
    from koordinator.cluster.nodes.process.node import ProcessNode

    await ProcessNode(options, store, clock).run(on_ready)


__all__ = ["ProcessOptions", "run", "usable"]
