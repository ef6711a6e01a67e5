"""What every object has: metadata, owners, conditions, time stamps.

All structs decode partially: fields that we do not read are ignored, so objects are never written back whole (patches only).
"""

import datetime as dt
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")


class Struct(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True, gc=False):
    """Base of wire types: camelCase on the wire, absent fields take their default, defaults are not written.

    Unknown to the garbage collector: what comes off the wire is a tree, and scanning 20,000 pods for cycles over and over took
    most of the time of listing them.
    """


# What plain types cannot say, for readers of JSON texts (``api.wirejson``) and for CRD schemas. Decoding objects ignores it.
Int32 = Annotated[int, msgspec.Meta(extra={"format": "int32"})]
IntOrString = Annotated[int | str, msgspec.Meta(extra={"format": "int-or-string"})]
DurationText = Annotated[str, msgspec.Meta(extra={"format": "duration"})]
TimeText = Annotated[str, msgspec.Meta(extra={"format": "date-time"})]


REQUIRED = msgspec.Meta(extra={"required": True})
"""For ``Annotated``: the CRD schema asks for the field, though reading an object without it does not fail."""


def schema(**facts: Any) -> Any:
    """For ``Annotated``: facts that the CRD schema states (enum, default, minItems, nullable) and decoding does not enforce."""
    return msgspec.Meta(extra_json_schema=facts)


def bounded(low: int | None = None, high: int | None = None) -> Any:
    """A range that the CRD schema states and decoding does not enforce, for use in ``Annotated``."""
    limits = {"minimum": low, "maximum": high}
    return msgspec.Meta(extra_json_schema={name: limit for name, limit in limits.items() if limit is not None})


Percent = Annotated[int, bounded(0, 100)]


def always(value: T) -> T:
    """A default that is written even so, for the fields that other readers expect to be there."""
    return msgspec.field(default_factory=lambda: value)


class OwnerReference(Struct):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Struct):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    finalizers: list[str] | None = None


class Object(Struct):
    """A Kubernetes object of any kind."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` for cluster-scoped objects."""
        return f"{self.metadata.namespace}/{self.metadata.name}" if self.metadata.namespace else self.metadata.name

    @property
    def labels(self) -> dict[str, str]:
        return self.metadata.labels or {}

    @property
    def annotations(self) -> dict[str, str]:
        return self.metadata.annotations or {}

    @property
    def owner(self) -> OwnerReference | None:
        """The owner that controls this object, if any."""
        return next((ref for ref in self.metadata.owner_references or [] if ref.controller), None)


class Condition(Struct):
    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None
    last_heartbeat_time: str | None = None
    last_probe_time: str | None = None


class LabelSelectorRequirement(Struct):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Struct):
    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelSelectorRequirement] | None = None


class ObjectReference(Struct):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class Status(Struct):
    """The API server's answer when it has no object to give."""

    api_version: str = "v1"
    kind: str = "Status"
    status: str = ""
    message: str = ""
    reason: str = ""
    details: dict[str, Any] | None = None
    code: int = 0


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with whole seconds, as the API server writes it. ``seconds`` since the Unix epoch."""
    return dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(seconds: float) -> str:
    """RFC 3339 in UTC with microseconds (Leases, new events)."""
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> float | None:
    """Seconds since the Unix epoch; None when absent or not RFC 3339."""
    if not text:
        return None
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo else None
