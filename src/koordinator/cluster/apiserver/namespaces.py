"""Emptying namespaces that are on their way out.

Part of the server, so that ``kubectl delete namespace`` works without any controller. It goes through the same deletion as
users' requests: pods get their grace, finalizers are waited for; when nothing is left, the namespace goes.
"""

import asyncio

import structlog

from koordinator.cluster.apiserver.calls import Call, Target
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.deletes import DeleteOptions, Deleter
from koordinator.cluster.apiserver.kinds.base import Kind
from koordinator.cluster.apiserver.store import Change, Entry, Store
from koordinator.kube.errors import ApiError

_log = structlog.get_logger(__name__)


class NamespaceCleaner:
    """Follows terminating namespaces until they are gone."""

    def __init__(self, store: Store, catalog: Catalog, deleter: Deleter) -> None:
        self._store, self._catalog, self._deleter = store, catalog, deleter
        self._leaving: set[str] = set()
        self._news = asyncio.Event()

    def start(self) -> None:
        for entry in self._store.collection("namespaces"):
            self._note(entry)
        self._store.tap(self._changed)

    async def run(self) -> None:
        """Forever: whenever something changed, delete what is left of leaving namespaces."""
        while True:
            await self._news.wait()
            self._news.clear()
            for name in sorted(self._leaving):
                await self._sweep(name)

    def _note(self, entry: Entry) -> None:
        if entry.fields["status.phase"] == "Terminating":
            self._leaving.add(entry.name)
            self._news.set()

    def _changed(self, resource: str, change: Change) -> None:
        if resource == "namespaces":
            if change.deleted:
                self._leaving.discard(change.after.name)
            else:
                self._note(change.after)
        elif self._leaving and change.after.namespace in self._leaving:
            self._news.set()

    async def _sweep(self, name: str) -> None:
        left = 0
        for kind in {kind.key: kind for kind in self._catalog.all() if kind.namespaced}.values():
            for entry in self._store.collection(kind.key).entries(name):
                left += not await self._remove(kind, entry)
        if not left:
            await self._finish(name)

    async def _remove(self, kind: Kind, entry: Entry) -> bool:
        """Whether this object is gone."""
        head = self._store.head(kind.key, entry.namespace, entry.name)
        if head is None:
            return True
        if b'"deletionTimestamp"' in head.raw and head.decode()["metadata"].get("deletionTimestamp"):
            return False
        target = Target(kind.group, kind.version, kind.plural, entry.namespace, entry.name)
        try:
            _, gone = await self._deleter.remove(Call("DELETE", target, kind, {}), DeleteOptions())
        except ApiError as err:
            _log.warning(
                "namespace is not yet empty", namespace=entry.namespace, kind=kind.kind, name=entry.name, reason=str(err)
            )
            return err.code == 404
        return gone

    async def _finish(self, name: str) -> None:
        head = self._store.head("namespaces", "", name)
        if head is None:
            return
        obj = head.decode()
        obj["spec"]["finalizers"] = [other for other in obj["spec"].get("finalizers") or () if other != "kubernetes"]
        done = not obj["spec"]["finalizers"] and not obj["metadata"].get("finalizers")
        if done or obj != head.decode():
            await self._store.write("namespaces", head, obj, delete=done)
