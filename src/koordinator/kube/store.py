"""The one door to the cluster: what scheduler, manager, descheduler and koordlet may ask of an API server.

``kube.client.Client`` implements it over HTTP, ``kube.memory.MemoryStore`` over dictionaries; no component knows which it has.
``tests/conformance`` states what both mean.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import Resource

T = TypeVar("T", bound=Object)

JsonObject = Mapping[str, Any]


class PatchType(StrEnum):
    """The three patch dialects, by their content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"


class Undecodable(msgspec.Struct, frozen=True):
    """An object that was there and does not fit its type: what is known of it, and why. A value, not an exception."""

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One answer to a list call. ``continue_`` is empty on the last page."""

    items: list[T]
    resource_version: str
    continue_: str = ""
    undecodable: list[Undecodable] = []


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark carries only a resource version."""

    type: str
    object: T | Undecodable | None
    resource_version: str


class Store(Protocol):
    """Get, list, watch, create, patch, delete, bind, evict. Every refusal is a ``kube.errors.ApiError``."""

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T: ...

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Page[T]:
        """The whole collection (paged over internally)."""
        ...

    def watch(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after ``resource_version`` until the server ends the stream. Raises ``Gone`` on 410."""
        ...

    async def create(self, resource: Resource[T], obj: JsonObject, namespace: str = "") -> T: ...

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        patch: JsonObject | Sequence[Any],
        namespace: str = "",
        *,
        type: PatchType = PatchType.MERGE,  # noqa: A002 — the field's own name
        subresource: str = "",
    ) -> T: ...

    async def delete(
        self,
        resource: Resource[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
    ) -> None: ...

    async def bind(self, namespace: str, pod: str, node: str, uid: str = "") -> None: ...

    async def evict(self, namespace: str, pod: str, *, uid: str = "", grace_seconds: int | None = None) -> None: ...
