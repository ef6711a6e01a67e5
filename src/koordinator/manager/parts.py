"""What the controllers and the webhooks of one manager are put together from."""

import msgspec

from koordinator.clock import Clock
from koordinator.kube.store import Store
from koordinator.manager.informers import Informers
from koordinator.manager.metrics import Metrics
from koordinator.manager.options import ManagerOptions


class Parts(msgspec.Struct, frozen=True):
    """``gates`` are the feature gates that are open."""

    store: Store
    clock: Clock
    informers: Informers
    metrics: Metrics
    options: ManagerOptions
    gates: frozenset[str]
