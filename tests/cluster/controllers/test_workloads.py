"""The controllers on a real API server with hollow nodes: what a user of the cluster sees."""

import contextlib

import pytest

from koordinator.api.registry import EVENTS, NODES, PODS
from koordinator.cluster.controllers.kinds import OWNED
from koordinator.cluster.controllers.objects import DEPLOYMENTS, DISRUPTION_BUDGETS, JOBS, NAMESPACES, REPLICA_SETS
from koordinator.kube.errors import NotFound, TooManyRequests
from waiting import until

pytestmark = pytest.mark.slow

CONFIG_MAPS = next(resource for resource in OWNED if resource.plural == "configmaps")


def template(image="v1", **spec):
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": image}], **spec},
    }


def web(replicas=3, name="web", **spec):
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


async def rolled_out(client, image="v1", replicas=3, namespace="default"):
    """What ``kubectl rollout status`` waits for, and every pod of the image that was asked for."""
    found = await client.get(DEPLOYMENTS, "web", namespace)
    status = found.status
    if status.observed_generation < found.metadata.generation:
        return False
    if not (status.updated_replicas == status.replicas == status.available_replicas == replicas):
        return False
    pods = [pod for pod in (await client.list(PODS, namespace)).items if not pod.metadata.deletion_timestamp]
    return len(pods) == replicas and all(pod.spec.containers[0].image == image for pod in pods)


async def absent(client, resource, name, namespace="default"):
    try:
        await client.get(resource, name, namespace)
    except NotFound:
        return True
    return False


async def test_a_deployment_from_apply_to_delete(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(3), "default")
    await until(lambda: rolled_out(client))
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default")
    await until(lambda: rolled_out(client, replicas=5))
    await client.patch(DEPLOYMENTS, "web", {"spec": {"template": template("v2")}}, "default")
    await until(lambda: rolled_out(client, "v2", 5))
    sets = (await client.list(REPLICA_SETS, "default")).items
    revisions = {rs.annotations["deployment.kubernetes.io/revision"]: rs.spec.replicas for rs in sets}
    assert revisions == {"1": 0, "2": 5}
    found = await client.get(DEPLOYMENTS, "web", "default")
    assert found.annotations["deployment.kubernetes.io/revision"] == "2"
    assert {c.type: (c.status, c.reason) for c in found.status.conditions} == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    await client.delete(DEPLOYMENTS, "web", "default")

    async def empty():
        return not (await client.list(REPLICA_SETS, "default")).items and not (await client.list(PODS, "default")).items

    await until(empty)


async def test_going_back_uses_the_old_replica_set_again(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(2), "default")
    await until(lambda: rolled_out(client, replicas=2))
    for image in ("v2", "v1"):
        await client.patch(DEPLOYMENTS, "web", {"spec": {"template": template(image)}}, "default")
        await until(lambda image=image: rolled_out(client, image, 2))
    sets = (await client.list(REPLICA_SETS, "default")).items
    assert sorted(rs.annotations["deployment.kubernetes.io/revision"] for rs in sets) == ["2", "3"]


async def test_recreate_never_runs_two_versions(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(3, strategy={"type": "Recreate"}), "default")
    await until(lambda: rolled_out(client))
    await client.patch(DEPLOYMENTS, "web", {"spec": {"template": template("v2")}}, "default")
    images = set()

    async def watched():
        pods = (await client.list(PODS, "default")).items
        images.add(frozenset(pod.spec.containers[0].image for pod in pods))
        return await rolled_out(client, "v2")

    await until(watched)
    assert frozenset({"v1", "v2"}) not in images


async def test_a_deployment_deleted_in_the_foreground_goes_last(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(2), "default")
    await until(lambda: rolled_out(client, replicas=2))
    path = DEPLOYMENTS.path("default", "web") + "?propagationPolicy=Foreground"
    await client.request("DELETE", path)
    await until(lambda: absent(client, DEPLOYMENTS, "web"))
    assert not (await client.list(PODS, "default")).items
    assert not (await client.list(REPLICA_SETS, "default")).items


async def test_orphaning_leaves_the_replica_set_and_its_pods(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(2), "default")
    await until(lambda: rolled_out(client, replicas=2))
    await client.request("DELETE", DEPLOYMENTS.path("default", "web") + "?propagationPolicy=Orphan")
    await until(lambda: absent(client, DEPLOYMENTS, "web"))
    (rs,) = (await client.list(REPLICA_SETS, "default")).items
    assert rs.owner is None
    assert len((await client.list(PODS, "default")).items) == 2


