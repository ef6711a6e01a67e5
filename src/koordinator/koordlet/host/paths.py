"""Where the kubelet puts pods and containers in the cgroup tree, and how to read its names back.

Results are relative to a controller's root. ``parent`` is a prefix in front of ``kubepods``, for clusters that share a machine.
"""

import posixpath
from enum import StrEnum

import msgspec

from koordinator.api.strategies import HostApplication


class Driver(StrEnum):
    SYSTEMD = "systemd"
    CGROUPFS = "cgroupfs"


GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_QOS = {BURSTABLE: "burstable", BEST_EFFORT: "besteffort"}
_LATENCY = "host-latency-sensitive"
_HOST_TIERS = {"LSE": _LATENCY, "LSR": _LATENCY, "LS": _LATENCY, "BE": "host-best-effort"}
_SCOPES = {"docker": "docker-", "containerd": "cri-containerd-", "pouch": "pouch-", "cri-o": "crio-"}
_POD_PREFIXES = ("kubepods-besteffort-pod", "kubepods-burstable-pod", "kubepods-pod")
_SCOPE_PREFIXES = ("docker-", "cri-containerd-", "crio-")


class Layout(msgspec.Struct, frozen=True):
    """The tree of one kubelet."""

    driver: Driver = Driver.CGROUPFS
    parent: str = ""

    @property
    def root(self) -> str:
        """The directory of all pods, and of Guaranteed ones."""
        return _join(self.parent, "kubepods.slice" if self.driver is Driver.SYSTEMD else "kubepods")

    @property
    def best_effort(self) -> str:
        return self.qos_dir(BEST_EFFORT)

    def qos_dir(self, qos: str) -> str:
        """The directory of a Kubernetes QoS class; unknown classes get the root."""
        if (name := _QOS.get(qos)) is None:
            return self.root
        return _join(self.root, f"kubepods-{name}.slice" if self.driver is Driver.SYSTEMD else name)

    def pod_dir(self, uid: str, qos: str) -> str:
        if self.driver is Driver.CGROUPFS:
            return _join(self.qos_dir(qos), f"pod{uid}")
        tier = f"{_QOS[qos]}-" if qos in _QOS else ""
        return _join(self.qos_dir(qos), f"kubepods-{tier}pod{uid.replace('-', '_')}.slice")

    def container_dir(self, pod_dir: str, container_id: str) -> str:
        """``container_id`` is the status' ``<runtime>://<id>``. Raises ValueError when it is not."""
        runtime, separator, rest = container_id.partition("://")
        if not separator or runtime not in _SCOPES:
            raise ValueError(f"container id {container_id!r} must start with one of {', '.join(_SCOPES)} and ://")
        name = rest.split("://")[0]
        return _join(pod_dir, name if self.driver is Driver.CGROUPFS else f"{_SCOPES[runtime]}{name}.scope")

    def pod_id(self, name: str) -> str:
        """The UID in a pod directory's name (systemd keeps underscores for dashes). Raises ValueError."""
        if self.driver is Driver.CGROUPFS:
            if name.startswith("pod"):
                return name[3:]
        elif name.endswith(".slice"):
            for prefix in _POD_PREFIXES:
                if name.startswith(prefix):
                    return name[len(prefix) : -len(".slice")]
        raise ValueError(f"{name!r} is not a pod's directory")

    def is_pod(self, name: str) -> bool:
        """Whether a directory of that name is a pod's."""
        try:
            return bool(self.pod_id(name))
        except ValueError:
            return False

    def container_id(self, name: str) -> str:
        """The id in a container directory's name. Raises ValueError."""
        if self.driver is Driver.CGROUPFS:
            return name
        for prefix in _SCOPE_PREFIXES:
            if name.startswith(prefix) and name.endswith(".scope"):
                return name[len(prefix) : -len(".scope")]
        if name.startswith("crio-"):
            return name[len("crio-") :]
        raise ValueError(f"{name!r} is not a container's directory")

    def host_app_dir(self, app: HostApplication) -> str:
        """The cgroup of a NodeSLO ``hostApplications`` entry."""
        place = app.cgroup_path
        if place is None:
            return _join(_HOST_TIERS.get(app.qos, ""), app.name)
        bases = {
            "Kubepods": self.root,
            "KubepodsBurstable": self.qos_dir(BURSTABLE),
            "KubepodsBesteffort": self.qos_dir(BEST_EFFORT),
        }
        return _join(bases.get(place.base, ""), place.parent_dir, place.relative_path)


def _join(*parts: str) -> str:
    cleaned = posixpath.normpath("/".join(part.strip("/") for part in parts if part.strip("/")))
    return "" if cleaned == "." else cleaned.lstrip("/")
