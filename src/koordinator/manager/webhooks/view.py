"""What the webhooks know of the cluster: informers' caches, and a question to the API server where a cache may lag behind.

A pod is often created right after its namespace or priority class: not knowing them yet must not decide anything.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from koordinator.api import keys
from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import ConfigMap, Namespace, Pod, PriorityClass
from koordinator.api.meta import LabelSelector
from koordinator.api.quota import ElasticQuota, ElasticQuotaProfile
from koordinator.api.registry import NAMESPACES, PODS, PRIORITY_CLASSES
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store
from koordinator.manager.seen import SeenPod
from koordinator.manager.webhooks.pods.profiles import Compiled, compile_profile
from koordinator.manager.webhooks.pods.validate import Rule, enhanced_rules
from koordinator.manager.webhooks.quotas.admission import DEFAULT_RETRIES, QuotaAdmission, Retries, Settings
from koordinator.manager.webhooks.quotas.topology import Topology

JsonObject = dict[str, Any]

log = logging.getLogger(__name__)


class InformerView:
    """``pods.handlers.View`` over informers."""

    def __init__(
        self,
        store: Store,
        profiles: Informer[ClusterColocationProfile],
        namespaces: Informer[Namespace],
        priority_classes: Informer[PriorityClass],
        quotas: "Quotas",
    ) -> None:
        self._quotas = quotas
        self._store, self._namespaces, self._priority_classes = store, namespaces, priority_classes
        self._profiles: dict[str, Compiled] = {}
        self._rules: tuple[Rule, ...] = ()
        profiles.on(
            added=self._keep,
            updated=lambda _, new: self._keep(new),
            deleted=self._drop,
        )

    def _keep(self, profile: ClusterColocationProfile) -> None:
        self._profiles[profile.name] = compile_profile(profile)

    def _drop(self, profile: ClusterColocationProfile) -> None:
        self._profiles.pop(profile.name, None)

    def profiles(self) -> Collection[Compiled]:
        return self._profiles.values()

    async def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        namespace = self._namespaces.get(name)
        if namespace is None:
            try:
                namespace = await self._store.get(NAMESPACES, name)
            except ApiError:
                return None
        return namespace.labels

    async def priority_class(self, name: str) -> PriorityClass | None:
        """Raises ValueError when the API server cannot say."""
        found = self._priority_classes.get(name)
        if found is None:
            try:
                found = await self._store.get(PRIORITY_CLASSES, name)
            except NotFound:
                return None
            except ApiError as err:
                raise ValueError(f"priorityclasses {name} cannot be read: {err}") from err
        return found

    def pod_rules(self) -> tuple[Rule, ...]:
        return self._rules

    def parent_quota(self, pod: Pod) -> str:
        info = self._quotas.topology.infos.get(self._quotas.name_of(pod))
        return info.name if info is not None and info.is_parent else ""

    def pool_selector(self, pod: JsonObject) -> LabelSelector | None:
        return self._quotas.pool_selector(pod)

    async def quota_objection(self, operation: str, pod: Pod, old: Pod | None, *, charge: bool) -> str:
        return await self._quotas.admission.objection(operation, pod, old, charge=charge)

    def rules_changed(self, config: ConfigMap | None) -> None:
        """Take in the enhanced validator's ConfigMap; unreadable rules leave the old ones in force."""
        try:
            self._rules = enhanced_rules(config.data if config else None)
        except ValueError as err:
            name = config.key if config else ""
            log.warning("ConfigMap %s: data.rules cannot be read: %s; the rules before it stay in force", name, err)


class Quotas:
    """What pods' webhooks ask about quotas: the tree, the trees' node pools, the accounts."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        informers: tuple[Informer[ElasticQuota], Informer[ElasticQuotaProfile]],
        gates: frozenset[str],
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        quotas, self._profiles = informers
        self.topology = Topology()
        self._use_default = "DisableDefaultQuota" not in gates
        quotas.add_index("name", lambda one: [one.name])
        self._profiles.add_index("tree", lambda one: [tree] if (tree := one.labels.get(keys.QUOTA_TREE_ID)) else [])
        known = self.topology
        quotas.on(known.heard, lambda _, new: known.heard(new), lambda one: known.drop(one.name))

        def named(name: str) -> list[ElasticQuota]:
            return quotas.by_index("name", name)

        self.admission = QuotaAdmission(store, clock, named, self.name_of, Settings.of(gates), retries)

    def name_of(self, pod: Pod) -> str:
        return self.topology.of_pod(pod, use_default=self._use_default)

    def pool_selector(self, pod: JsonObject) -> LabelSelector | None:
        """Of several profiles of a tree the first by name counts."""
        metadata = pod.get("metadata") or {}
        name = (metadata.get("labels") or {}).get(keys.QUOTA_NAME) or metadata.get("namespace") or ""
        info = self.topology.infos.get(name) or self.topology.infos.get(self.topology.bound.get(name, ""))
        if info is None or not info.tree_id:
            return None
        profiles = sorted(self._profiles.by_index("tree", info.tree_id), key=lambda one: one.key)
        return profiles[0].spec.node_selector if profiles else None


class PodFinder:
    """A pod from the cache; from the API server where the cache may lag behind. None when there is none."""

    def __init__(self, store: Store, pods: Informer[SeenPod]) -> None:
        self._store, self._pods = store, pods

    async def find(self, namespace: str, name: str) -> Pod | None:
        cached = self._pods.get(f"{namespace}/{name}")
        if cached is not None:
            return cached
        try:
            return await self._store.get(PODS, name, namespace)
        except ApiError:
            return None


class PodsByQuota:
    """``quotas.rules.Pods`` over an informer, by index."""

    def __init__(self, pods: Informer[SeenPod]) -> None:
        self._pods = pods
        pods.add_index("quota", lambda pod: [name] if (name := pod.labels.get(keys.QUOTA_NAME)) else [])
        pods.add_index("namespace", lambda pod: [pod.namespace])

    def labelled(self, quota_name: str) -> list[str]:
        return sorted(pod.name for pod in self._pods.by_index("quota", quota_name))

    def any_in(self, namespaces: Iterable[str]) -> bool:
        return any(self._pods.by_index("namespace", namespace) for namespace in namespaces)
