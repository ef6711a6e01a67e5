"""What the memory store promises beyond being a store: repeatability, its own clock, forgetting, forks."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api.meta import Object
from koordinator.api.registry import (
    CONFIG_MAPS,
    DEVICES,
    NAMESPACES,
    NODE_METRICS,
    POD_GROUPS,
    PODS,
    Resource,
)
from koordinator.clock import ManualClock
from koordinator.kube import errors
from koordinator.kube.informer import Informer
from koordinator.kube.memory import MemoryStore
from koordinator.kube.store import PatchType


def named(name, **rest):
    return {"metadata": {"name": name}, **rest}


def pod(name, **spec):
    return named(name, spec={"containers": [{"name": "main", "image": "x:1"}], **spec})


async def drain(events, seconds=0.05):
    """What a watch has to say now."""
    seen = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in events:
                seen.append(event)  # noqa: PERF401 — what has come before the time is up counts
    return seen


async def story(seed):
    clock = ManualClock()
    store = MemoryStore(clock, seed=seed)
    for _ in range(3):
        await store.create(PODS, {"metadata": {"generateName": "p-"}, "spec": pod("")["spec"]}, "default")
        clock.advance(1.5)
    first = (await store.list(PODS)).items[0]
    await store.bind("default", first.name, "n1")
    await store.delete(PODS, first.name, "default")
    return [store.raw(PODS, obj.name, "default") for obj in (await store.list(PODS)).items]


async def test_the_same_story_has_the_same_end():
    assert await story(1) == await story(1)
    assert await story(1) != await story(2)


async def test_times_are_the_clocks():
    clock = ManualClock(1_800_000_000)
    store = MemoryStore(clock)
    made = await store.create(PODS, pod("a"), "default")
    assert made.metadata.creation_timestamp == "2027-01-15T08:00:00Z"
    await store.bind("default", "a", "n1")
    await store.delete(PODS, "a", "default", grace_seconds=30)
    assert (await store.get(PODS, "a", "default")).metadata.deletion_timestamp == "2027-01-15T08:00:30Z"


async def test_what_is_put_in_is_copied_and_what_is_handed_out_is_shared():
    store = MemoryStore(ManualClock())
    body = named("a", data={"x": "1"})
    made = await store.create(CONFIG_MAPS, body, "default")
    body["data"]["x"] = "2"
    patch = {"data": {"y": "1"}}
    await store.patch(CONFIG_MAPS, "a", patch, "default")
    patch["data"]["y"] = "2"
    assert store.raw(CONFIG_MAPS, "a", "default")["data"] == {"x": "1", "y": "1"}
    assert made.data == {"x": "1"}  # an earlier state stays what it was
    assert await store.get(CONFIG_MAPS, "a", "default") is await store.get(CONFIG_MAPS, "a", "default")


async def test_nulls_are_absent():
    store = MemoryStore(ManualClock())
    body = pod("a", nodeName=None, restartPolicy="Never", containers=[{"name": "main", "image": "x:1", "resources": None}])
    body["metadata"]["labels"] = None
    made = await store.create(PODS, body, "default")
    assert (made.labels, made.spec.node_name or "") == ({}, "")


@pytest.mark.parametrize(
    "body",
    [
        {"spec": {"containers": True}},
        {"spec": []},
        {"spec": {"containers": [{"name": "main", "resources": {"limits": ["cpu"]}}]}},
        {"spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "lots"}}}]}},
        {"spec": {"containers": [{"name": 5}]}},
    ],
)
async def test_pods_of_any_shape_are_refused_in_words(body):
    store = MemoryStore(ManualClock())
    version = store.rv
    with pytest.raises(errors.ApiError) as caught:
        await store.create(PODS, named("a", **body), "default")
    assert caught.value.code == 400
    assert store.rv == version
    assert (await store.list(PODS)).items == []


async def test_namespaces_can_make_themselves():
    store = MemoryStore(ManualClock(), create_namespaces=True)
    await store.create(PODS, pod("a"), "team")
    assert (await store.get(NAMESPACES, "team")).status.phase == "Active"


async def test_a_namespace_that_goes_takes_everything_along():
    store = MemoryStore(ManualClock(), create_namespaces=True)
    await store.create(PODS, pod("a"), "team")
    await store.bind("team", "a", "n1")
    await store.create(CONFIG_MAPS, {"metadata": {"name": "held", "finalizers": ["example.com/x"]}}, "team")
    await store.delete(NAMESPACES, "team")
    assert (await store.list(PODS, "team")).items == []
    assert (await store.get(NAMESPACES, "team")).status.phase == "Terminating"
    await store.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, "team")
    with pytest.raises(errors.NotFound):
        await store.get(NAMESPACES, "team")
    await store.create(PODS, pod("a"), "team")  # a new namespace of the name


async def test_a_recorded_object_keeps_its_status_and_identity():
    store = MemoryStore(ManualClock())
    metadata = {"name": "a", "namespace": "default", "uid": "u1", "creationTimestamp": "2020-01-01T00:00:00Z"}
    metadata |= {"resourceVersion": "77", "generation": 4}
    spec = pod("a", nodeName="n1", priority=9_500, priorityClassName="koord-prod")["spec"]
    recorded = {"metadata": metadata, "spec": spec, "status": {"phase": "Running", "podIP": "10.0.0.1"}}
    made = store.load(PODS, recorded, "default")
    assert (made.metadata.uid, made.metadata.creation_timestamp, made.metadata.generation) == ("u1", "2020-01-01T00:00:00Z", 4)
    assert (made.status.phase, made.status.pod_ip, made.status.qos_class) == ("Running", "10.0.0.1", "BestEffort")
    assert (made.spec.priority, made.spec.node_name) == (9_500, "n1")
    assert int(made.metadata.resource_version) == store.rv


async def test_a_fork_goes_its_own_way():
    store = MemoryStore(ManualClock())
    await store.create(PODS, pod("a"), "default")
    other = store.fork()
    await other.bind("default", "a", "n1")
    await other.create(PODS, pod("b"), "default")
    assert not (await store.get(PODS, "a", "default")).spec.node_name
    assert len((await store.list(PODS)).items) == 1
    with pytest.raises(errors.Gone):
        await anext(other.watch(PODS, resource_version="1"))


async def test_the_status_of_custom_resources_follows_their_definitions():
    store = MemoryStore(ManualClock())
    await store.create(NODE_METRICS, named("n1", status={"updateTime": "2020-01-01T00:00:00Z"}))
    assert "status" not in store.raw(NODE_METRICS, "n1")
    await store.patch(NODE_METRICS, "n1", {"status": {"updateTime": "2020-01-01T00:00:00Z"}}, subresource="status")
    assert store.raw(NODE_METRICS, "n1")["metadata"]["generation"] == 1
    with pytest.raises(errors.ApiError) as caught:
        await store.patch(NODE_METRICS, "n1", {"spec": {}}, type=PatchType.STRATEGIC)
    assert caught.value.code == 415
    await store.create(DEVICES, named("n1", status={"allocations": []}))
    assert store.raw(DEVICES, "n1")["status"] == {"allocations": []}
    with pytest.raises(errors.NotFound):
        await store.patch(DEVICES, "n1", {"status": {}}, subresource="status")
    await store.create(POD_GROUPS, named("g", spec={"minMember": 2}), "default")
    await store.patch(POD_GROUPS, "g", {"spec": {"minMember": 3}}, "default")
    assert store.raw(POD_GROUPS, "g", "default")["metadata"]["generation"] == 2


async def test_another_type_of_the_same_kind_reads_the_same_objects():
    store = MemoryStore(ManualClock())
    await store.create(CONFIG_MAPS, named("a", data={"x": "1"}), "default")
    plain = Resource("", "v1", "configmaps", "ConfigMap", Object)
    assert type(await store.get(plain, "a", "default")) is Object
    assert (await store.get(CONFIG_MAPS, "a", "default")).data == {"x": "1"}


async def test_a_slow_watch_is_cut_off_and_holds_up_nobody():
    store = MemoryStore(ManualClock(), history=10)
    await store.create(CONFIG_MAPS, named("first"), "default")
    events = store.watch(CONFIG_MAPS, "default", resource_version="0")
    assert (await anext(events)).object.name == "first"
    for number in range(30):
        await store.create(CONFIG_MAPS, named(f"m{number}"), "default")
    with pytest.raises(errors.Gone, match="list again"):
        await anext(events)


async def test_history_reaches_back_as_far_as_promised():
    store = MemoryStore(ManualClock(), history=10)
    versions = [(await store.create(CONFIG_MAPS, named(f"m{n}"), "default")).metadata.resource_version for n in range(50)]
    events = store.watch(CONFIG_MAPS, resource_version=versions[-11])
    assert [(await anext(events)).object.name for _ in range(10)] == [f"m{n}" for n in range(40, 50)]
    with pytest.raises(errors.Gone):
        await anext(store.watch(CONFIG_MAPS, resource_version=versions[0]))


async def test_bookmarks_come_with_time_and_with_distance():
    clock = ManualClock()
    store = MemoryStore(clock)
    events = store.watch(CONFIG_MAPS, resource_version=str(store.rv), label_selector="wanted")
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await store.create(CONFIG_MAPS, named("a"), "default")
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(61)
    await store.create(CONFIG_MAPS, named("b"), "default")
    event = await waiting
    assert (event.type, event.object, event.resource_version) == ("BOOKMARK", None, str(store.rv))
    for number in range(1_000):
        await store.create(CONFIG_MAPS, named(f"m{number}"), "default")
    assert (await anext(events)).type == "BOOKMARK"


async def test_a_cancelled_watch_leaves_the_others_alone():
    store = MemoryStore(ManualClock())
    watches = [asyncio.ensure_future(anext(store.watch(CONFIG_MAPS, resource_version=str(store.rv)))) for _ in range(3)]
    await asyncio.sleep(0)
    watches[0].cancel()
    await asyncio.sleep(0)
    await store.create(CONFIG_MAPS, named("a"), "default")
    assert [(await watch).object.name for watch in watches[1:]] == ["a", "a"]


async def test_an_informer_recovers_after_the_past_is_forgotten():
    store, clock = MemoryStore(ManualClock()), ManualClock()
    informer = Informer(store, CONFIG_MAPS, clock=clock)
    task = asyncio.create_task(informer.run())
    await informer.synced()
    await store.create(CONFIG_MAPS, named("a"), "default")
    store.compact()
    await store.create(CONFIG_MAPS, named("b"), "default")
    await clock.run(30)
    assert {obj.name for obj in informer.items()} == {"a", "b"}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["create", "change", "label", "delete", "remind"]), st.sampled_from("abc"), st.booleans()),
    max_size=30,
)


@settings(max_examples=60)
@given(operations=OPERATIONS, selector=st.sampled_from(["", "in"]), start=st.integers(0, 30))
def test_a_watch_from_any_point_ends_at_what_a_list_says(operations, selector, start):
    async def run():
        store = MemoryStore(ManualClock())
        mirror, since = {}, None
        for number, (verb, name, flag) in enumerate(operations):
            if number == start:
                page = await store.list(CONFIG_MAPS, label_selector=selector)
                mirror, since = {obj.name: obj for obj in page.items}, page.resource_version
            with contextlib.suppress(errors.NotFound, errors.AlreadyExists):
                await act(store, verb, name, number, flag)
        if since is None:
            return
        for event in await drain(store.watch(CONFIG_MAPS, resource_version=since, label_selector=selector), 0.002):
            if event.type == "DELETED":
                del mirror[event.object.name]
            elif event.object is not None:
                assert (event.object.name in mirror) == (event.type == "MODIFIED")
                mirror[event.object.name] = event.object
        assert mirror == {obj.name: obj for obj in (await store.list(CONFIG_MAPS, label_selector=selector)).items}

    asyncio.run(run())


async def act(store, verb, name, number, flag):
    labels = {"in": ""} if flag else {}
    if verb == "create":
        await store.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": labels}}, "default")
    elif verb == "change":
        await store.patch(CONFIG_MAPS, name, {"data": {"n": str(number)}}, "default")
    elif verb == "label":
        await store.patch(CONFIG_MAPS, name, {"metadata": {"labels": {"in": "" if flag else None}}}, "default")
    elif verb == "delete":
        await store.delete(CONFIG_MAPS, name, "default")
    else:
        store.remind()
