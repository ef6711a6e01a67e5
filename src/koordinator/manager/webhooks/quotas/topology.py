"""The quota tree as the webhook knows it: who is below whom, and which namespace belongs to which quota.

Names of quotas are unique across namespaces. Accepted requests are recorded at once, before an informer tells of them.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api import keys, quota, resources
from koordinator.api.annotations import Malformed
from koordinator.api.core import Pod
from koordinator.api.quantity import Quantity
from koordinator.api.quota import DEFAULT, ROOT, ElasticQuota

Amounts = dict[str, Quantity]


class Denied(ValueError):
    """A quota breaks a rule; the text is the protocol's."""


class Info(msgspec.Struct, frozen=True):
    """What the rules read of one quota."""

    name: str
    namespace: str
    parent: str
    is_parent: bool
    tree_id: str
    is_root: bool
    force: bool
    lent: bool
    min: Amounts
    max: Amounts
    guaranteed: Amounts
    namespaces: tuple[str, ...]


def info_of(one: ElasticQuota) -> Info:
    """Raises Denied when an amount or annotation cannot be read."""
    try:
        lower, upper = resources.exact(one.spec.min), resources.exact(one.spec.max)
    except ValueError as err:
        raise Denied(f"{one.name} {err}") from err
    return Info(
        name=one.name,
        namespace=one.namespace,
        parent=quota.parent(one.name, one.labels),
        is_parent=quota.IS_PARENT.read(one.labels),
        tree_id=quota.TREE_ID.read(one.labels),
        is_root=quota.IS_ROOT.read(one.labels),
        force=quota.ALLOW_FORCE_UPDATE.read(one.labels),
        lent=not quota.NOT_LENT.read(one.labels),
        min=lower,
        max=upper,
        guaranteed=resources.exact(_read(quota.GUARANTEED, one) or {}),
        namespaces=tuple(_read(quota.NAMESPACES, one) or ()),
    )


def _read(annotation: Any, one: ElasticQuota) -> Any:
    found = annotation.read(one.annotations)
    if isinstance(found, Malformed):
        raise Denied(f"{one.name} quota.Annotation[{annotation.key}]'s value is invalid: {found.reason}")
    return found


class Topology:
    """All known quotas."""

    def __init__(self) -> None:
        self.infos: dict[str, Info] = {}
        self.bound: dict[str, str] = {}

    def children(self, name: str) -> list[Info]:
        return [info for info in self.infos.values() if info.parent == name]

    def record(self, info: Info) -> None:
        self.drop(info.name)
        self.infos[info.name] = info
        for namespace in info.namespaces:
            self.bound[namespace] = info.name

    def drop(self, name: str) -> None:
        self.infos.pop(name, None)
        for namespace in [namespace for namespace, owner in self.bound.items() if owner == name]:
            del self.bound[namespace]

    def heard(self, one: ElasticQuota) -> None:
        """An informer's word: recorded without checks; one that cannot be read is left as it was."""
        try:
            self.record(info_of(one))
        except ValueError:
            return

    def of_pod(self, pod: Pod, *, use_default: bool) -> str:
        """The name of a pod's quota: its label, else what its namespace belongs to."""
        named = quota.NAME.read(pod.labels)
        if named or not use_default:
            return named
        own = self.infos.get(pod.namespace)
        if own is not None and own.namespace == pod.namespace:
            return own.name
        return self.bound.get(pod.namespace, DEFAULT)

    def summary(self) -> dict[str, Any]:
        """For the debug endpoint."""
        infos = {
            name: {
                "name": name,
                "parentName": info.parent,
                "isParent": info.is_parent,
                "allowLentResource": info.lent,
                "max": resources.texts(info.max),
                "min": resources.texts(info.min),
            }
            for name, info in self.infos.items()
        }
        parents = {info.parent for info in self.infos.values()}
        return {
            "quotaInfoMap": infos,
            "quotaHierarchyInfo": {name: sorted(child.name for child in self.children(name)) for name in sorted(parents)},
        }


def fill_defaults(topology: Topology, body: dict[str, Any], one: ElasticQuota) -> None:
    """Complete a new quota in place: parent, tree, weight. Raises Denied."""
    if one.name == ROOT:
        return
    labels, annotations = dict(one.labels), dict(one.annotations)
    labels[keys.QUOTA_PARENT] = parent = labels.get(keys.QUOTA_PARENT) or ROOT
    if not labels.get(keys.QUOTA_TREE_ID) and parent != ROOT:
        known = topology.infos.get(parent)
        if known is None:
            raise Denied(f"fill quota {one.name} failed, parent not exist")
        if known.tree_id:
            labels[keys.QUOTA_TREE_ID] = known.tree_id
    annotations[keys.QUOTA_SHARED_WEIGHT] = _weight(one)
    body["metadata"] = {**(body.get("metadata") or {}), "labels": labels, "annotations": annotations}


def _weight(one: ElasticQuota) -> str:
    """The shared weight with the keys of max: missing ones from max, others dropped."""
    upper: Mapping[str, Any] = one.spec.max or {}
    given = quota.SHARED_WEIGHT.read(one.annotations)
    if isinstance(given, Malformed):
        raise Denied(f"fillDefaultQuotaInfo unmarshal sharedWeight failed:{given.reason}")
    weights = {name: (given or {}).get(name, amount) for name, amount in upper.items()}
    return quota.SHARED_WEIGHT.write(resources.texts(resources.exact(weights)))