async def test_a_bare_pod_that_fits_is_adopted_and_one_relabelled_is_let_go(cluster):
    client = cluster.client
    await client.create(PODS, {"metadata": {"name": "bare", "labels": {"app": "web"}}, "spec": template()["spec"]}, "default")
    body = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()}
    await client.create(REPLICA_SETS, {"metadata": {"name": "web"}, "spec": body}, "default")

    async def owned(count):
        pods = (await client.list(PODS, "default")).items
        return sum(pod.owner is not None for pod in pods) == count and len(pods)

    await until(lambda: owned(2))
    assert (await client.get(PODS, "bare", "default")).owner.name == "web"
    await client.patch(PODS, "bare", {"metadata": {"labels": {"app": "debug"}}}, "default")

    async def released():
        return await owned(2) == 3 and (await client.get(PODS, "bare", "default")).owner is None

    await until(released)


def batch(**spec):
    return {"metadata": {"name": "batch"}, "spec": {"template": template(restartPolicy="Never"), **spec}}


async def test_a_job_runs_to_its_end_and_is_taken_away(cluster):
    client = cluster.client
    spec = {"completions": 4, "parallelism": 2, "ttlSecondsAfterFinished": 2, "template": template(restartPolicy="Never")}
    await client.create(JOBS, {"metadata": {"name": "batch"}, "spec": spec}, "default")

    async def complete():
        job = await client.get(JOBS, "batch", "default")
        return any(c.type == "Complete" and c.status == "True" for c in job.status.conditions or [])

    await until(complete)
    job = await client.get(JOBS, "batch", "default")
    assert (job.status.succeeded, job.status.active, job.status.failed) == (4, 0, 0)
    assert job.status.completion_time
    await until(lambda: absent(client, JOBS, "batch"))
    await until(lambda: _no_pods(client))


async def _no_pods(client, namespace="default"):
    return not (await client.list(PODS, namespace)).items


async def test_a_job_that_keeps_failing_gives_up(cluster):
    client = cluster.client
    failing = template(restartPolicy="Never")
    failing["metadata"]["annotations"] = {"hollow.koordinator.sh/exit-code": "3", "hollow.koordinator.sh/duration": "0s"}
    await client.create(JOBS, {"metadata": {"name": "bad"}, "spec": {"backoffLimit": 0, "template": failing}}, "default")

    async def failed():
        job = await client.get(JOBS, "bad", "default")
        return [c.reason for c in job.status.conditions or [] if c.type == "Failed"] == ["BackoffLimitExceeded"]

    await until(failed)
    assert (await client.get(JOBS, "bad", "default")).status.failed == 1


async def test_a_budget_counts_and_is_spent_once(cluster):
    client = cluster.client
    await client.create(DEPLOYMENTS, web(3), "default")
    budget = {"metadata": {"name": "web"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    await client.create(DISRUPTION_BUDGETS, budget, "default")
    await until(lambda: rolled_out(client))

    async def numbers():
        status = (await client.get(DISRUPTION_BUDGETS, "web", "default")).status
        return (status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed)

    async def settled():
        return await numbers() == (3, 2, 3, 1)

    await until(settled)
    first, second, _ = (await client.list(PODS, "default")).items
    await client.evict("default", first.name)
    with pytest.raises(TooManyRequests):
        await client.evict("default", second.name)
    await until(settled)


async def test_a_namespace_goes_with_all_that_is_in_it(cluster):
    client = cluster.client
    await client.create(NAMESPACES, {"metadata": {"name": "demo"}})
    await client.create(DEPLOYMENTS, web(2), "demo")
    await client.create(CONFIG_MAPS, {"metadata": {"name": "settings"}}, "demo")
    await until(lambda: rolled_out(client, replicas=2, namespace="demo"))
    await client.delete(NAMESPACES, "demo")
    await until(lambda: absent(client, NAMESPACES, "demo", ""))
    assert not (await client.list(PODS, "demo")).items


async def test_one_hopeless_object_stops_no_other(cluster):
    client = cluster.client
    forbidden = {"metadata": {"name": "huge"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template()}}
    forbidden["spec"]["template"] = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "i"}]},
    }
    forbidden["spec"]["template"]["spec"]["priorityClassName"] = "there-is-none"
    await client.create(DEPLOYMENTS, forbidden, "default")
    await client.create(DEPLOYMENTS, web(2), "default")
    await until(lambda: rolled_out(client, replicas=2))

    async def told():
        events = (await client.list(EVENTS, "default")).items
        return any(event.reason == "FailedCreate" and "there-is-none" in event.message for event in events)

    await until(told)

    async def failure():
        found = await client.get(DEPLOYMENTS, "huge", "default")
        return any(c.type == "ReplicaFailure" for c in found.status.conditions or [])

    await until(failure)


