"""How many pods of which sort are on each node, kept for the sorts that somebody asks about.

Resident pods fall into sorts: same namespace, labels and features. A ``Tally`` is a column: per node the number of pods that a
selection means, or that have a feature (a host port, a volume, a term of affinity that they want kept). Placing a pod adds one
to the tallies of its sort, so it costs the same whoever else is there; asking for a new tally goes once over the sorts.

Guarantee: a tally equals a count over the pods that are known to be on nodes, after every call, in any order of events.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable

import numpy as np

from koordinator.api.core import Namespace, Node
from koordinator.api.registry import NAMESPACES
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Column
from koordinator.scheduler.engine.events import Happening
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.selections import Labels, Lookup, Selection

IDLE_TALLIES = 256
"""How many tallies are kept up although nobody asks about them any more: somebody may ask again."""


class Feature:
    """Something that pods have. ``means``: the pods that those which have it care about, where they do.

    Made by ``Residents.feature`` only, so that equal ones are identical and cheap to compare.
    """

    __slots__ = ("__weakref__", "kind", "means", "value")

    def __init__(self, kind: str, value: Hashable, means: Selection | None) -> None:
        self.kind, self.value, self.means = kind, value, means


Features = Callable[[PodInfo], Iterable[Feature]]


class Sort:
    """Pods that no tally tells apart, and where they are."""

    __slots__ = ("features", "key", "labels", "namespace", "rows", "tallies", "terminating")

    def __init__(self, key: Hashable, info: PodInfo, features: tuple[Feature, ...]) -> None:
        meta = info.pod.metadata
        self.key, self.namespace, self.labels = key, meta.namespace, meta.labels
        self.terminating = meta.deletion_timestamp is not None
        self.features = features
        self.rows: dict[int, int] = {}
        self.tallies: list[Tally] = []


class Tally:
    """Per row the number of pods that belong. ``counts.values`` moves when the table grows."""

    __slots__ = ("__weakref__", "counts", "total")

    def __init__(self, counts: Column) -> None:
        self.counts = counts
        self.total = 0


class _Known:
    """A tally and what belongs to it: the pods that all the selections mean, or those with a feature."""

    __slots__ = ("feature", "key", "selections", "steady", "tally")

    def __init__(self, key: Hashable, tally: Tally) -> None:
        self.key, self.tally = key, tally
        self.selections: tuple[Selection, ...] = ()
        self.steady = False
        self.feature: Feature | None = None


class Residents:
    """The tallies of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._columns = cluster, cluster.columns
        self._sorts: dict[Hashable, Sort] = {}
        self._places: dict[str, tuple[Sort, int]] = {}
        self._describing: dict[str, Features] = {}
        self._interned: weakref.WeakValueDictionary[Hashable, Feature] = weakref.WeakValueDictionary()
        self._having: dict[Feature, dict[Hashable, Sort]] = {}
        self._caring: Lookup[Feature] = Lookup()
        self._known: dict[Hashable, _Known] = {}
        self._selecting: Lookup[_Known] = Lookup()
        self._handles: weakref.WeakValueDictionary[Hashable, TallyHandle] = weakref.WeakValueDictionary()
        self._released: list[Hashable] = []
        self._idle: dict[Hashable, None] = {}
        self._namespaces: dict[str, Labels] = {}
        self._silent = object()
        """The key under which templates are noted of whose pods there is nothing to say."""
        cluster.listeners.append(self)

    # -- asking --------------------------------------------------------------------------------------------------------

    def selected(self, selections: tuple[Selection, ...], *, steady: bool = False) -> "TallyHandle":
        """Pods that all the selections mean; ``steady`` leaves out those being deleted."""
        return self._handle((selections, steady), lambda known: self._select(known, selections, steady=steady))

    def having(self, feature: Feature) -> "TallyHandle":
        """Pods that have a feature."""
        return self._handle(feature, lambda known: self._feature(known, feature))

    def caring(self, namespace: str, labels: Labels | None) -> list[Feature]:
        """Features of resident pods that mean a pod like this."""
        if not self._caring:
            return []
        theirs = self._namespaces.get(namespace)
        return [one for one in self._caring.candidates(labels) if one.means and one.means.matches(namespace, labels, theirs)]

    @property
    def anybody_cares(self) -> bool:
        """Whether any resident pod has a feature that means other pods."""
        return len(self._caring) > 0

    def feature(self, kind: str, value: Hashable, means: Selection | None = None) -> Feature:
        """The one object for a feature."""
        key = kind, value, means
        known = self._interned.get(key)
        if known is None:
            known = self._interned[key] = Feature(kind, value, means)
        return known

    def describe(self, kind: str, features: Features) -> None:
        """Take note of features of some kind. Plugins of several profiles may say the same; the first one counts."""
        if kind not in self._describing:
            self._describing[kind] = features
            self._silent = object()
            for placed in list(self._cluster.pods.values()):
                self.pod_updated(placed.info, placed.node)

    def namespace_labels(self, name: str) -> Labels | None:
        return self._namespaces.get(name)

    # -- handles: a tally lives as long as somebody holds one, and a while longer ------------------------------------------

    def _handle(self, key: Hashable, fill: Callable[[_Known], None]) -> "TallyHandle":
        handle = self._handles.get(key)
        if handle is not None:
            return handle
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known(key, Tally(self._columns.column(np.int64)))
            fill(known)
        handle = self._handles[key] = TallyHandle(known.tally)
        weakref.finalize(handle, self._released.append, key).atexit = False
        self._tidy()
        return handle

    def _tidy(self) -> None:
        """Let go of tallies that nobody has held for long. Done here, since a handle may die in the middle of anything."""
        while self._released:
            self._idle[self._released.pop()] = None
        while len(self._idle) > IDLE_TALLIES:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            if oldest not in self._handles and oldest in self._known:
                self._drop(self._known.pop(oldest))

    def _drop(self, known: _Known) -> None:
        if known.selections:
            self._selecting.remove(known.selections[0], known)
        for sort in self._sorts.values():
            if known.tally in sort.tallies:
                sort.tallies.remove(known.tally)
        self._columns.drop(known.tally.counts)

    def _select(self, known: _Known, selections: tuple[Selection, ...], *, steady: bool) -> None:
        known.selections, known.steady = selections, steady
        self._selecting.add(selections[0], known)
        for sort in self._sorts.values():
            if self._belongs(sort, known):
                self._join(sort, known.tally)

    def _feature(self, known: _Known, feature: Feature) -> None:
        known.feature = feature
        for sort in self._having.get(feature, {}).values():
            self._join(sort, known.tally)

    def _belongs(self, sort: Sort, known: _Known) -> bool:
        if known.steady and sort.terminating:
            return False
        theirs = self._namespaces.get(sort.namespace)
        return all(one.matches(sort.namespace, sort.labels, theirs) for one in known.selections)

    @staticmethod
    def _join(sort: Sort, tally: Tally, sign: int = 1) -> None:
        counts = tally.counts.values
        for row, number in sort.rows.items():
            counts[row] += sign * number
            tally.total += sign * number
        if sign > 0:
            sort.tallies.append(tally)
        else:
            sort.tallies.remove(tally)

    # -- sorts ---------------------------------------------------------------------------------------------------------

    def _sort(self, info: PodInfo) -> Sort:
        meta = info.pod.metadata
        features = () if self._silent in info.template.notes else self._described(info)
        labels = tuple(meta.labels.items()) if meta.labels else ()
        key = (meta.namespace, labels, meta.deletion_timestamp is None, features)
        return self._sorts.get(key) or self._new_sort(Sort(key, info, features))

    def _described(self, info: PodInfo) -> tuple[Feature, ...]:
        """What all describers say of a pod. Whether they say anything at all is a matter of its template."""
        features = tuple(dict.fromkeys([one for features in self._describing.values() for one in features(info)]))
        if not features:
            info.template.notes[self._silent] = True
        return features

    def _new_sort(self, sort: Sort) -> Sort:
        self._sorts[sort.key] = sort
        for feature in sort.features:
            having = self._having.setdefault(feature, {})
            if not having and feature.means is not None:
                self._caring.add(feature.means, feature)
            having[sort.key] = sort
            known = self._known.get(feature)
            if known is not None:
                sort.tallies.append(known.tally)
        if self._selecting:
            belonging = [known for known in self._selecting.candidates(sort.labels) if self._belongs(sort, known)]
            sort.tallies += [known.tally for known in belonging]
        return sort

    def _end_sort(self, sort: Sort) -> None:
        del self._sorts[sort.key]
        for feature in sort.features:
            having = self._having[feature]
            having.pop(sort.key, None)
            if not having:
                del self._having[feature]
                if feature.means is not None:
                    self._caring.remove(feature.means, feature)

    # -- pods come and go (ClusterListener) ------------------------------------------------------------------------------

    def pod_placed(self, info: PodInfo, node: str) -> None:
        row = self._columns.row_of.get(node)
        if row is not None:
            self._put(info, row)

    def _put(self, info: PodInfo, row: int) -> None:
        sort = self._sort(info)
        self._places[info.uid] = sort, row
        sort.rows[row] = sort.rows.get(row, 0) + 1
        for tally in sort.tallies:
            tally.counts.values[row] += 1
            tally.total += 1

    def _take(self, uid: str) -> None:
        place = self._places.pop(uid, None)
        if place is None:
            return
        sort, row = place
        sort.rows[row] -= 1
        if not sort.rows[row]:
            del sort.rows[row]
        for tally in sort.tallies:
            tally.counts.values[row] -= 1
            tally.total -= 1
        if not sort.rows:
            self._end_sort(sort)

    def pod_updated(self, info: PodInfo, node: str) -> None:
        place = self._places.get(info.uid)
        if place is None or self._sort(info) is place[0]:
            return
        self._take(info.uid)
        self._put(info, place[1])
        self._columns.touch(place[1], Change.PODS)

    def pod_removed(self, info: PodInfo, node: str) -> None:
        self._take(info.uid)

    def node_set(self, row: int, node: Node, changes: int) -> None:
        if changes & Change.NODE:
            for placed in self._cluster.pods_on(node.name):
                self._put(placed.info, row)

    def node_removed(self, name: str) -> None:
        for placed in self._cluster.pods_on(name):
            self._take(placed.info.uid)

    # -- namespaces ----------------------------------------------------------------------------------------------------

    def follow_namespaces(self) -> None:
        """Have namespaces watched; for plugins whose terms select them by labels."""
        kept = self._cluster.shared(Objects).of(NAMESPACES, Happening.NAMESPACE)
        if self._namespace not in kept.hearing:
            kept.hearing.append(self._namespace)

    def _namespace(self, one: Namespace, there: bool) -> None:
        self.set_namespace(one.name, one.labels if there else None)

    def set_namespace(self, name: str, labels: Labels | None) -> None:
        """A namespace's labels; None when it is gone."""
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = dict(labels)
        moving = [one for one in self._known.values() if any(selection.reads_namespaces for selection in one.selections)]
        for sort in list(self._sorts.values()):
            if moving and sort.namespace == name:
                self._sort_again(sort, moving)

    def _sort_again(self, sort: Sort, moving: list[_Known]) -> None:
        for known in moving:
            belongs, counted = self._belongs(sort, known), known.tally in sort.tallies
            if belongs != counted:
                self._join(sort, known.tally, 1 if belongs else -1)
                for row in sort.rows:
                    self._columns.touch(row, Change.PODS)


class TallyHandle:
    """Keeps a tally alive."""

    __slots__ = ("__weakref__", "tally")

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
