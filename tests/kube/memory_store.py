"""The memory store behind connections that can be cut off one by one, for tests of who copes with that."""

import msgspec

from koordinator.clock import ManualClock
from koordinator.kube import memory
from koordinator.kube.errors import ServerUnavailable


class MemoryStore:
    """One store, what it was asked, and ``view``s of it."""

    def __init__(self):
        self.real = memory.MemoryStore(ManualClock(), create_namespaces=True)
        self.calls = []

    def view(self):
        return View(self)

    def decoded(self, resource, key):
        namespace, name = key
        return msgspec.convert(self.real.raw(resource, name, namespace), resource.type)

    async def all(self, resource):
        """In the order of creation."""
        return sorted((await self.real.list(resource)).items, key=lambda obj: obj.metadata.creation_timestamp)

    async def clear(self, resource):
        for obj in (await self.real.list(resource)).items:
            await self.real.delete(resource, obj.name, obj.namespace)


class View:
    """One client's connection."""

    def __init__(self, store):
        self.store = store
        self.down = False
        self.failures = []

    def _enter(self, what, *args):
        self.store.calls.append((what, *args))
        if self.failures:
            raise self.failures.pop(0)
        if self.down:
            raise ServerUnavailable(0, "ServerUnavailable", "cut off")

    async def get(self, resource, name, namespace=""):
        self._enter("get", name)
        return await self.store.real.get(resource, name, namespace)

    async def create(self, resource, obj, namespace=""):
        self._enter("create", obj["metadata"]["name"])
        return await self.store.real.create(resource, obj, namespace)

    async def patch(self, resource, name, patch, namespace=""):
        self._enter("patch", name)
        return await self.store.real.patch(resource, name, patch, namespace)
