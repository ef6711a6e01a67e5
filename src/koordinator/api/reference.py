"""Reference pages of the protocol, written from its types: ``python -m koordinator.api.reference DIR [--check]``."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import inspect

from koordinator.api import crds, features
from koordinator.api.annotations import Accessor, Annotation, As, Choice, Flag, Plain
from koordinator.api.catalogue import accessors
from koordinator.api.meta import LabelSelector, ObjectReference
from koordinator.api.schemas import Schema, object_schema, schema_of
from koordinator.api.sloconfig import colocation, nodeslo, ratios

_WELL_KNOWN = {
    frozenset(object_schema(LabelSelector)["properties"]) - {"metadata"}: "label selector",
    frozenset(object_schema(ObjectReference)["properties"]) - {"metadata"}: "object reference",
}
_NOTE = "This page is generated from the types in `src/koordinator/api`; `make generate` writes it afresh.\n"


def pages() -> dict[str, str]:
    """File name → text of every page."""
    return {
        "labels-and-annotations.md": labels_and_annotations(),
        "custom-resources.md": custom_resources(),
        "slo-controller-config.md": slo_controller_config(),
        "feature-gates.md": feature_gates(),
    }


def labels_and_annotations() -> str:
    lines = [
        "# Labels and annotations",
        "",
        _NOTE,
        "Field names in JSON match exactly or else without regard to case, unknown fields are ignored, a wrong type makes the",
        "whole text unreadable. What cannot be read counts as absent unless the meaning says otherwise; it stops nothing else.",
        "",
    ]
    for title, found in accessors().items():
        lines += [f"## {title}", "", "| key | on | value | meaning |", "|---|---|---|---|"]
        lines += [f"| `{one.key}` | {one.on} | {_value(one)} | {_cell(one.doc)} |" for one in found]
        lines += ["", *_annotation_types(found)]
    return "\n".join(lines)


def custom_resources() -> str:
    lines = ["# Custom resources", "", _NOTE, "The manifests are in `deploy/crds`. **R**: the field is required.", ""]
    for definition in crds.DEFINITIONS:
        resource = definition.resource
        short = f", short name `{definition.short_names[0]}`" if definition.short_names else ""
        scope = "namespaced" if resource.namespaced else "cluster-scoped"
        schema = object_schema(resource.type)
        lines += [f"## {resource.kind}", "", schema.get("description", ""), ""]
        lines += [f"`{resource.api_version}`, plural `{resource.plural}`{short}, {scope}.", ""]
        lines += _table(
            {key: part for key, part in schema["properties"].items() if key not in ("apiVersion", "kind", "metadata")}
        )
    return "\n".join(lines)


def slo_controller_config() -> str:
    lines = [
        "# ConfigMap slo-controller-config",
        "",
        _NOTE,
        "In namespace `koordinator-system`. Every key holds JSON. Node entries have a `name`, a `nodeSelector` and the fields",
        "of a strategy; the first entry that matches a node is laid over the cluster's part, which is laid over the defaults.",
        "A key that cannot be read keeps what it said before.",
        "",
    ]
    for key, type_, default in _CONFIG_KEYS:
        lines += [f"## {key}", "", *_table(schema_of(inspect.type_info(type_))["properties"])]
        if default is not None:
            lines += ["Defaults:", "", "```json", _json(default), "```", ""]
    return "\n".join(lines)


def _gate(gate: features.Gate, *, waiting: bool) -> str:
    effect = f"{gate.effect} (not yet: its plugin is not there)" if waiting else gate.effect
    return f"| `{gate.name}` | {str(gate.default).lower()} | {gate.stage} | {effect} |"


def feature_gates() -> str:
    lines = ["# Feature gates", "", _NOTE, "`--feature-gates=A=true,B=false`; `AllAlpha` and `AllBeta` set a whole stage.", ""]
    for gates in features.ALL:
        lines += [f"## {gates.component}", "", "| gate | default | stage | effect |", "|---|---|---|---|"]
        waiting = features.WAITING if gates is features.SCHEDULER else frozenset()
        lines += [_gate(one, waiting=one.name in waiting) for one in gates.gates] + [""]
        if gates.native:
            names = ", ".join(f"`{name}`" for name in sorted(gates.native))
            lines += [f"Gates of kube-scheduler are accepted, and change nothing: {names}.", ""]
    return "\n".join(lines)


_CONFIG_KEYS: tuple[tuple[str, Any, Any], ...] = (
    ("colocation-config", colocation.ColocationConfig, colocation.DEFAULT),
    (nodeslo.RESOURCE_THRESHOLD_CONFIG, nodeslo.ResourceThresholdConfig, nodeslo.DEFAULT_THRESHOLD),
    (nodeslo.RESOURCE_QOS_CONFIG, nodeslo.ResourceQOSConfig, None),
    (nodeslo.CPU_BURST_CONFIG, nodeslo.CPUBurstNodeConfig, nodeslo.DEFAULT_CPU_BURST),
    (nodeslo.SYSTEM_CONFIG, nodeslo.SystemConfig, nodeslo.DEFAULT_SYSTEM),
    (nodeslo.HOST_APPLICATION_CONFIG, nodeslo.HostApplicationConfig, None),
    (ratios.CPU_NORMALIZATION_CONFIG, ratios.CPUNormalizationConfig, ratios.DEFAULT_NORMALIZATION),
    (ratios.RESOURCE_AMPLIFICATION_CONFIG, ratios.AmplificationConfig, ratios.DEFAULT_AMPLIFICATION),
)


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _value(one: Accessor) -> str:
    match one:
        case Annotation():
            blank = "; empty counts as absent" if one.blank is As.ABSENT else ""
            return f"JSON {_type(schema_of(inspect.type_info(one.type)))}{blank}"
        case Flag():
            return "any text" if one.by_presence else f"`{one.on_text}`"
        case Choice():
            words = ", ".join(f"`{word}`" for word in one.values if word)
            return f"{words}; else `{one.default}`" if one.default else words
        case Plain():
            return "text"
    return " ".join((one.parse.__doc__ or "text").partition("Raises")[0].replace("``", "`").split()).rstrip(".")


def _annotation_types(found: list[Accessor]) -> Iterator[str]:
    for one in found:
        if isinstance(one, Annotation) and (rows := list(_rows(schema_of(inspect.type_info(one.type)), ""))):
            yield from (f"### `{one.key}`", "", "| field | type | rule | meaning |", "|---|---|---|---|", *rows, "")


def _table(properties: dict[str, Schema]) -> list[str]:
    rows = list(_rows({"type": "object", "properties": properties}, ""))
    return ["| field | type | rule | meaning |", "|---|---|---|---|", *rows, ""] if rows else []


def _rows(schema: Schema, path: str) -> Iterator[str]:
    """One row for every field of an object, list item or map value, however deep; types that everyone knows stay closed."""
    if _well_known(schema):
        return
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        meaning = _cell(inner.get("description", ""))
        yield f"| `{where}` | {_type(inner)} | {_cell(_rule(inner, required=name in required))} | {meaning} |"
        yield from _rows(inner, where)
    if "items" in schema:
        yield from _rows(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rows(schema["additionalProperties"], f"{path}.*" if path else "*")


def _well_known(schema: Schema) -> str:
    return _WELL_KNOWN.get(frozenset(schema.get("properties", ())), "")


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity" if "pattern" in schema else "integer or text"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object" if name := _well_known(schema):
            return name
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"map to {_type(schema['additionalProperties'])}"
        case "string":
            return "time" if schema.get("format") == "date-time" else "text"
        case None:
            return "anything"
        case other:
            return str(other)


def _rule(schema: Schema, *, required: bool) -> str:
    parts = ["**R**"] if required else []
    if "enum" in schema:
        parts.append("one of " + ", ".join(f"`{value}`" for value in schema["enum"]))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        parts.append(
            f"{low} to {high}" if high is not None and low is not None else f"{low} or more" if high is None else f"≤ {high}"
        )
    if "default" in schema:
        parts.append(
            f"default `{str(schema['default']).lower() if isinstance(schema['default'], bool) else schema['default']}`"
        )
    return "; ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with ``--check`` say which are stale."""
    parser = argparse.ArgumentParser(prog="python -m koordinator.api.reference", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    options = parser.parse_args(arguments)
    stale = 0
    for name, text in pages().items():
        path: Path = options.folder / name
        if options.check and (not path.exists() or path.read_text() != text):
            print(f"{path} is stale; run `make generate`", file=sys.stderr)
            stale += 1
        elif not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
