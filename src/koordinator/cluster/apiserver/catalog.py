"""Which resources there are, right now: the built-in kinds and those that custom resource definitions add."""

import hashlib

from koordinator.cluster.apiserver.computed import ComputedRules
from koordinator.cluster.apiserver.kinds.base import Kind
from koordinator.cluster.apiserver.store import Store


class Catalog:
    """Kinds by group, version and plural. Registering a kind makes its stored objects visible."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self.revision = 0  # changes whenever the kinds do

    def add(self, kind: Kind) -> None:
        self._kinds[kind.group, kind.version, kind.plural] = kind
        if not isinstance(kind.rules, ComputedRules):
            self._store.register(kind.key, kind.rules.index)
        self.revision += 1

    def remove(self, kind: Kind) -> None:
        self._kinds.pop((kind.group, kind.version, kind.plural), None)
        self.revision += 1

    def get(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    @property
    def digest(self) -> str:
        """A name for this set of kinds that no other set has, not in another run of the server either."""
        described = sorted((*where, str(kind.rules.schema)) for where, kind in self._kinds.items())
        return hashlib.sha256(repr(described).encode()).hexdigest()[:32]

    def all(self) -> list[Kind]:
        return list(self._kinds.values())

    def of_key(self, key: str) -> Kind | None:
        """The kind that the store keeps under this name (any version)."""
        return next((kind for kind in self._kinds.values() if kind.key == key), None)
