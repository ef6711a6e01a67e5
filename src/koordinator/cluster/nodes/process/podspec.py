"""A pod as a process node reads it: the common types plus probes and mounts, next to the untouched JSON.

koordlet reads pods from this node's ``/pods/``. So the JSON is kept as it came and typed views are taken from it.
"""

from typing import Any

import msgspec

from koordinator.api.core import Container, Pod, PodSpec, SecurityContext
from koordinator.api.meta import Object, Struct
from koordinator.api.registry import Resource


class HttpGet(Struct):
    path: str = "/"
    port: int | str = 0
    host: str | None = None
    scheme: str = "HTTP"


class TcpSocket(Struct):
    port: int | str = 0
    host: str | None = None


class ExecAction(Struct):
    command: list[str] = msgspec.field(default_factory=list)


class Probe(Struct):
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class NameReference(Struct):
    name: str = ""
    optional: bool = False


class EnvFrom(Struct):
    prefix: str = ""
    config_map_ref: NameReference | None = None
    secret_ref: NameReference | None = None


class VolumeMount(Struct):
    name: str = ""
    mount_path: str = ""


class Security(SecurityContext):
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] | None = None
    fs_group: int | None = None


class ProcessContainer(Container):
    security_context: Security | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    env_from: list[EnvFrom] | None = None
    volume_mounts: list[VolumeMount] | None = None


class ProcessPodSpec(PodSpec):
    containers: list[ProcessContainer] = msgspec.field(default_factory=list)  # type: ignore[assignment]  # narrowed on purpose
    init_containers: list[ProcessContainer] | None = None  # type: ignore[assignment]  # as above
    security_context: Security | None = None
    service_account_name: str = ""


class ProcessPod(Pod):
    spec: ProcessPodSpec = msgspec.field(default_factory=ProcessPodSpec)

    @property
    def restarts(self) -> str:
        """The restart policy, with the API's default."""
        return self.spec.restart_policy or "Always"

    @property
    def grace_seconds(self) -> float:
        """How long containers get to end by themselves: the deletion's word over the pod's over 30 s."""
        for seconds in (self.metadata.deletion_grace_period_seconds, self.spec.termination_grace_period_seconds):
            if seconds is not None:
                return max(seconds, 0)
        return 30.0

    def container(self, name: str) -> ProcessContainer:
        """Raises ValueError when there is none of this name."""
        for container in [*(self.spec.init_containers or []), *self.spec.containers]:
            if container.name == name:
                return container
        raise ValueError(f"the pod has no container {name!r}")


class RawPod(Object):
    """A pod with its spec and status as they came over the wire."""

    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: dict[str, Any] = msgspec.field(default_factory=dict)

    def typed(self) -> ProcessPod:
        """The typed view. Raises msgspec.ValidationError naming the field that does not fit."""
        pod = msgspec.convert({"spec": self.spec, "status": self.status}, ProcessPod)
        pod.metadata = self.metadata
        return pod


RAW_PODS = Resource("", "v1", "pods", "Pod", RawPod)


def is_sidecar(container: Container) -> bool:
    """Whether an init container keeps running next to the main ones."""
    return container.restart_policy == "Always"
