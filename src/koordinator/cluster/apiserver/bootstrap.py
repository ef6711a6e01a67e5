"""What every new cluster holds: namespaces, the two system priority classes, our custom resource definitions."""

from functools import partial

from koordinator.cluster.apiserver.calls import Call, Target
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.writes import Writer
from koordinator.kube.semantics.beginnings import NAMESPACES, PRIORITY_CLASSES

_CRDS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions")


async def install(catalog: Catalog, writer: Writer, *, crds: bool = True) -> None:
    """Create what is missing; leave what is there."""
    for name in NAMESPACES:
        await _ensure(catalog, writer, ("", "v1", "namespaces"), {"metadata": {"name": name}})
    for name, (value, description) in PRIORITY_CLASSES.items():
        wanted = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(catalog, writer, ("scheduling.k8s.io", "v1", "priorityclasses"), wanted)
    for name in NAMESPACES:
        account = {"metadata": {"name": "default", "namespace": name}}
        await _ensure(catalog, writer, ("", "v1", "serviceaccounts"), account)
    if crds:
        await _install_crds(catalog, writer)


async def _install_crds(catalog: Catalog, writer: Writer) -> None:
    """Our definitions, brought up to date when a newer version of us knows more."""
    from koordinator.api.crds import manifests

    kind = _kind(catalog, _CRDS)
    for manifest in manifests():
        name = manifest["metadata"]["name"]
        if writer.store.head(kind.key, "", name) is None:
            await writer.create(Call("POST", Target(*_CRDS), kind, {}), manifest)
        else:
            await writer.change(Call("PATCH", Target(*_CRDS, name=name), kind, {}), partial(_with_spec, manifest["spec"]))


def _with_spec(spec: Json, obj: Json) -> Json:
    return {**obj, "spec": spec}


def _kind(catalog: Catalog, where: tuple[str, str, str]) -> Kind:
    kind = catalog.get(*where)
    if kind is None:
        raise LookupError(f"no such kind: {where}")
    return kind


async def _ensure(catalog: Catalog, writer: Writer, where: tuple[str, str, str], obj: Json) -> None:
    kind = _kind(catalog, where)
    namespace = obj["metadata"].get("namespace", "")
    if writer.store.head(kind.key, namespace, obj["metadata"]["name"]) is None:
        call = Call("POST", Target(*where, namespace=namespace), kind, {})
        await writer.create(call, obj)
