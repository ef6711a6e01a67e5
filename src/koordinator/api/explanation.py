"""scheduling.koordinator.sh/v1alpha1 ScheduleExplanation: why a pod, job or gang can or cannot be placed."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import DurationText, Object, Struct, TimeText, schema


class FeasiblePlacement(Struct):
    """A pod and the node that would take it."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    node_name: str = ""


class NodeFailedDetail(Struct):
    """Nodes that one plugin turned down for one reason."""

    failed_plugin: str = ""
    reason: str = ""
    preempt_might_help: bool = False
    failed_nodes: list[str] | None = None


class NodeLevelExplanation(Struct):
    schedulable: bool = False
    failed_message: str = ""
    feasible_scheduling_result: list[FeasiblePlacement] | None = None
    node_failed_details: list[NodeFailedDetail] | None = None


class PossibleVictim(Struct):
    namespace: str = ""
    name: str = ""
    uid: str = ""
    is_nominated_pod: bool = False


class NodePossibleVictims(Struct):
    """Pods of a node that could make way."""

    node_name: str = ""
    possible_victims: list[PossibleVictim] | None = None


class DomainExplanation(Struct):
    """One topology domain, without and with preemption."""

    topology_domain: str = ""
    schedulable: bool = False
    schedulable_after_preemption: bool = False
    failed_message: str = ""
    schedule_explanation: NodeLevelExplanation = msgspec.field(default_factory=NodeLevelExplanation)
    node_possible_victims: list[NodePossibleVictims] | None = None
    preempt_explanation: NodeLevelExplanation = msgspec.field(default_factory=NodeLevelExplanation)


class ScheduleExplanationSpec(Struct):
    """The pod or job (namespace/name) or gang group id in question. A ttl of 0 keeps the answer."""

    question_object_key: str = ""
    question_object_template: Any = None
    ttl: Annotated[DurationText, schema(default="24h")] | None = None


class ScheduleExplanationStatus(Struct):
    schedulable: bool = False
    schedulable_after_preemption: bool = False
    failed_message: str = ""
    last_update_time: Annotated[TimeText, schema(nullable=True)] | None = None
    detailed_explanation: list[DomainExplanation] | None = None


class ScheduleExplanation(Object):
    """A question to the scheduler and its answer."""

    spec: ScheduleExplanationSpec = msgspec.field(default_factory=ScheduleExplanationSpec)
    status: ScheduleExplanationStatus = msgspec.field(default_factory=ScheduleExplanationStatus)


def in_order(details: list[NodeFailedDetail]) -> list[NodeFailedDetail]:
    """By plugin, reason, and whether preemption might help (yes first); nodes sorted within each."""
    for detail in details:
        detail.failed_nodes = sorted(detail.failed_nodes or [])
    return sorted(details, key=lambda one: (one.failed_plugin, one.reason, not one.preempt_might_help))
