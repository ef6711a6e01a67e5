"""What field selectors may ask of which kinds, beyond name and namespace, and how the values are read."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
Values = dict[str, str]

_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


class Fields(msgspec.Struct, frozen=True):
    """The fields of one kind. ``read`` takes an object whose defaults are filled in."""

    names: frozenset[str]
    read: Callable[[Json], Values]


def _pod(obj: Json) -> Values:
    spec, status = obj["spec"], obj["status"]
    return {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": status.get("podIP", ""),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


def _namespace(obj: Json) -> Values:
    return {"status.phase": (obj.get("status") or {}).get("phase", "")}


def _node(obj: Json) -> Values:
    return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}


def _secret(obj: Json) -> Values:
    return {"type": obj.get("type", "")}


def _event(obj: Json) -> Values:
    values = {f"involvedObject.{name}": str(value) for name, value in (obj.get("involvedObject") or {}).items()}
    component = (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
    return values | {
        "reason": obj.get("reason", ""),
        "type": obj.get("type", ""),
        "reportingComponent": obj.get("reportingComponent", ""),
        "source": component,
    }


def _replica_set(obj: Json) -> Values:
    return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}


def _job(obj: Json) -> Values:
    return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}


def _resource_slice(obj: Json) -> Values:
    spec = obj.get("spec") or {}
    return {"spec.nodeName": spec.get("nodeName") or "", "spec.driver": spec.get("driver", "")}


_POD_FIELDS = (
    *(f"spec.{name}" for name in ("nodeName", "schedulerName", "restartPolicy", "serviceAccountName", "hostNetwork")),
    *(f"status.{name}" for name in ("phase", "podIP", "nominatedNodeName")),
)
_EVENT_FIELDS = (*(f"involvedObject.{name}" for name in _ABOUT), "reason", "type", "reportingComponent", "source")

ALWAYS = frozenset({"metadata.name", "metadata.namespace"})
NONE = Fields(frozenset(), lambda _: {})
PODS = Fields(frozenset(_POD_FIELDS), _pod)
NAMESPACES = Fields(frozenset({"status.phase"}), _namespace)
NODES = Fields(frozenset({"spec.unschedulable"}), _node)
SECRETS = Fields(frozenset({"type"}), _secret)
EVENTS = Fields(frozenset(_EVENT_FIELDS), _event)
REPLICA_SETS = Fields(frozenset({"status.replicas"}), _replica_set)
JOBS = Fields(frozenset({"status.successful"}), _job)
RESOURCE_SLICES = Fields(frozenset({"spec.nodeName", "spec.driver"}), _resource_slice)

OF: Mapping[str, Fields] = {
    "pods": PODS,
    "namespaces": NAMESPACES,
    "nodes": NODES,
    "secrets": SECRETS,
    "events": EVENTS,
    "replicasets.apps": REPLICA_SETS,
    "jobs.batch": JOBS,
    "resourceslices.resource.k8s.io": RESOURCE_SLICES,
}
"""By plural, with the group behind a dot."""
