"""From a pod's container to a complete ``Launch``: command, environment, user, working directory, limits.

What cannot be run here comes back as ``Waiting`` with the reason that the pod's status will show, never as an exception.
"""

import base64
import pwd
import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from koordinator.api import qos, quantity, resources
from koordinator.api.core import EnvVar, ResourceSelectorSource
from koordinator.cluster.nodes.process.limits import Limits, container_limits, oom_score
from koordinator.cluster.nodes.process.plan import Waiting
from koordinator.cluster.nodes.process.podspec import EnvFrom, ProcessContainer, ProcessPod, Security
from koordinator.cluster.nodes.process.runtime import Launch

NO_COMMAND = "CreateContainerError"
BAD_CONFIG = "CreateContainerConfigError"
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 — a path

_REFERENCE = re.compile(r"\$(\$|\(([^()\s]+)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")

Values = dict[str, str]


class Machine(msgspec.Struct, frozen=True):
    """What a container may know of where it runs."""

    node_name: str
    address: str
    path: str
    uid: int
    memory: int = 0
    cpu: int = 1
    log_bytes: int = 10 * 1024 * 1024
    pids: int | None = None


class Lookups(Protocol):
    """ConfigMaps and Secrets by name; None when there is none."""

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None: ...

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None: ...


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.waiting = Waiting(reason, message)


async def prepare(pod: ProcessPod, container: ProcessContainer, machine: Machine, lookups: Lookups) -> Launch | Waiting:
    """Everything that a container's process needs, or why it cannot be had."""
    try:
        _check_mounts(pod, container)
        uid, gid, groups = _user(pod, container, machine)
        env = await _environment(pod, container, machine, lookups)
        return Launch(
            argv=_command(pod, container, env),
            env={**_defaults(pod, machine, uid), **env},
            cwd=container.working_dir or "/",
            uid=uid,
            gid=gid,
            groups=groups,
            limits=_limits(container, machine),
            oom_score=oom_score(container, qos.kube(pod), machine.memory),
            log_bytes=machine.log_bytes,
        )
    except _Refused as refused:
        return refused.waiting
    except ValueError as err:
        return Waiting(BAD_CONFIG, f"container {container.name}: {err}")


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced where NAME is known, ``$$`` as a plain dollar; everything else stays."""
    return _REFERENCE.sub(lambda m: "$" if m[1] == "$" else values.get(m[2], m[0]), text)


def field(pod: ProcessPod, path: str, machine: Machine) -> str:
    """The downward API's fields. Raises ValueError for one that there is not."""
    if match := _SUBSCRIPT.fullmatch(path):
        return (pod.labels if match[1] == "labels" else pod.annotations).get(match[2], "")
    values = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": machine.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": machine.address,
        "status.podIPs": machine.address,
        "status.hostIP": machine.address,
        "status.hostIPs": machine.address,
    }
    if path not in values:
        raise ValueError(f"fieldPath {path!r} is not a field that the downward API has")
    return values[path]


