"""What a running cluster looks like from outside: its processes, its nodes and what they sell."""

import asyncio

import msgspec

from koordinator.api import registry
from koordinator.api.core import Node, Pod
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY, Amounts, amounts
from koordinator.cluster.state import DataDir, start_ticks
from koordinator.kube import config as kube_config
from koordinator.kube.client import Client
from koordinator.kube.errors import ApiError

MANY_NODES = 10
_HEADINGS = ("NODE", "STATUS", "CPU", "MEMORY", "BATCH-CPU", "BATCH-MEMORY", "PODS")


class Status(msgspec.Struct, frozen=True):
    """``components`` maps a name to "running (pid N)" or what is wrong with it."""

    server: str
    components: dict[str, str]
    rows: list[tuple[str, ...]]
    problem: str = ""

    @property
    def healthy(self) -> bool:
        return not self.problem and all(text.startswith("running") for text in self.components.values())

    def text(self) -> str:
        lines = [f"API server {self.server}" + (f": {self.problem}" if self.problem else "")]
        lines += [f"  {name:<12}{text}" for name, text in self.components.items()]
        if self.rows:
            table = [_HEADINGS, *self.rows[:MANY_NODES]]
            widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
            lines += [
                "",
                *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table),
            ]
        if len(self.rows) > MANY_NODES:
            lines.append(f"… and {len(self.rows) - MANY_NODES} more nodes")
        return "\n".join(lines)


async def look(data: DataDir) -> Status:
    """Ask the processes and the API server. Raises Unavailable when no cluster runs on the directory."""
    state = data.must_run()
    components = {
        name: f"running (pid {pid})"
        if start_ticks(pid) is not None
        else f"down (pid {pid} has ended; it is being started again)"
        for name, pid in state.components.items()
    }
    try:
        config = msgspec.structs.replace(kube_config.load(str(data.component_kubeconfig)), retries=0, timeout=5.0)
        async with Client(config) as client:
            nodes, pods = await asyncio.gather(client.list(registry.NODES), client.list(registry.PODS))
    except ApiError as err:
        return Status(state.server, components, [], problem=str(err))
    return Status(state.server, components, [row(node, pods.items) for node in sorted(nodes.items, key=lambda node: node.name)])


def row(node: Node, pods: list[Pod]) -> tuple[str, ...]:
    """A node's line: readiness, what it can give, what it sells to batch, how many pods it runs."""
    has = _readable(node)
    conditions = {condition.type: condition.status for condition in node.status.conditions or []}
    ready = "Ready" if conditions.get("Ready") == "True" else "NotReady"
    running = sum(1 for pod in pods if pod.spec.node_name == node.name and not pod.terminated)
    return (
        node.name,
        ready + (",SchedulingDisabled" if node.spec.unschedulable else ""),
        f"{has.get(CPU, 0) / 1000:g}",
        _gibibytes(has.get(MEMORY)),
        f"{has[BATCH_CPU] / 1000:g}" if BATCH_CPU in has else "-",
        _gibibytes(has.get(BATCH_MEMORY)),
        str(running),
    )


def _readable(node: Node) -> Amounts:
    try:
        return amounts(node.status.allocatable)
    except ValueError:
        return {}


def _gibibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**30:.1f}Gi"
