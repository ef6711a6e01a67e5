"""What every new cluster holds before anybody writes to it."""

from collections.abc import Mapping

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "koordinator-system")
PRIORITY_CLASSES: Mapping[str, tuple[int, str]] = {
    "system-cluster-critical": (2_000_000_000, "Used for system critical pods that must run in the cluster."),
    "system-node-critical": (2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
}
"""Name → value and description."""
