"""From a call to the verb that answers it."""

from collections.abc import AsyncGenerator
from functools import partial

import msgspec

from koordinator.cluster.apiserver import events
from koordinator.cluster.apiserver.calls import Answer, Call, View, in_version
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.computed import ComputedRules
from koordinator.cluster.apiserver.deletes import Deleter
from koordinator.cluster.apiserver.kinds.base import Kind
from koordinator.cluster.apiserver.logs import PodLogs
from koordinator.cluster.apiserver.reads import Reader, WatchStream
from koordinator.cluster.apiserver.refusals import no_such_path, not_allowed
from koordinator.cluster.apiserver.scale import Scales
from koordinator.cluster.apiserver.subresources import Subresources
from koordinator.cluster.apiserver.writes import Writer
from koordinator.kube.errors import ApiError

Stream = WatchStream | AsyncGenerator[bytes, None]
Result = Answer | Stream


class Verbs(msgspec.Struct, frozen=True):
    """Those who do the work."""

    reader: Reader
    writer: Writer
    deleter: Deleter
    others: Subresources
    logs: PodLogs


def _computed(call: Call, rules: ComputedRules) -> Answer:
    verb = {"GET": "get", "POST": "create"}.get(call.method, "")
    if verb not in call.kind.verbs or call.flag("watch") or (verb == "create" and call.name):
        raise not_allowed()
    return rules.answer(call)


class Router:
    """Knows every verb."""

    def __init__(self, verbs: Verbs, catalog: Catalog) -> None:
        self._reader, self._writer, self._deleter = verbs.reader, verbs.writer, verbs.deleter
        self._others, self._logs, self._catalog = verbs.others, verbs.logs, catalog
        self._scales = Scales(verbs.writer)

    def _core(self, key: str) -> Kind:
        kind = self._catalog.of_key(key)
        if kind is None:
            raise no_such_path()
        return kind

    async def answer(self, call: Call) -> Result:
        """Carry out one request. Raises: ApiError, once the state that refuses it can be read."""
        try:
            return await self._dispatch(call)
        except ApiError:
            if call.method != "GET":
                await self._writer.store.settled()
            raise

    async def _dispatch(self, call: Call) -> Result:
        kind, subresource = call.kind, call.target.subresource
        if isinstance(kind.rules, ComputedRules):
            return _computed(call, kind.rules)
        if kind.stored_as:
            call = events.inward(call, self._core(kind.stored_as))
        elif kind.versions > 1:
            call.view = View(kind, partial(in_version, kind))
        if subresource not in ("", "status", "finalize"):
            return await self._special(call, subresource)
        if call.name:
            return await self._one(call)
        return await self._many(call)

    async def _one(self, call: Call) -> Result:
        match call.method:
            case "GET" if call.flag("watch"):
                return self._reader.watch(call)
            case "GET":
                return self._reader.get(call)
            case "PUT":
                return call.wrote(200, (await self._writer.replace(call)).raw)
            case "PATCH":
                return call.wrote(200, (await self._writer.patch(call)).raw)
            case "DELETE" if not call.target.subresource:
                return await self._deleter.delete(call)
        raise not_allowed()

    async def _many(self, call: Call) -> Result:
        match call.method:
            case "GET" if call.flag("watch"):
                return self._reader.watch(call)
            case "GET":
                return self._reader.list(call)
            case "POST" if call.namespace or not call.kind.namespaced:
                return call.wrote(201, (await self._writer.create(call)).raw)
            case "DELETE":
                return await self._deleter.collection(call)
        raise not_allowed()

    async def _special(self, call: Call, subresource: str) -> Result:
        match subresource, call.method:
            case "binding", "POST":
                return await self._others.bind(call)
            case "eviction", "POST":
                return await self._others.evict(call)
            case "scale", "GET":
                return self._scales.get(call)
            case "scale", "PUT" | "PATCH":
                return await self._scales.put(call)
            case "log", "GET":
                return await self._logs.read(call)
        raise not_allowed()
