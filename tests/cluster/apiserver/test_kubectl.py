"""The real kubectl, Debian's 1.20 and a current one, without extra flags."""

import asyncio

import pytest

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {pool: a}}
status:
  capacity: {cpu: "16", memory: 64Gi, pods: "110"}
  conditions: [{type: Ready, status: "True", reason: KubeletReady}]
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: demo}
spec:
  containers: [{name: main, image: pause:3, resources: {limits: {cpu: "1", memory: 1Gi}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1"}]}
---
apiVersion: slo.koordinator.sh/v1alpha1
kind: NodeMetric
metadata: {name: n1}
spec: {}
"""


@pytest.mark.slow
async def test_apply_get_describe_delete(kubectl):
    created = (await kubectl("apply", "-f", "-", stdin=MANIFEST)).splitlines()
    assert created[0] == "namespace/demo created"
    assert len(created) == 5
    again = (await kubectl("apply", "-f", "-", stdin=MANIFEST)).splitlines()
    assert all(line.endswith("unchanged") for line in again), again
    changed = await kubectl(
        "apply", "-f", "-", stdin=MANIFEST.replace("nginx:1", "nginx:2").replace("replicas: 2", "replicas: 3")
    )
    assert "deployment.apps/web configured" in changed

    table = (await kubectl("-n", "demo", "get", "pods")).splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[:4] == ["p", "0/1", "Pending", "0"]
    assert (await kubectl("get", "no", "-o", "wide")).splitlines()[1].split()[:2] == ["n1", "Ready"]
    assert "deployment.apps/web" in await kubectl("-n", "demo", "get", "all")
    assert await kubectl("-n", "demo", "get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert (await kubectl("get", "nodemetrics")).splitlines()[1].split()[0] == "n1"

    described = await kubectl("-n", "demo", "describe", "pod", "p")
    assert "QoS Class:" in described
    assert "Events:" in described
    assert "StrategyType:           RollingUpdate" in await kubectl("-n", "demo", "describe", "deploy", "web")
    assert "KubeletReady" in await kubectl("describe", "node", "n1")
    assert "Kind:         NodeMetric" in await kubectl("describe", "nodemetric", "n1")

    assert "deleted" in await kubectl("-n", "demo", "delete", "pod", "p")
    assert (await kubectl.run("-n", "demo", "get", "pod", "p")).code == 1
    assert "deleted" in await kubectl("-n", "demo", "delete", "deploy", "web", "--wait=false")


@pytest.mark.slow
async def test_the_everyday_verbs(kubectl):
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await kubectl("-n", "demo", "create", "configmap", "c", "--from-literal=a=b")
    await kubectl("-n", "demo", "create", "deployment", "d", "--image=nginx:1")
    await kubectl("-n", "demo", "create", "job", "j", "--image=busybox")
    await kubectl("-n", "demo", "scale", "deploy", "d", "--replicas=4")
    assert await kubectl("-n", "demo", "get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "4"
    await kubectl("-n", "demo", "label", "pod", "p", "tier=x")
    await kubectl("-n", "demo", "annotate", "pod", "p", "note=y")
    assert (await kubectl("-n", "demo", "get", "pods", "-l", "tier=x", "-o", "name")).strip() == "pod/p"
    image = '{"spec":{"template":{"spec":{"containers":[{"name":"nginx","image":"nginx:2"}]}}}}'
    await kubectl("-n", "demo", "patch", "deploy", "d", "-p", image)
    path = "jsonpath={.spec.template.spec.containers[*].image}"
    assert await kubectl("-n", "demo", "get", "deploy", "d", "-o", path) == "nginx:2"
    await kubectl("cordon", "n1")
    assert "Ready,SchedulingDisabled" in await kubectl("get", "nodes")
    await kubectl("taint", "node", "n1", "a=b:NoSchedule")
    await kubectl("uncordon", "n1")
    await kubectl("drain", "n1", "--force")
    assert (await kubectl("-n", "demo", "logs", "p")) == ""
    assert "deployments" in await kubectl("api-resources")
    assert "slo.koordinator.sh/v1alpha1" in await kubectl("api-versions")
    assert await kubectl("get", "--raw", "/healthz") == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("Pod", "{containers: [{name: A, image: x}]}", "spec.containers[0].name"),
        ("Widget", "{}", 'no matches for kind "Widget" in version "v1"'),
        (
            "Pod",
            "{containers: [{name: a, image: x, resources: {limits: {cpu: 1x}}}]}",
            "spec.containers[0].resources.limits.cpu: '1x' is not a quantity",
        ),
        ("Pod", "{containers: 3}", "spec.containers"),
    ],
)
async def test_mistakes_are_told_in_one_sentence(kubectl, kind, spec, words):
    manifest = f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: p}}\nspec: {spec}\n"
    ran = await kubectl.run("apply", "-f", "-", stdin=manifest)
    assert ran.code == 1
    assert words in ran.err


@pytest.mark.slow
async def test_watching(kubectl):
    process = await asyncio.create_subprocess_exec(
        str(kubectl.binary), "get", "cm", "-w", env=kubectl.environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        await kubectl("create", "configmap", "seen", "--from-literal=a=b")
        async with asyncio.timeout(20):
            lines = [await process.stdout.readline() for _ in range(2)]
        assert lines[1].split()[0] == b"seen"
    finally:
        process.kill()
        await process.communicate()


STORED = """
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec: {replicas: 2, selector: {app: old}, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: storage.k8s.io/v1
kind: CSIStorageCapacity
metadata: {name: room}
storageClassName: fast
capacity: 10Gi
nodeTopology: {matchLabels: {zone: a}}
"""


@pytest.mark.slow
async def test_kinds_that_are_only_stored(kubectl):
    await kubectl("apply -f -", stdin=STORED)
    assert await kubectl("get rc old -o jsonpath={.spec.replicas}") == "2"
    assert "room" in await kubectl("get csistoragecapacities")
    assert "deleted" in await kubectl("delete csistoragecapacity room")
