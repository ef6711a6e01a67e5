"""Which pods have been promised which node: room was made for them there, and it must not go to a lesser pod meanwhile."""

from collections.abc import Iterable

from koordinator.scheduler.engine.namelog import NameLog
from koordinator.scheduler.engine.pod import PodInfo


class Nominator:
    """Nominations by pod and by node."""

    def __init__(self) -> None:
        self._node_of: dict[str, str] = {}
        self._pods: dict[str, dict[str, PodInfo]] = {}
        self.log = NameLog()
        """The nodes whose promises have changed."""

    def __len__(self) -> int:
        return len(self._node_of)

    def node_of(self, uid: str) -> str:
        """The node promised to a pod; empty for none."""
        return self._node_of.get(uid, "")

    @property
    def nodes(self) -> Iterable[str]:
        return self._pods.keys()

    def nominate(self, info: PodInfo, node: str) -> None:
        """Promise a node, in place of the one promised before. An empty name takes the promise back."""
        if self._node_of.get(info.uid, "") == node and (not node or self._pods[node][info.uid] is info):
            return
        self.forget(info.uid)
        if node:
            self._node_of[info.uid] = node
            self._pods.setdefault(node, {})[info.uid] = info
            self.log.add(node)

    def forget(self, uid: str) -> None:
        """The pod is bound, assumed or gone."""
        node = self._node_of.pop(uid, "")
        if not node:
            return
        pods = self._pods[node]
        del pods[uid]
        if not pods:
            del self._pods[node]
        self.log.add(node)

    def on(self, node: str) -> Iterable[PodInfo]:
        return self._pods.get(node, {}).values()

    def standing(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The pods promised the node that count when ``pod`` asks for it: not itself, and none of lower priority."""
        return [other for other in self._pods.get(node, {}).values() if other.priority >= pod.priority and other.uid != pod.uid]
