"""The informers of one manager: each collection is watched once, whoever asks for it."""

from typing import Any, TypeVar

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store

T = TypeVar("T", bound=Object)


class Informers:
    """``follow`` while wiring; then run all of them. ``namespace`` restricts namespaced collections; empty for all."""

    def __init__(self, store: Store, clock: Clock, namespace: str = "") -> None:
        self._store, self._clock, self._namespace = store, clock, namespace
        self._found: dict[tuple[str, str, str], Informer[Any]] = {}

    def follow(self, resource: Resource[T], namespace: str = "", name: str = "") -> Informer[T]:
        """An informer on a collection, or on one named object of it."""
        where = namespace or (self._namespace if resource.namespaced else "")
        key = (f"{resource.group}/{resource.plural}", where, name)
        if key not in self._found:
            field = f"metadata.name={name}" if name else ""
            self._found[key] = Informer(self._store, resource, clock=self._clock, namespace=where, field_selector=field)
        return self._found[key]

    def all(self) -> list[Informer[Any]]:
        return list(self._found.values())
