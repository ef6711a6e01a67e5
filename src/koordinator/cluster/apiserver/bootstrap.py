"""What every new cluster holds: namespaces, the two system priority classes, our custom resource definitions."""

from koordinator.cluster.apiserver.calls import Call, Target
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Json
from koordinator.cluster.apiserver.writes import Writer

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "koordinator-system")
PRIORITY_CLASSES = {
    "system-cluster-critical": (2_000_000_000, "Used for system critical pods that must run in the cluster."),
    "system-node-critical": (2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
}


async def install(catalog: Catalog, writer: Writer) -> None:
    """Create what is missing; leave what is there."""
    for name in NAMESPACES:
        await _ensure(catalog, writer, ("", "v1", "namespaces"), {"metadata": {"name": name}})
    for name, (value, description) in PRIORITY_CLASSES.items():
        wanted = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(catalog, writer, ("scheduling.k8s.io", "v1", "priorityclasses"), wanted)
    for name in NAMESPACES:
        account = {"metadata": {"name": "default", "namespace": name}}
        await _ensure(catalog, writer, ("", "v1", "serviceaccounts"), account)


async def _ensure(catalog: Catalog, writer: Writer, where: tuple[str, str, str], obj: Json) -> None:
    kind = catalog.get(*where)
    if kind is None:
        raise LookupError(f"no such kind: {where}")
    namespace = obj["metadata"].get("namespace", "")
    if writer.store.head(kind.key, namespace, obj["metadata"]["name"]) is None:
        call = Call("POST", Target(*where, namespace=namespace), kind, {})
        await writer.create(call, obj)
