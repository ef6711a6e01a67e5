"""Keeps the catalogue in step with the custom resource definitions in the store."""

import asyncio

import structlog

from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Kind
from koordinator.cluster.apiserver.kinds.custom import kinds_of
from koordinator.cluster.apiserver.store import Change, Entry, Store

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_log = structlog.get_logger(__name__)


class Definitions:
    """Adds the kinds of every definition; when one goes, its kinds and objects go too."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog
        self._kinds: dict[str, list[Kind]] = {}

    def start(self) -> None:
        for entry in self._store.collection(DEFINITIONS).entries():
            self._serve(entry)
        self._store.tap(self._changed)

    def _changed(self, resource: str, change: Change) -> None:
        if resource != DEFINITIONS:
            return
        if change.deleted:
            self._drop(change.after)
        else:
            self._serve(change.after)

    def _serve(self, entry: Entry) -> None:
        try:
            kinds = kinds_of(entry.decode())
        except (KeyError, ValueError, TypeError) as err:
            _log.error("a stored definition cannot be served", name=entry.name, reason=str(err))
            return
        for kind in self._kinds.get(entry.name, ()):
            self._catalog.remove(kind)
        for kind in kinds:
            self._catalog.add(kind)
        self._kinds[entry.name] = kinds

    def _drop(self, entry: Entry) -> None:
        kinds = self._kinds.pop(entry.name, [])
        for kind in kinds:
            self._catalog.remove(kind)
        for key in {kind.key for kind in kinds}:
            # the change that is being told right now has not ended yet: write after it
            asyncio.get_running_loop().call_soon(self._empty, key)

    def _empty(self, key: str) -> None:
        for entry in self._store.collection(key).entries():
            head = self._store.head(key, entry.namespace, entry.name)
            if head is not None:
                self._store.write(key, head, head.decode(), delete=True)
