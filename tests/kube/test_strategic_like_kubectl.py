"""Our strategic merge against the original: kubectl applies the same patch locally, without a server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from koordinator.kube.patches import strategic_merge

KUBECTL = Path(sys.executable).with_name("kubectl")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not KUBECTL.exists(), reason="no kubectl beside this Python")]

words = st.sampled_from(["1", "2"])


def keyed(key, names, min_size=0, **optional):
    element = st.fixed_dictionaries({key: st.sampled_from(names)}, optional=optional)
    return st.lists(element, min_size=min_size, max_size=4, unique_by=lambda item: item[key])


containers = keyed(
    "name",
    "abcd",
    min_size=1,
    image=words,
    env=keyed("name", "ABC", value=words),
    ports=keyed("containerPort", [1, 2, 3], name=st.sampled_from(["x", "y"])),
    volumeMounts=keyed("mountPath", ["/x", "/y"], name=words),
    command=st.lists(words, max_size=2),
    resources=st.fixed_dictionaries({"requests": st.dictionaries(st.sampled_from(["cpu", "memory"]), words)}),
)
specs = st.fixed_dictionaries(
    {"containers": containers},
    optional={
        "tolerations": keyed("key", "ab", operator=st.just("Exists")),
        "nodeSelector": st.dictionaries(st.sampled_from("abc"), words),
        "hostAliases": keyed("ip", ["1.1.1.1", "1.1.1.2"], hostnames=st.lists(words, max_size=2)),
        "imagePullSecrets": keyed("name", "abc"),
    },
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from("abc"), words),
        "finalizers": st.lists(st.sampled_from(["x/a", "x/b", "x/c"]), unique=True),
        "ownerReferences": keyed("uid", "123", name=words),
    },
)


@st.composite
def patches(draw):
    patch = {"metadata": draw(metadata), "spec": draw(specs)}
    spec = patch["spec"]
    spec["containers"] = [
        draw(st.sampled_from([item, item, {"name": item["name"], "$patch": "delete"}])) for item in spec["containers"]
    ]
    if "labels" in patch["metadata"]:
        patch["metadata"]["labels"] = {
            key: draw(st.sampled_from([value, None])) for key, value in patch["metadata"]["labels"].items()
        }
    deletes = any("$patch" in item for item in spec["containers"])
    if not deletes and draw(st.booleans()):
        spec["$setElementOrder/containers"] = [{"name": item["name"]} for item in spec["containers"]]
    if draw(st.integers(0, 9)) == 0:
        spec["$patch"] = "replace"
    return patch


def tidy(value):
    """Without what is empty: kubectl prints some empty fields and leaves out others."""
    if isinstance(value, dict):
        pairs = {key: tidy(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item not in ({}, [], None)}
    return [tidy(item) for item in value] if isinstance(value, list) else value


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(meta=metadata, spec=specs, patch=patches())
def test_kubectl_agrees(tmp_path_factory, meta, spec, patch):
    original = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"} | meta, "spec": spec}
    path = tmp_path_factory.mktemp("pod") / "pod.json"
    path.write_text(json.dumps(original))
    command = [KUBECTL, "patch", "--local", "-f", path, "--type", "strategic", "-p", json.dumps(patch), "-o", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assume(answer.returncode == 0)  # it refuses some empty lists that a server takes
    assert tidy(strategic_merge(original, patch)) == tidy(json.loads(answer.stdout))
