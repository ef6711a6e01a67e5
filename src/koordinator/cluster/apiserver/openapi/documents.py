"""Answers to ``/openapi/…``: built when first asked for, kept as bytes until the kinds change."""

import hashlib
from typing import Any

import msgspec

from koordinator.cluster.apiserver.calls import Answer
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.openapi import gnostic, schemas
from koordinator.cluster.apiserver.openapi.paths import paths_of, root_of

_INFO = {"title": "Koordinator", "version": "v1"}
_JSON = "application/json"


class OpenApi:
    """``/openapi/v2`` for everything at once, ``/openapi/v3/…`` by group and version."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._revision = -1
        self._kept: dict[tuple[str, bool], Answer | None] = {}

    def answer(self, path: str, accept: str) -> Answer | None:
        """The document at a path; None for other paths."""
        if not path.startswith("/openapi/"):
            return None
        if self._revision != self._catalog.revision:
            self._kept.clear()
            self._revision = self._catalog.revision
        key = (path, path == "/openapi/v2" and _wants_protobuf(accept))
        if key not in self._kept:
            self._kept[key] = self._build(path, protobuf=key[1])
        return self._kept[key]

    def _build(self, path: str, *, protobuf: bool) -> Answer | None:
        if path == "/openapi/v2":
            document = _version_2(self._catalog.all())
            if protobuf:
                return _tagged(gnostic.document(document), gnostic.MEDIA_TYPE)
            return _tagged(msgspec.json.encode(document), _JSON)
        if path == "/openapi/v3":
            return self._index()
        if path.startswith("/openapi/v3/"):
            kinds = [kind for kind in self._catalog.all() if root_of(kind) == path.removeprefix("/openapi/v3/")]
            return _tagged(msgspec.json.encode(_version_3(kinds)), _JSON) if kinds else None
        return None

    def _index(self) -> Answer:
        names = sorted({root_of(kind) for kind in self._catalog.all()})
        paths = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={self._catalog.digest}"} for name in names}
        return Answer(200, msgspec.json.encode({"paths": paths}))


def _wants_protobuf(accept: str) -> bool:
    """Protobuf is meant when it is asked for first: whoever asks for JSON first can read the smaller of two evils."""
    return "proto-openapi" in accept.partition(",")[0]


def _tagged(body: bytes, media: str) -> Answer:
    """With an ETag: kubectl keeps documents on disk and asks whether they are still true."""
    return Answer(200, body, media, {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'})


def _version_3(kinds: list[Kind]) -> Json:
    known = schemas.Schemas(kinds)
    paths = {path: item for kind in kinds for path, item in paths_of(kind, known).items()}
    roots = {name.rpartition("/")[2] for name in _referred(paths)}
    components = {name: schemas.v3(name, schema) for name, schema in known.closure(sorted(roots)).items()}
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": components}}


def _referred(value: Any) -> set[str]:
    """Every reference in the paths."""
    if isinstance(value, list):
        return set().union(*map(_referred, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(_referred, value.values()))


def _version_2(kinds: list[Kind]) -> Json:
    known = schemas.Schemas(kinds)
    paths = {path: item for kind in kinds for path, item in paths_of(kind, known).items()}
    roots = {name.rpartition("/")[2] for name in _referred(paths)}
    definitions = {name: schemas.v2(name, schema) for name, schema in known.closure(sorted(roots)).items()}
    older = {path: _path_2(item) for path, item in paths.items()}
    return {"swagger": "2.0", "info": _INFO, "paths": older, "definitions": definitions}


def _path_2(item: Json) -> Json:
    return {
        key: [_parameter_2(parameter) for parameter in value] if key == "parameters" else _operation_2(value)
        for key, value in item.items()
    }


def _parameter_2(parameter: Json) -> Json:
    return {key: value for key, value in parameter.items() if key != "schema"} | {"type": parameter["schema"]["type"]}


def _operation_2(operation: Json) -> Json:
    result = {key: value for key, value in operation.items() if key.startswith("x-")}
    parameters = [_parameter_2(parameter) for parameter in operation.get("parameters") or ()]
    if body := operation.get("requestBody"):
        media, content = next(iter(body["content"].items()))
        del media
        parameters.append({"name": "body", "in": "body", "required": body["required"], "schema": _moved(content["schema"])})
        result["consumes"] = list(body["content"])
    return {
        **result,
        "produces": [_JSON],
        "parameters": parameters,
        "responses": {code: _response_2(response) for code, response in operation["responses"].items()},
    }


def _response_2(response: Json) -> Json:
    return {"description": response["description"], "schema": _moved(response["content"][_JSON]["schema"])}


def _moved(schema: Json) -> Json:
    return {"$ref": schema["$ref"].replace("#/components/schemas/", "#/definitions/")}
