"""The manager as one process: what it reads, who works on it, in which order it starts.

Informers and webhooks run on every replica; the controllers only on the leader, on caches that are warm already.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

import msgspec

from koordinator.api import features
from koordinator.api.core import ConfigMap, Node
from koordinator.api.meta import Object, ObjectMeta
from koordinator.api.registry import (
    CLUSTER_COLOCATION_PROFILES,
    CONFIG_MAPS,
    ELASTIC_QUOTA_PROFILES,
    ELASTIC_QUOTAS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SECRETS,
    Resource,
)
from koordinator.clock import Clock
from koordinator.errors import readable
from koordinator.kube.client import Client
from koordinator.kube.config import load
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeaderElector, make_identity
from koordinator.kube.store import Store
from koordinator.manager import health
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.changes import SpecObject
from koordinator.manager.controllers.complaints import Complaints
from koordinator.manager.controllers.noderesource import NodeResources
from koordinator.manager.controllers.nodewriter import TOPOLOGIES, NodeWriter
from koordinator.manager.controllers.pernode import METRICS, SLOS, MetricObject, PerNode, metric_spec, slo_spec
from koordinator.manager.controllers.quotaprofile import QuotaProfiles
from koordinator.manager.metrics import Metrics
from koordinator.manager.priorities import ensure_priority_classes
from koordinator.manager.webhooks.configmaps import ConfigWebhooks
from koordinator.manager.webhooks.nodes.handlers import mutate_status
from koordinator.manager.webhooks.pods.handlers import PodWebhooks
from koordinator.manager.webhooks.quotas.handlers import QuotaWebhooks
from koordinator.manager.webhooks.quotas.rules import Rules
from koordinator.manager.webhooks.quotas.topology import Topology as QuotaTopology
from koordinator.manager.webhooks.registration import MUTATING, QUOTA_PATH, VALIDATING, Endpoint
from koordinator.manager.webhooks.server import Handler, WebhookServer
from koordinator.manager.webhooks.service import Names, WebhookService
from koordinator.manager.webhooks.view import InformerView, PodsByQuota

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)


class ManagerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``webhook_host`` is how the API server reaches us; empty means through the Service ``webhook_service``."""

    kubeconfig: str | None = None
    master: str | None = None
    webhook_host: str = "127.0.0.1"
    webhook_address: str = "127.0.0.1"
    webhook_port: int = 0
    webhook_service: str = "koordinator-webhook-service"
    webhook_names: Names = Names()
    leader_elect: bool = False
    leader_election_namespace: str = "koordinator-system"
    config_namespace: str = "koordinator-system"
    config_name: str = "slo-controller-config"
    node_strategy_name_need_check: bool = False
    rules_namespace: str = "koordinator-system"
    rules_name: str = "pod-enhanced-validator-config"
    feature_gates: str = ""
    noderesource_plugins: tuple[str, ...] = ("*",)
    http_address: str = "127.0.0.1"
    http_port: int | None = None
    """Where /metrics, /healthz and /readyz are served; None for nowhere, 0 for any free port."""


