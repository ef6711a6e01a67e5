"""A working day with kubectl, Debian's and a current one, against an API server alone: nothing schedules or runs pods.

tests/cluster/apiserver/test_kubectl.py has the verbs one by one; here they follow each other as users type them.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from waiting import until

ROOT = Path(__file__).parents[2]
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
status: {capacity: {cpu: "16", memory: 64Gi, pods: "110"}, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: slo.koordinator.sh/v1alpha1
kind: NodeMetric
metadata: {name: n1}
spec: {}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: main, image: "nginx:1", resources: {requests: {cpu: 500m}}}]
"""
STATUS = {
    "updateTime": "2026-01-01T00:00:00Z",
    "nodeMetric": {"nodeUsage": {"resources": {"cpu": "4", "memory": "16Gi"}}},
    "podsMetric": [{"name": "web-0", "namespace": "default", "podUsage": {"resources": {"cpu": "250m", "memory": "64Mi"}}}],
}
PROFILE = """
apiVersion: config.koordinator.sh/v1alpha1
kind: ClusterColocationProfile
metadata: {name: batch}
spec: {qosClass: BE, selector: {matchLabels: {tier: batch}}}
"""


@pytest.mark.slow
async def test_learning_what_there_is(kubectl):
    explained = await kubectl("explain pod.spec.containers.resources")
    assert "Compute Resources required by this container" in explained
    assert "limits" in explained
    profile = await kubectl("explain clustercolocationprofile.spec")
    assert "koordinatorPriority" in profile
    assert "<map[string]string>" in profile
    resources = await kubectl("api-resources -o name")
    assert {"pods", "nodes.metrics.k8s.io", "nodemetrics.slo.koordinator.sh"} <= set(resources.split())
    assert "config.koordinator.sh/v1alpha1" in await kubectl("api-versions")
    assert (await kubectl("auth can-i create pods")).strip() == "yes"
    assert "v1.34" in await kubectl("version")
    assert "NAME" in await kubectl("get crd")


@pytest.mark.slow
async def test_usage(kubectl):
    await kubectl("apply -f -", stdin=NODE)
    path = "/apis/slo.koordinator.sh/v1alpha1/nodemetrics/n1"
    metric = msgspec.json.decode(await kubectl(f"get --raw {path}"))
    await kubectl(f"replace --raw {path}/status -f -", stdin=msgspec.json.encode({**metric, "status": STATUS}).decode())
    table = (await kubectl("top nodes")).splitlines()
    assert table[1].split() == ["n1", "4000m", "25%", "16384Mi", "25%"]
    assert (await kubectl("top pods")).splitlines()[1].split() == ["web-0", "250m", "64Mi"]
    assert (await kubectl("top pods --containers")).splitlines()[1].split() == ["web-0", "main", "250m", "64Mi"]


@pytest.mark.slow
async def test_mistakes_are_caught_before_anything_is_sent_or_stored(kubectl):
    unknown = await kubectl.refused("apply -f -", stdin=PROFILE.replace("qosClass: BE", "colour: red"))
    assert "colour" in unknown
    typed = await kubectl.refused("apply -f -", stdin=PROFILE.replace("qosClass: BE", "qosClass: 7"))
    assert "qosClass" in typed
    assert await kubectl("get clustercolocationprofiles -o name") == ""
    assert "(server dry run)" in await kubectl("apply --dry-run=server -f -", stdin=PROFILE)
    assert await kubectl("get clustercolocationprofiles -o name") == ""


@pytest.mark.slow
async def test_a_working_day(kubectl):
    for manifest in sorted((ROOT / "deploy/crds").glob("*.yaml")):
        await kubectl(f"apply -f {manifest}")
    await kubectl("create namespace demo")
    await kubectl("-n demo create deployment web --image=nginx:1")
    await kubectl("-n demo scale deployment web --replicas=3")
    await kubectl("-n demo set image deployment/web nginx=nginx:2")
    assert "nginx:2" in await kubectl("-n demo get deployment web -o yaml")
    assert "deployment.apps/web" in await kubectl("-n demo rollout history deployment web")
    await kubectl("-n demo create configmap c --from-literal=a=b")
    assert await kubectl("-n demo get configmap c -o jsonpath={.data.a}") == "b"
    assert "annotated" in await kubectl("-n demo annotate configmap c note=x")
    assert "created" in await kubectl("apply -f -", stdin=PROFILE)
    assert "configured" in await kubectl("apply -f -", stdin=PROFILE.replace("BE", "LS"))
    assert "LS" in await kubectl("get clustercolocationprofiles batch -o yaml")
    assert (await kubectl("diff -f -", stdin=PROFILE.replace("BE", "LS"))) == ""
    await kubectl("apply -f -", stdin=NODE)
    assert "n1" in await kubectl("get nodes -l zone=a")
    await kubectl("cordon n1")
    assert "SchedulingDisabled" in await kubectl("get node n1")
    await kubectl("drain n1 --force --ignore-daemonsets --grace-period=0")
    assert "No resources found" in (await kubectl.run("get pods")).err
    assert "exec is not served here" in await kubectl_exec(kubectl)
    await kubectl("delete clustercolocationprofile batch")
    await kubectl("-n demo delete deployment,configmap --all")


async def kubectl_exec(kubectl):
    await kubectl("apply -f -", stdin=NODE)
    return await kubectl.refused("exec web-0 -- ls")


async def being_deleted(kubectl):
    return await kubectl("get pod web-0 -o jsonpath={.metadata.deletionTimestamp}")


@pytest.mark.slow
async def test_waiting_for_something(kubectl):
    await kubectl("apply -f -", stdin=NODE)
    deleting = asyncio.create_task(kubectl("delete pod web-0"))
    await until(lambda: being_deleted(kubectl))
    await kubectl("delete pod web-0 --grace-period=0 --force")
    assert "deleted" in await deleting
    assert "node/n1 condition met" in await kubectl("wait --for=condition=Ready node/n1 --timeout=5s")
