"""Job: run pods until enough have succeeded, or too much has failed, or time is up."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import Condition, format_time, parse_time
from koordinator.api.registry import PODS
from koordinator.cluster.controllers import indexed, tracking
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, delete, guarded_status
from koordinator.cluster.controllers.objects import JOBS, Job
from koordinator.cluster.controllers.ownership import LOOK_AGAIN_SECONDS, Claim, claim
from koordinator.kube.owners import controller_reference, is_controlled_by

BURST = 500
BACKOFF_LIMIT = 6
RETRY_SECONDS = 10.0
RETRY_LIMIT_SECONDS = 360.0


class View(msgspec.Struct, frozen=True):
    """One job and its pods, sorted by what they mean to it."""

    job: Job
    active: list[Pod]
    book: tracking.Ledger
    succeeded: int
    failed: int
    pods: list[Pod]
    now: float

    @property
    def completions(self) -> int | None:
        spec = self.job.spec
        return 1 if spec.completions is None and spec.parallelism is None else spec.completions

    @property
    def done(self) -> bool:
        if self.completions is not None:
            return self.succeeded >= self.completions
        return self.succeeded > 0 and not self.active


class Verdict(msgspec.Struct, frozen=True):
    """How a job ends: the condition's type, reason and message."""

    type: str
    reason: str = ""
    message: str = ""


def reconcile(job: Job, candidates: Iterable[Pod], now: float) -> Outcome:
    """``candidates``: the pods that the job controls and its namespace's pods without a controller."""
    if (end := finished(job)) is not None:
        return _after_the_end(job, candidates, end, now)
    claimed = _claim(job, candidates)
    if job.metadata.deletion_timestamp:
        return Outcome([tracking.release(pod) for pod in claimed.mine if tracking.tracked(pod)])
    if claimed.changes:
        return Outcome(claimed.changes, LOOK_AGAIN_SECONDS)
    view = _view(job, claimed.mine, now)
    if (verdict := _verdict(view)) is not None:
        return Outcome(_end(view, verdict))
    said = _status(view, suspended=bool(job.spec.suspend))
    tracked = [*tracking.releases(view.pods), *(tracking.hold(pod) for pod in view.active if not tracking.tracked(pod))]
    if job.spec.suspend:
        changes: list[Change] = [delete(PODS, pod) for pod in view.active]
        return Outcome([*said, *changes, *tracked])
    wait = _retry_wait(view)
    return Outcome([*said, *tracked, *_scale(view, may_create=not wait)], _soonest(wait, _deadline_wait(view)))


def finished(job: Job) -> Condition | None:
    """The condition that ended the job, if it has ended."""
    ends = (c for c in job.status.conditions or [] if c.type in ("Complete", "Failed") and c.status == "True")
    return next(ends, None)


def _claim(job: Job, candidates: Iterable[Pod]) -> Claim[Pod]:
    if job.spec.selector is None:
        return Claim([pod for pod in candidates if is_controlled_by(pod, job)], [])
    return claim(job, job.spec.selector, candidates, (JOBS, PODS))


def _view(job: Job, mine: list[Pod], now: float) -> View:
    active = [pod for pod in mine if pods_.is_active(pod)]
    book = tracking.ledger(job, mine)
    succeeded = len(indexed.completed(job, mine)) if indexed.is_indexed(job) else book.total("Succeeded")
    return View(job, active, book, succeeded, book.total("Failed"), mine, now)


