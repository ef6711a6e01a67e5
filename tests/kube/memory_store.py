"""A handful of objects in memory with the API server's conflict rules, for tests that need virtual time."""

import copy

import msgspec

from koordinator.kube.errors import AlreadyExists, Conflict, NotFound, ServerUnavailable
from koordinator.kube.patches import merge


class MemoryStore:
    """get, create and merge patch. ``views`` of it can be cut off one by one."""

    def __init__(self):
        self.objects = {}
        self.version = 0
        self.calls = []

    def view(self):
        return View(self)

    def decoded(self, resource, key):
        return msgspec.convert(self.objects[resource.plural, *key], resource.type)


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
        if (resource.plural, namespace, name) not in self.store.objects:
            raise NotFound(404, "NotFound", f"{name} not found")
        return self.store.decoded(resource, (namespace, name))

    async def create(self, resource, obj, namespace=""):
        name = obj["metadata"]["name"]
        self._enter("create", name)
        if (resource.plural, namespace, name) in self.store.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{name} exists")
        return self._put(resource, namespace, name, copy.deepcopy(obj))

    async def patch(self, resource, name, patch, namespace=""):
        self._enter("patch", name)
        old = self.store.objects.get((resource.plural, namespace, name))
        if old is None:
            raise NotFound(404, "NotFound", f"{name} not found")
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        return self._put(resource, namespace, name, merge(old, patch))

    def _put(self, resource, namespace, name, obj):
        self.store.version += 1
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(self.store.version)}
        self.store.objects[resource.plural, namespace, name] = obj
        return self.store.decoded(resource, (namespace, name))
