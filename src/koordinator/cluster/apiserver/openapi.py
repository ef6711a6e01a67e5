"""OpenAPI documents: enough for kubectl to send what it has to the server and let the server validate."""

import msgspec

from koordinator.cluster.apiserver.calls import Answer
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Json, Kind

_V2_PROTO = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


class OpenApi:
    """``/openapi/v2`` without definitions, ``/openapi/v3`` with the paths of every kind."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def answer(self, path: str, accept: str) -> Answer | None:
        if path == "/openapi/v2":
            return _v2(accept)
        if path == "/openapi/v3":
            return self._index()
        if path.startswith("/openapi/v3/"):
            return self._group_version(path.removeprefix("/openapi/v3/"))
        return None

    def _index(self) -> Answer:
        names = {_path_of(kind) for kind in self._catalog.all()}
        paths = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={self._catalog.revision}"} for name in sorted(names)}
        return Answer(200, msgspec.json.encode({"paths": paths}))

    def _group_version(self, name: str) -> Answer | None:
        kinds = [kind for kind in self._catalog.all() if _path_of(kind) == name]
        if not kinds:
            return None
        paths = {_url(kind): _operations(kind) for kind in kinds}
        document = {
            "openapi": "3.0.0",
            "info": {"title": "Koordinator", "version": "v1"},
            "paths": paths,
            "components": {"schemas": {}},
        }
        return Answer(200, msgspec.json.encode(document))


def _path_of(kind: Kind) -> str:
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def _url(kind: Kind) -> str:
    space = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"/{_path_of(kind)}/{space}{kind.plural}/{{name}}"


def _operations(kind: Kind) -> Json:
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    names = ("dryRun", "fieldManager", "fieldValidation", "force")
    parameters = [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names]
    operation = {"parameters": parameters, "responses": {"200": {"description": "OK"}}, "x-kubernetes-group-version-kind": gvk}
    return {"patch": {**operation, "x-kubernetes-action": "patch"}, "put": {**operation, "x-kubernetes-action": "put"}}


def _v2(accept: str) -> Answer:
    """An OpenAPI 2 document without definitions: kubectl 1.20 then leaves validation to the server."""
    title, version = "Koordinator", "v1"
    if "protobuf" in accept and "application/json" not in accept.split(",", maxsplit=1)[0]:
        info = _field(1, title.encode()) + _field(2, version.encode())
        body = _field(1, b"2.0") + _field(2, info) + _field(8, b"") + _field(9, b"")
        return Answer(200, body, _V2_PROTO)
    document = {"swagger": "2.0", "info": {"title": title, "version": version}, "paths": {}, "definitions": {}}
    return Answer(200, msgspec.json.encode(document))


def _field(number: int, value: bytes) -> bytes:
    """One length-delimited protobuf field (short values only)."""
    return bytes([number << 3 | 2, len(value)]) + value
