"""scheduling.koordinator.sh/v1alpha1 PodMigrationJob: moving one pod, with a place reserved first."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import REQUIRED, DurationText, Object, ObjectReference, Struct, TimeText, always, schema

RESERVATION_FIRST = "ReservationFirst"
EVICT_DIRECTLY = "EvictDirectly"

PENDING = "Pending"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
ABORTED = "Aborted"

Nullable = Annotated[TimeText, schema(nullable=True)]


class ReservationOptions(Struct):
    """An existing reservation, or the template of one to make."""

    reservation_ref: ObjectReference | None = None  #: A reservation that is there.
    template: Any = None  #: Of the reservation to make.
    preemption_options: dict[str, Any] | None = None  #: Whether others may be preempted.


class PodMigrationJobSpec(Struct):
    """Which pod, how, and for how long to try (absent or 0: for ever)."""

    paused: bool = False  #: Do nothing for now.
    ttl: DurationText | None = None  #: How long to try; absent or 0 is for ever.
    mode: str = ""  #: ReservationFirst or EvictDirectly.
    pod_ref: Annotated[ObjectReference, REQUIRED] | None = None  #: The pod to move.
    reservation_options: ReservationOptions | None = None  #: The place that is reserved first.
    delete_options: dict[str, Any] | None = None  #: How the pod is deleted.


class JobCondition(Struct):
    type: Annotated[str, REQUIRED] = always("")  #: The step.
    status: Annotated[str, REQUIRED] = always("")  #: Whether it is done.
    last_probe_time: Nullable | None = always(None)  #: When it was looked at.
    last_transition_time: Nullable | None = always(None)  #: When the status changed.
    reason: str = ""  #: One word.
    message: str = ""  #: For people.


class PreemptedReservation(Struct):
    """A reservation that was preempted for the job."""

    namespace: str = ""  #: Its namespace.
    name: str = ""  #: The reservation.
    node_name: str = ""  #: Where it was.
    phase: str = ""  #: Its phase.
    preempted_pod_ref: ObjectReference | None = None  #: The pod that had to go.
    pods_ref: list[ObjectReference] | None = None  #: Pods that use it now.


class PodMigrationJobStatus(Struct):
    """``status`` mirrors the latest step; an empty phase is Pending."""

    phase: str = ""  #: Pending, Running, Succeeded, Failed or Aborted.
    status: str = ""  #: The latest step.
    reason: str = ""  #: One word.
    message: str = ""  #: For people.
    conditions: list[JobCondition] | None = None  #: By step.
    node_name: str = ""  #: Where the pod was.
    pod_ref: ObjectReference | None = None  #: The pod that took over.
    preempted_pods_ref: list[ObjectReference] | None = None  #: Pods that had to go.
    #: Reservations made for those.
    preempted_pods_reservations: list[PreemptedReservation] | None = msgspec.field(
        default=None, name="preemptedPodsReservation"
    )


class PodMigrationJob(Object):
    """One pod's way to another node."""

    spec: PodMigrationJobSpec = msgspec.field(default_factory=PodMigrationJobSpec)
    status: PodMigrationJobStatus = msgspec.field(default_factory=PodMigrationJobStatus)
