"""Discovery: which groups, versions and resources there are, in the old form and the aggregated one."""

from typing import Any

import msgspec

from koordinator.cluster.apiserver.calls import Answer
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Json, Kind

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SUBRESOURCES: dict[str, tuple[str, str, str, list[str]]] = {
    # subresource → group, version and kind of its body ("" = its resource's), verbs
    "status": ("", "", "", ["get", "patch", "update"]),
    "finalize": ("", "", "", ["update"]),
    "scale": ("autoscaling", "v1", "Scale", ["get", "patch", "update"]),
    "binding": ("", "v1", "Binding", ["create"]),
    "eviction": ("policy", "v1", "Eviction", ["create"]),
    "log": ("", "", "", ["get"]),
}
VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.1+koord",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


class Discovery:
    """Answers to ``/api`` and ``/apis``; built when asked, kept until the kinds change."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: dict[tuple[int, str, bool], Answer | None] = {}

    def answer(self, path: str, accept: str) -> Answer | None:
        """The answer to a discovery path, None for other paths."""
        if not path.startswith("/api"):
            return None
        path = path.rstrip("/")
        key = (self._catalog.revision, path, "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept + ";")
        if key not in self._kept:
            if len(self._kept) > 200:
                self._kept.clear()
            self._kept[key] = self._build(path, aggregated=key[2])
        return self._kept[key]

    def _build(self, path: str, *, aggregated: bool) -> Answer | None:
        parts = path.split("/")[1:]
        groups = self._groups()
        match parts:
            case ["api"] | ["apis"] if aggregated:
                wanted = {"": groups.get("", {})} if parts == ["api"] else {name: groups[name] for name in groups if name}
                return Answer(200, msgspec.json.encode(_aggregated(wanted)), _AGGREGATED)
            case ["api"]:
                return _json({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
            case ["apis"]:
                listed = [_group(name, list(versions)) for name, versions in groups.items() if name]
                return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
            case ["api", version] if version in groups.get("", {}):
                return _json(_resources(version, groups[""][version]))
            case ["apis", group] if group in groups:
                return _json({"kind": "APIGroup", "apiVersion": "v1"} | _group(group, list(groups[group])))
            case ["apis", group, version] if version in groups.get(group, {}):
                return _json(_resources(f"{group}/{version}", groups[group][version]))
        return None

    def _groups(self) -> dict[str, dict[str, list[Kind]]]:
        groups: dict[str, dict[str, list[Kind]]] = {}
        for kind in self._catalog.all():
            groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        return groups


def _json(value: Any) -> Answer:
    return Answer(200, msgspec.json.encode(value))


def _group(name: str, versions: list[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _singular(kind: Kind) -> str:
    return kind.singular or kind.kind.lower()


def _resources(group_version: str, kinds: list[Kind]) -> Json:
    listed = [entry for kind in kinds for entry in _entries(kind)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _entries(kind: Kind) -> list[Json]:
    own: Json = {
        "name": kind.plural,
        "singularName": _singular(kind),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        own["shortNames"] = list(kind.short_names)
    if kind.categories:
        own["categories"] = list(kind.categories)
    return [own, *(_subresource(kind, name) for name in sorted(kind.subresources))]


def _subresource(kind: Kind, name: str) -> Json:
    group, version, body, verbs = _SUBRESOURCES[name]
    entry: Json = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if body:
        entry |= {"group": group, "version": version}
    return entry | {"kind": body or kind.kind, "verbs": verbs}


def _aggregated(groups: dict[str, dict[str, list[Kind]]]) -> Json:
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {"version": version, "freshness": "Current", "resources": [_whole(kind) for kind in kinds]}
                for version, kinds in versions.items()
            ],
        }
        for group, versions in groups.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _whole(kind: Kind) -> Json:
    entry: Json = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": _singular(kind),
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [_whole_subresource(kind, name) for name in sorted(kind.subresources)]
    return entry


def _whole_subresource(kind: Kind, name: str) -> Json:
    group, version, body, verbs = _SUBRESOURCES[name]
    response = {"group": group, "version": version, "kind": body} if body else _gvk(kind)
    return {"subresource": name, "responseKind": response, "verbs": verbs}


def _gvk(kind: Kind) -> Json:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}
