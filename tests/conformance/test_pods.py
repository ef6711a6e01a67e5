"""Pods: defaults, binding, graceful deletion, eviction."""

import asyncio

import pytest

from conformance.world import pod, running_pod
from koordinator.api.registry import POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from koordinator.kube import errors


async def test_a_new_pod_waits_and_has_its_defaults(world):
    body = pod("a")
    del body["spec"]["schedulerName"]
    body["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]  # no scheduler may touch it
    body["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "0.5", "memory": "1Gi"}}
    made = await world.store.create(PODS, body, world.namespace)
    assert (made.status.phase, made.status.qos_class) == ("Pending", "Guaranteed")
    assert made.spec.scheduler_name == "default-scheduler"
    assert made.spec.containers[0].resources.requests == {"cpu": "500m", "memory": "1Gi"}
    assert made.spec.priority == 0


async def test_a_pod_gets_the_number_of_its_priority_class(world):
    name = world.unique("class")
    world.created(PRIORITY_CLASSES, name)
    await world.store.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": 77})
    made = await world.store.create(PODS, pod("a", priorityClassName=name), world.namespace)
    assert made.spec.priority == 77
    with pytest.raises(errors.Forbidden, match="no PriorityClass"):
        await world.store.create(PODS, pod("b", priorityClassName=world.unique("none")), world.namespace)


async def test_binding(world):
    made = await world.store.create(PODS, pod("a"), world.namespace)
    await world.store.bind(world.namespace, "a", "n1", uid=made.metadata.uid)
    bound = await world.store.get(PODS, "a", world.namespace)
    assert bound.spec.node_name == "n1"
    assert [(one.type, one.status) for one in bound.status.conditions] == [("PodScheduled", "True")]
    with pytest.raises(errors.Conflict, match='already assigned to node "n1"'):
        await world.store.bind(world.namespace, "a", "n2")


async def test_binding_another_life_of_a_pod_is_a_conflict(world):
    await world.store.create(PODS, pod("a"), world.namespace)
    with pytest.raises(errors.Conflict):
        await world.store.bind(world.namespace, "a", "n1", uid="11111111-1111-1111-1111-111111111111")
    assert not (await world.store.get(PODS, "a", world.namespace)).spec.node_name


async def test_gated_pods_cannot_be_bound(world):
    await world.store.create(PODS, pod("a", schedulingGates=[{"name": "example.com/wait"}]), world.namespace)
    with pytest.raises(errors.Conflict, match="schedulingGates"):
        await world.store.bind(world.namespace, "a", "n1")
    await world.store.patch(PODS, "a", {"spec": {"schedulingGates": None}}, world.namespace)
    await world.store.bind(world.namespace, "a", "n1")


async def test_of_two_binders_one_wins(world):
    await world.store.create(PODS, pod("a"), world.namespace)
    results = await asyncio.gather(
        *[world.store.bind(world.namespace, "a", f"n{number}") for number in range(4)], return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, errors.Conflict) for result in results) == 3


async def test_an_unbound_pod_goes_at_once(world):
    await world.store.create(PODS, pod("a"), world.namespace)
    await world.store.delete(PODS, "a", world.namespace)
    with pytest.raises(errors.NotFound):
        await world.store.get(PODS, "a", world.namespace)


async def test_a_bound_pod_gets_its_grace(world):
    await world.store.create(PODS, pod("a", terminationGracePeriodSeconds=40), world.namespace)
    await world.store.bind(world.namespace, "a", "n1")
    await world.store.delete(PODS, "a", world.namespace)
    going = await world.store.get(PODS, "a", world.namespace)
    assert going.metadata.deletion_timestamp
    assert going.metadata.deletion_grace_period_seconds == 40
    await world.store.delete(PODS, "a", world.namespace, grace_seconds=60)  # never longer
    assert (await world.store.get(PODS, "a", world.namespace)).metadata.deletion_grace_period_seconds == 40
    await world.store.delete(PODS, "a", world.namespace, grace_seconds=20)  # sooner
    assert (await world.store.get(PODS, "a", world.namespace)).metadata.deletion_grace_period_seconds == 20
    await world.store.delete(PODS, "a", world.namespace, grace_seconds=0)
    with pytest.raises(errors.NotFound):
        await world.store.get(PODS, "a", world.namespace)


async def test_a_pod_that_is_being_deleted_cannot_be_bound(world):
    body = pod("a")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await world.store.create(PODS, body, world.namespace)
    await world.store.delete(PODS, "a", world.namespace)
    with pytest.raises(errors.Conflict, match="is being deleted"):
        await world.store.bind(world.namespace, "a", "n1")


async def budget(world, allowed, healthy=2):
    """A budget over two healthy pods, as the disruption controller would state it."""
    spec = {"minAvailable": healthy - allowed, "selector": {"matchLabels": {"app": "web"}}}
    made = await world.store.create(POD_DISRUPTION_BUDGETS, {"metadata": {"name": "web"}, "spec": spec}, world.namespace)
    status = {"observedGeneration": made.metadata.generation, "disruptionsAllowed": allowed, "expectedPods": healthy}
    status |= {"currentHealthy": healthy, "desiredHealthy": healthy - allowed}
    await world.store.patch(POD_DISRUPTION_BUDGETS, "web", {"status": status}, world.namespace, subresource="status")


async def test_eviction_without_a_budget_is_a_deletion(world):
    made = await running_pod(world, "a")
    with pytest.raises(errors.Conflict):
        await world.store.evict(world.namespace, "a", uid="11111111-1111-1111-1111-111111111111")
    await world.store.evict(world.namespace, "a", uid=made.metadata.uid, grace_seconds=15)
    assert (await world.store.get(PODS, "a", world.namespace)).metadata.deletion_grace_period_seconds == 15


async def test_a_budget_is_spent_and_then_vetoes(world):
    for name in "ab":
        await running_pod(world, name, {"app": "web"})
    await budget(world, allowed=1)
    await world.store.evict(world.namespace, "a")
    assert (await world.store.get(PODS, "a", world.namespace)).metadata.deletion_timestamp
    with pytest.raises(errors.TooManyRequests, match="disruption budget") as caught:
        await world.store.evict(world.namespace, "b")
    assert caught.value.details["causes"][0]["reason"] == "DisruptionBudget"
    assert (await world.store.get(PODS, "b", world.namespace)).metadata.deletion_timestamp is None


async def test_a_budget_is_only_about_its_own_and_only_about_the_running(world):
    for name in "ab":
        await running_pod(world, name, {"app": "web"})
    await budget(world, allowed=0)
    await running_pod(world, "other", {"app": "db"})
    await world.store.create(PODS, pod("waiting", {"app": "web"}), world.namespace)
    await world.store.evict(world.namespace, "other", grace_seconds=0)
    await world.store.evict(world.namespace, "waiting")
    with pytest.raises(errors.TooManyRequests):
        await world.store.evict(world.namespace, "a")
    assert {obj.name for obj in (await world.store.list(PODS, world.namespace)).items} == {"a", "b"}
