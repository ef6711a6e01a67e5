"""PrioritySort: the pod of higher priority goes first; among equals the one that has waited longer."""

from koordinator.scheduler.engine.framework import QueueSortPlugin
from koordinator.scheduler.engine.pod import PodInfo


class PrioritySort(QueueSortPlugin):
    name = "PrioritySort"

    def sort_key(self, pod: PodInfo, timestamp: float) -> tuple[int, float]:
        return -pod.priority, timestamp
