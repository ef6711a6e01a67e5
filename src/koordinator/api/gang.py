"""Gangs: pods that start together or not at all, described on pods or by a PodGroup of scheduling.sigs.k8s.io/v1alpha1."""

import json
from typing import Annotated

import msgspec

from koordinator.api import durations, keys, numbers
from koordinator.api.annotations import Annotation, As, Choice, Malformed, Plain, Text, Texts
from koordinator.api.core import Pod, Quantities
from koordinator.api.meta import Int32, Object, Struct, TimeText, always, schema

STRICT = "Strict"
NON_STRICT = "NonStrict"
ONLY_WAITING = "only-waiting"
WAITING_AND_RUNNING = "waiting-and-running"
ONCE_SATISFIED = "once-satisfied"
MATCH_POLICIES = (ONLY_WAITING, WAITING_AND_RUNNING, ONCE_SATISFIED)

PENDING = "Pending"
PRE_SCHEDULING = "PreScheduling"
SCHEDULING = "Scheduling"
SCHEDULED = "Scheduled"
RUNNING = "Running"
UNKNOWN = "Unknown"
FINISHED = "Finished"
FAILED = "Failed"
PENDING_FAMILY = frozenset(("", PENDING, PRE_SCHEDULING, SCHEDULING))

NO_INDEX = -1


class PodGroupSpec(Struct):
    """How many must be placeable together, what they need at least, and how long the first ones wait."""

    min_member: Int32 = 0  #: How many must be placeable together.
    min_resources: Quantities | None = None  #: What they need at least.
    schedule_timeout_seconds: Int32 | None = None  #: How long placed pods wait for the rest.


class PodGroupStatus(Struct):
    phase: str = ""  #: Pending, PreScheduling, Scheduling, Scheduled, Running, Unknown, Finished or Failed.
    occupied_by: str = ""  #: Owners of its pods.
    scheduled: Int32 = 0  #: Pods that have a node.
    running: Int32 = 0  #: Pods that run.
    succeeded: Int32 = 0  #: Pods that ended well.
    failed: Int32 = 0  #: Pods that ended badly.
    schedule_start_time: Annotated[TimeText, schema(nullable=True)] | None = always(None)  #: First attempt.


class PodGroup(Object):
    """A gang as an object; pods name it by label."""

    spec: PodGroupSpec = msgspec.field(default_factory=PodGroupSpec)
    status: PodGroupStatus = msgspec.field(default_factory=PodGroupStatus)


class GatherStrategy(Struct):
    """One layer of the network topology that the gang must, or would rather, lie in together."""

    layer: str = ""  #: Layer of the network.
    strategy: str = ""  #: MustGather or PreferGather.
    pod_count_multiple: int = 0  #: Pods of one domain come in multiples of this.


class NetworkTopologySpec(Struct):
    gather_strategy: list[GatherStrategy] | None = None  #: By layer.


def _waiting_time(text: str) -> int:
    """A duration such as 10m, not negative."""
    nanoseconds = durations.parse(text)
    if nanoseconds < 0:
        raise ValueError(f"{text!r} is negative")
    return nanoseconds


def _groups(text: str) -> list[str]:
    """JSON list of texts."""
    value = json.loads(text)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("not a list of gang ids")
    return value


