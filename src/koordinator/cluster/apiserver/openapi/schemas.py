"""Schemas by name: Kubernetes' own from a generated file, those of custom kinds from their definitions.

Inside, a reference is ``{"$ref": name}``; each version of OpenAPI has its own place for them and its own limits, so a schema
is rewritten on its way out. Nothing is kept: documents are, and they are asked for seldom.
"""

import gzip
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any

import msgspec

from koordinator.cluster.apiserver.kinds.base import Json, Kind

GVK = "x-kubernetes-group-version-kind"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META, LIST_META, STATUS, DELETE_OPTIONS = (
    _META + name for name in ("ObjectMeta", "ListMeta", "Status", "DeleteOptions")
)
SCALE = "io.k8s.api.autoscaling.v1.Scale"
PATCH = _META + "Patch"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_V2_TEXT = {QUANTITY: {"type": "string"}, INT_OR_STRING: {"type": "string", "format": "int-or-string"}}
_NOT_IN_V2 = frozenset({"oneOf", "anyOf", "not", "nullable", "x-kubernetes-validations"})
_IDENTITY = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": OBJECT_META}}


class Schemas:
    """All schemas, by name and by what they are the schema of."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._all: dict[str, Json] = _kubernetes()
        self._names = {
            (gvk["group"], gvk["version"], gvk["kind"]): name
            for name, schema in self._all.items()
            for gvk in schema.get(GVK, ())
        }
        self._all[PATCH] = {"type": "object", "description": "A patch in the dialect that its content type names."}
        for kind in kinds:
            self._add(kind)

    def name(self, kind: Kind) -> str:
        return self._names[kind.group, kind.version, kind.kind]

    def list_name(self, kind: Kind) -> str:
        return self._names[kind.group, kind.version, kind.list_name]

    def closure(self, names: Iterable[str]) -> dict[str, Json]:
        """The named schemas and all that they refer to."""
        found: dict[str, Json] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self._all[name]
                waiting += _references(found[name])
        return dict(sorted(found.items()))

    def _add(self, kind: Kind) -> None:
        """Give a kind a schema if the file has none, and its list one."""
        own = (kind.group, kind.version, kind.kind)
        if own not in self._names:
            self._put(own, kind.rules.schema or {"type": "object"}, _IDENTITY)
        items = {"type": "array", "items": {"$ref": self._names[own]}}
        listed = {**_IDENTITY, "metadata": {"$ref": LIST_META}, "items": items}
        self._put((kind.group, kind.version, kind.list_name), {"type": "object", "required": ["items"]}, listed)

    def _put(self, gvk: tuple[str, str, str], schema: Json, more: Json) -> None:
        group, version, kind = gvk
        name = ".".join([*reversed(group.split(".")), version, kind] if group else ["io.k8s.api.core", version, kind])
        described = {GVK: [{"group": group, "version": version, "kind": kind}]}
        properties = {**(schema.get("properties") or {}), **more}
        self._all[name] = {"type": "object", **schema, "properties": properties, **described}
        self._names[gvk] = name


def _kubernetes() -> dict[str, Json]:
    path = resources.files("koordinator.cluster.apiserver.openapi").joinpath("kubernetes_schemas.json.gz")
    return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=dict[str, dict[str, Any]])


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        if isinstance(name := schema.get("$ref"), str):
            yield name
        for value in schema.values():
            yield from _references(value)


def rewrite(schema: Json, change: Callable[[Json], Json]) -> Json:
    """The schema with every schema in it changed, the innermost first."""
    result = dict(schema)
    for key in ("properties", "patternProperties"):
        if isinstance(result.get(key), dict):
            result[key] = {name: rewrite(sub, change) for name, sub in result[key].items()}
    for key in ("items", "additionalProperties", "not"):
        if isinstance(result.get(key), dict):
            result[key] = rewrite(result[key], change)
    for key in ("oneOf", "anyOf", "allOf"):
        if isinstance(result.get(key), list):
            result[key] = [rewrite(sub, change) for sub in result[key]]
    return change(result)


def v3(name: str, schema: Json) -> Json:
    """As OpenAPI 3 has it: nothing may stand beside a reference."""
    del name
    return rewrite(schema, _v3)


def _v3(schema: Json) -> Json:
    if isinstance(name := schema.get("$ref"), str):
        reference = {"$ref": f"#/components/schemas/{name}"}
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**beside, "allOf": [reference]} if beside else reference
    if schema.get("x-kubernetes-int-or-string") and "anyOf" not in schema:
        untyped = {key: value for key, value in schema.items() if key != "type"}
        return {**untyped, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    return schema


def v2(name: str, schema: Json) -> Json:
    """As OpenAPI 2 has it: no alternatives; what it cannot say is left open."""
    if name in _V2_TEXT:
        kept = {"description": schema["description"]} if "description" in schema else {}
        return {**kept, **_V2_TEXT[name]}
    return rewrite(schema, _v2)


def _v2(schema: Json) -> Json:
    if isinstance(name := schema.get("$ref"), str):
        return {**schema, "$ref": f"#/definitions/{name}"}
    open_ = schema.get("nullable") or schema.get("x-kubernetes-preserve-unknown-fields")
    result = {key: value for key, value in schema.items() if key not in _NOT_IN_V2}
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
        result.pop("allOf", None)
    if open_:
        for key in ("type", "properties", "items", "additionalProperties", "required"):
            result.pop(key, None)
    if result.get("type") == "array" and "items" not in result:
        result["items"] = {}
    return result
