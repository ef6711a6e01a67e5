"""ElasticQuotaProfiles: the root quota of a tree is kept at what the profile's nodes have together."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import keys, numbers, quantity, quota, resources, selectors
from koordinator.api.core import Node
from koordinator.api.quantity import Quantity
from koordinator.api.quota import ElasticQuota, ElasticQuotaProfile
from koordinator.api.registry import ELASTIC_QUOTA_PROFILES, ELASTIC_QUOTAS
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.patches import merge_diff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue
from koordinator.manager.controllers.complaints import Tell

UNLIMITED = (2**63 - 1) // 2000
SETTLED, FAILED = 10.0, 2.0
"""Seconds until the next look."""

Amounts = dict[str, Quantity]
JsonObject = dict[str, Any]


def tree_id(profile: ElasticQuotaProfile) -> str:
    """The tree's id: the profile's label, else the FNV-1a hash of its name."""
    given = profile.labels.get(keys.QUOTA_TREE_ID)
    if given:
        return given
    digest = 0xCBF29CE484222325
    for byte in f"{profile.namespace}/{profile.name}".encode():
        digest = (digest ^ byte) * 0x100000001B3 & (2**64 - 1)
    return str(digest)


def wanted_quota(profile: ElasticQuotaProfile, nodes: Iterable[Node]) -> JsonObject:
    """Labels, annotations and spec that the profile's quota shall have. Raises ValueError naming what cannot be read."""
    total, unschedulable = totals(profile, nodes)
    names = quota.resource_keys(profile.annotations)
    labels = {
        keys.QUOTA_PROFILE: profile.name,
        **(profile.spec.quota_labels or {}),
        keys.QUOTA_TREE_ID: tree_id(profile),
        keys.QUOTA_IS_ROOT: "true",
    }
    annotations = {
        keys.QUOTA_TOTAL_RESOURCE: quota.TOTAL_RESOURCE.write(resources.texts(total)),
        keys.QUOTA_UNSCHEDULABLE_RESOURCE: quota.UNSCHEDULABLE_RESOURCE.write(resources.texts(unschedulable)),
    }
    spec = {
        "min": {name: str(total.get(name, quantity.ZERO)) for name in names},
        "max": {name: str(quantity.of(UNLIMITED)) for name in names},
    }
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def totals(profile: ElasticQuotaProfile, nodes: Iterable[Node]) -> tuple[Amounts, Amounts]:
    """What the profile's nodes have together, and how much of that cannot be scheduled to; both scaled."""
    try:
        selector = selectors.compile_(profile.spec.node_selector)
    except ValueError as err:
        raise ValueError(f"spec.nodeSelector: {err}") from err
    total: Amounts = {}
    unschedulable: Amounts = {}
    for node in nodes:
        if selector.matches(node.labels):
            amounts = resources.exact(node.status.allocatable)
            total = resources.add(total, amounts)
            if node.spec.unschedulable or not _ready(node):
                unschedulable = resources.add(unschedulable, amounts)
    ratio = _ratio(profile.spec.resource_ratio)
    return _scaled(total, ratio), _scaled(unschedulable, ratio)


def _ready(node: Node) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions or [])


def _ratio(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        ratio = numbers.decimal_float(text)
    except ValueError:
        return 1.0
    return ratio if math.isfinite(ratio) and 0 < ratio <= 1 else 1.0


def _scaled(amounts: Amounts, ratio: float | None) -> Amounts:
    if ratio is None:
        return amounts
    return {name: _scaled_one(name, amount, ratio) for name, amount in amounts.items()}


def _scaled_one(name: str, amount: Quantity, ratio: float) -> Quantity:
    if name == resources.CPU:
        return quantity.of_milli(int(amount.milli * ratio))
    form = quantity.BINARY_SI if name == resources.MEMORY else quantity.DECIMAL_SI
    return quantity.of(int(amount.value * ratio), form)


class QuotaProfiles:
    """Keeps the quotas of all profiles. ``get`` and ``nodes`` read the informers' caches."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        get: Callable[[str], ElasticQuotaProfile | None],
        nodes: Callable[[], Iterable[Node]],
        tell: Tell,
    ) -> None:
        self._store, self._get, self._nodes, self._tell = store, get, nodes, tell
        self.queue: WorkQueue[str] = WorkQueue("elasticquotaprofiles", clock)

    def changed(self, profile: ElasticQuotaProfile) -> None:
        self.queue.add(profile.key)

    def updated(self, old: ElasticQuotaProfile, new: ElasticQuotaProfile) -> None:
        if (old.spec, old.labels, old.annotations) != (new.spec, new.labels, new.annotations):
            self.queue.add(new.key)

    async def run(self) -> None:
        await self.queue.run(self._reconcile)

    async def _reconcile(self, key: str) -> float | None:
        """Returns seconds until the next look; None when the profile is gone (its quota stays)."""
        profile = self._get(key)
        if profile is None:
            return None
        if not profile.labels.get(keys.QUOTA_TREE_ID):
            label = {"metadata": {"labels": {keys.QUOTA_TREE_ID: tree_id(profile)}}}
            await self._store.patch(ELASTIC_QUOTA_PROFILES, profile.name, label, profile.namespace)
        try:
            wanted = wanted_quota(profile, self._nodes())
        except ValueError as err:
            self._tell(profile, "InvalidElasticQuotaProfile", str(err))
            return SETTLED
        existing = await self._existing(profile)
        verb = "update" if existing else "create"
        try:
            await self._write(profile, existing, wanted)
        except ApiError as err:
            self._tell(profile, f"{verb.capitalize()}QuotaFailed", f"failed to {verb} quota, err: {err}")
            return FAILED
        return SETTLED

    async def _existing(self, profile: ElasticQuotaProfile) -> ElasticQuota | None:
        try:
            return await self._store.get(ELASTIC_QUOTAS, profile.spec.quota_name, profile.namespace)
        except NotFound:
            return None

    async def _write(self, profile: ElasticQuotaProfile, existing: ElasticQuota | None, wanted: JsonObject) -> None:
        name, namespace = profile.spec.quota_name, profile.namespace
        if existing is None:
            metadata = {"name": name, "namespace": namespace, **wanted["metadata"]}
            await self._store.create(ELASTIC_QUOTAS, {**wanted, "metadata": metadata}, namespace)
        elif patch := quota_patch(existing, wanted):
            await self._store.patch(ELASTIC_QUOTAS, name, patch, namespace)


def quota_patch(existing: ElasticQuota, wanted: JsonObject) -> JsonObject:
    """What has to change in a quota that is there: labels and annotations of others stay, min and max are replaced."""
    metadata: JsonObject = {}
    for kind, found in (("labels", existing.labels), ("annotations", existing.annotations)):
        if changed := _changed(found, wanted["metadata"][kind]):
            metadata[kind] = changed
    spec = merge_diff(msgspec.to_builtins(existing.spec), wanted["spec"])
    return {**({"metadata": metadata} if metadata else {}), **({"spec": spec} if spec else {})}


def _changed(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in wanted.items() if found.get(key) != text}
