"""What tables show of built-in kinds, in the words of kubectl's users."""

from typing import Any

from koordinator.api.meta import parse_time
from koordinator.cluster.apiserver.kinds.base import Column, Json

_NONE = "<none>"


def age_of(timestamp: str | None, now: float) -> str:
    """The time since then, the way kubectl writes durations."""
    then = parse_time(timestamp)
    return "<unknown>" if then is None else duration(now - then)


def duration(seconds: float) -> str:
    """A duration with two units at most: 45s, 3m12s, 25m, 5h12m, 17h, 2d3h, 9d, 1y40d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    if total < 600:
        return f"{total}s" if total < 120 else _two(total // 60, "m", total % 60, "s")
    return _hours(total // 60) if total < 48 * 3600 else _days(total // 3600)


def _hours(minutes: int) -> str:
    if minutes < 180:
        return f"{minutes}m"
    return _two(minutes // 60, "h", minutes % 60, "m") if minutes < 480 else f"{minutes // 60}h"


def _days(hours: int) -> str:
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def _at(obj: Json, *path: str) -> Any:
    """What is at a path; None when something on the way is missing."""
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _field(name: str, *path: str, default: Any = "", type_: str = "string", priority: int = 0) -> Column:
    return Column(name, lambda obj, _: default if (value := _at(obj, *path)) is None else value, type_, priority)


AGE = Column("Age", lambda obj, now: age_of(obj["metadata"].get("creationTimestamp"), now))


# Pods


def pod_status(pod: Json) -> str:
    """The word in the STATUS column: the phase, or what keeps the pod from it."""
    status, reason = pod.get("status") or {}, ""
    reason = status.get("reason") or status.get("phase") or ""
    gated = any(
        condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated"
        for condition in status.get("conditions") or ()
    )
    if gated:
        reason = "SchedulingGated"
    initial = _init_reason(pod)
    reason = initial or _container_reason(status, reason)
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _init_reason(pod: Json) -> str:
    statuses = _at(pod, "status", "initContainerStatuses") or []
    total = len(_at(pod, "spec", "initContainers") or [])
    for index, status in enumerate(statuses):
        terminated, waiting = _at(status, "state", "terminated"), _at(status, "state", "waiting")
        if terminated is not None and terminated.get("exitCode") == 0:
            continue
        if terminated is not None:
            return f"Init:{terminated.get('reason') or _exit(terminated)}"
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        if not status.get("started"):
            return f"Init:{index}/{total}"
    return ""


def _container_reason(status: Json, reason: str) -> str:
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        waiting, terminated = _at(container, "state", "waiting"), _at(container, "state", "terminated")
        if waiting is not None and waiting.get("reason"):
            reason = waiting["reason"]
        elif terminated is not None:
            reason = terminated.get("reason") or _exit(terminated)
        elif container.get("ready") and _at(container, "state", "running") is not None:
            running = True
    return "Running" if reason == "Completed" and running else reason


def _exit(terminated: Json) -> str:
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _pod_ready(pod: Json, _: float) -> str:
    statuses = _at(pod, "status", "containerStatuses") or []
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(pod['spec'].get('containers') or ())}"


def _pod_restarts(pod: Json, now: float) -> str:
    statuses = _at(pod, "status", "containerStatuses") or []
    count = sum(status.get("restartCount", 0) for status in statuses)
    ends = [_at(status, "lastState", "terminated", "finishedAt") for status in statuses]
    last = max((parse_time(end) or 0 for end in ends), default=0)
    return f"{count} ({duration(now - last)} ago)" if count and last else str(count)


PODS = (
    Column("Ready", _pod_ready),
    Column("Status", lambda obj, _: pod_status(obj)),
    Column("Restarts", _pod_restarts),
    AGE,
    _field("IP", "status", "podIP", default=_NONE, priority=1),
    _field("Node", "spec", "nodeName", default=_NONE, priority=1),
    _field("Nominated Node", "status", "nominatedNodeName", default=_NONE, priority=1),
    Column("Readiness Gates", lambda _obj, _now: _NONE, priority=1),
)


# Nodes


def _node_status(node: Json, _: float) -> str:
    conditions = _at(node, "status", "conditions") or []
    ready = next((condition for condition in conditions if condition.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if _at(node, "spec", "unschedulable") else word


def _node_roles(node: Json, _: float) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = {key.removeprefix(prefix) for key in node["metadata"].get("labels") or {} if key.startswith(prefix)}
    return ",".join(sorted(roles)) or _NONE


def _address(type_: str) -> Column:
    def cell(node: Json, _: float) -> str:
        addresses = _at(node, "status", "addresses") or []
        return next((item["address"] for item in addresses if item.get("type") == type_), _NONE)

    return Column("Internal-IP" if type_ == "InternalIP" else "External-IP", cell, priority=1)


def _info(name: str, field: str) -> Column:
    return _field(name, "status", "nodeInfo", field, default="<unknown>", priority=1)


NODES = (
    Column("Status", _node_status),
    Column("Roles", _node_roles),
    AGE,
    _field("Version", "status", "nodeInfo", "kubeletVersion"),
    _address("InternalIP"),
    _address("ExternalIP"),
    _info("OS-Image", "osImage"),
    _info("Kernel-Version", "kernelVersion"),
    _info("Container-Runtime", "containerRuntimeVersion"),
)


# Workloads


def _template(obj: Json, field: str) -> str:
    return ",".join(container.get(field, "") for container in _at(obj, "spec", "template", "spec", "containers") or ())


def selector_text(selector: Json | None) -> str:
    """A LabelSelector the way it is written in a query."""
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for need in (selector or {}).get("matchExpressions") or ():
        key, values = need["key"], ",".join(sorted(need.get("values") or ()))
        words = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
        terms.append(words[need["operator"]])
    return ",".join(terms)


_TEMPLATE = (
    Column("Containers", lambda obj, _: _template(obj, "name"), priority=1),
    Column("Images", lambda obj, _: _template(obj, "image"), priority=1),
    Column("Selector", lambda obj, _: selector_text(_at(obj, "spec", "selector")) or _NONE, priority=1),
)


def _count(name: str, *path: str) -> Column:
    return _field(name, *path, default=0, type_="integer")


def _ready_of_replicas(obj: Json, _: float) -> str:
    return f"{_at(obj, 'status', 'readyReplicas') or 0}/{_at(obj, 'spec', 'replicas') or 0}"


DEPLOYMENTS = (
    Column("Ready", _ready_of_replicas),
    _count("Up-to-date", "status", "updatedReplicas"),
    _count("Available", "status", "availableReplicas"),
    AGE,
    *_TEMPLATE,
)
REPLICA_SETS = (
    _count("Desired", "spec", "replicas"),
    _count("Current", "status", "replicas"),
    _count("Ready", "status", "readyReplicas"),
    AGE,
    *_TEMPLATE,
)
STATEFUL_SETS = (Column("Ready", _ready_of_replicas), AGE, *_TEMPLATE[:2])
DAEMON_SETS = (
    _count("Desired", "status", "desiredNumberScheduled"),
    _count("Current", "status", "currentNumberScheduled"),
    _count("Ready", "status", "numberReady"),
    _count("Up-to-date", "status", "updatedNumberScheduled"),
    _count("Available", "status", "numberAvailable"),
    Column("Node Selector", lambda obj, _: _labels(_at(obj, "spec", "template", "spec", "nodeSelector"))),
    AGE,
    *_TEMPLATE,
)


def _labels(labels: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _job_status(job: Json, _: float) -> str:
    conditions = {item.get("type") for item in _at(job, "status", "conditions") or () if item.get("status") == "True"}
    for type_, word in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if type_ in conditions:
            return word
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return "Running"


def _job_completions(job: Json, _: float) -> str:
    done, wanted = _at(job, "status", "succeeded") or 0, _at(job, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = _at(job, "spec", "parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(job: Json, now: float) -> str:
    start = parse_time(_at(job, "status", "startTime"))
    if start is None:
        return ""
    return duration((parse_time(_at(job, "status", "completionTime")) or now) - start)


JOBS = (
    Column("Status", _job_status),
    Column("Completions", _job_completions),
    Column("Duration", _job_duration),
    AGE,
    *_TEMPLATE,
)


# The rest


def _last_seen(event: Json, now: float) -> str:
    stamp = _at(event, "series", "lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return age_of(stamp or event.get("firstTimestamp"), now)


def _about(event: Json, _: float) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


EVENTS = (
    Column("Last Seen", _last_seen),
    _field("Type", "type"),
    _field("Reason", "reason"),
    Column("Object", _about),
    _field("Subobject", "involvedObject", "fieldPath", priority=1),
    _field("Source", "source", "component", priority=1),
    Column("Message", lambda obj, _: str(obj.get("message", "")).strip()),
    Column("First Seen", lambda obj, now: age_of(obj.get("firstTimestamp") or obj.get("eventTime"), now), priority=1),
    _field("Count", "count", default=1, type_="integer", priority=1),
)
NAMESPACES = (_field("Status", "status", "phase"), AGE)
CONFIG_MAPS = (
    Column("Data", lambda obj, _: len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), "integer"),
    AGE,
)
SECRETS = (_field("Type", "type"), Column("Data", lambda obj, _: len(obj.get("data") or {}), "integer"), AGE)
SERVICE_ACCOUNTS = (Column("Secrets", lambda obj, _: len(obj.get("secrets") or ()), "integer"), AGE)
LEASES = (_field("Holder", "spec", "holderIdentity"), AGE)
PRIORITY_CLASSES = (
    _field("Value", "value", default=0, type_="integer"),
    Column("Global-Default", lambda obj, _: bool(obj.get("globalDefault")), "boolean"),
    AGE,
    _field("PreemptionPolicy", "preemptionPolicy"),
)
BUDGETS = (
    _field("Min Available", "spec", "minAvailable", default="N/A"),
    _field("Max Unavailable", "spec", "maxUnavailable", default="N/A"),
    _count("Allowed Disruptions", "status", "disruptionsAllowed"),
    AGE,
)
WEBHOOKS = (Column("Webhooks", lambda obj, _: len(obj.get("webhooks") or ()), "integer"), AGE)
DEFINITIONS = (_field("Created At", "metadata", "creationTimestamp", type_="date"),)


def _ports(service: Json, _: float) -> str:
    ports = _at(service, "spec", "ports") or []
    return ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports) or _NONE


SERVICES = (
    _field("Type", "spec", "type"),
    _field("Cluster-IP", "spec", "clusterIP", default=_NONE),
    Column("External-IP", lambda _obj, _now: _NONE),
    Column("Port(s)", _ports),
    AGE,
    Column("Selector", lambda obj, _: _labels(_at(obj, "spec", "selector")), priority=1),
)


def _endpoints(obj: Json, _: float) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or _NONE


ENDPOINTS = (Column("Endpoints", _endpoints), AGE)


def _claim_state(claim: Json, _: float) -> str:
    found = [
        ("deleted", _at(claim, "metadata", "deletionTimestamp")),
        ("allocated", _at(claim, "status", "allocation")),
        ("reserved", _at(claim, "status", "reservedFor")),
    ]
    return ",".join(word for word, there in found if there) or "pending"


AGE_ONLY = (AGE,)
RESOURCE_CLAIMS = (Column("State", _claim_state), AGE)
RESOURCE_SLICES = (
    _field("Node", "spec", "nodeName", default=""),
    _field("Driver", "spec", "driver"),
    _field("Pool", "spec", "pool", "name"),
    AGE,
)
