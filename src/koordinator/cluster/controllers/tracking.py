"""No pod of a job is lost to the count: a finalizer keeps each one until the job's status has it. Pure.

1. A finished pod's uid goes into ``status.uncountedTerminatedPods``.
2. Its finalizer goes.
3. The counter takes the uid's place.

Whatever fails in between is taken up again where it stopped: a uid that is listed and whose pod still has the finalizer is at
2, one whose pod has it no more (or is gone) at 3. Status is written only on the version that was read.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import parse_time
from koordinator.api.registry import PODS
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, guarded
from koordinator.cluster.controllers.objects import Job, UncountedPods

FINALIZER = "batch.kubernetes.io/job-tracking"
JOB_NAME = "batch.kubernetes.io/job-name"


def tracked(pod: Pod) -> bool:
    return FINALIZER in (pod.metadata.finalizers or ())


def job_key(pod: Pod) -> str | None:
    """Which job the pod waits for; None when it waits for none. An orphan still has its label."""
    if not tracked(pod):
        return None
    owner = pod.owner
    name = owner.name if owner is not None and owner.kind == "Job" else pod.labels.get(JOB_NAME, "")
    return f"{pod.namespace}/{name}"


def result(pod: Pod) -> str:
    """How the pod counts: Succeeded, Failed, or empty. One that failed because it was deleted has not failed."""
    if pod.status.phase == "Failed":
        return "" if _was_stopped(pod) else "Failed"
    return "Succeeded" if pod.status.phase == "Succeeded" else ""


def _was_stopped(pod: Pod) -> bool:
    """Whether it failed after somebody had asked it to go."""
    gone_at = parse_time(pod.metadata.deletion_timestamp)
    if gone_at is None:
        return False
    ended, asked = pods_.ended_at(pod), gone_at - (pod.metadata.deletion_grace_period_seconds or 0)
    return ended is not None and ended >= asked


class Ledger(msgspec.Struct, frozen=True):
    """A job's finished pods, as its status has them and as its pods show them."""

    counted: Mapping[str, int]
    listed: Mapping[str, list[str]]
    fresh: Mapping[str, list[str]]

    def total(self, result: str) -> int:
        return self.counted[result] + len(self.listed[result]) + len(self.fresh[result])


RESULTS = ("Succeeded", "Failed")


def ledger(job: Job, mine: Iterable[Pod]) -> Ledger:
    """What is counted (step 3 done), what is listed and still held, what is new. Released uids count as counted."""
    uncounted = job.status.uncounted_terminated_pods or UncountedPods()
    listed = {"Succeeded": uncounted.succeeded or [], "Failed": uncounted.failed or []}
    before = {"Succeeded": job.status.succeeded, "Failed": job.status.failed}
    held = {pod.metadata.uid: result(pod) for pod in mine if tracked(pod)}
    known = {uid for uids in listed.values() for uid in uids}
    return Ledger(
        counted={what: before[what] + sum(uid not in held for uid in listed[what]) for what in RESULTS},
        listed={what: [uid for uid in listed[what] if uid in held] for what in RESULTS},
        fresh={what: [uid for uid, found in held.items() if found == what and uid not in known] for what in RESULTS},
    )


def in_status(book: Ledger) -> dict[str, Any]:
    """The counters, and the uids that are on their way into them."""
    waiting = {what: [*book.listed[what], *book.fresh[what]] for what in RESULTS}
    names = {"Succeeded": "succeeded", "Failed": "failed"}
    uncounted = {names[what]: uids or None for what, uids in waiting.items()} if any(waiting.values()) else None
    return {
        "succeeded": book.counted["Succeeded"],
        "failed": book.counted["Failed"],
        "uncountedTerminatedPods": uncounted,
    }


def releases(mine: Iterable[Pod]) -> list[Change]:
    """Let go of the pods that are in the status by now, and of those that will never count."""
    return [release(pod) for pod in mine if tracked(pod) and (result(pod) or _left(pod))]


def _left(pod: Pod) -> bool:
    """It was deleted and nothing of it runs any more."""
    if not pod.metadata.deletion_timestamp:
        return False
    return pod.terminated or not pod.spec.node_name or not pod.metadata.deletion_grace_period_seconds


def release(pod: Pod) -> Change:
    return guarded(PODS, pod, {"finalizers": [name for name in pod.metadata.finalizers or () if name != FINALIZER]})


def hold(pod: Pod) -> Change:
    """For pods that were adopted."""
    return guarded(PODS, pod, {"finalizers": [*(pod.metadata.finalizers or ()), FINALIZER]})
