"""scheduling.koordinator.sh/v1alpha1 Reservation: resources held for pods that are still to come, and how pods find them."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from koordinator.api import keys, numbers
from koordinator.api.annotations import Annotation, As, Choice, Flag, Plain, Text
from koordinator.api.core import NodeSelectorTerm, Quantities, Taint, Toleration
from koordinator.api.meta import (
    REQUIRED,
    DurationText,
    LabelSelector,
    Object,
    ObjectReference,
    OwnerReference,
    Struct,
    TimeText,
    schema,
)

ALIGNED = "Aligned"
RESTRICTED = "Restricted"

PENDING = "Pending"
AVAILABLE = "Available"
SUCCEEDED = "Succeeded"
WAITING = "Waiting"
FAILED = "Failed"

CONDITION_SCHEDULED = "Scheduled"
CONDITION_READY = "Ready"
REASON_SCHEDULED = "Scheduled"
REASON_UNSCHEDULABLE = "Unschedulable"
REASON_AVAILABLE = "Available"
REASON_SUCCEEDED = "Succeeded"
REASON_EXPIRED = "Expired"

DEFAULT_TTL = "24h"


class ReservationController(OwnerReference):
    """A controller whose pods own the reservation; without a namespace in any."""

    namespace: str = ""  #: Namespace of its pods.


class ReservationOwner(Struct):
    """Pods that may use the reservation. What is given must all hold."""

    object: ObjectReference | None = None  #: The pod itself; fields that are given must match.
    #: What controls the pods.
    controller: Annotated[ReservationController, schema(required=["apiVersion", "kind", "name", "uid"])] | None = None
    label_selector: LabelSelector | None = None  #: Labels of the pods.


class PreAllocationPolicy(Struct):
    """``Cluster`` lets the reservation take over pods anywhere, ``Default`` only its own candidates."""

    mode: Annotated[str, schema(enum=["Default", "Cluster"], default="Default")] = ""  #: Where pods to take over come from.
    enable_multiple: Annotated[bool, schema(default=False)] = False  #: Whether more than one may be taken over.


class ReservationSpec(Struct):
    """``template`` is a pod template whose requests are held. ``expires`` counts before ``ttl``; a ttl of 0s never ends."""

    #: Pod template: its requests are held, its affinity and tolerations say where; a node name pins it.
    template: Annotated[Any, REQUIRED] = None
    #: Who may use it; any of them.
    owners: Annotated[list[Annotated[ReservationOwner, schema(minProperties=1)]], REQUIRED, schema(minItems=1)] | None = None
    ttl: Annotated[DurationText, schema(default=DEFAULT_TTL)] | None = None  #: How long it lives; 0s is for ever.
    expires: TimeText | None = None  #: When it ends; counts before ttl.
    pre_allocation: bool = False  #: Reserve resources that are still in use, and wait for them.
    allocate_once: Annotated[bool, schema(default=True)] | None = None  #: Whether the first owner takes all.
    #: Aligned: owners may use free resources of the node, too. Restricted: only what is reserved.
    allocate_policy: Annotated[str, schema(enum=[ALIGNED, RESTRICTED])] = ""
    unschedulable: bool = False  #: No new owners.
    taints: list[Taint] | None = None  #: Owners need tolerations for these.
    pre_allocation_policy: PreAllocationPolicy | None = None  #: How pods to take over are found.


class ReservationCondition(Struct):
    """Both times must be written: the schema does not take null."""

    type: str = ""  #: Scheduled or Ready.
    status: str = ""  #: True, False or Unknown.
    reason: str = ""  #: One word.
    message: str = ""  #: For people.
    last_probe_time: TimeText | None = None  #: When it was looked at.
    last_transition_time: TimeText | None = None  #: When the status changed.


class ReservationStatus(Struct):
    phase: Annotated[str, schema(default=PENDING)] = ""  #: Pending, Available, Succeeded, Waiting or Failed.
    conditions: list[ReservationCondition] | None = None  #: Scheduled and Ready.
    current_owners: list[ObjectReference] | None = None  #: Pods that use it.
    node_name: str = ""  #: Where it is.
    allocatable: Quantities | None = None  #: What it holds.
    allocated: Quantities | None = None  #: What owners use of it.


class Reservation(Object):
    """Resources of one node, held for its owners."""

    spec: ReservationSpec = msgspec.field(default_factory=ReservationSpec)
    status: ReservationStatus = msgspec.field(default_factory=ReservationStatus)

    @property
    def allocates_once(self) -> bool:
        """Whether the first owner takes all. Absent means yes."""
        return self.spec.allocate_once is not False

    @property
    def problem(self) -> str:
        """What makes the object unusable, beyond its schema; empty when nothing does."""
        if not self.spec.template:
            return "the reservation misses the template spec"
        if not self.spec.owners:
            return "the reservation misses the owner spec"
        if self.spec.ttl is None and self.spec.expires is None:
            return "the reservation misses the expiration spec"
        return ""


class ReservationAllocated(Struct):
    """The reservation that a pod was put into."""

    name: str = ""  #: The reservation.
    uid: str = ""  #: Its uid.


class ReservationSelectorTerms(Struct):
    #: Conditions on the reservation's labels and node; any of them.
    reservation_selector_terms: list[NodeSelectorTerm] | None = None


class ReservationAffinity(Struct):
    """The pod must use a reservation: the named one, or one that the terms (any of them) and labels select."""

    #: Terms, of which one must hold.
    required_during_scheduling_ignored_during_execution: ReservationSelectorTerms | None = None
    reservation_selector: dict[str, str] | None = None  #: Labels that the reservation must have.
    tolerations: list[Toleration] | None = None  #: Of the reservation's taints.
    name: str = ""  #: The reservation; then nothing else counts.


class RestrictedOptions(Struct):
    """Resources that a Restricted reservation restricts; empty means all of its own."""

    resources: list[str] | None = None  #: Names.


class ExactMatch(Struct):
    """Resources whose reserved amount must equal the pod's request."""

    resource_names: list[str] | None = None  #: Names, in the order in which they are compared.


