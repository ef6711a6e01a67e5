"""NodePorts: no two pods on a node with the same host port."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from koordinator.api.core import Pod, PodSpec
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Columns, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy, pods_named
from koordinator.scheduler.engine.residents import Feature, Residents, TallyHandle

_KIND, ANY_ADDRESS = "NodePorts", "0.0.0.0"
Port = tuple[str, int, str]
"""Protocol, number, address."""


def host_ports(spec: PodSpec) -> list[Port]:
    """What containers and sidecars ask for of the host."""
    containers = [*spec.containers, *(one for one in spec.init_containers or () if one.restart_policy == "Always")]
    return [
        (port.protocol or "TCP", port.host_port, port.host_ip or ANY_ADDRESS)
        for one in containers
        for port in one.ports or ()
        if port.host_port and port.host_port > 0
    ]


def conflict(one: Port, other: Port) -> bool:
    """The same port of the same protocol, and an address in common."""
    return one[:2] == other[:2] and (one[2] == other[2] or ANY_ADDRESS in (one[2], other[2]))


class NodePorts(PreFilterPlugin, FilterPlugin):
    name = "NodePorts"
    reads = Change.PODS

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.residents = cluster.shared(Residents)
        self.residents.describe(_KIND, self._features)

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple(self._ports(pod))

    def _ports(self, pod: PodInfo) -> list[Port]:
        notes = pod.template.notes
        known: list[Port] | None = notes.get(_KIND)
        if known is None:
            known = notes[_KIND] = host_ports(pod.pod.spec)
        return known

    def _features(self, pod: PodInfo) -> Iterable[Feature]:
        """Each port twice: with its address, and with whatever address."""
        return [self.residents.feature(_KIND, key) for port in self._ports(pod) for key in (port, port[:2])]

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        ports = self._ports(pod)
        if not ports:
            return PreFilterResult(SKIP)
        state[self.name] = [self._taken(key) for port in ports for key in _conflicting(port)]
        return None

    def _taken(self, key: Hashable) -> TallyHandle:
        return self.residents.having(self.residents.feature(_KIND, key))

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        codes = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for handle in state[self.name]:
            codes[handle.tally.counts.values[rows] > 0] = 1
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return ["node(s) didn't have free ports for the requested pod ports"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Free each port that somebody holds."""
        name = nodes.names[row]
        here = [placed.info for placed in self._cluster.pods_on(name)]
        found = []
        for port in dict.fromkeys(self._ports(pod)):
            holding = tuple(one.key for one in here if any(conflict(port, theirs) for theirs in self._ports(one)))
            if holding:
                holds = f"{pods_named(holding)} {'holds' if len(holding) == 1 else 'hold'} it"
                found.append(
                    Remedy("other", f"free host port {_named(port)} on {name} ({holds})", 2.0 * len(holding), pods=holding)
                )
        return found

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return (Happening.POD_DELETE | Happening.POD_UPDATE, self._port_freed), (Happening.NODE_ADD, None)

    def _port_freed(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.kind != Happening.POD_DELETE or not isinstance(event.old, Pod):
            return True
        theirs = host_ports(event.old.spec)
        return any(conflict(mine, other) for mine in self._ports(pod) for other in theirs)


def _named(port: Port) -> str:
    protocol, number, address = port
    return f"{number}/{protocol}" if address == ANY_ADDRESS else f"{address}:{number}/{protocol}"


def _conflicting(port: Port) -> tuple[Hashable, ...]:
    """What residents must not have."""
    protocol, number, address = port
    if address == ANY_ADDRESS:
        return ((protocol, number),)
    return port, (protocol, number, ANY_ADDRESS)
