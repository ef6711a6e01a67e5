"""The cases of kube-scheduler's own scheduler_perf, as far as they are about pods and nodes: same names, node and pod counts.

Each case says what is there before, which pods are measured, and what both runners have to reach: `scheduler_engine` (no API
server, one core) and `scheduler_e2e`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks import scheduler_templates as templates
from benchmarks.scheduler_templates import BEFORE, MEASURED, SELECTED, TEAM, MakePod, before, in_namespace, namespace
from koordinator.api.core import Node
from koordinator.api.meta import Object

FULL_PROFILE = str(Path(__file__).with_name("koordinator_profile.yaml"))


class Churn(NamedTuple):
    """What goes on besides: every so many ``seconds`` end to end; in the engine alone every so many ``pods``, which is as often
    as a scheduler at the public floor meets it.
    """

    seconds: float
    pods: int
    make: Callable[[int], list[Object]]
    recreate: bool = False
    """Whether the objects before are deleted each time."""


def nothing() -> Iterable[Object]:
    return ()


class Case(NamedTuple):
    """``engine`` and ``end_to_end`` are goals in pods a second, 0 for none. ``resident`` pods come first, unmeasured."""

    name: str
    nodes: int
    resident: int
    measured: int
    pod: MakePod
    engine: int
    end_to_end: int
    resident_pod: MakePod | None = None
    node: Callable[[int], Node] = templates.node
    there: Callable[[], Iterable[Object]] = nothing
    """Further objects that exist from the start: nobody waits for pods among them."""
    churn: Churn | None = None
    profile: str = ""
    """A configuration file; the shipped profile without one."""
    team: dict[str, str] | None = None
    """Labels of the measured pods' namespace."""

    @property
    def title(self) -> str:
        pods = f"{self.resident:,} + {self.measured:,}" if self.resident else f"{self.measured:,}"
        return f"{self.name}, {self.nodes:,} nodes, {pods} pods"


def claims(resident: int, measured: int) -> Iterable[Object]:
    for index in range(resident + measured):
        yield from templates.claim_and_volume(index, BEFORE if index < resident else MEASURED)


def koordinated(nodes: int, pods: int) -> Iterable[Object]:
    """A report of every node, and pods that run."""
    yield from (templates.usage(index, nodes) for index in range(nodes))
    yield from (before(lambda number: templates.placed(number, nodes))(index) for index in range(pods))


def stuck(pods: int) -> Iterable[Object]:
    """Pods that fit nowhere."""
    return (before(templates.hopeless)(index) for index in range(pods))


NAMESPACES = 100
TEAMS = [namespace(f"init-ns-{index}", TEAM) for index in range(NAMESPACES)]
MIXED_CHURN = Churn(
    1.0,
    710,
    lambda index: [templates.passing_node(index), before(templates.hopeless)(index), templates.service(index)],
    recreate=True,
)
PREEMPTORS = Churn(0.2, 114, lambda index: [before(templates.high)(index)])
HOPELESS = Churn(0.2, 118, lambda index: [before(templates.hopeless)(index)])
REPORTS = Churn(60 / 5000, 36, lambda index: [templates.usage(5000 + index, 5000)])
"""5,000 nodes report once a minute, while 3,000 pods a second are placed."""

CASES = (
    Case("SchedulingBasic", 5000, 1000, 10_000, templates.plain, 5000, 1000),
    Case("SchedulingBasic", 5000, 5000, 50_000, templates.plain, 5000, 1000),
    Case("SchedulingNodeAffinity", 5000, 5000, 10_000, templates.in_zone, 4000, 900),
    Case("SchedulingWithMixedChurn", 5000, 0, 10_000, templates.plain, 4000, 900, churn=MIXED_CHURN),
    Case("TopologySpreading", 5000, 5000, 5000, templates.spread, 2000, 800, before(templates.plain), templates.moon_node),
    Case(
        "PreferredTopologySpreading",
        5000,
        5000,
        5000,
        templates.rather_spread,
        2000,
        800,
        before(templates.plain),
        templates.moon_node,
    ),
    Case(
        "DefaultTopologySpreading",
        5000,
        5000,
        50_000,
        templates.served,
        2000,
        800,
        before(templates.plain),
        templates.moon_node,
        there=lambda: [templates.service(0, SELECTED)],
    ),
    Case("SchedulingPodAffinity", 5000, 5000, 5000, templates.near, 2000, 800),
    Case("SchedulingPodAntiAffinity", 5000, 1000, 2000, templates.apart, 2000, 800),
    Case("SchedulingPreferredPodAffinity", 5000, 5000, 5000, templates.rather_near, 2000, 800),
    Case("SchedulingPreferredPodAntiAffinity", 5000, 5000, 5000, templates.rather_apart, 2000, 800),
    Case(
        "SchedulingRequiredPodAntiAffinityWithNSSelector",
        6000,
        4000,
        2000,
        templates.apart_across,
        1500,
        600,
        in_namespace(templates.apart_across, lambda index: f"init-ns-{index % NAMESPACES}"),
        there=lambda: TEAMS,
        team=TEAM,
    ),
    Case("PreemptionAsync", 5000, 20_000, 5000, templates.plain, 1000, 600, before(templates.low), churn=PREEMPTORS),
    Case("PreemptionBasic, every pod evicts", 5000, 20_000, 5000, templates.high, 1000, 0, before(templates.low)),
    Case("Unschedulable", 5000, 100, 10_000, templates.plain, 1000, 600, churn=HOPELESS),
    Case("Unschedulable, 10,000 of them", 5000, 100, 10_000, templates.plain, 1000, 600, there=lambda: stuck(10_000)),
    Case("Unschedulable", 5000, 20_000, 10_000, templates.plain, 1000, 600, churn=HOPELESS),
    Case("SchedulingDaemonset", 15_001, 0, 30_000, templates.daemon, 5000, 1000, node=templates.daemon_node),
    Case(
        "full Koordinator profile, 200 templates, 50,000 resident pods, NodeMetrics changing",
        5000,
        0,
        10_000,
        templates.various,
        3000,
        800,
        node=templates.big_node,
        there=lambda: koordinated(5000, 50_000),
        churn=REPORTS,
        profile=FULL_PROFILE,
    ),
    Case("SchedulingCSIPVs", 5000, 5000, 5000, templates.with_volume, 1000, 0, there=lambda: claims(5000, 5000)),
    Case("MixedSchedulingBasePod", 5000, 10_000, 5000, templates.plain, 2000, 0, before(templates.mixed)),
)
