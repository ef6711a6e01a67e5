"""The objects that tell the API server which questions to ask us: written from templates, kept current with our CA.

What an administrator's chart ships stays the source: the list as first found is remembered in the annotation ``template``, and
entries that we do not serve are left out of the live list. Where nothing is shipped, our own templates are used.
"""

import base64
from collections.abc import Collection
from typing import Any

import msgspec

from koordinator.api import keys
from koordinator.api.meta import Object
from koordinator.api.registry import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, Resource
from koordinator.kube.errors import AlreadyExists, NotFound
from koordinator.kube.store import Store

TEMPLATE = "template"
JsonObject = dict[str, Any]


class WebhookConfiguration(Object):
    webhooks: list[JsonObject] | None = None


_GROUP, _VERSION = MUTATING_WEBHOOKS.group, MUTATING_WEBHOOKS.version
MUTATING = Resource(
    _GROUP, _VERSION, MUTATING_WEBHOOKS.plural, MUTATING_WEBHOOKS.kind, type=WebhookConfiguration, namespaced=False
)
VALIDATING = Resource(
    _GROUP, _VERSION, VALIDATING_WEBHOOKS.plural, VALIDATING_WEBHOOKS.kind, type=WebhookConfiguration, namespaced=False
)


class Endpoint(msgspec.Struct, frozen=True):
    """How the API server reaches us: by URL where ``host`` is set, else through a Service."""

    host: str = ""
    port: int = 9876
    namespace: str = "koordinator-system"
    service: str = "koordinator-webhook-service"

    @property
    def name(self) -> str:
        """What our certificate must be made out to."""
        return self.host or f"{self.service}.{self.namespace}.svc"

    def client_config(self, path: str, ca: bytes) -> JsonObject:
        """``ca`` empty: somebody else (cert-manager) fills in the bundle."""
        bundle = {"caBundle": base64.b64encode(ca).decode()} if ca else {}
        if self.host:
            host = f"[{self.host}]" if ":" in self.host else self.host
            return {**bundle, "url": f"https://{host}:{self.port}{path}"}
        return {**bundle, "service": {"namespace": self.namespace, "name": self.service, "path": path, "port": 443}}