class ResizeAllocatable(Struct):
    """Amounts that override the reservation's allocatable."""

    resources: Quantities | None = None  #: By name.


ALLOCATED: Annotation[ReservationAllocated] = Annotation(
    keys.RESERVATION_ALLOCATED,
    ReservationAllocated,
    "Pod annotation",
    "Written by the scheduler: the reservation that the pod uses.",
)
AFFINITY: Annotation[ReservationAffinity] = Annotation(
    keys.RESERVATION_AFFINITY,
    ReservationAffinity,
    "Pod annotation",
    "The pod must use a reservation of this kind; an empty text asks for any.",
    blank=As.EMPTY,
)
RESTRICTED_OPTIONS: Annotation[RestrictedOptions] = Annotation(
    keys.RESERVATION_RESTRICTED_OPTIONS, RestrictedOptions, "Reservation annotation", "Which resources Restricted restricts."
)
EXACT_MATCH: Annotation[ExactMatch] = Annotation(
    keys.EXACT_MATCH_RESERVATION, ExactMatch, "Pod annotation", "Resources that must match the reservation's exactly."
)
OWNERS: Annotation[list[ReservationOwner]] = Annotation(
    keys.RESERVATION_OWNERS, list[ReservationOwner], "Pod annotation", "Owners of a pod that acts as a reservation."
)
CURRENT_OWNER: Annotation[ObjectReference] = Annotation(
    keys.RESERVATION_CURRENT_OWNER,
    ObjectReference,
    "Pod annotation",
    "Written by the scheduler: the pod that uses this one's place.",
)
RESIZE_ALLOCATABLE: Annotation[ResizeAllocatable] = Annotation(
    keys.RESERVATION_RESIZE_ALLOCATABLE, ResizeAllocatable, "Reservation annotation", "Overrides amounts of status.allocatable."
)
OPERATING_MODE = Choice(
    keys.OPERATING_MODE,
    ("Runnable", "Reservation"),
    "Runnable",
    "Pod label",
    "Reservation: the pod holds resources for others instead of running for itself.",
)
ORDER = Text(
    keys.RESERVATION_ORDER, numbers.decimal_int, "Reservation label", "The smallest order other than 0 is taken first."
)
IGNORED = Flag(keys.RESERVATION_IGNORED, "Pod label", "The pod sees through reservations, as if their resources were free.")
PRE_ALLOCATION_REQUIRED = Flag(
    keys.PRE_ALLOCATION_REQUIRED, "Reservation label", "The reservation needs pods to take over, free resources do not do."
)
IS_PRE_ALLOCATABLE = Flag(keys.IS_PRE_ALLOCATABLE, "Pod label", "A reservation may take the pod's place over.")
PRE_ALLOCATABLE_PRIORITY = Text(
    keys.PRE_ALLOCATABLE_PRIORITY, numbers.decimal_int, "Pod annotation", "Higher is taken over first."
)
RESERVE_POD = Flag(
    keys.RESERVE_POD, "Pod annotation (in memory)", "Marks the scheduler's own stand-in pods; users may not set it."
)
RESERVATION_NAME = Plain(keys.RESERVATION_NAME, "Pod annotation (in memory)", "The reservation that a stand-in pod stands for.")
RESERVATION_NODE = Plain(keys.RESERVATION_NODE, "Pod annotation (in memory)", "The node that the reservation asks for.")
IS_PRE_ALLOCATION = Flag(keys.IS_PRE_ALLOCATION, "Pod annotation (in memory)", "The stand-in pod's reservation pre-allocates.")


def matches_exactly(requests: Mapping[str, int], allocatable: Mapping[str, int], names: list[str] | None) -> bool:
    """Whether the named amounts are equal. The first name that both sides lack ends the comparison with yes."""
    for name in names or ():
        if name not in requests and name not in allocatable:
            return True
        if requests.get(name) != allocatable.get(name):
            return False
    return True
