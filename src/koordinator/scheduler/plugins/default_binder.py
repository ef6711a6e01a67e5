"""DefaultBinder: bind by POSTing a Binding."""

from koordinator.kube.store import Store
from koordinator.scheduler.engine.framework import BindPlugin, CycleState, Status
from koordinator.scheduler.engine.pod import PodInfo


class DefaultBinder(BindPlugin):
    name = "DefaultBinder"

    def __init__(self, store: Store) -> None:
        self.store = store

    async def bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        await self.store.bind(pod.namespace, pod.name, node, pod.uid)
        return None