def _rule(resource: str, operations: list[str]) -> JsonObject:
    group_version, _, plural = resource.rpartition("//")
    group, _, version = (group_version or "/v1").rpartition("/")
    return {"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [plural]}


def _entry(name: str, path: str, rule: JsonObject, **more: Any) -> JsonObject:
    return {
        "name": f"{name}.koordinator.sh",
        "admissionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": {"service": {"path": path}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "rules": [rule],
        **more,
    }


QUOTA_PATH = "scheduling-sigs-k8s-io-v1alpha1-elasticquota"
_QUOTAS = "scheduling.sigs.k8s.io/v1alpha1//elasticquotas"
_OTHERS: JsonObject = {"namespaceSelector": {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]}}
_MAY_FAIL: JsonObject = {"failurePolicy": "Ignore"}
_MARKED: JsonObject = {"objectSelector": {"matchLabels": {keys.MUTATING_UPDATE: "true"}}}
_OUR_CONFIG: JsonObject = {
    "objectSelector": {
        "matchExpressions": [{"key": keys.CONFIG_MAP_TYPE, "operator": "In", "values": ["slo-controller-config"]}]
    }
}
_CREATE, _UPDATE, _WRITE = ["CREATE"], ["UPDATE"], ["CREATE", "UPDATE"]
_ANY = [*_WRITE, "DELETE"]

MUTATING_TEMPLATE = (
    _entry("mpod-create", "/mutate-pod", _rule("pods", _CREATE), **_OTHERS),
    _entry("mpod-update", "/mutate-pod", _rule("pods", _UPDATE), **_OTHERS, **_MARKED),
    _entry("melasticquota", f"/mutate-{QUOTA_PATH}", _rule(_QUOTAS, _CREATE)),
    _entry("mreservation-create", "/mutate-reservation", _rule("scheduling.koordinator.sh/v1alpha1//reservations", _CREATE)),
    _entry("mnode-status", "/mutate-node-status", _rule("nodes/status", _WRITE), **_MAY_FAIL),
)
VALIDATING_TEMPLATE = (
    _entry("vpod", "/validate-pod", _rule("pods", _WRITE), **_OTHERS),
    _entry("vpodbinding", "/validate-pod-binding", _rule("pods/binding", _CREATE), **_MAY_FAIL),
    _entry("velasticquota", f"/validate-{QUOTA_PATH}", _rule(_QUOTAS, _ANY)),
    _entry("vnode", "/validate-node", _rule("nodes", _WRITE), **_MAY_FAIL),
    _entry("vconfigmap", "/validate-configmap", _rule("configmaps", _ANY), **_OUR_CONFIG),
)


def path_of(entry: JsonObject) -> str:
    """The path that an entry calls, whichever way it is written."""
    config = entry.get("clientConfig") or {}
    if url := config.get("url"):
        _, _, rest = str(url).partition("://")
        return "/" + rest.partition("/")[2]
    return str((config.get("service") or {}).get("path") or "")


def live_entries(template: Collection[JsonObject], paths: Collection[str], endpoint: Endpoint, ca: bytes) -> list[JsonObject]:
    """The entries that we serve, pointing at us."""
    return [
        {**entry, "clientConfig": endpoint.client_config(path_of(entry), ca)} for entry in template if path_of(entry) in paths
    ]


class Registrar:
    """Keeps the two configuration objects as they should be."""

    def __init__(self, store: Store, endpoint: Endpoint, paths: Collection[str], names: tuple[str, str]) -> None:
        self._store, self._endpoint, self._paths = store, endpoint, paths
        self._objects = ((MUTATING, names[0], MUTATING_TEMPLATE), (VALIDATING, names[1], VALIDATING_TEMPLATE))

    async def ensure(self, ca: bytes) -> None:
        """Create or correct both. Writes nothing when nothing is wrong. Raises ApiError."""
        for resource, name, template in self._objects:
            await self._ensure(resource, name, list(template), ca)

    async def _ensure(self, resource: Resource[WebhookConfiguration], name: str, own: list[JsonObject], ca: bytes) -> None:
        found = await self._found_or_created(resource, name, own, ca)
        template = _remembered(found) or found.webhooks or own
        wanted = live_entries(template, self._paths, self._endpoint, ca)
        if not ca:
            _keep_bundles(wanted, found.webhooks or [])
        if _comparable(found.webhooks) == _comparable(wanted) and TEMPLATE in found.annotations:
            return
        metadata = {"resourceVersion": found.metadata.resource_version, "annotations": {TEMPLATE: _text(template)}}
        await self._store.patch(resource, name, {"metadata": metadata, "webhooks": wanted})

    async def _found_or_created(
        self, resource: Resource[WebhookConfiguration], name: str, own: list[JsonObject], ca: bytes
    ) -> WebhookConfiguration:
        try:
            return await self._store.get(resource, name)
        except NotFound:
            pass
        try:
            return await self._store.create(resource, self._body(resource, name, own, ca))
        except AlreadyExists:  # another replica was faster
            return await self._store.get(resource, name)

    def _body(self, resource: Resource[Any], name: str, template: list[JsonObject], ca: bytes) -> JsonObject:
        return {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "annotations": {TEMPLATE: _text(template)}},
            "webhooks": live_entries(template, self._paths, self._endpoint, ca),
        }


def _remembered(found: WebhookConfiguration) -> list[JsonObject] | None:
    try:
        return msgspec.json.decode(found.annotations.get(TEMPLATE, ""), type=list[JsonObject])
    except msgspec.DecodeError:
        return None


def _keep_bundles(wanted: list[JsonObject], live: list[JsonObject]) -> None:
    """What somebody else has filled in stays."""
    bundles = {entry.get("name"): (entry.get("clientConfig") or {}).get("caBundle") for entry in live}
    for entry in wanted:
        if bundle := bundles.get(entry.get("name")):
            entry["clientConfig"]["caBundle"] = bundle


def _text(template: list[JsonObject]) -> str:
    return msgspec.json.encode(template, order="deterministic").decode()


def _comparable(entries: list[JsonObject] | None) -> list[tuple[Any, ...]]:
    """What we set in an entry; the API server adds defaults to the rest."""
    return [(entry.get("name"), entry.get("clientConfig")) for entry in entries or []]
