import asyncio

import msgspec
import pytest

from koordinator.cluster.apiserver import watch

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


class Lines:
    """A watch, line by line."""

    def __init__(self, http, path):
        self._http, self._path = http, path

    async def __aenter__(self):
        self._response = await self._http.session.get(self._http.url + self._path)
        assert self._response.status == 200, await self._response.text()
        return self

    async def __aexit__(self, *_):
        self._response.close()

    async def next(self):
        async with asyncio.timeout(5):
            line = await self._response.content.readline()
        return msgspec.json.decode(line) if line else None

    async def seen(self, count):
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


async def put(http, name, **labels):
    return (await http.post(MAPS, {"metadata": {"name": name, "labels": labels}})).body


async def names(http, path):
    return [item["metadata"]["name"] for item in (await http.get(path)).body["items"]]


async def test_lists_are_sorted_and_selected(http):
    for name, tier in (("b", "x"), ("a", "y"), ("c", "x")):
        await put(http, name, tier=tier)
    assert await names(http, MAPS) == ["a", "b", "c"]
    assert await names(http, f"{MAPS}?labelSelector=tier%3Dx") == ["b", "c"]
    assert await names(http, f"{MAPS}?labelSelector=tier%20in%20(x,y),!gone&fieldSelector=metadata.name!%3Db") == ["a", "c"]
    await http.pod("p")
    await http.pod("q", schedulerName="other")
    assert await names(http, "/api/v1/pods?fieldSelector=spec.schedulerName%3Dother,status.phase%3DPending") == ["q"]
    bad = await http.get(f"{PODS}?fieldSelector=spec.color%3Dred")
    assert (bad.code, bad.message) == (400, 'field label not supported: "spec.color"')
    assert (await http.get(f"{PODS}?labelSelector=a%20b")).code == 400


async def test_pages_show_one_moment(http):
    for name in "abcde":
        await put(http, name)
    first = (await http.get(f"{MAPS}?limit=2")).body
    await http.delete(f"{MAPS}/d")
    await put(http, "bb")
    meta = first["metadata"]
    assert meta["remainingItemCount"] == 3
    second = (await http.get(f"{MAPS}?limit=2&continue={meta['continue']}")).body
    third = (await http.get(f"{MAPS}?limit=2&continue={second['metadata']['continue']}")).body
    found = [item["metadata"]["name"] for page in (first, second, third) for item in page["items"]]
    assert found == list("abcde")
    assert second["metadata"]["resourceVersion"] == meta["resourceVersion"]
    assert "continue" not in third["metadata"]
    assert (await http.get(f"{MAPS}?continue=eHg%3D")).code == 410


async def test_resource_versions_of_lists(http):
    made = await put(http, "a")
    rv = int(made["metadata"]["resourceVersion"])
    assert (await http.get(f"{MAPS}?resourceVersion={rv}")).code == 200
    assert (await http.get(f"{MAPS}?resourceVersion={rv}&resourceVersionMatch=Exact")).code == 200
    future = await http.get(f"{MAPS}?resourceVersion={rv + 100}")
    assert (future.code, future.message) == (504, f"Too large resource version: {rv + 100}, current: {rv}")
    assert (await http.get(f"{MAPS}?resourceVersion=x")).code == 400


async def test_a_list_of_the_past(http):
    made = await put(http, "a")
    rv = int(made["metadata"]["resourceVersion"])
    await http.patch(f"{MAPS}/a", {"data": {"x": "y"}})
    await put(http, "b")
    await http.delete(f"{MAPS}/a")
    exactly = f"{MAPS}?resourceVersionMatch=Exact&resourceVersion="
    assert [item["metadata"]["name"] for item in (await http.get(f"{MAPS}?resourceVersion={rv}")).body["items"]] == ["b"]
    then = (await http.get(f"{exactly}{rv}")).body
    assert then["items"] == [made]
    assert then["metadata"]["resourceVersion"] == str(rv)
    later = (await http.get(f"{exactly}{rv + 2}")).body["items"]
    assert [(item["metadata"]["name"], item.get("data")) for item in later] == [("a", {"x": "y"}), ("b", None)]
    assert (await http.get(f"{exactly}1")).body["items"] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("resourceVersionMatch=Exact", "forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 'is forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=Newest&resourceVersion=1", 'Unsupported value: "Newest"'),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x", "is forbidden when continue is provided"),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("watch=1&sendInitialEvents=true", "requires setting resourceVersionMatch to NotOlderThan"),
        ("watch=1&resourceVersionMatch=Exact", "is forbidden for watch unless sendInitialEvents"),
    ],
)
async def test_versions_that_make_no_sense(http, query, words):
    reply = await http.get(f"{MAPS}?{query}")
    assert reply.code == 422
    assert words in reply.message


