import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.nodes.process.plan import Waiting
from koordinator.cluster.nodes.process.prepare import expand, field, prepare


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$(C)", "$(C)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(A", "$(A"), ("$$$$", "$$")],
)
def test_expansion(text, expected):
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_dollars_stays(text):
    assert expand(text, {"A": "1"}) == text


async def prepared(raw, machine, shelf, **maps):
    typed = raw.typed()
    return await prepare(typed, typed.spec.containers[0], machine, shelf(**maps))


async def test_env_from_comes_first_and_env_overrides(pod, machine, shelf):
    secret = base64.b64encode(b"hidden").decode()
    container = {
        "command": ["x"],
        "envFrom": [{"configMapRef": {"name": "conf"}}, {"prefix": "S_", "secretRef": {"name": "keys"}}],
        "env": [{"name": "A", "value": "own"}],
    }
    launch = await prepared(pod(container), machine, shelf, conf={"A": "map", "B": "b"}, keys={"K": secret})
    assert {name: launch.env[name] for name in ("A", "B", "S_K")} == {"A": "own", "B": "b", "S_K": "hidden"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"configMapKeyRef": {"name": "conf", "key": "b"}}, "couldn't find key b in configmap conf"),
        ({"fieldRef": {"fieldPath": "spec.color"}}, "fieldPath 'spec.color' is not a field"),
        ({"resourceFieldRef": {"resource": "color"}}, "resource 'color' is not limits"),
        ({"otherRef": {}}, "env A: it names no source"),
    ],
)
async def test_what_the_environment_misses_is_named(pod, machine, shelf, source, message):
    got = await prepared(pod({"command": ["x"], "env": [{"name": "A", "valueFrom": source}]}), machine, shelf, conf={"a": "1"})
    assert isinstance(got, Waiting)
    assert got.reason == "CreateContainerConfigError"
    assert message in got.message


@pytest.mark.parametrize(
    ("ref", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "requests.cpu"}, "0"),
        ({"resource": "limits.memory"}, str(8 << 30)),
    ],
)
async def test_requests_and_limits_as_variables(pod, machine, shelf, ref, value):
    container = {
        "command": ["x"],
        "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}},
        "env": [{"name": "A", "valueFrom": {"resourceFieldRef": ref}}],
    }
    launch = await prepared(pod(container), msgspec.structs.replace(machine, memory=8 << 30), shelf)
    assert launch.env["A"] == value


async def test_an_optional_source_may_be_missing(pod, machine, shelf):
    source = {"configMapKeyRef": {"name": "none", "key": "a", "optional": True}}
    launch = await prepared(pod({"command": ["x"], "env": [{"name": "A", "valueFrom": source}]}), machine, shelf)
    assert "A" not in launch.env


async def test_a_mount_that_would_not_be_there_is_refused(pod, machine, shelf):
    container = {"command": ["x"], "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    empty = await prepared(pod(container, volumes=[{"name": "v", "emptyDir": {}}]), machine, shelf)
    assert "process nodes mount nothing: /data" in empty.message
    same = await prepared(pod(container, volumes=[{"name": "v", "hostPath": {"path": "/data"}}]), machine, shelf)
    assert same.argv == ["x"]


async def test_only_root_may_become_another_user(pod, machine, shelf):
    user = msgspec.structs.replace(machine, uid=1000)
    raw = pod({"command": ["x"], "securityContext": {"runAsUser": 0}})
    assert "needs a cluster started by root" in (await prepared(raw, user, shelf)).message
    own = pod({"command": ["x"], "securityContext": {"runAsUser": 1000}})
    assert (await prepared(own, user, shelf)).uid is None


async def test_run_as_non_root(pod, machine, shelf):
    root = msgspec.structs.replace(machine, uid=0)
    raw = pod({"command": ["x"]}, securityContext={"runAsNonRoot": True})
    assert "would run as root" in (await prepared(raw, root, shelf)).message
    named = pod(
        {"command": ["x"], "securityContext": {"runAsUser": 7777}}, securityContext={"runAsNonRoot": True, "fsGroup": 5}
    )
    launch = await prepared(named, root, shelf)
    assert (launch.uid, launch.gid, launch.groups) == (7777, 7777, [5])


def test_fields(pod, machine):
    typed = pod({}, meta={"labels": {"app": "x"}, "annotations": {"a.b/c": "y"}}).typed()
    paths = ["metadata.name", "metadata.labels['app']", "metadata.annotations['a.b/c']", "spec.nodeName", "status.podIP"]
    assert [field(typed, path, machine) for path in paths] == ["web", "x", "y", "n1", "127.0.0.1"]
