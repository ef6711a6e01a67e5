"""Finalizers: holding an object back from deletion until what hangs on it is cleaned up.

Expected flow: ``add`` before making anything outside the object; when ``deletion_timestamp`` appears, clean up, then
``remove``. Guarantees: the patch carries the version that was read, so nobody else's finalizer is lost; after a conflict the
object is read again. Assumptions: cleaning up twice does no harm, for a crash may come between it and ``remove``.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.kube.errors import Conflict, NotFound
from koordinator.kube.store import Store

T = TypeVar("T", bound=Object)

_ATTEMPTS = 8


def has(obj: Object, finalizer: str) -> bool:
    return finalizer in (obj.metadata.finalizers or ())


async def add(store: Store, resource: Resource[T], obj: T, finalizer: str) -> T | None:
    """The object, held; None if it is gone or on its way, too late to be held. Raises: ApiError."""

    def wanted(now: T) -> list[str] | None:
        if now.metadata.deletion_timestamp:
            return None
        present = now.metadata.finalizers or []
        return present if finalizer in present else [*present, finalizer]

    return await _rewrite(store, resource, obj, wanted)


async def remove(store: Store, resource: Resource[T], obj: T, finalizer: str) -> T | None:
    """The object without our hold; None if it is gone, now or before. Raises: ApiError.

    An object that comes from a cache may not show the hold yet: one without it is read again before that is believed.
    """
    if not has(obj, finalizer):
        try:
            now = await store.get(resource, obj.name, obj.namespace)
        except NotFound:
            return None
        if now.metadata.uid != obj.metadata.uid:
            return None
        obj = now

    def wanted(now: T) -> list[str]:
        return [name for name in now.metadata.finalizers or [] if name != finalizer]

    return await _rewrite(store, resource, obj, wanted)


async def _rewrite(store: Store, resource: Resource[T], obj: T, wanted: Callable[[T], list[str] | None]) -> T | None:
    """Write the wanted list over the one that was read; read again if it has changed meanwhile."""
    uid, now = obj.metadata.uid, obj
    for attempt in range(_ATTEMPTS):
        finalizers = wanted(now)
        if finalizers is None or now.metadata.uid != uid:
            return None
        if finalizers == (now.metadata.finalizers or []):
            return now
        metadata: dict[str, Any] = {"finalizers": finalizers or None, "uid": uid}
        metadata["resourceVersion"] = now.metadata.resource_version
        try:
            after = await store.patch(resource, now.name, {"metadata": metadata}, now.namespace)
        except NotFound:
            return None
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
            try:
                now = await store.get(resource, now.name, now.namespace)
            except NotFound:
                return None
        else:
            return None if after.metadata.deletion_timestamp and not finalizers else after
    raise AssertionError("the last attempt returns or raises")
