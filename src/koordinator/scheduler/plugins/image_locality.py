"""ImageLocality: prefer nodes that have the pod's images already, the more so the larger and the more widespread these are."""

from collections.abc import Hashable, Iterable

import numpy as np

from koordinator.api.core import Container, Node
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.framework import MAX_SCORE, SKIP, CycleState, PreScorePlugin, ScorePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo

_MEBIBYTE = 1024 * 1024
LEAST, MOST_PER_CONTAINER = 23 * _MEBIBYTE, 1000 * _MEBIBYTE


def full_name(image: str) -> str:
    """A name without a tag means its latest."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def scaled(size: int, nodes_with: int, nodes: int) -> int:
    """An image that few nodes have counts little, or all its pods would end up there."""
    return int(size * (nodes_with / nodes)) if nodes else 0


def points(total: Ints, containers: int) -> Ints:
    """From bytes that need not be pulled to a score."""
    most = max(MOST_PER_CONTAINER * containers, LEAST + 1)
    answer: Ints = MAX_SCORE * (np.clip(total, LEAST, most) - LEAST) // (most - LEAST)
    return answer


class Images:
    """Which nodes have which images, and how large they are there."""

    dry_runs = False

    def __init__(self, cluster: Cluster) -> None:
        self._columns = cluster.columns
        self.sizes: dict[str, dict[int, int]] = {}
        self._of_row: dict[int, dict[str, int]] = {}
        self._rows: dict[str, int] = {}
        self.version = 0
        cluster.listeners.append(self)
        for node in cluster.nodes.values():
            self.node_set(cluster.columns.row_of[node.name], node, Change.NODE)

    def node_set(self, row: int, node: Node, changes: int) -> None:
        now = {name: image.size_bytes for image in node.status.images or () for name in image.names or ()}
        self._rows[node.name] = row
        if self._of_row.get(row, {}) != now:
            self._forget(row)
            self._of_row[row] = now
            for name, size in now.items():
                self.sizes.setdefault(name, {})[row] = size
            self.version += 1
            self._columns.touch(row, Change.IMAGES)

    def node_removed(self, name: str) -> None:
        self._forget(self._rows.pop(name))
        self.version += 1

    def _forget(self, row: int) -> None:
        for name in self._of_row.pop(row, ()):
            having = self.sizes[name]
            del having[row]
            if not having:
                del self.sizes[name]

    def pod_placed(self, info: PodInfo, node: str) -> None: ...

    def pod_updated(self, info: PodInfo, node: str) -> None: ...

    def pod_removed(self, info: PodInfo, node: str) -> None: ...


class _Scored:
    """Scores of all rows, and the state of the cluster that they are for."""

    __slots__ = ("images", "seen", "vector")

    def __init__(self, images: list[str]) -> None:
        self.images = images
        self.seen: tuple[int, int, int] | None = None
        self.vector: Ints


class ImageLocality(PreScorePlugin, ScorePlugin):
    name = "ImageLocality"
    score_reads = Change.NODE | Change.IMAGES
    score_far = normalizes = True

    def __init__(self, cluster: Cluster) -> None:
        self.images = cluster.shared(Images)

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple(self._names(pod))

    def individual(self, pod: PodInfo) -> bool:
        """Whether any node has any of the images."""
        known = self.images.sizes
        return bool(known) and any(name in known for name in self._names(pod))

    def _names(self, pod: PodInfo) -> list[str]:
        known: list[str] | None = pod.template.notes.get(self.name)
        if known is None:
            spec = pod.pod.spec
            known = pod.template.notes[self.name] = list(_images((*(spec.init_containers or ()), *spec.containers)))
        return known

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        if not self.individual(pod):
            return SKIP
        state[self.name] = _Scored(self._names(pod))
        return None

    def survey(self, state: CycleState, pod: PodInfo, nodes: Columns, feasible: Bools) -> bool:
        scored: _Scored = state[self.name]
        now = self.images.version, len(nodes), nodes.size
        if scored.seen == now:
            return False
        total = np.zeros(nodes.size, dtype=np.int64)
        for name in scored.images:
            having = self.images.sizes.get(name, {})
            for row, size in having.items():
                total[row] += scaled(size, len(having), len(nodes))
        scored.seen, scored.vector = now, points(total, len(scored.images))
        return True

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        scores: Ints = state[self.name].vector[rows]
        return scores

    def bounds(self, raw: Ints, feasible: Bools) -> tuple[int, ...]:
        return ()

    def normalize(self, raw: Ints, bounds: tuple[int, ...]) -> Ints:
        return raw


def _images(containers: Iterable[Container]) -> Iterable[str]:
    return (full_name(one.image or "") for one in containers)