QUICK_TO_GIVE_UP = {"controllers": {"node_monitor_grace_seconds": 1.5}, "hollow": {"lease_seconds": 1.0, "beat_seconds": 0.2}}


@pytest.mark.parametrize("cluster", [pytest.param(QUICK_TO_GIVE_UP, id="quick")], indirect=True)
async def test_a_silent_node_becomes_unknown_loses_its_pods_and_comes_back(cluster):
    client = cluster.client
    tolerations = [
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
    ]
    await client.create(DEPLOYMENTS, web(3, template=template(tolerations=tolerations)), "default")
    await until(lambda: rolled_out(client))
    ready = [{"type": "Ready", "status": "True"}]
    await client.create(
        NODES, {"metadata": {"name": "by-hand"}, "spec": {"unschedulable": True}, "status": {"conditions": ready}}
    )
    await client.patch(NODES, "hollow-1", {"metadata": {"annotations": {"hollow.koordinator.sh/silent": "true"}}})

    async def unreachable():
        node = await client.get(NODES, "hollow-1")
        ready = next(c for c in node.status.conditions if c.type == "Ready")
        effects = {taint.effect for taint in node.spec.taints or [] if taint.key == "node.kubernetes.io/unreachable"}
        return ready.status == "Unknown" and effects == {"NoSchedule", "NoExecute"}

    await until(unreachable)

    async def moved():
        pods = (await client.list(PODS, "default")).items
        return {pod.spec.node_name for pod in pods if not pod.metadata.deletion_timestamp} <= {"hollow-0", "hollow-2"}

    await until(moved)
    await client.patch(NODES, "hollow-1", {"metadata": {"annotations": {"hollow.koordinator.sh/silent": None}}})

    async def back():
        node = await client.get(NODES, "hollow-1")
        ready = next(c for c in node.status.conditions if c.type == "Ready")
        return ready.status == "True" and not node.spec.taints

    await until(back)
    assert (await client.get(NODES, "by-hand")).status.conditions[0].status == "True", "nobody to be silent"


async def test_pods_that_are_deleted_the_moment_they_finish_count_once(cluster):
    client, made, job = cluster.client, set(), batch(completions=20, parallelism=5)
    await client.create(JOBS, job, "default")

    async def done_while_somebody_deletes_what_has_finished():
        for pod in (await client.list(PODS, "default")).items:
            made.add(pod.metadata.uid)
            if pod.terminated:
                with contextlib.suppress(NotFound):
                    await client.delete(PODS, pod.name, "default", grace_seconds=0)
        held = await client.get(JOBS, "batch", "default")
        return any(c.type == "Complete" and c.status == "True" for c in held.status.conditions or [])

    await until(done_while_somebody_deletes_what_has_finished, 20)
    held = await client.get(JOBS, "batch", "default")
    assert (held.status.succeeded, held.status.failed) == (20, 0)
    assert len(made) <= 20


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
@pytest.mark.parametrize("cluster", [{"hollow": {"job_seconds": 60.0}}], indirect=True)
async def test_a_deleted_job_keeps_no_pod_from_going(cluster, propagation):
    client = cluster.client
    await client.create(JOBS, batch(completions=3, parallelism=3), "default")

    async def running():
        return len([pod for pod in (await client.list(PODS, "default")).items if pod.status.phase == "Running"]) == 3

    await until(running)
    path = JOBS.path("default", "batch")
    await client.request("DELETE", f"{path}?propagationPolicy={propagation}")
    await until(lambda: absent(client, JOBS, "batch"))

    async def free():
        pods = (await client.list(PODS, "default")).items
        return all(not pod.metadata.finalizers for pod in pods) and len(pods) == (3 if propagation == "Orphan" else 0)

    await until(free)
