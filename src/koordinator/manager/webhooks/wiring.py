"""The webhooks of one manager, fed by its informers: which paths are served under which gates, and by whom."""

from collections.abc import Callable, Iterator

from koordinator.api import quota, resources
from koordinator.api.quota import ElasticQuota
from koordinator.api.registry import (
    CLUSTER_COLOCATION_PROFILES,
    CONFIG_MAPS,
    ELASTIC_QUOTA_PROFILES,
    ELASTIC_QUOTAS,
    NAMESPACES,
    NODES,
    PRIORITY_CLASSES,
    SECRETS,
)
from koordinator.manager.parts import Parts
from koordinator.manager.seen import pods_for
from koordinator.manager.webhooks.admission import Answer, Request
from koordinator.manager.webhooks.bindings import BindingWebhook
from koordinator.manager.webhooks.configmaps import ConfigWebhooks
from koordinator.manager.webhooks.nodes.handlers import mutate_status
from koordinator.manager.webhooks.pods.handlers import PodWebhooks
from koordinator.manager.webhooks.quotas.handlers import QuotaWebhooks
from koordinator.manager.webhooks.quotas.rules import Rules
from koordinator.manager.webhooks.registration import MUTATING, QUOTA_PATH, VALIDATING, Endpoint
from koordinator.manager.webhooks.reservations import ReservationWebhook
from koordinator.manager.webhooks.server import Handler, WebhookServer
from koordinator.manager.webhooks.service import WebhookService
from koordinator.manager.webhooks.view import InformerView, PodFinder, PodsByQuota, Quotas

Served = Iterator[tuple[str, Handler]]


class Webhooks:
    """Made before the informers run; ``start`` once they have synced."""

    def __init__(self, parts: Parts, config: Callable[[], dict[str, str]]) -> None:
        self._parts = parts
        store, clock, informers, options = parts.store, parts.clock, parts.informers, parts.options
        quotas = informers.follow(ELASTIC_QUOTAS), informers.follow(ELASTIC_QUOTA_PROFILES)
        self._pods = informers.follow(pods_for(parts.gates))
        self._quotas = Quotas(store, clock, quotas, parts.gates, options.quota_retries)
        quotas[0].on(self._show_weight, lambda _, new: self._show_weight(new), lambda one: parts.metrics.quota_gone(one.name))
        view = self._view()
        self._handlers = dict(
            [*self._for_pods(view), *self._for_quotas(), *self._for_reservations(view), *self._for_config(config)]
        )
        webhook = options.webhook
        server = WebhookServer(self._handlers, {"/elasticQuota": self._quotas.topology.summary})
        self.service = WebhookService(store, clock, server, webhook.names, (webhook.cert_writer, webhook.cert_dir))
        self._listen_to_registration()

    async def start(self) -> None:
        """Serve and be registered. Raises Unavailable when that is not done in time."""
        webhook = self._parts.options.webhook
        endpoint = Endpoint(webhook.host, webhook.port, webhook.names.namespace, webhook.service)
        await self.service.start(webhook.address, endpoint, tuple(self._handlers))

    def _listen_to_registration(self) -> None:
        names, poke = self._parts.options.webhook.names, self.service.poke
        for resource, namespace, name in (
            (SECRETS, names.namespace, names.secret),
            (MUTATING, "", names.mutating),
            (VALIDATING, "", names.validating),
        ):
            self._parts.informers.follow(resource, namespace, name).on(poke, poke, poke)

    def _view(self) -> InformerView:
        follow, options = self._parts.informers.follow, self._parts.options
        view = InformerView(
            self._parts.store, follow(CLUSTER_COLOCATION_PROFILES), follow(NAMESPACES), follow(PRIORITY_CLASSES), self._quotas
        )
        if "EnablePodEnhancedValidator" in self._parts.gates:
            rules = follow(CONFIG_MAPS, options.rules_namespace, options.rules_name)
            rules.on(view.rules_changed, lambda _, new: view.rules_changed(new), lambda _: view.rules_changed(None))
        return view

    def _show_weight(self, one: ElasticQuota) -> None:
        try:
            weights = resources.exact(quota.shared_weight(one))
        except ValueError:  # the webhook refuses such; one that was there before has no weight to show
            return
        self._parts.metrics.shared_weight(one.name, {name: float(amount.value) for name, amount in weights.items()})

    # --- what is served ----------------------------------------------------------------------------------------------------

    def _for_pods(self, view: InformerView) -> Served:
        pods = PodWebhooks(view, self._parts.gates, self._parts.clock, self._parts.metrics.webhook_step)
        if "PodMutatingWebhook" in self._parts.gates:
            yield "/mutate-pod", pods.mutate
        if "PodValidatingWebhook" in self._parts.gates:
            yield "/validate-pod", pods.validate
            rules = self._parts.options.bindings if "BindingAdmissionWebhook" in self._parts.gates else None
            if rules is not None:
                find = PodFinder(self._parts.store, self._pods).find
                yield "/validate-pod-binding", BindingWebhook(rules, find, self._parts.metrics.binding_decision).validate

    def _for_quotas(self) -> Served:
        topology = self._quotas.topology
        webhooks = QuotaWebhooks(topology, Rules(topology, PodsByQuota(self._pods), self._parts.gates))
        if "ElasticMutatingWebhook" in self._parts.gates:
            yield f"/mutate-{QUOTA_PATH}", self._timed("mutate", "elasticquota", "QuotaMetaChecker", webhooks.mutate)
        if "ElasticValidatingWebhook" in self._parts.gates:
            yield f"/validate-{QUOTA_PATH}", self._timed("validate", "elasticquota", "QuotaMetaChecker", webhooks.validate)

    def _for_reservations(self, view: InformerView) -> Served:
        if "ReservationMutatingWebhook" in self._parts.gates:
            handler = ReservationWebhook(view).mutate
            yield "/mutate-reservation", self._timed("mutate", "reservation", "ClusterColocationProfile", handler)

    def _for_config(self, config: Callable[[], dict[str, str]]) -> Served:
        options, timed = self._parts.options, self._timed
        webhooks = ConfigWebhooks(
            (options.config_namespace, options.config_name),
            self._parts.informers.follow(NODES).items,
            config,
            names_needed=options.node_strategy_name_need_check,
        )
        if "NodeMutatingWebhook" in self._parts.gates:
            yield "/mutate-node-status", timed("mutate", "node", "NodeResourceAmplificationPlugin", mutate_status)
        if "NodeValidatingWebhook" in self._parts.gates:
            yield "/validate-node", timed("validate", "node", "SLOManagerConfigConflictForNode", webhooks.validate_node)
        if "ConfigMapValidatingWebhook" in self._parts.gates:
            yield "/validate-configmap", timed("validate", "configmap", "SLOConfig", webhooks.validate_config)

    def _timed(self, kind: str, obj: str, plugin: str, handler: Handler) -> Handler:
        """``handler``, with its time told to the metrics."""

        async def timed(request: Request) -> Answer:
            started = self._parts.clock.monotonic()
            answer = await handler(request)
            seconds = self._parts.clock.monotonic() - started
            self._parts.metrics.webhook(kind, obj, request.operation, plugin, allowed=answer.allowed, seconds=seconds)
            return answer

        return timed
