"""The four PriorityClasses of the protocol, made where they are missing."""

import logging

from koordinator.api.priority import RANGES, Band
from koordinator.api.registry import PRIORITY_CLASSES
from koordinator.kube.errors import AlreadyExists, ApiError
from koordinator.kube.store import Store

log = logging.getLogger(__name__)

_DESCRIPTIONS = {
    Band.PROD: "Latency-sensitive services with resources of their own.",
    Band.MID: "Work on resources that services reserve and, by prediction, will not use for long.",
    Band.BATCH: "Batch work on resources that others reserve and do not use at the moment.",
    Band.FREE: "Work without any claim, run when nothing else wants the node.",
}


async def ensure_priority_classes(store: Store) -> None:
    """Create what is missing. Where we may not, somebody else must have: only said, not fatal."""
    try:
        present = {one.name for one in (await store.list(PRIORITY_CLASSES)).items}
    except ApiError as err:
        log.warning("PriorityClasses cannot be listed: %s", err)
        return
    for band, (value, _) in RANGES.items():
        if band not in present:
            await _create(store, band, value)


async def _create(store: Store, band: Band, value: int) -> None:
    body = {
        "apiVersion": PRIORITY_CLASSES.api_version,
        "kind": PRIORITY_CLASSES.kind,
        "metadata": {"name": str(band)},
        "value": value,
        "preemptionPolicy": "PreemptLowerPriority",
        "description": _DESCRIPTIONS[band],
    }
    try:
        await store.create(PRIORITY_CLASSES, body)
    except AlreadyExists:  # another replica was faster
        return
    except ApiError as err:
        log.warning("PriorityClass %s is missing and cannot be created: %s", band, err)
