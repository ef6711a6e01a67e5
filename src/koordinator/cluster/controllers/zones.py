"""How fast silent nodes may lose their pods, by zone: many silent nodes more often mean a broken network than broken nodes.

A zone is healthy, or partly down (more than half of its nodes, and more than two), or down. Pods leave a healthy zone one node
at a time; a large zone that is partly down ten times slower, a small one not at all; and nowhere while every zone is down:
then it is rather us who hear nothing.
"""

from collections.abc import Mapping

import msgspec

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
LOOK_AGAIN_SECONDS = 5.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes a second, and what makes a zone partly down or large. Defaults are those of kube-controller-manager."""

    rate: float = 0.1
    slow_rate: float = 0.01
    unhealthy_share: float = 0.55
    large_zone: int = 50


class _Zone(msgspec.Struct):
    nodes: int = 0
    ill: int = 0
    granted_at: float | None = None


class Zones:
    """Counts nodes by zone and says when a node's turn has come. A turn, once given, lasts until the node is well again."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._zones: dict[str, _Zone] = {}
        self._nodes: dict[str, tuple[str, bool]] = {}
        self._granted: set[str] = set()

    def note(self, name: str, zone: str, *, well: bool) -> None:
        """A node is in this zone, and well or not."""
        held = self._nodes.get(name)
        if held == (zone, well):
            return
        if held is not None:
            self._count(*held, by=-1)
        self._nodes[name] = (zone, well)
        self._count(zone, well, by=1)
        if well:
            self._granted.discard(name)

    def forget(self, name: str) -> None:
        held = self._nodes.pop(name, None)
        if held is not None:
            self._count(*held, by=-1)
        self._granted.discard(name)

    def _count(self, zone: str, well: bool, by: int) -> None:
        counted = self._zones.setdefault(zone, _Zone())
        counted.nodes += by
        counted.ill += 0 if well else by

    @property
    def everything_down(self) -> bool:
        """No node anywhere is well."""
        return all(zone.ill == zone.nodes for zone in self._zones.values())

    def wait(self, name: str, now: float) -> float:
        """Seconds until this node may lose its pods; 0 gives it its turn."""
        held = self._nodes.get(name)
        if name in self._granted or held is None:
            return 0.0
        zone = self._zones[held[0]]
        rate = 0.0 if self.everything_down else self._rate(zone)
        if not rate:
            return LOOK_AGAIN_SECONDS
        if zone.granted_at is not None and (left := zone.granted_at + 1 / rate - now) > 0:
            return left
        zone.granted_at = now
        self._granted.add(name)
        return 0.0

    def _rate(self, zone: _Zone) -> float:
        partly = zone.ill > 2 and zone.ill < zone.nodes and zone.ill / zone.nodes >= self._pace.unhealthy_share
        if not partly:
            return self._pace.rate
        return self._pace.slow_rate if zone.nodes > self._pace.large_zone else 0.0


def zone_of(labels: Mapping[str, str]) -> str:
    return f"{labels.get(REGION, '')}:{labels.get(ZONE, '')}"
