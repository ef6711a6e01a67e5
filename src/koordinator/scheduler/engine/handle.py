"""What a plugin gets when it is made: the doors to the rest of the scheduler that it may use later.

A plugin is made before the scheduler that runs it; what only the scheduler knows (its queue, the pods that wait at Permit) is
filled in when both exist, before the first pod.
"""

from typing import TYPE_CHECKING

from koordinator.clock import Clock
from koordinator.kube.store import Store
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.reservations import ReservationHooks
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.numa.manager import TopologyManager

if TYPE_CHECKING:
    from koordinator.kube.events import Recorder
    from koordinator.scheduler.auditor.auditor import Auditor
    from koordinator.scheduler.engine.cycle import Scheduler
    from koordinator.scheduler.engine.queue import SchedulingQueue
    from koordinator.scheduler.engine.waiting import WaitingPods
    from koordinator.scheduler.extenders import Extenders
    from koordinator.scheduler.topology.manager import NetworkTopology


class Handle:
    """One per profile. ``gates`` are the names of the feature gates that are on."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        clock: Clock,
        profile: str = "",
        gates: frozenset[str] = frozenset(),
        metrics: Metrics | None = None,
    ) -> None:
        self.cluster, self.store, self.clock = cluster, store, clock
        self.profile, self.gates = profile, gates
        self.metrics = metrics or Metrics()
        """For numbers of the plugin's own."""
        self.nominator = cluster.nominator
        self.topology = TopologyManager(cluster)
        self.reservations = ReservationHooks()
        """What the profile's plugins have to say about reservations."""
        self.recorder: Recorder | None = None
        self.scheduler: Scheduler | None = None
        """For plugins that bring pods of their own: ``add_pending``, ``gone``, ``tell``."""
        self.queue: SchedulingQueue | None = None
        self.waiting: WaitingPods | None = None
        self.extenders: Extenders | None = None
        self.auditor: Auditor | None = None
        """Wants to hear of preemptions, where workloads are audited."""
        self.network: NetworkTopology | None = None
        """Keeps the tree of the network, where that is asked for; ``Happening.NETWORK`` when there is another."""
