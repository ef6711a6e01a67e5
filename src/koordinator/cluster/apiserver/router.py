"""From a call to the verb that answers it."""

from collections.abc import AsyncGenerator

from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.deletes import Deleter
from koordinator.cluster.apiserver.logs import PodLogs
from koordinator.cluster.apiserver.reads import Reader, WatchStream
from koordinator.cluster.apiserver.refusals import no_such_path, not_allowed
from koordinator.cluster.apiserver.subresources import Subresources
from koordinator.cluster.apiserver.writes import Writer

Stream = WatchStream | AsyncGenerator[bytes, None]
Result = Answer | Stream


class Router:
    """Knows every verb."""

    def __init__(self, reader: Reader, writer: Writer, deleter: Deleter, others: Subresources, logs: PodLogs) -> None:
        self._reader, self._writer, self._deleter, self._others, self._logs = reader, writer, deleter, others, logs

    async def answer(self, call: Call) -> Result:
        """Carry out one request. Raises: ApiError."""
        subresource = call.target.subresource
        if subresource and subresource not in call.kind.subresources:
            raise no_such_path()
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
                return self._others.get_scale(call)
            case "scale", "PUT" | "PATCH":
                return await self._others.put_scale(call)
            case "log", "GET":
                return await self._logs.read(call)
        raise not_allowed()
