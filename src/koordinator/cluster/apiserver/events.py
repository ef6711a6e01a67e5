"""events.k8s.io: the same events as the core group's, with other names for some fields."""

from typing import Any

import msgspec

from koordinator.cluster.apiserver.calls import Call, View, decode_body
from koordinator.cluster.apiserver.kinds.base import Json, Kind

GROUP = "events.k8s.io"
_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: own for own, core in _TO_CORE.items()}


def inward(call: Call, core: Kind) -> Call:
    """The same request in the core group's words. Raises: Refused (400, 415)."""
    written = call.body and call.method != "DELETE"
    query = dict(call.query)
    if selector := query.get("fieldSelector"):
        query["fieldSelector"] = ",".join(_selector(term) for term in selector.split(","))
    return msgspec.structs.replace(
        call,
        kind=core,
        target=msgspec.structs.replace(call.target, group="", version=core.version),
        body=msgspec.json.encode(_body(decode_body(call), core)) if written else call.body,
        query=query,
        content_type="application/json" if "yaml" in call.content_type else call.content_type,
        view=View(call.kind, _outward),
    )


def _outward(raw: bytes) -> bytes:
    obj = msgspec.json.decode(raw)
    shown = {_FROM_CORE.get(name, name): value for name, value in obj.items()}
    return msgspec.json.encode({**shown, "apiVersion": f"{GROUP}/v1"})


def _body(body: Any, core: Kind) -> Any:
    if isinstance(body, list):
        return [_operation(operation) for operation in body]
    if not isinstance(body, dict):
        return body
    renamed = {_TO_CORE.get(name, name): value for name, value in body.items()}
    return {**renamed, "apiVersion": core.api_version} if "apiVersion" in renamed else renamed


def _operation(operation: Any) -> Any:
    """One operation of a JSON patch."""
    if not isinstance(operation, dict):
        return operation
    places: Json = {key: _place(operation[key]) for key in ("path", "from") if isinstance(operation.get(key), str)}
    return {**operation, **places}


def _place(path: str) -> str:
    first, *rest = path.removeprefix("/").split("/")
    return "/" + "/".join([_TO_CORE.get(first, first), *rest]) if path.startswith("/") else path


def _selector(term: str) -> str:
    for own, core in _TO_CORE.items():
        if term.strip().startswith((f"{own}.", f"{own}=", f"{own}!")):
            return core + term.strip().removeprefix(own)
    return term
