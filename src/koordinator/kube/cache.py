"""What an informer knows: the objects by key, any number of indexes over them, and what each new fact changes.

No I/O and no clock: every method takes facts and returns the changes in the order in which handlers must hear of them.
"""

import logging
from collections.abc import Callable, Iterable, ValuesView
from typing import Generic, TypeVar

import msgspec

from koordinator.api.meta import Object

T = TypeVar("T", bound=Object)
IndexFn = Callable[[T], Iterable[str]]

log = logging.getLogger(__name__)


class Change(msgspec.Struct, Generic[T], frozen=True):
    """Added (no old), updated (both) or deleted (no new)."""

    old: T | None
    new: T | None


class _Index(Generic[T]):
    def __init__(self, name: str, values: IndexFn[T]) -> None:
        self._name, self._values = name, values
        self._keys: dict[str, dict[str, T]] = {}

    def put(self, key: str, obj: T) -> None:
        for value in self._of(obj):
            self._keys.setdefault(value, {})[key] = obj

    def drop(self, key: str, obj: T) -> None:
        for value in self._of(obj):
            if (bucket := self._keys.get(value)) is not None:
                bucket.pop(key, None)
                if not bucket:
                    del self._keys[value]

    def get(self, value: str) -> list[T]:
        return list(self._keys.get(value, {}).values())

    def _of(self, obj: T) -> list[str]:
        try:
            return list(self._values(obj))
        except Exception:  # the index function is the caller's: its bug must not stop the stream
            log.exception("index %s failed on %s; the object is left out of it", self._name, obj.key)
            return []


class Cache(Generic[T]):
    """Objects by ``namespace/name``. Objects are never changed in place by readers."""

    def __init__(self) -> None:
        self._objects: dict[str, T] = {}
        self._indexes: dict[str, _Index[T]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> T | None:
        return self._objects.get(key)

    def items(self) -> ValuesView[T]:
        return self._objects.values()

    def add_index(self, name: str, values: IndexFn[T]) -> None:
        index = self._indexes[name] = _Index(name, values)
        for key, obj in self._objects.items():
            index.put(key, obj)

    def by_index(self, name: str, value: str) -> list[T]:
        return self._indexes[name].get(value)

    def upsert(self, obj: T) -> list[Change[T]]:
        """The object is now this. Nothing changes if we have this version; another uid is a deletion and an addition."""
        key = obj.key
        old = self._objects.get(key)
        if old is not None and old.metadata.resource_version == obj.metadata.resource_version != "":
            return []
        self._put(key, old, obj)
        if old is not None and old.metadata.uid != obj.metadata.uid:
            return [Change(old, None), Change(None, obj)]
        return [Change(old, obj)]

    def remove(self, key: str, last: T | None = None) -> list[Change[T]]:
        """The object is gone; ``last`` is its final state if that is known."""
        old = self._objects.pop(key, None)
        if old is None:
            return []
        for index in self._indexes.values():
            index.drop(key, old)
        return [Change(last or old, None)]

    def replace(self, items: Iterable[T], keep: Iterable[str] = ()) -> list[Change[T]]:
        """The whole collection is now this. Objects under ``keep`` exist but cannot be read: their last good state stays."""
        present = {obj.key: obj for obj in items}
        kept = present.keys() | set(keep)
        changes = [change for key in [key for key in self._objects if key not in kept] for change in self.remove(key)]
        for obj in present.values():
            changes += self.upsert(obj)
        return changes

    def _put(self, key: str, old: T | None, obj: T) -> None:
        self._objects[key] = obj
        for index in self._indexes.values():
            if old is not None:
                index.drop(key, old)
            index.put(key, obj)
