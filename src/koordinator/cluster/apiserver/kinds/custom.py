"""Custom resource definitions: their own rules, and the rules of the kinds that they define."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from koordinator.api.meta import Object, Struct, format_time
from koordinator.clock import Clock
from koordinator.cluster.apiserver.kinds import columns, jsonpath
from koordinator.cluster.apiserver.kinds.base import Column, Json, Kind, Rules, ScalePaths
from koordinator.cluster.apiserver.kinds.fields import unknown_fields
from koordinator.cluster.apiserver.kinds.schema import compile_schema, complete, errors, rule_errors, unknown
from koordinator.cluster.apiserver.kinds.validations import Old
from koordinator.cluster.apiserver.refusals import FieldError, required, unsupported, wrong

_KEPT = ("apiVersion", "kind", "metadata")
_SCOPES = ("Cluster", "Namespaced")


class _Names(Struct):
    plural: str = ""
    singular: str = ""
    kind: str = ""
    list_kind: str = ""
    short_names: list[str] | None = None
    categories: list[str] | None = None


class _Schema(Struct):
    open_api_v3_schema: dict[str, Any] | None = msgspec.field(default=None, name="openAPIV3Schema")


class _PrinterColumn(Struct):
    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


class _Version(Struct):
    name: str
    served: bool = False
    storage: bool = False
    schema: _Schema | None = None
    subresources: dict[str, dict[str, Any]] | None = None
    additional_printer_columns: list[_PrinterColumn] | None = None


class _Conversion(Struct):
    strategy: str = ""


class _DefinitionSpec(Struct):
    group: str = ""
    scope: str = ""
    names: _Names = msgspec.field(default_factory=_Names)
    versions: list[_Version] | None = None
    conversion: _Conversion | None = None


class _Definition(Object):
    spec: _DefinitionSpec = msgspec.field(default_factory=_DefinitionSpec)
    status: dict[str, Any] | None = None


class DefinitionRules(Rules):
    """CustomResourceDefinition objects."""

    model = _Definition
    columns = columns.DEFINITIONS
    has_status = True
    generation = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def default(self, obj: Json) -> None:
        spec = obj.setdefault("spec", {})
        names = spec.setdefault("names", {})
        if kind := names.get("kind"):
            names.setdefault("singular", kind.lower())
            names.setdefault("listKind", f"{kind}List")
        spec.setdefault("conversion", {"strategy": "None"})

    def prepare_create(self, obj: Json) -> None:
        """Names are accepted and served at once: there is no other server to agree with."""
        now = format_time(self._clock.now())
        facts = (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
        conditions = [
            {"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
            for type_, reason, message in facts
        ]
        stored = [version.get("name") for version in obj["spec"].get("versions") or () if version.get("storage")]
        obj["status"] = {"acceptedNames": dict(obj["spec"]["names"]), "conditions": conditions, "storedVersions": stored}

    def validate(self, obj: Json) -> Iterator[FieldError]:
        spec, name = obj["spec"], obj["metadata"]["name"]
        names, group = spec["names"], spec.get("group", "")
        if not group:
            yield required("spec.group")
        for field in ("plural", "kind"):
            if not names.get(field):
                yield required(f"spec.names.{field}")
        if names.get("plural") and group and name != f"{names['plural']}.{group}":
            yield wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
        if spec.get("scope") not in _SCOPES:
            yield unsupported("spec.scope", spec.get("scope", ""), _SCOPES)
        if spec["conversion"].get("strategy") != "None":
            yield wrong(
                "spec.conversion.strategy", spec["conversion"].get("strategy"), "conversion webhooks are not served here"
            )
        yield from _version_errors(spec.get("versions") or [])

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        for field in ("group", "scope"):
            if obj["spec"].get(field) != old["spec"].get(field):
                yield wrong(f"spec.{field}", obj["spec"].get(field), "field is immutable")


def _version_errors(versions: list[Json]) -> Iterator[FieldError]:
    if not versions:
        yield required("spec.versions")
    elif sum(bool(version.get("storage")) for version in versions) != 1:
        yield wrong(
            "spec.versions",
            [version.get("name") for version in versions],
            "must have exactly one version marked as storage version",
        )
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        yield from _scale_errors(version, f"spec.versions[{index}].subresources.scale")
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            yield required(path, "schemas are required")
            continue
        try:
            compile_schema(schema, root=True)
            _columns(version)
        except (ValueError, TypeError, AttributeError) as err:
            yield wrong(path, "…", str(err))


def _scale_errors(version: Json, path: str) -> Iterator[FieldError]:
    scale: Json | None = (version.get("subresources") or {}).get("scale")
    if scale is None:
        return
    for field, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        if not str(scale.get(field, "")).startswith(root):
            yield wrong(f"{path}.{field}", scale.get(field, ""), f"should be a json path under {root.rstrip('.')}")


class CustomRules(Rules):
    """Objects of a kind that a definition describes."""

    generation = True
    unconditional_update = False
    strategic = False
    status_owns_metadata = False

    def __init__(self, schema: Json, shown: tuple[Column, ...], *, has_status: bool, scale: ScalePaths) -> None:
        self.scale = scale
        self.schema, self.columns, self.has_status = schema, shown, has_status
        self._schema = compile_schema(schema, root=True)

    def decode(self, obj: Json, kind: Kind, *, strict: bool = False) -> Json:
        if strict and (found := list(unknown(self._schema, obj, kept=_KEPT))):
            raise unknown_fields(kind, found)
        complete(self._schema, obj, kept=_KEPT)
        return obj

    def prepare_create(self, obj: Json) -> None:
        if self.has_status:
            obj.pop("status", None)
            complete(self._schema, obj, kept=_KEPT)

    def validate(self, obj: Json) -> Iterable[FieldError]:
        found = list(errors(self._schema, obj, ""))
        return found or rule_errors(self._schema, obj, "")

    def validate_create(self, obj: Json) -> Iterable[FieldError]:
        return self._compared(obj, ())

    def validate_update(self, obj: Json, old: Json) -> Iterable[FieldError]:
        return self._compared(obj, (old,))

    def _compared(self, obj: Json, old: Old) -> Iterable[FieldError]:
        if not self._schema.has_rules or next(errors(self._schema, obj, ""), None) is not None:
            return ()
        return rule_errors(self._schema, obj, "", old)


def kinds_of(definition: Json) -> list[Kind]:
    """The kinds that a definition serves, one per version."""
    spec = definition["spec"]
    served = [version for version in spec["versions"] if version.get("served")]
    return [msgspec.structs.replace(_kind(spec, version), versions=len(served)) for version in served]


def _kind(spec: Json, version: Json) -> Kind:
    names, subresources = spec["names"], version.get("subresources") or {}
    schema = version["schema"]["openAPIV3Schema"]
    has_status = "status" in subresources
    scale = _scale_paths(subresources.get("scale"))
    return Kind(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        rules=CustomRules(schema, _columns(version), has_status=has_status, scale=scale),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(name for name in ("status", "scale") if name in subresources),
        singular=names.get("singular", ""),
        list_kind=names.get("listKind", ""),
    )


def _scale_paths(raw: Json | None) -> ScalePaths:
    raw = raw or {}
    return ScalePaths(
        raw.get("specReplicasPath", ScalePaths().replicas),
        raw.get("statusReplicasPath", ScalePaths().status),
        raw.get("labelSelectorPath", ""),
    )


def _columns(version: Json) -> tuple[Column, ...]:
    return tuple(_column(raw) for raw in version.get("additionalPrinterColumns") or ())


def _column(raw: Json) -> Column:
    path, type_ = raw["jsonPath"], raw.get("type", "string")
    jsonpath.find(path, {})
    return Column(
        raw["name"],
        lambda obj, now: _cell(jsonpath.find(path, obj), type_, now),
        type_,
        raw.get("priority", 0),
        raw.get("format", ""),
        raw.get("description", ""),
    )


def _cell(values: list[Any], type_: str, now: float) -> Any:
    if not values:
        return None
    value = values[0]
    if type_ == "date":
        return columns.age_of(value, now)
    if type_ == "string":
        return value if isinstance(value, str) else ",".join(map(str, values)) if len(values) > 1 else _text(value)
    return value


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
