"""The generated CustomResourceDefinitions: fresh in the repository, structural, and true to the types."""

from pathlib import Path

import msgspec
import pytest

from koordinator.api import crds

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
    assert schema("NodeMetric", "status", "updateTime") == {"type": "string", "format": "date-time"}


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
