"""The defaults that the API server writes into pod specs, in pods and in templates, and how it keeps quantities."""

from collections.abc import Iterator
from typing import Any

from koordinator.api import quantity
from koordinator.kube.refusals import bad_request

Json = dict[str, Any]

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
