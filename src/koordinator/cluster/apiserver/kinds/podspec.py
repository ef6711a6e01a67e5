"""Pod specs, in pods and in templates: what the API server refuses."""

from collections.abc import Iterable, Iterator
from typing import Any

from koordinator.api import quantity
from koordinator.cluster.apiserver.kinds.base import Json
from koordinator.cluster.apiserver.kinds.metadata import label_error, label_errors, qualified_error
from koordinator.cluster.apiserver.refusals import FieldError, duplicate, required, unsupported, wrong

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def errors(spec: Json, path: str = "spec") -> Iterator[FieldError]:
    """What is wrong with a pod spec whose defaults are filled in."""
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    seen: set[str] = set()
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from _container_errors(container, f"{path}.{field}[{index}]", volumes, seen)
    yield from _choice(spec, "restartPolicy", _RESTART, path)
    yield from _choice(spec, "dnsPolicy", _DNS, path)
    if (seconds := spec.get("activeDeadlineSeconds")) is not None and seconds < 1:
        yield wrong(f"{path}.activeDeadlineSeconds", seconds, "must be between 1 and 2147483647, inclusive")
    if labels := spec.get("nodeSelector"):
        yield from label_errors(labels, f"{path}.nodeSelector")
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration_errors(toleration, f"{path}.tolerations[{index}]")
    if affinity := spec.get("affinity"):
        yield from _node_affinity_errors(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")


def _choice(obj: Json, field: str, values: tuple[str, ...], path: str) -> Iterator[FieldError]:
    value = obj.get(field)
    if value is not None and value not in values:
        yield unsupported(f"{path}.{field}", value, values)


def _container_errors(container: Json, path: str, volumes: set[Any], seen: set[str]) -> Iterator[FieldError]:
    name = container.get("name", "")
    if not name:
        yield required(f"{path}.name")
    elif name in seen:
        yield duplicate(f"{path}.name", name)
    elif why := label_error(name):
        yield wrong(f"{path}.name", name, why)
    seen.add(name)
    if not container.get("image"):
        yield required(f"{path}.image")
    yield from _choice(container, "imagePullPolicy", _PULL, path)
    for index, port in enumerate(container.get("ports") or ()):
        yield from _port_errors(port, f"{path}.ports[{index}]")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            where = f"{path}.volumeMounts[{index}].name"
            yield FieldError(where, "FieldValueNotFound", f'Not found: "{mount.get("name", "")}"')
    if resources := container.get("resources"):
        yield from _resource_errors(resources, f"{path}.resources")


def _port_errors(port: Json, path: str) -> Iterator[FieldError]:
    number = port.get("containerPort") or 0
    if not 1 <= number <= 65535:
        yield (
            wrong(f"{path}.containerPort", number, "must be between 1 and 65535, inclusive")
            if number
            else required(f"{path}.containerPort")
        )
    yield from _choice(port, "protocol", _PROTOCOLS, path)


def _resource_errors(resources: Json, path: str) -> Iterator[FieldError]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for field, amounts in (("requests", requests), ("limits", limits)):
        for name, text in amounts.items():
            yield from _amount_errors(name, text, f"{path}.{field}")
    for name, text in requests.items():
        limit = limits.get(name)
        if limit is None:
            if _is_extended(name):
                yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif text != limit:
            asked, most = quantity.parse(text), quantity.parse(limit)
            if _is_extended(name) and asked != most:
                yield wrong(f"{path}.requests", text, f"must be equal to {name} limit of {limit}")
            elif most < asked:
                yield wrong(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}")


def _amount_errors(name: str, text: str, path: str) -> Iterator[FieldError]:
    if name in _STANDARD:
        pass
    elif why := qualified_error(name):
        yield wrong(f"{path}[{name}]", name, why)
    elif "/" not in name and not name.startswith("hugepages-"):
        yield wrong(f"{path}[{name}]", name, "must be a standard resource for containers")
    amount = quantity.parse(text)
    if amount.nano < 0:
        yield wrong(f"{path}[{name}]", text, "must be greater than or equal to 0")
    elif amount.nano % quantity.NANO and _is_extended(name):
        yield wrong(f"{path}[{name}]", text, "must be an integer")


def _is_extended(name: str) -> bool:
    """Resources of a domain other than Kubernetes' own cannot be overcommitted."""
    return "/" in name and "kubernetes.io/" not in name


def _toleration_errors(toleration: Json, path: str) -> Iterator[FieldError]:
    operator = toleration.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        yield unsupported(f"{path}.operator", operator, ("Equal", "Exists"))
    elif operator == "Exists" and toleration.get("value"):
        yield wrong(f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'")
    elif operator == "Equal" and not toleration.get("key"):
        yield wrong(
            f"{path}.operator",
            operator,
            "operator must be Exists when `key` is empty, which means match all values and all keys",
        )
    effect = toleration.get("effect")
    if effect and effect not in _EFFECTS:
        yield unsupported(f"{path}.effect", effect, _EFFECTS)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield wrong(f"{path}.effect", effect or "", "effect must be 'NoExecute' when `tolerationSeconds` is set")


def _node_affinity_errors(affinity: Json, path: str) -> Iterator[FieldError]:
    hard = "requiredDuringSchedulingIgnoredDuringExecution"
    soft = "preferredDuringSchedulingIgnoredDuringExecution"
    if hard in affinity and affinity[hard] is not None:
        terms = affinity[hard].get("nodeSelectorTerms") or []
        if not terms:
            yield required(f"{path}.{hard}.nodeSelectorTerms", "must have at least one node selector term")
        for index, term in enumerate(terms):
            yield from _term_errors(term, f"{path}.{hard}.nodeSelectorTerms[{index}]")
    for index, preferred in enumerate(affinity.get(soft) or ()):
        weight = preferred.get("weight", 0)
        if not 1 <= weight <= 100:
            yield wrong(f"{path}.{soft}[{index}].weight", weight, "must be in the range 1-100")
        yield from _term_errors(preferred.get("preference") or {}, f"{path}.{soft}[{index}].preference")


def _term_errors(term: Json, path: str) -> Iterator[FieldError]:
    for index, need in enumerate(term.get("matchExpressions") or ()):
        yield from _requirement_errors(need, f"{path}.matchExpressions[{index}]")


def _requirement_errors(need: Json, path: str) -> Iterable[FieldError]:
    operator, values = need.get("operator", ""), need.get("values") or []
    if operator not in _SELECTOR_OPERATORS:
        yield wrong(f"{path}.operator", operator, "not a valid selector operator")
    elif operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist") and values:
        yield FieldError(
            f"{path}.values",
            "FieldValueForbidden",
            "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )
    elif operator in ("Gt", "Lt") and len(values) != 1:
        yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    if why := qualified_error(need.get("key", "")):
        yield wrong(f"{path}.key", need.get("key", ""), why)
