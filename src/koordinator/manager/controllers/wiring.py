"""The controllers of one manager, fed by its informers. ``running`` are those that the options leave on."""

import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from koordinator.api.core import ConfigMap, Node
from koordinator.api.meta import ObjectMeta
from koordinator.api.registry import (
    CLUSTER_COLOCATION_PROFILES,
    CONFIG_MAPS,
    DEVICES,
    ELASTIC_QUOTA_PROFILES,
    NAMESPACES,
    NODES,
)
from koordinator.kube.metrics import CountedQueue
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.changes import SpecObject
from koordinator.manager.controllers.colocationprofile import ProfileController, Seen
from koordinator.manager.controllers.complaints import Complaints, Tell
from koordinator.manager.controllers.noderesource import NodeResources, Settings, plugin_enabled
from koordinator.manager.controllers.nodewriter import TOPOLOGIES, NodeWriter
from koordinator.manager.controllers.pernode import METRICS, SLOS, MetricObject, PerNode, metric_spec, slo_spec
from koordinator.manager.controllers.quotaprofile import QuotaProfiles
from koordinator.manager.parts import Parts
from koordinator.manager.seen import pods_for

log = logging.getLogger(__name__)

Runner = Callable[[], Coroutine[Any, Any, None]]


class Controllers:
    """Made before the informers run; ``start`` once they have synced."""

    def __init__(self, parts: Parts, warn: Tell) -> None:
        self._parts, self._warn = parts, warn
        informers, options = parts.informers, parts.options
        self.config = ConfigCache()
        self._nodes = informers.follow(NODES)
        self._config_map = informers.follow(CONFIG_MAPS, options.config_namespace, options.config_name)
        self._pods = informers.follow(pods_for(parts.gates))
        self._resources = self._node_resources()
        self._metric_objects, self._slo_objects = self._per_node()
        self.queues: list[CountedQueue] = [self._resources.queue, self._metric_objects.queue, self._slo_objects.queue]
        self._listen_to_nodes()
        self._listen_to_the_rest()
        known: dict[str, Runner] = {
            "noderesource": self._resources.run,
            "nodemetric": self._metric_objects.run,
            "nodeslo": self._slo_objects.run,
            "quotaprofile": self._quota_profiles().run,
        }
        if "ColocationProfileController" in parts.gates:
            known["colocationprofile"] = self._profiles().run
        self.running = [run for name, run in known.items() if plugin_enabled(options.controllers, name)]

    def start(self) -> None:
        """Read the configuration as the caches have it; without a ConfigMap the defaults hold."""
        self._config_map.on(self._config_changed, lambda _, new: self._config_changed(new))
        if next(iter(self._config_map.items()), None) is None:
            self._config_changed(None)

    def config_data(self) -> dict[str, str]:
        """The ConfigMap's texts as they are now."""
        return next((one.data or {} for one in self._config_map.items()), {})

    # --- each controller ---------------------------------------------------------------------------------------------------

    def _node_resources(self) -> NodeResources:
        parts, metrics = self._parts, self._parts.metrics
        complaints = Complaints(self._warn)
        writer = NodeWriter(parts.store, complaints, metrics.node_resources, metrics)
        settings = Settings(parts.options.noderesource_plugins, "EnableSyncGPUSharedResource" in parts.gates, metrics.plugin)
        return NodeResources(writer, parts.clock, self.config, complaints, settings)

    def _per_node(self) -> tuple[PerNode, PerNode]:
        parts, count = self._parts, self._parts.metrics.reconciled
        metrics, slos = parts.informers.follow(METRICS), parts.informers.follow(SLOS)
        wanted_metric, wanted_slo = metric_spec(self.config, count), slo_spec(self.config, self._warn, count)
        return (
            PerNode(parts.store, parts.clock, METRICS, wanted_metric, (self._nodes.get, metrics.get), count),
            PerNode(parts.store, parts.clock, SLOS, wanted_slo, (self._nodes.get, slos.get), count),
        )

    def _quota_profiles(self) -> QuotaProfiles:
        parts = self._parts
        profiles = parts.informers.follow(ELASTIC_QUOTA_PROFILES)
        quotas = QuotaProfiles(parts.store, parts.clock, profiles.get, self._nodes.items, self._warn)
        profiles.on(quotas.changed, quotas.updated)
        self.queues.append(quotas.queue)
        return quotas

    def _profiles(self) -> ProfileController:
        parts, pods = self._parts, self._pods
        profiles, namespaces = parts.informers.follow(CLUSTER_COLOCATION_PROFILES), parts.informers.follow(NAMESPACES)
        pods.add_index("waiting", lambda pod: [] if pod.share.node else [""])

        def labels(name: str) -> dict[str, str] | None:
            found = namespaces.get(name)
            return None if found is None else found.labels

        seen = Seen(profiles.get, lambda: pods.by_index("waiting", ""), labels)
        controller = ProfileController(parts.store, parts.clock, seen, parts.options.profiles, self._warn)
        profiles.on(controller.changed, lambda _, new: controller.changed(new))
        self.queues.append(controller.queue)
        return controller

    # --- who hears of what -------------------------------------------------------------------------------------------------

    def _listen_to_nodes(self) -> None:
        def mark(node: Node) -> None:
            self._metric_objects.queue.add(node.name)
            self._slo_objects.queue.add(node.name)

        def updated(old: Node, new: Node) -> None:
            self._resources.node_changed(new)
            if (old.metadata.labels, old.metadata.annotations) != (new.metadata.labels, new.metadata.annotations):
                mark(new)

        def gone(node: Node) -> None:
            self._resources.node_deleted(node)
            self._parts.metrics.node_gone(node.name)
            mark(node)

        self._nodes.on(self._resources.node_changed, updated, gone)
        self._nodes.on(mark)

    def _listen_to_the_rest(self) -> None:
        resources, follow = self._resources, self._parts.informers.follow
        self._pods.on(resources.pod_changed, resources.pod_moved, resources.pod_deleted)
        follow(TOPOLOGIES).on(
            resources.topology_changed, lambda _, new: resources.topology_changed(new), resources.topology_deleted
        )
        follow(DEVICES).on(resources.device_changed, resources.device_updated, resources.device_deleted)
        follow(METRICS).on(resources.metric_changed, self._metric_updated, self._metric_deleted)
        slos = self._slo_objects
        follow(SLOS).on(None, functools.partial(_mark_if_spec_changed, slos), lambda slo: slos.queue.add(slo.name))

    def _metric_updated(self, old: MetricObject, new: MetricObject) -> None:
        if old.report != new.report:
            self._resources.metric_changed(new)
        _mark_if_spec_changed(self._metric_objects, old, new)

    def _metric_deleted(self, metric: MetricObject) -> None:
        self._resources.metric_deleted(metric.name)
        self._metric_objects.queue.add(metric.name)

    def _config_changed(self, found: ConfigMap | None) -> None:
        """Read the configuration again. A deleted ConfigMap is no news: the last configuration stays."""
        outcome = self.config.sync((found.data or {}) if found else None)
        options = self._parts.options
        for problem in outcome.problems:
            self._warn(found or self._absent_config(), problem.reason, problem.message)
            log.warning("ConfigMap %s/%s: %s", options.config_namespace, options.config_name, problem.message)
        names = [node.name for node in self._nodes.items()]
        if outcome.colocation or outcome.ratios:
            self._resources.config_changed()
        if outcome.colocation:
            self._metric_objects.add_all(names)
        if outcome.slo:
            self._slo_objects.add_all(names)

    def _absent_config(self) -> ConfigMap:
        metadata = ObjectMeta(name=self._parts.options.config_name, namespace=self._parts.options.config_namespace)
        return ConfigMap(api_version="v1", kind="ConfigMap", metadata=metadata)


def _mark_if_spec_changed(keeper: PerNode, old: SpecObject, new: SpecObject) -> None:
    if old.spec != new.spec:
        keeper.queue.add(new.name)