def _verdict(view: View) -> Verdict | None:
    spec = view.job.spec
    if view.done:
        return Verdict("Complete")
    limit = BACKOFF_LIMIT if spec.backoff_limit is None else spec.backoff_limit
    restarts = sum(status.restart_count for pod in view.active for status in pod.status.container_statuses or [])
    if view.failed > limit or (_restarts_in_place(view.job) and restarts > limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if _deadline_wait(view) == 0:
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _restarts_in_place(job: Job) -> bool:
    return bool((job.spec.template.get("spec") or {}).get("restartPolicy") == "OnFailure")


def _end(view: View, verdict: Verdict) -> list[Change]:
    stamp = format_time(view.now)
    ended = Condition(
        type=verdict.type,
        status="True",
        reason=verdict.reason or None,
        message=verdict.message or None,
        last_probe_time=stamp,
        last_transition_time=stamp,
    )
    final = {"succeeded": view.succeeded, "failed": view.failed, "uncountedTerminatedPods": None}
    body = _counters(view) | final | {"active": 0, "ready": 0, "conditions": msgspec.to_builtins([*_conditions(view), ended])}
    if not view.job.status.start_time:
        body["startTime"] = stamp
    if verdict.type == "Complete":
        body["completionTime"] = stamp
        tell = Tell(view.job, "Completed", "Job completed")
    else:
        tell = Tell(view.job, verdict.reason, verdict.message, "Warning")
    return [*(delete(PODS, pod) for pod in view.active), guarded_status(JOBS, view.job, body), tell]


def _after_the_end(job: Job, candidates: Iterable[Pod], end: Condition, now: float) -> Outcome:
    """Take away stragglers, let go of the others, and after the time to live the job itself."""
    mine = [pod for pod in candidates if is_controlled_by(pod, job)]
    changes: list[Change] = [delete(PODS, pod) for pod in mine if pods_.is_active(pod)]
    changes += [tracking.release(pod) for pod in mine if tracking.tracked(pod) and not pods_.is_active(pod)]
    ttl = job.spec.ttl_seconds_after_finished
    since = parse_time(job.status.completion_time) or parse_time(end.last_transition_time)
    if ttl is None or since is None or job.metadata.deletion_timestamp:
        return Outcome(changes)
    if now >= since + ttl:
        return Outcome([*changes, delete(JOBS, job)])
    return Outcome(changes, since + ttl - now)


def _scale(view: View, *, may_create: bool) -> list[Change]:
    job = view.job
    parallelism = 1 if job.spec.parallelism is None else max(job.spec.parallelism, 0)
    if view.completions is not None:
        wanted = min(parallelism, view.completions - view.succeeded)
    else:
        wanted = min(parallelism, len(view.active)) if view.succeeded else parallelism
    surplus = len(view.active) - wanted
    if surplus > 0:
        losers = sorted(view.active, key=pods_.giving_up_order)[:surplus]
        return [*(delete(PODS, pod) for pod in losers), Tell(job, "SuccessfulDelete", f"Deleted {surplus} pods")]
    if surplus == 0 or not may_create:
        return []
    bodies = _bodies(view, min(-surplus, BURST))
    names = [body["metadata"]["name"] for body in bodies]
    return [
        *(Create(PODS, job.namespace, body) for body in bodies),
        Tell(job, "SuccessfulCreate", pods_.listed("Created", names)),
    ]


def _bodies(view: View, count: int) -> list[dict[str, Any]]:
    job = view.job
    reference = controller_reference(JOBS, job)
    bodies = [
        pods_.from_template(job.spec.template, job, reference, f"{job.metadata.uid}/{view.now}/{i}") for i in range(count)
    ]
    labels = {"controller-uid": job.metadata.uid, "job-name": job.name}
    labels |= {f"batch.kubernetes.io/{key}": value for key, value in labels.items()}
    for body in bodies:
        body["metadata"]["labels"] = labels | body["metadata"]["labels"]
        body["metadata"]["finalizers"].append(tracking.FINALIZER)
    return indexed.assign(job, bodies, view.pods) if indexed.is_indexed(job) else bodies


def _counters(view: View) -> dict[str, Any]:
    body: dict[str, Any] = {
        "active": len(view.active),
        "ready": sum(pods_.is_ready(pod) for pod in view.active),
        **tracking.in_status(view.book),
    }
    if indexed.is_indexed(view.job):
        body["succeeded"] = view.succeeded
        body["completedIndexes"] = indexed.text(indexed.completed(view.job, view.pods))
    return body


def _status(view: View, *, suspended: bool) -> list[Change]:
    job = view.job
    body = _counters(view) | ({"active": 0, "ready": 0} if suspended else {})
    held = job.status
    was_suspended = any(c.type == "Suspended" and c.status == "True" for c in held.conditions or [])
    tells: list[Change] = []
    if suspended != was_suspended:
        word = "Suspended" if suspended else "Resumed"
        body["conditions"] = msgspec.to_builtins([*_conditions(view), _suspended(view, active=suspended)])
        body["startTime"] = None if suspended else format_time(view.now)
        tells.append(Tell(job, word, f"Job {word.lower()}"))
    elif not held.start_time and not suspended:
        body["startTime"] = format_time(view.now)
    shown: dict[str, Any] = {
        "active": held.active,
        "ready": held.ready or 0,
        "succeeded": held.succeeded,
        "failed": held.failed,
        "uncountedTerminatedPods": msgspec.to_builtins(held.uncounted_terminated_pods) or None,
    }
    if indexed.is_indexed(job):
        shown["completedIndexes"] = held.completed_indexes or ""
    return [] if _plain(body) == _plain(shown) else [guarded_status(JOBS, job, body), *tells]


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    """Without the nulls that take a field away."""
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in body.items() if value is not None}


def _conditions(view: View) -> list[Condition]:
    return [c for c in view.job.status.conditions or [] if c.type not in ("Complete", "Failed", "Suspended")]


def _suspended(view: View, *, active: bool) -> Condition:
    word = "suspended" if active else "resumed"
    stamp = format_time(view.now)
    return Condition(
        type="Suspended",
        status="True" if active else "False",
        reason=f"Job{word.capitalize()}",
        message=f"Job {word}",
        last_probe_time=stamp,
        last_transition_time=stamp,
    )


def _deadline_wait(view: View) -> float | None:
    limit, start = view.job.spec.active_deadline_seconds, parse_time(view.job.status.start_time)
    if limit is None or start is None or view.job.spec.suspend:
        return None
    return max(0.0, start + limit - view.now)


def _retry_wait(view: View) -> float | None:
    """Seconds before failed pods may be replaced: twice as long after each failure."""
    failures = [pods_.ended_at(pod) or view.now for pod in view.pods if pod.status.phase == "Failed"]
    if not failures:
        return None
    wait = min(RETRY_SECONDS * 2 ** (min(len(failures), 16) - 1), RETRY_LIMIT_SECONDS)
    return max(0.0, max(failures) + wait - view.now) or None


def _soonest(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
