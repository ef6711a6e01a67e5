"""What happened to one workload so far, and what each further event means: a state machine without clock or metrics.

A *nomination* stands from the preemption that made it until a failure or another preemption shows that it was worth nothing.
Its *cycle* lasts until all victims are gone, or until that is shown. A *round* is the time in which the scheduler works on the
workload: it begins when the workload is let into the queue, or has enough members, and ends when it is gated. A workload that
was never held back begins its round with its first event after its creation.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """Events, under the names that the metrics show."""

    CREATE = "create"
    GATED = "gatedByQueueAdmission"
    ADMITTED = "admissionPassed"
    MIN_MEMBER = "gangMinMemberSatisfied"
    ALL_ATTEMPTED = "gangAllPodsAlreadyAttempted"
    SCHEDULED = "scheduled"
    SCHEDULE_FAILURE = "scheduleFailure"
    NOMINATED = "preemptNominated"
    PREEMPT_FAILURE = "preemptFailure"
    VICTIMS_LEAVING = "preemptVictimDeleting"
    VICTIMS_GONE = "victimAllDeleted"


class Outcome(StrEnum):
    """How a story ends."""

    SCHEDULED = "scheduled"
    DELETED = "deleted"
    GANG_SCHEDULED = "gangScheduled"
    GANG_DELETED = "gangDeleted"


class Metric(StrEnum):
    """What is counted or observed, by the metric's name without its prefix."""

    REPEATED = "repeated_preemptions_total"
    INVALIDATED = "preemption_invalidations_total"
    RESCHEDULE = "victim_reschedule_duration_seconds"
    LEAVING_RETRIES = "preemption_victim_deleting_retries"
    VICTIMS_GONE = "preemption_to_victim_deleted_seconds"
    INTERRUPTED = "preemption_cycle_interrupted_seconds"
    INTERVAL = "scheduling_event_interval_seconds"
    EVENTS = "scheduling_events_before_outcome"


class Effect(msgspec.Struct, frozen=True):
    """One number for a metric. A counter takes 1."""

    metric: Metric
    value: float = 1


class Story(msgspec.Struct, frozen=True):
    """The state. Times are those of the caller's clock, None where nothing is being timed."""

    counts: Mapping[Kind, int] = {}
    standing: bool = False
    """Whether a nomination stands."""
    cycle_since: float | None = None
    retries: int = 0
    """Attempts in this cycle that found victims still leaving."""
    victims_gone_at: float | None = None
    last_event_at: float | None = None


_DISPROVES = frozenset((Kind.NOMINATED, Kind.PREEMPT_FAILURE, Kind.SCHEDULE_FAILURE))
_ATTEMPTS = _DISPROVES | {Kind.SCHEDULED}
_BEGINS = frozenset((Kind.ADMITTED, Kind.MIN_MEMBER))


def after(story: Story, kind: Kind, now: float) -> tuple[Story, list[Effect]]:
    """The story with one more event, and what is to be counted for it."""
    counts = {**story.counts, kind: story.counts.get(kind, 0) + 1}
    story = msgspec.structs.replace(story, counts=counts)
    if kind is Kind.CREATE:
        return story, []
    effects: list[Effect] = []
    story = _nomination(story, kind, effects)
    story = _cycle(story, kind, now, effects)
    story = _reschedule(story, kind, now, effects)
    return _interval(story, kind, now, effects), effects


def _nomination(story: Story, kind: Kind, effects: list[Effect]) -> Story:
    """Preemptions that were not the first, and nominations that came to nothing."""
    if kind is Kind.NOMINATED and story.counts[kind] > 1:
        effects.append(Effect(Metric.REPEATED))
    if kind not in _DISPROVES:
        return story
    if story.standing:
        effects.append(Effect(Metric.INVALIDATED))
    return msgspec.structs.replace(story, standing=kind is Kind.NOMINATED)


def _cycle(story: Story, kind: Kind, now: float, effects: list[Effect]) -> Story:
    """From a nomination to the end of its victims."""
    since = story.cycle_since
    if since is not None and kind is Kind.VICTIMS_LEAVING:
        return msgspec.structs.replace(story, retries=story.retries + 1)
    if since is not None and (kind is Kind.VICTIMS_GONE or kind in _DISPROVES):
        metric = Metric.VICTIMS_GONE if kind is Kind.VICTIMS_GONE else Metric.INTERRUPTED
        effects += (Effect(metric, now - since), Effect(Metric.LEAVING_RETRIES, story.retries))
        since = None
    if kind is Kind.NOMINATED:
        return msgspec.structs.replace(story, cycle_since=now, retries=0)
    if kind in (Kind.GATED, Kind.SCHEDULED):
        since = None
    return story if since == story.cycle_since else msgspec.structs.replace(story, cycle_since=since, retries=0)


def _reschedule(story: Story, kind: Kind, now: float, effects: list[Effect]) -> Story:
    """From the end of the victims to the attempt that should use the room."""
    gone_at = story.victims_gone_at
    if kind is Kind.VICTIMS_GONE:
        gone_at = now
    elif gone_at is not None and (kind in _ATTEMPTS or kind is Kind.GATED):
        if kind is not Kind.GATED:
            effects.append(Effect(Metric.RESCHEDULE, now - gone_at))
        gone_at = None
    return story if gone_at == story.victims_gone_at else msgspec.structs.replace(story, victims_gone_at=gone_at)


def _interval(story: Story, kind: Kind, now: float, effects: list[Effect]) -> Story:
    """The pauses inside a round."""
    if kind is Kind.VICTIMS_GONE:
        return story
    if story.last_event_at is not None and kind is not Kind.GATED and kind not in _BEGINS:
        effects.append(Effect(Metric.INTERVAL, now - story.last_event_at))
    return msgspec.structs.replace(story, last_event_at=None if kind is Kind.GATED else now)


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """From when on somebody should look. Seconds; 0 is never."""

    victim_reschedule: float = 10.0
    victim_deletion: float = 30.0
    victim_deleting_retries: int = 3
    event_interval: float = 300.0


def breaches(story: Story, kind: Kind, effects: list[Effect], limits: Thresholds) -> list[str]:
    """What of an event is worth an alert: sentences. ``story`` is the one after it."""
    rules = {
        Metric.RESCHEDULE: (limits.victim_reschedule, "the attempt after the last victim was gone came late"),
        Metric.VICTIMS_GONE: (limits.victim_deletion, "the victims took long to go"),
        Metric.INTERVAL: (limits.event_interval, "nothing happened for long"),
    }
    found = []
    for effect in effects:
        limit, text = rules.get(effect.metric, (0.0, ""))
        if 0 < limit < effect.value:
            found.append(f"{text}: {effect.value:.1f}s, threshold {limit:g}s")
    most = limits.victim_deleting_retries
    if kind is Kind.VICTIMS_LEAVING and 0 < most < story.retries:
        found.append(f"attempts that found victims still leaving: {story.retries}, threshold {most}")
    return found
