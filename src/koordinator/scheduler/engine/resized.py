"""What a running pod counts as while its resources are changed in place: the most of what it had, has and shall have."""

import msgspec

from koordinator.api.core import Container, ContainerStatus, Pod, Quantities
from koordinator.api.resources import amounts


def as_counted(pod: Pod) -> Pod:
    """The pod itself, unless it runs with other resources than its spec says. Raises ValueError on a bad quantity."""
    statuses = {one.name: one for one in (*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ()))}
    if not any(_told(one) for one in statuses.values()):
        return pod
    refused = _infeasible(pod)
    spec = pod.spec
    containers = [_counted(one, statuses.get(one.name), refused=refused) for one in spec.containers]
    inits = [_counted(one, statuses.get(one.name), refused=refused) for one in spec.init_containers or ()]
    if _same(containers, spec.containers) and _same(inits, spec.init_containers or []):
        return pod
    changed = msgspec.structs.replace(spec, containers=containers, init_containers=inits or spec.init_containers)
    return msgspec.structs.replace(pod, spec=changed)


def _same(some: list[Container], others: list[Container]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


def _told(status: ContainerStatus) -> bool:
    return status.allocated_resources is not None or status.resources is not None


def _infeasible(pod: Pod) -> bool:
    """Whether the kubelet has said that the wanted size will never fit: then it does not count."""
    conditions = pod.status.conditions or ()
    return any(one.type == "PodResizePending" and one.reason == "Infeasible" for one in conditions)


def _counted(container: Container, status: ContainerStatus | None, *, refused: bool) -> Container:
    if status is None or not _told(status):
        return container
    wanted = container.resources.requests or {}
    actual = status.resources.requests if status.resources is not None else None
    counted: Quantities = {} if refused else dict(wanted)
    for listed in (status.allocated_resources or {}, actual or {}):
        known = amounts(counted)
        counted.update({name: listed[name] for name, number in amounts(listed).items() if number > known.get(name, -1)})
    if amounts(counted) == amounts(wanted):
        return container
    resources = msgspec.structs.replace(container.resources, requests=counted)
    return msgspec.structs.replace(container, resources=resources)
