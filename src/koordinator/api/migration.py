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

    reservation_ref: ObjectReference | None = None
    template: Any = None
    preemption_options: dict[str, Any] | None = None


class PodMigrationJobSpec(Struct):
    """Which pod, how, and for how long to try (absent or 0: for ever)."""

    paused: bool = False
    ttl: DurationText | None = None
    mode: str = ""
    pod_ref: Annotated[ObjectReference, REQUIRED] | None = None
    reservation_options: ReservationOptions | None = None
    delete_options: dict[str, Any] | None = None


class JobCondition(Struct):
    type: Annotated[str, REQUIRED] = always("")
    status: Annotated[str, REQUIRED] = always("")
    last_probe_time: Nullable | None = always(None)
    last_transition_time: Nullable | None = always(None)
    reason: str = ""
    message: str = ""


class PreemptedReservation(Struct):
    """A reservation that was preempted for the job."""

    namespace: str = ""
    name: str = ""
    node_name: str = ""
    phase: str = ""
    preempted_pod_ref: ObjectReference | None = None
    pods_ref: list[ObjectReference] | None = None


class PodMigrationJobStatus(Struct):
    """``status`` mirrors the latest step; an empty phase is Pending."""

    phase: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    conditions: list[JobCondition] | None = None
    node_name: str = ""
    pod_ref: ObjectReference | None = None
    preempted_pods_ref: list[ObjectReference] | None = None
    preempted_pods_reservations: list[PreemptedReservation] | None = msgspec.field(
        default=None, name="preemptedPodsReservation"
    )


class PodMigrationJob(Object):
    """One pod's way to another node."""

    spec: PodMigrationJobSpec = msgspec.field(default_factory=PodMigrationJobSpec)
    status: PodMigrationJobStatus = msgspec.field(default_factory=PodMigrationJobStatus)
