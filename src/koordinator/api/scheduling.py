"""What pods and nodes say to the scheduler and the descheduler in general: names, hints, thresholds, eviction."""

from typing import Any

from koordinator.api import keys, numbers
from koordinator.api.annotations import Annotation, Flag, Malformed, Plain, Text, Texts
from koordinator.api.meta import DurationText, Struct, TimeText


class SchedulingHint(Struct):
    """Nodes that the pod must, or would rather, go to."""

    node_names: list[str] | None = None  #: Only these.
    preferred_node_names: list[str] | None = None  #: These first.
    extensions: dict[str, Any] | None = None  #: For third parties.


class AggregatedUsageThresholds(Struct):
    """Thresholds against usage aggregated over a time, such as the 95th percentile of ten minutes."""

    usage_thresholds: dict[str, int] | None = None  #: Percent by resource.
    usage_aggregation_type: str = ""  #: avg, p50, p90, p95 or p99.
    usage_aggregated_duration: DurationText | None = None  #: The window.


class UsageThresholds(Struct):
    """Percent of a node's resources from which on it takes no more pods."""

    usage_thresholds: dict[str, int] | None = None  #: Percent by resource.
    prod_usage_thresholds: dict[str, int] | None = None  #: The same against prod pods' usage, for prod pods.
    aggregated_usage: AggregatedUsageThresholds | None = None  #: Against aggregated usage instead.


class SoftEviction(Struct):
    """A wish to evict the pod, for whoever carries it out."""

    timestamp: TimeText | None = None  #: When it was asked for.
    delete_options: dict[str, Any] | None = None  #: How to delete.
    initiator: str = ""  #: Who asked.
    reason: str = ""  #: Why.


SCHEDULING_HINT: Annotation[SchedulingHint] = Annotation(
    keys.SCHEDULING_HINT, SchedulingHint, "Pod annotation", "Nodes to look at first."
)
DEPRECATED_SCHEDULING_HINT: Annotation[SchedulingHint] = Annotation(
    keys.DEPRECATED_SCHEDULING_HINT, SchedulingHint, "Pod annotation", "Old key, read where the new one is absent or empty."
)
USAGE_THRESHOLDS: Annotation[UsageThresholds] = Annotation(
    keys.USAGE_THRESHOLDS, UsageThresholds, "Node annotation", "This node's own thresholds for LoadAwareScheduling."
)
ESTIMATED_SCALING_FACTORS: Annotation[dict[str, int]] = Annotation(
    keys.LOAD_ESTIMATED_SCALING_FACTORS,
    dict[str, int],
    "Pod annotation",
    "Percent of each request that the pod is taken to use.",
)
ESTIMATED_AFTER_SCHEDULED = Text(
    keys.LOAD_ESTIMATED_SECONDS_AFTER_POD_SCHEDULED,
    numbers.decimal_int,
    "Pod annotation",
    "Seconds after scheduling during which the estimate counts, not the measurement.",
)
ESTIMATED_AFTER_INITIALIZED = Text(
    keys.LOAD_ESTIMATED_SECONDS_AFTER_INITIALIZED,
    numbers.decimal_int,
    "Pod annotation",
    "Seconds after initialization during which the estimate counts, not the measurement.",
)
SOFT_EVICTION: Annotation[SoftEviction] = Annotation(
    keys.SOFT_EVICTION, SoftEviction, "Pod annotation", "Written by the descheduler's soft evictor."
)
SCHEDULER_NAME = Plain(keys.SCHEDULER_NAME, "Pod label", "Stands in for spec.schedulerName, even when empty.")
ORIGINAL_SCHEDULER_NAME = Plain(
    keys.ORIGINAL_SCHEDULER_NAME, "Pod annotation (in memory)", "spec.schedulerName where the label overrode it."
)
QUESTIONED_OBJECT_KEY = Plain(
    keys.QUESTIONED_OBJECT_KEY, "Pod label", "ScheduleExplanation that the pod's scheduling explains."
)
TOPOLOGY_KEY_TO_EXPLAIN = Plain(keys.TOPOLOGY_KEY_TO_EXPLAIN, "Pod label", "Node label by which explanations are grouped.")
QUEUE_ATTEMPTS = Text(
    keys.QUEUE_ATTEMPTS, numbers.decimal_int, "Pod annotation (in memory)", "Scheduling attempts, restored into the queue."
)
QUEUE_INITIAL_TIMESTAMP = Plain(
    keys.QUEUE_INITIAL_TIMESTAMP, "Pod annotation (in memory)", "First time in the queue, restored into it."
)
EVICT_POLICY = Plain(
    keys.EVICT_POLICY, "Pod and PodMigrationJob label", "Eviction, Delete or SoftEviction; the pod's label wins over the job's."
)
EVICT_REASON = Plain(keys.EVICT_REASON, "PodMigrationJob annotation", "Why the pod is to move.")
EVICT_TRIGGER = Plain(keys.EVICT_TRIGGER, "PodMigrationJob annotation", "The plugin that wants the pod moved.")
JOB_CREATED_BY = Plain(
    keys.JOB_CREATED_BY, "PodMigrationJob annotation", "Id of the descheduler process; others leave the job alone."
)
PASSED_ARBITRATION = Flag(keys.PASSED_ARBITRATION, "PodMigrationJob annotation", "The arbitrator has let the job through.")
POD_ARBITRATING = Flag(keys.POD_ARBITRATING, "Pod annotation (in memory)", "The pod's job is being arbitrated.")
DESCHEDULER_EVICT = Flag(keys.DESCHEDULER_EVICT, "Pod annotation", "The pod may always be evicted.", by_presence=True)
POD_DELETION_COST = Text(
    keys.POD_DELETION_COST,
    numbers.int32,
    "Pod annotation",
    "Lower is deleted first on scaling down.",
)
CREATED_BY = Plain(keys.CREATED_BY, "Reservation label", "Who made the reservation.")


def scheduling_hint(annotations: Texts | None) -> SchedulingHint | Malformed | None:
    """The hint under the new key; under the old one where the new one is absent or empty."""
    if annotations and annotations.get(keys.SCHEDULING_HINT):
        return SCHEDULING_HINT.read(annotations)
    if annotations and annotations.get(keys.DEPRECATED_SCHEDULING_HINT):
        return DEPRECATED_SCHEDULING_HINT.read(annotations)
    return None