async def run(options: ManagerOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until cancelled. ``on_ready`` is called once, when caches are warm and webhooks registered."""
    gates = features.MANAGER.parse(options.feature_gates)
    config = msgspec.structs.replace(load(options.kubeconfig, options.master), user_agent="koordinator-manager")
    async with Client(config, clock) as client:
        try:
            await Manager(client, clock, options, gates).run(on_ready)
        except ExceptionGroup as group:
            raise readable(group) or group from None


class Manager:
    """All parts, put together on any store."""

    def __init__(self, store: Store, clock: Clock, options: ManagerOptions, gates: frozenset[str]) -> None:
        self._store, self._clock, self._options, self._gates = store, clock, options, gates
        self.metrics = Metrics()
        self.config = ConfigCache()
        self.ready = False
        self.http_port = 0
        self._informers: list[Informer[Any]] = []
        self._nodes = self._follow(NODES)
        self._pods = self._follow(PODS)
        self._recorder = Recorder(store, "koord-manager", clock)
        self._controllers = self._wire_controllers()
        self._webhooks = self._wire_webhooks() if "WebhookFramework" in gates else None

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with contextlib.AsyncExitStack() as stack:
            address, port = self._options.http_address, self._options.http_port
            if port is not None:
                probes = health.serving(address, port, self.metrics.text, lambda: self.ready)
                self.http_port = await stack.enter_async_context(probes)
            await self._serve(on_ready)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for job in [self._recorder.run(), *(informer.run() for informer in self._informers)]:
                tasks.create_task(job)
            for informer in self._informers:
                await informer.synced()
            self._config_changed()
            await ensure_priority_classes(self._store)
            tasks.create_task(self._lead())
            try:
                if self._webhooks is not None:
                    await self._start_webhooks(self._webhooks)
                    tasks.create_task(self._webhooks.run())
                self.ready = True
                on_ready()
                await asyncio.Event().wait()
            finally:
                self.ready = False
                if self._webhooks is not None:
                    await self._webhooks.stop()

    def _follow(self, resource: Resource[T], namespace: str = "", name: str = "") -> Informer[T]:
        """An informer on a collection, or on one named object of it."""
        field = f"metadata.name={name}" if name else ""
        informer = Informer(self._store, resource, clock=self._clock, namespace=namespace, field_selector=field)
        self._informers.append(informer)
        return informer

    def _warn(self, obj: Object, reason: str, message: str) -> None:
        self._recorder.event(obj, "Warning", reason, message)

    # --- controllers -------------------------------------------------------------------------------------------------------

    def _wire_controllers(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        metrics, slos = self._follow(METRICS), self._follow(SLOS)
        self._config_map = self._follow(CONFIG_MAPS, self._options.config_namespace, self._options.config_name)
        complaints = Complaints(self._warn)
        writer = NodeWriter(self._store, complaints, self.metrics.node_resources)
        plugins = self._options.noderesource_plugins
        self._resources = NodeResources(writer, self._clock, self.config, complaints, plugins)
        self._metric_objects = PerNode(
            self._store, self._clock, METRICS, metric_spec(self.config), (self._nodes.get, metrics.get)
        )
        self._slo_objects = PerNode(
            self._store, self._clock, SLOS, slo_spec(self.config, self._warn), (self._nodes.get, slos.get)
        )
        self._listen_to_nodes()
        topologies, resources = self._follow(TOPOLOGIES), self._resources
        self._pods.on(resources.pod_changed, resources.pod_moved, resources.pod_deleted)
        topologies.on(resources.topology_changed, lambda _, new: resources.topology_changed(new), resources.topology_deleted)
        metrics.on(resources.metric_changed, self._metric_updated, self._metric_deleted)
        slos.on(
            None,
            functools.partial(_mark_if_spec_changed, self._slo_objects),
            lambda slo: self._slo_objects.queue.add(slo.name),
        )
        self._config_map.on(self._config_changed, lambda _, new: self._config_changed(new))
        profiles = self._follow(ELASTIC_QUOTA_PROFILES)
        quotas = QuotaProfiles(self._store, self._clock, profiles.get, self._nodes.items, self._warn)
        profiles.on(quotas.changed, quotas.updated)
        return [self._resources.run, self._metric_objects.run, self._slo_objects.run, quotas.run]

    def _listen_to_slos(self, slos: Informer[SpecObject]) -> None:
        keeper = self._slo_objects
        slos.on(updated=functools.partial(_mark_if_spec_changed, keeper), deleted=lambda slo: keeper.queue.add(slo.name))

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
            self.metrics.node_gone(node.name)
            mark(node)

        self._nodes.on(self._resources.node_changed, updated, gone)
        self._nodes.on(mark)

    def _metric_updated(self, old: MetricObject, new: MetricObject) -> None:
        if old.status != new.status:
            self._resources.metric_changed(new)
        _mark_if_spec_changed(self._metric_objects, old, new)

    def _metric_deleted(self, metric: MetricObject) -> None:
        self._resources.metric_deleted(metric.name)
        self._metric_objects.queue.add(metric.name)

    def _config_changed(self, config_map: ConfigMap | None = None) -> None:
        """Read the configuration again. A deleted ConfigMap is no news: the last configuration stays."""
        if not self._config_map.has_synced and config_map is None:
            return
        found = config_map or next(iter(self._config_map.items()), None)
        outcome = self.config.sync((found.data or {}) if found else None)
        for problem in outcome.problems:
            self._warn(found or self._absent_config(), problem.reason, problem.message)
            log.warning("ConfigMap %s/%s: %s", self._options.config_namespace, self._options.config_name, problem.message)
        names = [node.name for node in self._nodes.items()]
        if outcome.colocation or outcome.ratios:
            self._resources.config_changed()
        if outcome.colocation:
            self._metric_objects.add_all(names)
        if outcome.slo:
            self._slo_objects.add_all(names)

    def _absent_config(self) -> ConfigMap:
        metadata = ObjectMeta(name=self._options.config_name, namespace=self._options.config_namespace)
        return ConfigMap(api_version="v1", kind="ConfigMap", metadata=metadata)

    async def _lead(self) -> None:
        if not self._options.leader_elect:
            await self._control()
            return
        namespace = self._options.leader_election_namespace
        elector = LeaderElector(self._store, namespace, "koordinator-manager", make_identity(), self._clock)
        await elector.run(self._control)

    async def _control(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for controller in self._controllers:
                tasks.create_task(controller())

    # --- webhooks ----------------------------------------------------------------------------------------------------------

    def _wire_webhooks(self) -> WebhookService:
        topology = self._quota_topology()
        use_default = "DisableDefaultQuota" not in self._gates
        view = InformerView(
            self._store,
            self._follow(CLUSTER_COLOCATION_PROFILES),
            self._follow(NAMESPACES),
            self._follow(PRIORITY_CLASSES),
            lambda pod: topology.infos.get(topology.of_pod(pod, use_default=use_default)),
        )
        if "EnablePodEnhancedValidator" in self._gates:
            rules = self._follow(CONFIG_MAPS, self._options.rules_namespace, self._options.rules_name)
            rules.on(view.rules_changed, lambda _, new: view.rules_changed(new), lambda _: view.rules_changed(None))
        pods = PodWebhooks(view, self._gates, self._clock, self.metrics.webhook_step)
        self._handlers = dict(self._served(pods, topology))
        names = self._options.webhook_names
        service = WebhookService(self._store, self._clock, WebhookServer(self._handlers), names)
        for resource, namespace, name in (
            (SECRETS, names.namespace, names.secret),
            (MUTATING, "", names.mutating),
            (VALIDATING, "", names.validating),
        ):
            self._follow(resource, namespace, name).on(service.poke, service.poke, service.poke)
        return service

    def _served(self, pods: PodWebhooks, topology: QuotaTopology) -> Iterable[tuple[str, Handler]]:
        if "PodMutatingWebhook" in self._gates:
            yield "/mutate-pod", pods.mutate
        if "PodValidatingWebhook" in self._gates:
            yield "/validate-pod", pods.validate
        if "NodeMutatingWebhook" in self._gates:
            yield "/mutate-node-status", mutate_status
        yield from self._served_quotas(topology)
        config = self._config_webhooks()
        if "NodeValidatingWebhook" in self._gates:
            yield "/validate-node", config.validate_node
        if "ConfigMapValidatingWebhook" in self._gates:
            yield "/validate-configmap", config.validate_config

    def _quota_topology(self) -> QuotaTopology:
        topology = QuotaTopology()
        quotas = self._follow(ELASTIC_QUOTAS)
        quotas.on(topology.heard, lambda _, new: topology.heard(new), lambda one: topology.drop(one.name))
        return topology

    def _served_quotas(self, topology: QuotaTopology) -> Iterable[tuple[str, Handler]]:
        webhooks = QuotaWebhooks(topology, Rules(topology, PodsByQuota(self._pods), self._gates))
        if "ElasticMutatingWebhook" in self._gates:
            yield f"/mutate-{QUOTA_PATH}", webhooks.mutate
        if "ElasticValidatingWebhook" in self._gates:
            yield f"/validate-{QUOTA_PATH}", webhooks.validate

    def _config_webhooks(self) -> ConfigWebhooks:
        options = self._options

        def data() -> dict[str, str]:
            return next((one.data or {} for one in self._config_map.items()), {})

        where = (options.config_namespace, options.config_name)
        return ConfigWebhooks(where, self._nodes.items, data, names_needed=options.node_strategy_name_need_check)

    async def _start_webhooks(self, service: WebhookService) -> None:
        options = self._options
        endpoint = Endpoint(
            options.webhook_host, options.webhook_port, options.webhook_names.namespace, options.webhook_service
        )
        await service.start(options.webhook_address, endpoint, tuple(self._handlers))


def _mark_if_spec_changed(keeper: PerNode, old: SpecObject, new: SpecObject) -> None:
    if old.spec != new.spec:
        keeper.queue.add(new.name)
