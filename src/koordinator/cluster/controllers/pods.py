"""What controllers ask about pods: alive, ready, available since when, which to give up first, how to make one."""

import hashlib
from collections.abc import Mapping
from typing import Any

from koordinator.api.core import Pod
from koordinator.api.meta import Condition, Object, parse_time

NAME_LIMIT = 63
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def is_active(pod: Pod) -> bool:
    """Neither finished nor on its way out: a pod that counts as a replica."""
    return not pod.terminated and not pod.metadata.deletion_timestamp


def condition(pod: Pod, type_: str) -> Condition | None:
    return next((c for c in pod.status.conditions or [] if c.type == type_), None)


def is_ready(pod: Pod) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def available_in(pod: Pod, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod has been ready for long enough; 0 when it has; None while it is not ready."""
    ready = condition(pod, "Ready")
    if ready is None or ready.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = parse_time(ready.last_transition_time)
    return max(0.0, (since if since is not None else now) + min_ready_seconds - now)


def ended_at(pod: Pod) -> float | None:
    """When the last container ended."""
    ends = [
        parse_time(status.state.terminated.finished_at)
        for status in pod.status.container_statuses or []
        if status.state is not None and status.state.terminated is not None
    ]
    return max((end for end in ends if end is not None), default=None)


def listed(verb: str, names: list[str]) -> str:
    """``Created pod: a`` for one, the first few and the count for many: one event a batch, not one a pod."""
    if len(names) == 1:
        return f"{verb} pod: {names[0]}"
    return f"{verb} {len(names)} pods: {', '.join(names[:3])}" + (", …" if len(names) > 3 else "")


def giving_up_order(pod: Pod) -> tuple[object, ...]:
    """Sort key: the pods that are missed least come first.

    Unassigned before assigned, pending before unknown before running, not ready before ready, cheaper deletion cost first,
    most recently ready, more restarts, youngest; the name has the last word, so that a repeated decision is the same decision.
    """
    ready = condition(pod, "Ready")
    ready_since = parse_time(ready.last_transition_time) if ready and ready.status == "True" else None
    restarts = max((status.restart_count for status in pod.status.container_statuses or []), default=0)
    return (
        bool(pod.spec.node_name),
        {"Pending": 0, "": 0, "Unknown": 1}.get(pod.status.phase, 2),
        ready_since is not None,
        deletion_cost(pod),
        -(ready_since or 0.0),
        -restarts,
        -(parse_time(pod.metadata.creation_timestamp) or 0.0),
        pod.name,
    )


def deletion_cost(pod: Pod) -> int:
    """The annotation's number; what is not a number costs nothing."""
    try:
        return int(pod.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def from_template(template: Mapping[str, Any], owner: Object, reference: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The body of a new pod of ``owner``.

    The name is chosen here, not by the server: when an answer gets lost, the repeated create meets its own first attempt.
    """
    metadata = template.get("metadata") or {}
    prefix = f"{owner.name[: NAME_LIMIT - 6]}-"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": prefix + suffix(token),
            "generateName": prefix,
            "namespace": owner.namespace,
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "finalizers": list(metadata.get("finalizers") or []),
            "ownerReferences": [dict(reference)],
        },
        "spec": dict(template.get("spec") or {}),
    }


def suffix(token: str, length: int = 5) -> str:
    """Letters and digits that spell no words, drawn from ``token``."""
    number = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest())
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(SUFFIX_ALPHABET))
        letters.append(SUFFIX_ALPHABET[index])
    return "".join(letters)
