"""scheduling.koordinator.sh/v1alpha1 ScheduleExplanation: why a pod, job or gang can or cannot be placed."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import DurationText, Object, Struct, TimeText, schema


class FeasiblePlacement(Struct):
    """A pod and the node that would take it."""

    namespace: str = ""  #: Its namespace.
    name: str = ""  #: The pod.
    uid: str = ""  #: Its uid.
    node_name: str = ""  #: Where it could go.


class NodeFailedDetail(Struct):
    """Nodes that one plugin turned down for one reason."""

    failed_plugin: str = ""  #: Who turned them down.
    reason: str = ""  #: Why.
    preempt_might_help: bool = False  #: Whether others making way could help.
    failed_nodes: list[str] | None = None  #: The nodes.


class NodeLevelExplanation(Struct):
    schedulable: bool = False  #: Whether all can be placed.
    failed_message: str = ""  #: Why not.
    feasible_scheduling_result: list[FeasiblePlacement] | None = None  #: Who can be placed where.
    node_failed_details: list[NodeFailedDetail] | None = None  #: Which nodes failed why.


class PossibleVictim(Struct):
    namespace: str = ""  #: Its namespace.
    name: str = ""  #: The pod.
    uid: str = ""  #: Its uid.
    is_nominated_pod: bool = False  #: Whether it only has the node promised.


class NodePossibleVictims(Struct):
    """Pods of a node that could make way."""

    node_name: str = ""  #: The node.
    possible_victims: list[PossibleVictim] | None = None  #: Who could make way.


class DomainExplanation(Struct):
    """One topology domain, without and with preemption."""

    topology_domain: str = ""  #: The domain.
    schedulable: bool = False  #: Whether all can be placed in it.
    schedulable_after_preemption: bool = False  #: Or could be, were others to make way.
    failed_message: str = ""  #: Why not.
    schedule_explanation: NodeLevelExplanation = msgspec.field(default_factory=NodeLevelExplanation)  #: Without preemption.
    node_possible_victims: list[NodePossibleVictims] | None = None  #: Who could make way.
    preempt_explanation: NodeLevelExplanation = msgspec.field(default_factory=NodeLevelExplanation)  #: With preemption.


class ScheduleExplanationSpec(Struct):
    """The pod or job (namespace/name) or gang group id in question. A ttl of 0 keeps the answer."""

    question_object_key: str = ""  #: namespace/name of a pod or job, or a gang group id.
    question_object_template: Any = None  #: A pod that is not there yet.
    ttl: Annotated[DurationText, schema(default="24h")] | None = None  #: How long the answer is kept; 0 is for ever.


class ScheduleExplanationStatus(Struct):
    schedulable: bool = False  #: Whether it can be placed.
    schedulable_after_preemption: bool = False  #: Or could be, were others to make way.
    failed_message: str = ""  #: Why not.
    last_update_time: Annotated[TimeText, schema(nullable=True)] | None = None  #: When this was found.
    detailed_explanation: list[DomainExplanation] | None = None  #: By topology domain.


class ScheduleExplanation(Object):
    """A question to the scheduler and its answer."""

    spec: ScheduleExplanationSpec = msgspec.field(default_factory=ScheduleExplanationSpec)
    status: ScheduleExplanationStatus = msgspec.field(default_factory=ScheduleExplanationStatus)


def in_order(details: list[NodeFailedDetail]) -> list[NodeFailedDetail]:
    """By plugin, reason, and whether preemption might help (yes first); nodes sorted within each."""
    for detail in details:
        detail.failed_nodes = sorted(detail.failed_nodes or [])
    return sorted(details, key=lambda one: (one.failed_plugin, one.reason, not one.preempt_might_help))