def resource_field(pod: ProcessPod, container: ProcessContainer, ref: ResourceSelectorSource, machine: Machine) -> str:
    """A request or limit in units of the divisor, rounded up. A missing limit is what the machine has. Raises ValueError."""
    kind, _, name = ref.resource.partition(".")
    one = pod.container(ref.container_name) if ref.container_name else container
    if kind not in ("limits", "requests") or not name:
        raise ValueError(f"resource {ref.resource!r} is not limits.<name> or requests.<name>")
    own = resources.exact(one.resources.limits if kind == "limits" else one.resources.requests)
    whole = {"cpu": machine.cpu * 1000, "memory": machine.memory} if kind == "limits" else {}
    nano = own[name].nano if name in own else resources.as_quantity(name, whole.get(name, 0)).nano
    divisor = quantity.read(ref.divisor or "1").nano or quantity.NANO
    return str(-(-nano // divisor))


def _command(pod: ProcessPod, container: ProcessContainer, env: Values) -> list[str]:
    if not container.command:
        where = f"pod {pod.key} container {container.name}"
        raise _Refused(NO_COMMAND, f"process nodes run commands, {where} has none (images are not pulled)")
    return [expand(word, env) for word in [*container.command, *(container.args or [])]]


def _limits(container: ProcessContainer, machine: Machine) -> Limits:
    return msgspec.structs.replace(container_limits(container), pids=machine.pids)


def _check_mounts(pod: ProcessPod, container: ProcessContainer) -> None:
    """A mount that would not be there must not be passed over: the process would write to the machine's own files."""
    host_paths = {volume.name: volume.host_path.path for volume in pod.spec.volumes or [] if volume.host_path is not None}
    for mount in container.volume_mounts or []:
        if mount.mount_path == TOKEN_MOUNT or host_paths.get(mount.name) == mount.mount_path:
            continue
        message = f"process nodes mount nothing: {mount.mount_path} can only be a hostPath of the same path"
        raise _Refused(BAD_CONFIG, message)


def _user(pod: ProcessPod, container: ProcessContainer, machine: Machine) -> tuple[int | None, int | None, list[int]]:
    """User, group and supplementary groups; all None and empty to stay the user that started the cluster."""
    own, shared = container.security_context or Security(), pod.spec.security_context or Security()
    uid = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    gid = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    non_root = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    if non_root and (machine.uid if uid is None else uid) == 0:
        raise _Refused(BAD_CONFIG, "container has runAsNonRoot and would run as root; set runAsUser")
    if machine.uid != 0:
        if uid not in (None, machine.uid) or gid is not None:
            raise _Refused(BAD_CONFIG, f"runAsUser {uid} needs a cluster started by root; this one runs as {machine.uid}")
        return None, None, []
    if uid is None and gid is None:
        return None, None, []
    groups = [*(shared.supplemental_groups or []), *([shared.fs_group] if shared.fs_group is not None else [])]
    return uid, gid if gid is not None else _primary_group(uid), groups


def _primary_group(uid: int | None) -> int | None:
    """The user's own group; a user that the machine does not know gets the group of the same number, never root's."""
    if uid is None:
        return None
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _defaults(pod: ProcessPod, machine: Machine, uid: int | None) -> Values:
    try:
        home = pwd.getpwuid(machine.uid if uid is None else uid).pw_dir
    except KeyError:
        home = "/"
    return {"PATH": machine.path, "HOME": home, "HOSTNAME": pod.name}


async def _environment(pod: ProcessPod, container: ProcessContainer, machine: Machine, lookups: Lookups) -> Values:
    values: Values = {}
    for source in container.env_from or []:
        values.update(await _whole(pod, source, lookups))
    for variable in container.env or []:
        value = await _value(pod, container, variable, machine, lookups)
        if value is not None:
            values[variable.name] = expand(value, values) if variable.value is not None else value
    return values


async def _whole(pod: ProcessPod, source: EnvFrom, lookups: Lookups) -> Values:
    values: Values = {}
    for kind, reference, look in (
        ("configmap", source.config_map_ref, lookups.config_map),
        ("secret", source.secret_ref, lookups.secret),
    ):
        if reference is None:
            continue
        data = await look(pod.namespace, reference.name)
        if data is None and not reference.optional:
            raise _Refused(BAD_CONFIG, f'{kind} "{reference.name}" not found')
        values.update({source.prefix + name: _text(kind, text) for name, text in (data or {}).items()})
    return values


async def _value(
    pod: ProcessPod, container: ProcessContainer, variable: EnvVar, machine: Machine, lookups: Lookups
) -> str | None:
    source = variable.value_from
    if source is None:
        return variable.value or ""
    if source.field_ref is not None:
        return field(pod, source.field_ref.field_path, machine)
    if source.resource_field_ref is not None:
        return resource_field(pod, container, source.resource_field_ref, machine)
    for kind, key, look in (
        ("configmap", source.config_map_key_ref, lookups.config_map),
        ("secret", source.secret_key_ref, lookups.secret),
    ):
        if key is None:
            continue
        data = await look(pod.namespace, key.name)
        if data is not None and key.key in data:
            return _text(kind, data[key.key])
        if key.optional:
            return None
        missing = f'{kind} "{key.name}" not found' if data is None else f"couldn't find key {key.key} in {kind} {key.name}"
        raise _Refused(BAD_CONFIG, missing)
    raise _Refused(BAD_CONFIG, f"env {variable.name}: it names no source")


def _text(kind: str, value: str) -> str:
    return base64.b64decode(value).decode(errors="replace") if kind == "secret" else value
