"""What LoadAwareScheduling knows of usage, as metrics: counts of nodes, so that a scrape costs little in any cluster."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.handle import Handle

if TYPE_CHECKING:
    from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling

Labels = tuple[str, ...]
_STEP, _TOP = 10, 100


class Figures:
    """Of all profiles' plugins; one for a cluster."""

    def __init__(self, _: Cluster) -> None:
        self.plugins: dict[str, LoadAwareScheduling] = {}

    def states(self) -> dict[Labels, float]:
        """How many nodes have a report that counts, one that is too old, one that says nothing, or none."""
        found: Counter[Labels] = Counter()
        for profile, plugin in self.plugins.items():
            found.update({(profile, state): 0 for state in ("fresh", "expired", "empty", "missing")})
            found.update((profile, plugin.report_state(name)) for name in plugin.nodes)
        return dict(found)

    def utilizations(self) -> dict[Labels, float]:
        """How many nodes with a fresh report use how much, estimates of pods that it does not show included."""
        found: dict[Labels, float] = {}
        for profile, plugin in self.plugins.items():
            percents = plugin.utilization()
            for index, resource in enumerate(plugin.dimensions):
                steps = np.bincount(np.clip(percents[:, index] // _STEP, 0, _TOP // _STEP), minlength=_TOP // _STEP + 1)
                for step, number in enumerate(steps.tolist()):
                    low = step * _STEP
                    found[profile, resource, f"{low}-{low + _STEP}" if low < _TOP else f"{_TOP}+"] = number
        return found


def show(handle: Handle, plugin: "LoadAwareScheduling") -> None:
    figures = handle.cluster.shared(Figures)
    figures.plugins[handle.profile] = plugin
    text = "Nodes by what is known of their usage: a fresh NodeMetric, an expired one, one without usage, or none."
    handle.metrics.gauge("load_aware_nodes", text, ("profile", "state"), figures.states)
    text = "Nodes with a fresh NodeMetric by the share of a resource in use, estimates included."
    handle.metrics.gauge("load_aware_utilization_nodes", text, ("profile", "resource", "percent"), figures.utilizations)
