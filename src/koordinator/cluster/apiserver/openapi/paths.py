"""The paths of a kind as OpenAPI 3 operations."""

from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.openapi.schemas import DELETE_OPTIONS, GVK, PATCH, SCALE, STATUS, Schemas

JSON_TYPE = "application/json"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_LIST = {
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "fieldSelector": "string",
    "labelSelector": "string",
    "limit": "integer",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}
_WRITE = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
_DELETE = {"dryRun": "string", "gracePeriodSeconds": "integer", "propagationPolicy": "string"}
_BODIES = {"binding": "io.k8s.api.core.v1.Binding", "eviction": "io.k8s.api.policy.v1.Eviction", "scale": SCALE}


def root_of(kind: Kind) -> str:
    """Where the kind's group and version live."""
    return f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"


def paths_of(kind: Kind, schemas: Schemas) -> dict[str, Json]:
    """Every path of a kind."""
    root, name = f"/{root_of(kind)}", schemas.name(kind)
    collection = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    one = collection + "/{name}"
    maker = _Maker(kind)
    paths: dict[str, Json] = {}
    many = schemas.list_name(kind)
    _put(paths, collection, maker.collection(name, many))
    if kind.namespaced and "list" in kind.verbs:
        _put(paths, f"{root}/{kind.plural}", {"get": maker.operation("list", many, _LIST)})
    _put(paths, one, maker.object(name))
    for subresource in sorted(kind.subresources):
        _put(paths, f"{one}/{subresource}", maker.subresource(subresource, name))
    return paths


def _put(paths: dict[str, Json], path: str, operations: Json) -> None:
    if not operations:
        return
    inside = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in inside]
    paths[path] = {**operations, **({"parameters": parameters} if parameters else {})}


class _Maker:
    """Makes the operations of one kind."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._patches = (*_PATCHES, _STRATEGIC) if kind.rules.strategic else _PATCHES

    def collection(self, name: str, many: str) -> Json:
        made = {
            "get": ("list", self.operation("list", many, _LIST)),
            "post": ("create", self.operation("post", name, _WRITE, body=name)),
            "delete": (
                "deletecollection",
                self.operation("deletecollection", STATUS, {**_DELETE, **_LIST}, body=DELETE_OPTIONS),
            ),
        }
        return {method: operation for method, (verb, operation) in made.items() if verb in self._kind.verbs}

    def object(self, name: str) -> Json:
        made = {
            "get": ("get", self.operation("get", name, {})),
            "put": ("update", self.operation("put", name, _WRITE, body=name)),
            "patch": ("patch", self.operation("patch", name, {**_WRITE, "force": "boolean"}, body=PATCH)),
            "delete": ("delete", self.operation("delete", STATUS, _DELETE, body=DELETE_OPTIONS)),
        }
        return {method: operation for method, (verb, operation) in made.items() if verb in self._kind.verbs}

    def subresource(self, subresource: str, name: str) -> Json:
        body = _BODIES.get(subresource, name)
        if subresource in ("binding", "eviction"):
            return {"post": self.operation("post", STATUS, {"dryRun": "string"}, body=body)}
        if subresource == "log":
            return {"get": self.operation("get", STATUS, {"container": "string", "tailLines": "integer"})}
        put = self.operation("put", body, _WRITE, body=body)
        if subresource == "finalize":
            return {"put": put}
        patch = self.operation("patch", body, {**_WRITE, "force": "boolean"}, body=PATCH)
        return {"get": self.operation("get", body, {}), "put": put, "patch": patch}

    def operation(self, action: str, answer: str, query: dict[str, str], body: str = "") -> Json:
        kind = self._kind
        parameters = [{"name": name, "in": "query", "schema": {"type": type_}} for name, type_ in sorted(query.items())]
        operation: Json = {
            "x-kubernetes-action": action,
            GVK: {"group": kind.group, "version": kind.version, "kind": kind.kind},
            "responses": _responses(answer),
        }
        if parameters:
            operation["parameters"] = parameters
        if body:
            media = self._patches if body == PATCH else (JSON_TYPE,)
            content = {type_: {"schema": {"$ref": _place(body)}} for type_ in media}
            operation["requestBody"] = {"content": content, "required": body != DELETE_OPTIONS}
        return operation


def _responses(answer: str) -> Json:
    def described(text: str, name: str) -> Json:
        return {"description": text, "content": {JSON_TYPE: {"schema": {"$ref": _place(name)}}}}

    return {"200": described("OK", answer), "201": described("Created", answer), "default": described("Refused", STATUS)}


def _place(name: str) -> str:
    return f"#/components/schemas/{name}"
