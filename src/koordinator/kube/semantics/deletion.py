"""Deletion: when an object goes, and what it says until then."""

from typing import Any

from koordinator.api.meta import format_time

Json = dict[str, Any]


def grace_of_pod(pod: Json, wanted: int | None) -> int:
    """Seconds that a pod gets to end: none if nothing of it runs. Nothing else gets any."""
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    if wanted is None:
        wanted = pod["spec"].get("terminationGracePeriodSeconds", 30)
    return int(max(wanted, 0))


def mark(obj: Json, grace: int, now: float) -> bool:
    """Note in the object that it is to go, or to go sooner than it was. Whether that changed anything."""
    metadata = obj["metadata"]
    before, left = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if before is not None and (left is None or grace >= left):
        return False
    metadata["deletionTimestamp"] = format_time(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if before is None and "generation" in metadata:
        metadata["generation"] += 1
    return True


def finish(obj: Json, now: float) -> None:
    """The last state of an object that goes now."""
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp") is None:
        metadata["deletionTimestamp"] = format_time(now)
    metadata["deletionGracePeriodSeconds"] = 0


def finished(obj: Json, *, namespace: bool = False) -> bool:
    """Whether an object that was waiting for its finalizers may go now. Namespaces have finalizers of their own."""
    metadata = obj["metadata"]
    waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    if namespace:
        waits = waits or (obj.get("spec") or {}).get("finalizers")
    return bool(metadata.get("deletionTimestamp")) and not waits
