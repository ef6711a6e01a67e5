"""What people type at a cluster, with Debian's kubectl (1.20) and a current one: rollouts, jobs, drains, deletions."""

import pytest
import yaml

from waiting import until

pytestmark = pytest.mark.slow

WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "pause:1"}]},
        },
    },
}
BATCH = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "batch"},
    "spec": {
        "completions": 3,
        "parallelism": 2,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "pause:1"}]}},
    },
}
AGENT = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "agent"},
    "spec": {
        "selector": {"matchLabels": {"app": "agent"}},
        "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "agent:1"}]},
        },
    },
}


async def test_a_daemon_set_is_rolled_out_node_by_node_looked_back_at_and_undone(cluster, kubectl):
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(AGENT))
    assert "successfully rolled out" in await kubectl("rollout", "status", "ds/agent", "--timeout=20s")
    where = await kubectl("get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[*].spec.nodeName}")
    assert sorted(where.split()) == ["hollow-0", "hollow-1", "hollow-2"]
    await kubectl("set", "image", "ds/agent", "main=agent:2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "ds/agent", "--timeout=20s")
    images = await kubectl("get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["agent:2"] * 3
    history = await kubectl("rollout", "history", "ds/agent")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await kubectl("rollout", "undo", "ds/agent")
    await kubectl("rollout", "status", "ds/agent", "--timeout=20s")
    images = await kubectl("get", "pods", "-l", "app=agent", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["agent:1"] * 3
    await kubectl("delete", "ds", "agent")

    async def empty():
        return "No resources found" in (await kubectl.run("get", "pods,controllerrevisions")).err

    await until(empty)


async def test_a_stateful_set_keeps_its_names_through_scaling_and_rollouts(cluster, kubectl):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    more = {"replicas": 3, "serviceName": "db", "volumeClaimTemplates": [claim]}
    database = {**AGENT, "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {**AGENT["spec"], **more}}
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(database))
    status = await kubectl("rollout", "status", "sts/db", "--timeout=20s")
    assert "partitioned roll out complete: 3 new pods" in status or "rolling update complete 3 pods" in status
    await kubectl("set", "image", "sts/db", "main=agent:2")
    await kubectl("rollout", "status", "sts/db", "--timeout=20s")
    images = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert images.split() == ["agent:2"] * 3
    await kubectl("rollout", "undo", "sts/db")
    await kubectl("rollout", "status", "sts/db", "--timeout=20s")
    await kubectl("scale", "sts/db", "--replicas=1")

    async def named(wanted):
        return (await kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}")).split() == wanted

    await until(lambda: named(["db-0"]))
    await kubectl("scale", "sts/db", "--replicas=2")
    await until(lambda: named(["db-0", "db-1"]))
    claims = await kubectl("get", "pvc", "-o", "jsonpath={.items[*].metadata.name}")
    assert claims.split() == ["data-db-0", "data-db-1", "data-db-2"], "volumes outlive their pods"
    await kubectl("delete", "sts", "db")
    await until(lambda: named([]))


async def test_a_rollout_is_followed_looked_back_at_and_undone(cluster, kubectl):
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(WEB))
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("set", "image", "deployment/web", "main=pause:2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert "pause:2" in await kubectl("get", "pods", "-o", "yaml")
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    await kubectl("rollout", "undo", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("scale", "deployment/web", "--replicas=5")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert "5/5" in await kubectl("get", "deployment", "web")
    described = await kubectl("describe", "deployment", "web")
    assert "NewReplicaSetAvailable" in described
    assert "5 desired | 5 updated | 5 total | 5 available | 0 unavailable" in described
    await kubectl("rollout", "restart", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("delete", "deployment", "web")

    async def gone():
        return "No resources found" in (await kubectl.run("get", "pods")).err

    await until(gone)


async def test_a_paused_deployment_waits(cluster, kubectl):
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(WEB))
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("rollout", "pause", "deployment/web")
    await kubectl("set", "image", "deployment/web", "main=pause:2")
    await kubectl("scale", "deployment/web", "--replicas=4")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    assert "pause:2" not in await kubectl("get", "pods", "-o", "yaml")
    await kubectl("rollout", "resume", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")


async def test_a_job_is_waited_for(cluster, kubectl):
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(BATCH))
    await kubectl("wait", "--for=condition=Complete", "job/batch", "--timeout=20s")
    assert "3/3" in await kubectl("get", "jobs")
    assert "3 Succeeded" in await kubectl("describe", "job", "batch")
    await kubectl("delete", "job", "batch")


async def test_a_drained_node_is_empty_and_a_deleted_namespace_too(cluster, kubectl):
    await kubectl(
        "apply", "-f", "-", stdin=yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
    )
    await kubectl("apply", "-n", "demo", "-f", "-", stdin=yaml.safe_dump(WEB))
    await kubectl("rollout", "status", "-n", "demo", "deployment/web", "--timeout=20s")
    await kubectl("drain", "hollow-1", "--timeout=20s")
    assert "SchedulingDisabled" in await kubectl("get", "nodes")
    assert "hollow-1" not in await kubectl("get", "pods", "-n", "demo", "-o", "wide")
    await kubectl("uncordon", "hollow-1")
    await kubectl("delete", "namespace", "demo", "--timeout=20s")
    assert "demo" not in await kubectl("get", "namespaces")


async def test_foreground_deletion_waits_for_the_pods(cluster, kubectl):
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(WEB))
    await kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    await kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=20s")
    assert "No resources found" in (await kubectl.run("get", "pods")).err
