"""Pod specs, in pods and in templates: the defaults that the API server writes, and what it refuses."""

from collections.abc import Iterable, Iterator
from typing import Any

from koordinator.api import quantity
from koordinator.cluster.apiserver.kinds.base import Json
from koordinator.cluster.apiserver.kinds.metadata import label_error, label_errors, qualified_error
from koordinator.cluster.apiserver.refusals import FieldError, bad_request, duplicate, required, unsupported, wrong

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def containers(spec: Json) -> Iterator[Json]:
    """All containers, init containers last."""
    yield from spec.get("containers") or ()
    yield from spec.get("initContainers") or ()


def default(spec: Json) -> None:
    """The defaults of a pod spec, wherever it stands."""
    fill = spec.setdefault
    fill("restartPolicy", "Always")
    fill("terminationGracePeriodSeconds", 30)
    fill("dnsPolicy", "ClusterFirst")
    fill("securityContext", {})
    fill("schedulerName", "default-scheduler")
    host_network = spec.get("hostNetwork", False)
    for container in containers(spec):
        _default_container(container, host_network=host_network)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: Json, *, host_network: bool) -> None:
    fill = container.setdefault
    fill("resources", {})
    fill("terminationMessagePath", "/dev/termination-log")
    fill("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = _pull_policy(container.get("image") or "")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network:
            port.setdefault("hostPort", port.get("containerPort"))
    for variable in container.get("env") or ():
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            field.setdefault("apiVersion", "v1")
    for name in _PROBES:
        if probe := container.get(name):
            _default_probe(probe)


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "IfNotPresent" if "@" in image or tag not in ("", "latest") else "Always"


def _default_probe(probe: Json) -> None:
    for field, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(field, value)
    if http := probe.get("httpGet"):
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")


def _default_volume(volume: Json) -> None:
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", 420)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    if len(volume) == 1:
        volume["emptyDir"] = {}


def canonical_quantities(spec: Json) -> None:
    """Write every quantity the way the API server keeps it. Raises: Refused (400) naming the field."""
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            if resources := container.get("resources"):
                canonical_requirements(resources, f"spec.{field}[{index}].resources")
    if spec.get("resources"):
        canonical_requirements(spec["resources"], "spec.resources")
    if spec.get("overhead"):
        canonical(spec["overhead"], "spec.overhead")


def canonical_requirements(resources: Json, path: str) -> None:
    for field in ("requests", "limits"):
        if amounts := resources.get(field):
            canonical(amounts, f"{path}.{field}")


def canonical(amounts: dict[str, Any], path: str) -> None:
    """The texts of one resource list. Raises: Refused (400)."""
    for name, raw in amounts.items():
        try:
            amounts[name] = str(quantity.read(raw))
        except (ValueError, TypeError) as err:
            raise bad_request(f"{path}.{name}: {raw!r} is not a quantity: {err}") from None


def requests_follow_limits(spec: Json) -> None:
    """What a container may use at most is what it asks for, unless it says otherwise."""
    for container in containers(spec):
        if limits := container["resources"].get("limits"):
            requests = container["resources"].setdefault("requests", {})
            for name, amount in limits.items():
                requests.setdefault(name, amount)


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
