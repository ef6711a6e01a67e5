"""What kinds differ in, as far as writes are concerned."""

import functools
from typing import Any

import msgspec

from koordinator.api.registry import Resource
from koordinator.kube.semantics import fields
from koordinator.kube.semantics.fields import Fields

BUILTIN_GROUPS = frozenset(
    {"", "apps", "autoscaling", "batch", "policy"}
    | {
        f"{name}.k8s.io"
        for name in (
            "admissionregistration",
            "apiextensions",
            "coordination",
            "discovery",
            "events",
            "networking",
            "node",
            "rbac.authorization",
            "resource",
            "scheduling",
            "storage",
        )
    }
)
"""Kubernetes' own API groups. Every other group's kinds are custom resources."""

_PLAIN = frozenset(
    {
        "configmaps",
        "secrets",
        "events",
        "endpoints",
        "serviceaccounts",
        "limitranges",
        "controllerrevisions.apps",
        "leases.coordination.k8s.io",
        "priorityclasses.scheduling.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "endpointslices.discovery.k8s.io",
        "storageclasses.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csidrivers.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceslices.resource.k8s.io",
    }
)
_COUNTED = frozenset(
    {
        "pods",
        "poddisruptionbudgets.policy",
        "deployments.apps",
        "replicasets.apps",
        "daemonsets.apps",
        "statefulsets.apps",
        "jobs.batch",
        "customresourcedefinitions.apiextensions.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "deviceclasses.resource.k8s.io",
        "resourceslices.resource.k8s.io",
    }
)


class Traits(msgspec.Struct, frozen=True):
    """``has_status``: status is a subresource. ``counted``: metadata.generation counts changes of the spec. ``custom``: no
    strategic merge patch, and a write of the status changes nothing else.
    """

    has_status: bool
    counted: bool
    custom: bool
    fields: Fields


def key_of(resource: Resource[Any]) -> str:
    """The name of a resource whatever its version: ``pods``, ``jobs.batch``."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def is_custom(group: str) -> bool:
    """Whether the kinds of an API group are custom resources."""
    return group not in BUILTIN_GROUPS


@functools.lru_cache(maxsize=256)
def traits_of(group: str, plural: str) -> Traits:
    """What is known of a kind; an unknown one has a status and, if it is custom, a generation."""
    key = f"{plural}.{group}" if group else plural
    if is_custom(group):
        return Traits(_definition_has_status(key), True, True, fields.NONE)
    return Traits(key not in _PLAIN and "rbac" not in group, key in _COUNTED, False, fields.OF.get(key, fields.NONE))


def _definition_has_status(key: str) -> bool:
    from koordinator.api.crds import DEFINITIONS

    own = {f"{one.resource.plural}.{one.resource.group}": one.status for one in DEFINITIONS}
    return own.get(key, True)
