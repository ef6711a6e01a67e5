"""One request as the verbs see it: what it is about, its options, its body; and the answer that goes back."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.refusals import bad_request, unsupported_media

JSON_TYPE = "application/json"


class Target(msgspec.Struct, frozen=True):
    """The parts of a resource's URL path."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What goes back in one piece."""

    code: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: dict[str, str] | None = None


class View(msgspec.Struct, frozen=True):
    """The kind that a client asked for when its objects are stored as another kind, and how it looks."""

    kind: Kind
    outward: Callable[[bytes], bytes]


def in_version(kind: Kind, raw: bytes) -> bytes:
    """A stored object in the version that is asked for: versions differ in nothing but their name."""
    if raw.startswith(b'{"apiVersion":"%b"' % kind.api_version.encode()):
        return raw
    return msgspec.json.encode({**msgspec.json.decode(raw), "apiVersion": kind.api_version})


class Call(msgspec.Struct):
    """One request for a resource."""

    method: str
    target: Target
    kind: Kind
    query: dict[str, str]
    content_type: str = ""
    accept: str = ""
    body: bytes = b""
    user: str = "koord"
    view: View | None = None
    warnings: list[str] = msgspec.field(default_factory=list)  # for the user's eyes, sent along with the answer

    @property
    def namespace(self) -> str:
        return self.target.namespace

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def dry_run(self) -> bool:
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            raise bad_request(f"Invalid value for dryRun: {value!r}: supported values: All")
        return value == "All"

    @property
    def field_validation(self) -> str:
        """What to do about unknown fields: Strict refuses them, Warn tells, Ignore is silent. Raises: Refused (400)."""
        value = self.query.get("fieldValidation") or "Warn"
        if value not in ("Strict", "Warn", "Ignore"):
            raise bad_request(f"Invalid value for fieldValidation: {value!r}: supported values: Strict, Warn, Ignore")
        return value

    def shown(self, raw: bytes) -> bytes:
        """A stored object as the client knows its kind."""
        return raw if self.view is None else self.view.outward(raw)

    def wrote(self, code: int, body: bytes) -> Answer:
        """The answer to a write, with the warnings that came up on the way."""
        if not self.warnings:
            return Answer(code, self.shown(body))
        return Answer(code, self.shown(body), headers={"Warning": ", ".join(map(_warning, self.warnings))})

    def flag(self, name: str) -> bool:
        return self.query.get(name, "") in ("true", "1", "True")

    def number(self, name: str) -> int | None:
        """A whole number of the query. Raises: Refused (400)."""
        text = self.query.get(name, "")
        if not text:
            return None
        if not text.isdigit() or len(text) > 18:
            raise bad_request(f"invalid {name}: {text!r} is not a whole number")
        return int(text)


def _warning(text: str) -> str:
    """One entry of a Warning header (RFC 7234)."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in " ".join(text.split())[:512])
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'


def parse_query(text: str) -> dict[str, str]:
    """The last value of every parameter."""
    return dict(parse_qsl(text, keep_blank_values=True)) if text else {}


def parse_target(path: str) -> Target | None:
    """The resource that a path names; None for every other path."""
    parts = path.split("/")
    if parts[-1] == "":
        parts.pop()
    if "%" in path:
        parts = [unquote(part) for part in parts]
    if len(parts) > 2 and parts[1] == "api":
        group, version, rest = "", parts[2], parts[3:]
    elif len(parts) > 3 and parts[1] == "apis":
        group, version, rest = parts[2], parts[3], parts[4:]
    else:
        return None
    if not rest:
        return None
    if rest[0] == "watch" and len(rest) > 1:
        return None
    if rest[0] == "namespaces" and len(rest) >= 3 and (len(rest) > 3 or rest[2] not in ("status", "finalize")):
        return _target(group, version, rest[1], rest[2:])
    return _target(group, version, "", rest)


def _target(group: str, version: str, namespace: str, rest: list[str]) -> Target | None:
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    return Target(group, version, resource, namespace, name, "/".join(rest[2:]))


def decode_object(call: Call) -> Json:
    """The body as one JSON object. Raises: Refused (400, 415)."""
    return as_object(decode_body(call))


def decode_body(call: Call) -> Any:
    """The body as JSON, from JSON or YAML; nulls in objects mean absent."""
    media = call.content_type.partition(";")[0].strip()
    if "cbor" in media:
        raise unsupported_media(f"the body of the request was in an unknown format - accepted media types include: {JSON_TYPE}")
    try:
        if "yaml" in media and "patch" not in media:
            return _without_nulls(_from_yaml(call.body))
        value = msgspec.json.decode(call.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_request(f"the object provided is unrecognized (must be of type {call.kind.kind}): {err}") from None
    return _without_nulls(value) if b"null" in call.body and call.method != "PATCH" else value


def as_object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise bad_request("the object provided is unrecognized: a JSON object is expected")
    return value


def _from_yaml(body: bytes) -> Any:
    import yaml

    try:
        return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 — safe loaders
    except yaml.YAMLError as err:
        raise bad_request(f"the body is not YAML: {err}") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
