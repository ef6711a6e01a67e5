"""What the API server says about this node: the Node itself, its NodeSLO, and how its NodeMetric is to be reported."""

import asyncio

from koordinator.api.core import Node
from koordinator.api.registry import NODE_METRICS, NODE_SLOS, NODES
from koordinator.api.slo import NodeSLO
from koordinator.clock import Clock
from koordinator.koordlet.observe.report import Floor, Policy, policy
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store


class ClusterView:
    """Three one-object informers. A deleted NodeSLO stays in force: a mistaken deletion must not move values on the node."""

    def __init__(self, store: Store, node_name: str, clock: Clock, floor: Floor) -> None:
        self._floor = floor
        self._name, only = node_name, f"metadata.name={node_name}"
        self._nodes = Informer(store, NODES, clock=clock, field_selector=only)
        self._slos = Informer(store, NODE_SLOS, clock=clock, field_selector=only)
        self._metrics = Informer(store, NODE_METRICS, clock=clock, field_selector=only)
        self._slo: NodeSLO | None = None
        self._slos.on(added=self._keep, updated=lambda _old, new: self._keep(new))

    def _keep(self, slo: NodeSLO) -> None:
        self._slo = slo

    @property
    def node(self) -> Node | None:
        return self._nodes.get(self._name)

    @property
    def slo(self) -> NodeSLO | None:
        return self._slo

    @property
    def report_policy(self) -> Policy:
        metric = self._metrics.get(self._name)
        return policy(metric.spec if metric else None, self._floor)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.run())
            group.create_task(self._slos.run())
            group.create_task(self._metrics.run())

    async def synced(self) -> None:
        for informer in (self._nodes, self._slos, self._metrics):
            await informer.synced()
