"""The generated CustomResourceDefinitions: fresh in the repository, structural, and true to the types."""

from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from koordinator.api import crds
from koordinator.api.annotations import Annotation
from koordinator.api.catalogue import accessors
from koordinator.api.fielddocs import field_docs
from koordinator.api.meta import Object
from koordinator.api.sloconfig import review

DEPLOYED = Path(__file__).parents[2] / "deploy/crds"
MANIFESTS = {manifest["spec"]["names"]["kind"]: manifest for manifest in crds.manifests()}


def schema(kind, *path):
    found = MANIFESTS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in path:
        found = found["items"] if name == "[]" else found["properties"][name]
    return found


def test_the_deployed_files_are_fresh():
    assert crds.stale(DEPLOYED) == []


@pytest.mark.parametrize("definition", [pytest.param(one, id=one.resource.kind) for one in crds.DEFINITIONS])
def test_a_default_object_reads_and_writes(definition):
    type_ = definition.resource.type
    assert msgspec.json.decode(msgspec.json.encode(type_()), type=type_) == type_()


@pytest.mark.parametrize("kind", MANIFESTS)
def test_every_node_of_a_schema_has_a_type_or_keeps_what_it_does_not_know(kind):
    def check(node, path):
        assert "type" in node or "x-kubernetes-int-or-string" in node or "x-kubernetes-preserve-unknown-fields" in node, path
        for name, inner in node.get("properties", {}).items():
            check(inner, f"{path}.{name}")
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                check(node[key], f"{path}.{key}")

    check(schema(kind), kind)


def test_what_types_cannot_say_is_in_the_schema():
    assert schema("NodeSLO", "spec", "resourceUsedThresholdWithBE", "cpuSuppressThresholdPercent")["maximum"] == 100
    assert schema("ClusterColocationProfile", "spec", "qosClass")["enum"] == ["LSE", "LSR", "LS", "BE", "SYSTEM"]
    assert schema("ClusterColocationProfile", "spec", "probability")["x-kubernetes-int-or-string"] is True
    usage = schema("NodeMetric", "status", "nodeMetric", "nodeUsage", "resources")
    assert usage["additionalProperties"]["x-kubernetes-int-or-string"] is True
    assert schema("NodeMetric", "status", "updateTime")["format"] == "date-time"
    assert schema("NodeSLO", "spec", "systemStrategy", "memcgReapBackGround")["description"].startswith(
        "Whether memory of dead"
    )


KUBERNETES_OWN = {"LabelSelector", "ObjectReference", "OwnerReference", "ObjectMeta", "Taint", "Toleration", "NodeSelectorTerm"}


def our_structs(info, found):
    """Every struct type of ours below a type."""
    if isinstance(info, inspect.StructType) and info.cls not in found and info.cls.__name__ not in KUBERNETES_OWN:
        found.add(info.cls)
        for field in info.fields:
            our_structs(field.type, found)
    for name in ("type", "item_type", "value_type"):
        if isinstance(inner := getattr(info, name, None), inspect.Type):
            our_structs(inner, found)
    for inner in getattr(info, "types", ()):
        our_structs(inner, found)
    return found


def test_every_field_of_ours_says_what_it_means():
    found = set()
    for type_ in [one.resource.type for one in crds.DEFINITIONS] + [one.type for one in review.CHECKED.values()]:
        our_structs(inspect.type_info(type_), found)
    for accessor in (one for section in accessors().values() for one in section if isinstance(one, Annotation)):
        our_structs(inspect.type_info(accessor.type), found)
    silent = {
        f"{cls.__name__}.{field.name}"
        for cls in found
        for field in msgspec.structs.fields(cls)
        if field.name not in field_docs(cls) and field.name not in (*Object.__struct_fields__, "spec", "status")
    }
    assert {one for one in silent if not one.startswith("ReservationController.")} == set()


def test_check_names_what_is_stale(tmp_path, capsys):
    assert crds.main([str(tmp_path)]) == 0
    assert crds.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "slo.koordinator.sh_nodeslos.yaml").write_text("old")
    (tmp_path / "left-over.yaml").write_text("old")
    assert crds.main([str(tmp_path), "--check"]) == 1
    error = capsys.readouterr().err
    assert "left-over.yaml is stale" in error
    assert "slo.koordinator.sh_nodeslos.yaml is stale" in error
    assert crds.main([str(tmp_path)]) == 0
    assert crds.stale(tmp_path) == []
