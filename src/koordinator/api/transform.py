"""Objects as caches shall see them: old resource names under their new ones, and what feature gates ask for. Pure functions.

An object that needs no change is returned as it is. Nothing here is ever written back.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import keys, numa, priority, resources
from koordinator.api.core import Container, Node, Pod, PodSpec, Quantities, ResourceRequirements
from koordinator.api.device import Device
from koordinator.api.meta import Object
from koordinator.api.quota import ElasticQuota

PodTransform = Callable[[Pod], Pod]
Change = Callable[[Quantities], Quantities]
_replace = msgspec.structs.replace

OLD_NAMES = {**resources.BATCH_ALIASES, **resources.DEVICE_ALIASES}


def pod_transforms(gates: frozenset[str]) -> list[PodTransform]:
    """What pods go through, in order."""
    gated: tuple[tuple[str, PodTransform], ...] = (
        ("PriorityTransformer", with_priority),
        ("PreemptionPolicyTransformer", with_preemption_policy),
        ("ReplaceResourcesTransformer", with_own_names),
    )
    return [with_new_names, with_scheduler_name, *(transform for gate, transform in gated if gate in gates)]


# Pods


def with_new_names(pod: Pod) -> Pod:
    """Batch and device resources under the names of today, in what the pod asks for and in what it was given."""
    allocated = pod.annotations.get(keys.DEVICE_ALLOCATED, "")
    if "kubernetes.io/" in allocated and (renamed := _renamed_allocation(allocated)) != allocated:
        pod = _annotated(pod, keys.DEVICE_ALLOCATED, renamed)
    if not _mentions_old(pod.spec):
        return pod
    return _changed(pod, lambda quantities: resources.rename(quantities, OLD_NAMES))


def with_scheduler_name(pod: Pod) -> Pod:
    """The label stands in for ``spec.schedulerName``; an annotation keeps what stood there."""
    label = pod.labels.get(keys.SCHEDULER_NAME)
    if label is None or label == pod.spec.scheduler_name:
        return pod
    noted = _annotated(pod, keys.ORIGINAL_SCHEDULER_NAME, pod.spec.scheduler_name)
    return _replace(noted, spec=_replace(pod.spec, scheduler_name=label))


def with_priority(pod: Pod) -> Pod:
    """A priority for pods that have none, or 0: that of their band."""
    value = priority.value_with_default(pod)
    return pod if value == pod.spec.priority else _replace(pod, spec=_replace(pod.spec, priority=value))


def with_preemption_policy(pod: Pod) -> Pod:
    """The label decides; a pod without it preempts nobody."""
    policy = pod.labels.get(keys.PREEMPTION_POLICY, "Never")
    return pod if policy == pod.spec.preemption_policy else _replace(pod, spec=_replace(pod.spec, preemption_policy=policy))


def with_own_names(pod: Pod) -> Pod:
    """The pod's annotation ``replace-resources`` erases and renames what it asks for. Raises ValueError on bad ``cpu``."""
    changes = resources.replacements(pod.annotations)
    if not changes:
        return pod
    renames = {old: new for old, new in changes.items() if new}

    def change(quantities: Quantities) -> Quantities:
        return resources.rename({name: text for name, text in quantities.items() if changes.get(name, name)}, renames)

    return _changed(pod, change)


def _mentions_old(spec: PodSpec) -> bool:
    """Asked of every pod that comes or changes; hardly any does."""
    for containers in (spec.containers, spec.init_containers or ()):
        for one in containers:
            if _old(one.resources.requests) or _old(one.resources.limits):
                return True
    return _old(spec.overhead)


def _old(quantities: Quantities | None) -> bool:
    return quantities is not None and not OLD_NAMES.keys().isdisjoint(quantities)


def _changed(pod: Pod, change: Change) -> Pod:
    """The pod with another form of all that it asks for."""
    spec = pod.spec
    replaced = _replace(
        spec,
        containers=_containers(spec.containers, change),
        init_containers=_containers(spec.init_containers, change) if spec.init_containers else spec.init_containers,
        overhead=change(spec.overhead) if spec.overhead else spec.overhead,
    )
    return _replace(pod, spec=replaced)


def _containers(containers: Iterable[Container], change: Change) -> list[Container]:
    return [_replace(one, resources=_asked(one.resources, change)) for one in containers]


def _asked(asked: ResourceRequirements, change: Change) -> ResourceRequirements:
    return _replace(
        asked,
        requests=change(asked.requests) if asked.requests else asked.requests,
        limits=change(asked.limits) if asked.limits else asked.limits,
    )


def _renamed_allocation(text: str) -> str:
    """``device-allocated`` with new names, whatever else stands there. As it is when it cannot be read."""
    try:
        body = msgspec.json.decode(text)
        for items in body.values():
            for item in items or ():
                if item.get("resources"):
                    item["resources"] = resources.rename(item["resources"], resources.DEVICE_ALIASES)
    except (msgspec.DecodeError, AttributeError, TypeError):
        return text
    return msgspec.json.encode(body).decode()


def _annotated(pod: Pod, key: str, value: str) -> Pod:
    return _replace(pod, metadata=_replace(pod.metadata, annotations={**pod.annotations, key: value}))


# Other objects


def node(given: Node) -> Node:
    """A node without what it keeps for itself, resources under the names of today. Raises ValueError on a bad quantity."""
    status = given.status
    allocatable, capacity = status.allocatable, status.capacity
    if keys.NODE_RESERVATION in given.annotations:
        full = resources.amounts(allocatable)
        trimmed = numa.trimmed_allocatable(full, given.annotations)
        if trimmed != full:
            allocatable = {**(allocatable or {}), **_moved(full, trimmed)}
    allocatable, capacity = _named(allocatable), _named(capacity)
    if allocatable is status.allocatable and capacity is status.capacity:
        return given
    return _replace(given, status=_replace(status, allocatable=allocatable, capacity=capacity))


def _moved(before: Mapping[str, int], after: Mapping[str, int]) -> Quantities:
    return resources.wire({name: number for name, number in after.items() if before.get(name) != number})


def _named(quantities: Quantities | None) -> Quantities | None:
    return resources.rename(quantities, OLD_NAMES) if quantities else quantities


def device(given: Device) -> Device:
    devices = given.spec.devices or []
    renamed = [
        _replace(one, resources=resources.rename(one.resources, resources.DEVICE_ALIASES)) if one.resources else one
        for one in devices
    ]
    return given if renamed == devices else _replace(given, spec=_replace(given.spec, devices=renamed))


def quota(given: ElasticQuota) -> ElasticQuota:
    low, high = (resources.rename(one, resources.BATCH_ALIASES) if one else one for one in (given.spec.min, given.spec.max))
    if low is given.spec.min and high is given.spec.max:
        return given
    return _replace(given, spec=_replace(given.spec, min=low, max=high))


_OTHERS: dict[type[Object], Callable[[Any], Any]] = {Device: device, ElasticQuota: quota}


def other(given: Object) -> Object:
    """An object of a kind that plugins watch."""
    transform = _OTHERS.get(type(given))
    changed: Object = given if transform is None else transform(given)
    return changed
