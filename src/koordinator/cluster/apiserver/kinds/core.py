"""The smaller built-in kinds: namespaces, nodes, config, events, services, priority classes, disruption budgets."""

import base64
import binascii
from collections.abc import Iterator

from koordinator.api import core
from koordinator.api.meta import Object
from koordinator.cluster.apiserver.kinds import columns
from koordinator.cluster.apiserver.kinds.base import Column, Json, Kind, Rules, undecodable
from koordinator.cluster.apiserver.refusals import FieldError, Refused, forbidden_field, unsupported, wrong
from koordinator.kube.semantics import fields as selectable
from koordinator.kube.semantics import podspec as defaults

_HIGHEST_USER_PRIORITY = 1_000_000_000
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class NamespaceRules(Rules):
    columns = columns.NAMESPACES
    model = core.Namespace
    has_status = True
    label_names = True
    fields = selectable.NAMESPACES.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.NAMESPACES.read(obj)

    def default(self, obj: Json) -> None:
        if name := obj["metadata"].get("name"):
            obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name

    def prepare_create(self, obj: Json) -> None:
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, obj: Json, old: Json) -> None:
        obj["spec"] = old["spec"]


class NodeRules(Rules):
    columns = columns.NODES
    model = core.Node
    has_status = True
    fields = selectable.NODES.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.NODES.read(obj)

    def decode(self, obj: Json, kind: Kind, *, strict: bool = False) -> Json:
        obj = super().decode(obj, kind, strict=strict)
        status = obj.get("status") or {}
        try:
            for field in ("capacity", "allocatable"):
                defaults.canonical(status.get(field) or {}, f"status.{field}")
        except Refused as refusal:
            raise undecodable(kind, refusal.message) from None
        return obj

    def default(self, obj: Json) -> None:
        obj.setdefault("spec", {})
        status = obj.setdefault("status", {})
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])

    def validate(self, obj: Json) -> Iterator[FieldError]:
        for index, taint in enumerate(obj["spec"].get("taints") or ()):
            if taint.get("effect") not in _EFFECTS:
                yield unsupported(f"spec.taints[{index}].effect", taint.get("effect", ""), _EFFECTS)

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        for field in ("podCIDR", "providerID"):
            before = old["spec"].get(field)
            if before and obj["spec"].get(field) != before:
                yield forbidden_field(f"spec.{field}", "node updates may not change it once it is set")


class ConfigMapRules(Rules):
    columns: tuple[Column, ...] = columns.CONFIG_MAPS
    model: type[Object] = core.ConfigMap

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        if old.get("immutable"):
            for field in ("data", "binaryData", "immutable"):
                if obj.get(field) != old.get(field):
                    yield forbidden_field(field, "field is immutable when `immutable` is set")


class SecretRules(ConfigMapRules):
    columns = columns.SECRETS
    model = core.Secret
    fields = selectable.SECRETS.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.SECRETS.read(obj)

    def decode(self, obj: Json, kind: Kind, *, strict: bool = False) -> Json:
        obj = super().decode(obj, kind, strict=strict)
        for key, value in (obj.get("data") or {}).items():
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as err:
                raise undecodable(kind, f"data.{key}: illegal base64 data: {err}") from None
        return obj

    def default(self, obj: Json) -> None:
        obj.setdefault("type", "Opaque")
        if plain := obj.pop("stringData", None):
            encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
            obj["data"] = (obj.get("data") or {}) | encoded


class EventRules(Rules):
    columns = columns.EVENTS
    model = core.Event
    fields = selectable.EVENTS.names

    def index(self, obj: Json) -> dict[str, str]:
        return selectable.EVENTS.read(obj)

    def validate(self, obj: Json) -> Iterator[FieldError]:
        about = obj.get("involvedObject") or {}
        wanted, own = about.get("namespace") or "default", obj["metadata"].get("namespace")
        if wanted != own:
            yield wrong("involvedObject.namespace", about.get("namespace", ""), "does not match event.namespace")


class ServiceRules(Rules):
    columns = columns.SERVICES
    has_status = True
    label_names = True

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
        obj.setdefault("status", {"loadBalancer": {}})


class EndpointsRules(Rules):
    columns = columns.ENDPOINTS


class ServiceAccountRules(Rules):
    columns = columns.SERVICE_ACCOUNTS


class LeaseRules(Rules):
    columns = columns.LEASES
    model = core.Lease


class PriorityClassRules(Rules):
    columns = columns.PRIORITY_CLASSES
    model = core.PriorityClass

    def default(self, obj: Json) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
        obj.setdefault("value", 0)

    def validate(self, obj: Json) -> Iterator[FieldError]:
        name = obj["metadata"]["name"]
        if obj["value"] > _HIGHEST_USER_PRIORITY and not name.startswith("system-"):
            detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
            yield forbidden_field("value", detail)
        if obj["preemptionPolicy"] not in ("Never", "PreemptLowerPriority"):
            yield unsupported("preemptionPolicy", obj["preemptionPolicy"], ("Never", "PreemptLowerPriority"))

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        for field in ("value", "preemptionPolicy"):
            if obj[field] != old[field]:
                yield forbidden_field(field, "may not be changed in an update.")


class DisruptionBudgetRules(Rules):
    columns = columns.BUDGETS
    model = core.PodDisruptionBudget
    has_status = True
    generation = True

    def default(self, obj: Json) -> None:
        obj.setdefault("spec", {})

    def prepare_create(self, obj: Json) -> None:
        counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        obj["status"] = dict.fromkeys(counts, 0)

    def validate(self, obj: Json) -> Iterator[FieldError]:
        spec = obj["spec"]
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            yield wrong("spec", spec, "minAvailable and maxUnavailable cannot be both set")


class StatusRules(Rules):
    """Stored as it comes, with a status of its own."""

    has_status = True


class PathNameRules(Rules):
    """Stored as it comes, under any name (``system:node``)."""

    path_names = True