POD_GROUP = Plain(keys.POD_GROUP, "Pod label", "The pod's gang (a PodGroup or any name).")
DEPRECATED_POD_GROUP = Plain(keys.DEPRECATED_POD_GROUP, "Pod label", "Old key of the gang's name.")
GANG_NAME = Plain(keys.GANG_NAME, "Pod annotation", "The pod's gang, where no label names it.")
MIN_AVAILABLE = Text(
    keys.GANG_MIN_AVAILABLE,
    numbers.int32,
    "Pod annotation",
    "How many pods must be placeable together; without it the gang does not come into being.",
)
DEPRECATED_MIN_AVAILABLE = Text(
    keys.DEPRECATED_POD_GROUP_MIN_AVAILABLE,
    numbers.int32,
    "Pod label",
    "Old key of min-available; it wins where it is not empty.",
    blank_is_absent=True,
)
TOTAL_NUMBER = Text(
    keys.GANG_TOTAL_NUMBER,
    numbers.int32,
    "Pod and PodGroup annotation",
    "How many pods the gang has; at least min-available.",
    blank_is_absent=True,
)
WAITING_TIME = Text(
    keys.GANG_WAITING_TIME, _waiting_time, "Pod and PodGroup annotation", "How long placed pods wait for the rest, as 10m."
)
MODE = Choice(
    keys.GANG_MODE,
    (STRICT, NON_STRICT),
    STRICT,
    "Pod and PodGroup annotation",
    "Strict: when one pod cannot be placed, none that waits keeps its place.",
)
GROUPS = Text(
    keys.GANG_GROUPS, _groups, "Pod and PodGroup annotation", "Gangs that go together, as a JSON list of namespace/name."
)
MATCH_POLICY = Choice(
    keys.GANG_MATCH_POLICY, MATCH_POLICIES, on="Pod and PodGroup annotation", doc="Which pods count towards min-available."
)
POD_GROUP_MATCH_POLICY = Choice(
    keys.POD_GROUP_MATCH_POLICY,
    MATCH_POLICIES,
    on="Pod and PodGroup annotation",
    doc="Alias, read where the first one is empty.",
)
TIMEOUT = Plain(keys.GANG_TIMEOUT, "Pod annotation", "Marks a gang that has waited too long.")
NETWORK_TOPOLOGY_SPEC: Annotation[NetworkTopologySpec] = Annotation(
    keys.GANG_NETWORK_TOPOLOGY_SPEC,
    NetworkTopologySpec,
    "Pod and PodGroup annotation",
    "Layers of the network that the gang gathers in.",
    blank=As.ABSENT,
)
NETWORK_TOPOLOGY_INDEX = Text(
    keys.GANG_NETWORK_TOPOLOGY_INDEX, numbers.decimal_int, "Pod annotation", "The pod's place in the gang's order."
)
NETWORK_TOPOLOGY_SELECTOR = Plain(
    keys.NETWORK_TOPOLOGY_SELECTOR, "Pod and PodGroup annotation", "Which ClusterNetworkTopology counts."
)
BIND_GANG_GROUP_ID = Plain(
    keys.BIND_GANG_GROUP_ID, "Pod and Reservation annotation", "Written at binding: id of the gang's group."
)
BIND_GANG_MEMBER_COUNT = Text(
    keys.BIND_GANG_MEMBER_COUNT, numbers.decimal_int, "Pod and Reservation annotation", "Written at binding: pods in the group."
)
DEPRECATED_BIND_GANG_GROUP_ID = Plain(
    keys.DEPRECATED_BIND_GANG_GROUP_ID, "Pod and Reservation annotation", "Old key, written beside the new one."
)
DEPRECATED_BIND_GANG_MEMBER_COUNT = Text(
    keys.DEPRECATED_BIND_GANG_MEMBER_COUNT,
    numbers.decimal_int,
    "Pod and Reservation annotation",
    "Old key, written beside the new one.",
)


def gang_name(pod: Pod) -> str:
    """The gang that the pod belongs to, empty for none: the label, its old form, the annotation."""
    return POD_GROUP.read(pod.labels) or DEPRECATED_POD_GROUP.read(pod.labels) or GANG_NAME.read(pod.annotations)


def min_available(pod: Pod) -> int | Malformed | None:
    """How many pods the gang needs: the old label where not empty, else the annotation."""
    found = DEPRECATED_MIN_AVAILABLE.read(pod.labels)
    return MIN_AVAILABLE.read(pod.annotations) if found is None else found


def total_number(annotations: Texts | None, minimum: int) -> int:
    """How many pods the gang has; ``minimum`` where absent, unreadable or smaller."""
    found = TOTAL_NUMBER.read(annotations)
    return max(found, minimum) if isinstance(found, int) else minimum


def match_policy(annotations: Texts | None, default: str = ONCE_SATISFIED) -> str:
    """Which pods count: the annotation, its alias where the first is empty; ``default`` where neither says a known word."""
    found = annotations or {}
    text = found.get(keys.GANG_MATCH_POLICY) or found.get(keys.POD_GROUP_MATCH_POLICY)
    return text if text in MATCH_POLICIES else default


def groups(annotations: Texts | None, own: str) -> list[str]:
    """Ids of the gangs that go together; only the own one where absent or unreadable."""
    found = GROUPS.read(annotations)
    return found if isinstance(found, list) and found else [own]


def group_id(ids: list[str]) -> str:
    """One name for gangs that go together, whatever the order they are listed in."""
    return ",".join(sorted(ids))


def topology_index(annotations: Texts | None) -> int | Malformed:
    """The pod's place in the gang's order, -1 for none."""
    found = NETWORK_TOPOLOGY_INDEX.read(annotations)
    return NO_INDEX if found is None else found


def order_key(index: int, name: str) -> tuple[bool, int, bytes]:
    """Sorts pods with an index first, by index, then all by name."""
    return index < 0, max(index, NO_INDEX), name.encode()