async def test_a_watch_replays_what_it_missed(http):
    start = (await put(http, "a"))["metadata"]["resourceVersion"]
    await put(http, "b")
    await http.patch(f"{MAPS}/b", {"data": {"x": "y"}})
    async with Lines(http, f"{MAPS}?watch=1&resourceVersion={start}") as lines:
        assert await lines.seen(2) == [("ADDED", "b"), ("MODIFIED", "b")]
        await http.delete(f"{MAPS}/a")
        gone = await lines.next()
        assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "a")
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(start) + 1


async def test_a_watch_without_a_version_starts_with_what_is_there(http):
    await put(http, "a")
    async with Lines(http, f"{MAPS}?watch=true") as lines:
        assert await lines.seen(1) == [("ADDED", "a")]
        await put(http, "b")
        assert await lines.seen(1) == [("ADDED", "b")]


async def test_initial_events_end_with_a_bookmark(http):
    await put(http, "a")
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with Lines(http, f"{MAPS}?{query}") as lines:
        assert await lines.seen(1) == [("ADDED", "a")]
        mark = await lines.next()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_selected_objects_come_and_go(http):
    start = (await put(http, "a", tier="x"))["metadata"]["resourceVersion"]
    async with Lines(http, f"{MAPS}?watch=1&resourceVersion={start}&labelSelector=tier%3Dx") as lines:
        left = (await http.patch(f"{MAPS}/a", {"metadata": {"labels": {"tier": "y"}}})).body
        event = await lines.next()
        assert event["type"] == "DELETED"
        assert event["object"]["metadata"]["labels"] == {"tier": "x"}
        assert event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        await http.patch(f"{MAPS}/a", {"data": {"still": "out"}})
        await http.patch(f"{MAPS}/a", {"metadata": {"labels": {"tier": "x"}}})
        assert await lines.seen(1) == [("ADDED", "a")]


async def test_a_watch_of_one_object_and_of_one_namespace(http):
    await put(http, "a")
    await put(http, "b")
    async with Lines(http, f"{MAPS}/b?watch=1") as lines:
        assert await lines.seen(1) == [("ADDED", "b")]
    async with Lines(http, "/api/v1/namespaces/kube-system/configmaps?watch=1") as lines:
        await put(http, "c")
        await http.post("/api/v1/namespaces/kube-system/configmaps", {"metadata": {"name": "k"}})
        assert await lines.seen(1) == [("ADDED", "k")]


async def test_a_watch_ends_when_its_time_is_over(http):
    async with Lines(http, f"{MAPS}?watch=1&timeoutSeconds=1") as lines:
        assert await lines.next() is None


async def test_versions_from_which_no_watch_can_start(http):
    rv = int((await put(http, "a"))["metadata"]["resourceVersion"])
    future = await http.get(f"{MAPS}?watch=1&resourceVersion={rv + 50}")
    assert (future.code, future.body["reason"]) == (410, "Expired")
    assert (await http.get(f"{MAPS}?watch=1&resourceVersion=-1")).code == 400


async def test_many_watchers_see_every_change_in_order(http):
    start = (await put(http, "first"))["metadata"]["resourceVersion"]
    wanted = [f"m-{index:03}" for index in range(100)]

    async def follow():
        async with Lines(http, f"{MAPS}?watch=1&resourceVersion={start}") as lines:
            return await lines.seen(len(wanted))

    watchers = [asyncio.create_task(follow()) for _ in range(10)]
    for name in wanted:
        await put(http, name)
    for events in await asyncio.gather(*watchers):
        assert events == [("ADDED", name) for name in wanted]


async def test_a_watcher_that_does_not_keep_up_is_cut_off(http, monkeypatch):
    monkeypatch.setattr(watch, "QUEUE_LINES", 5)
    start = (await put(http, "first"))["metadata"]["resourceVersion"]
    for index in range(10):
        await put(http, f"m-{index}")
    async with Lines(http, f"{MAPS}?watch=1&resourceVersion={start}") as lines:
        error = await lines.next()
        assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await lines.next() is None


@pytest.mark.parametrize(
    "path", ["/api", "/apis", "/api/v1", "/apis/apps/v1", "/apis/apps", "/apis/slo.koordinator.sh/v1alpha1"]
)
async def test_discovery(http, path):
    assert (await http.get(path)).code == 200


async def test_discovery_names_resources_and_subresources(http):
    listed = {item["name"]: item for item in (await http.get("/api/v1")).body["resources"]}
    assert listed["pods"]["shortNames"] == ["po"]
    assert (listed["pods/eviction"]["group"], listed["pods/eviction"]["kind"]) == ("policy", "Eviction")
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    whole = (await http.get("/apis", Accept=accept)).body
    assert whole["kind"] == "APIGroupDiscoveryList"
    assert "slo.koordinator.sh" in {item["metadata"]["name"] for item in whole["items"]}
    assert (await http.get("/apis/none")).code == 404


async def test_tables(http):
    await http.pod()
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = (await http.get(PODS, Accept=accept)).body
    assert [column["name"] for column in table["columnDefinitions"]][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert table["rows"][0]["cells"][:4] == ["p", "0/1", "Pending", "0"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    assert (await http.get(PODS, Accept=accept)).body["kind"] == "PartialObjectMetadataList"
