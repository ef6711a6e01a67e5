import asyncio
import json
import logging
import re

import msgspec
import pytest

from koordinator.api.registry import CONFIG_MAPS, NODES, PODS
from koordinator.kube import errors
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from koordinator.kube.store import PatchType, Undecodable
from kube.fake_server import FastClock, Reply, Scripted, config_map, event, listing, refusal, status

MAPS = "/api/v1/namespaces/default/configmaps"
ONE = f"{MAPS}/one"


def opened(server, **settings):
    return Client(msgspec.structs.replace(server.config, **settings), FastClock())


async def test_get_decodes_into_the_type_and_sends_the_token():
    async with Scripted({f"GET {ONE}": [Reply(body=config_map("one", 7, "x"))]}) as server, opened(server, token="t") as client:
        found = await client.get(CONFIG_MAPS, "one", "default")
    assert (found.key, found.metadata.resource_version, found.data) == ("default/one", "7", {"value": "x"})
    assert server.requests[0][3]["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(401, "Unauthorized"), errors.Unauthorized),
        (refusal(403, "Forbidden"), errors.Forbidden),
        (refusal(404, "NotFound"), errors.NotFound),
        (refusal(409, "AlreadyExists"), errors.AlreadyExists),
        (refusal(409, "Conflict"), errors.Conflict),
        (refusal(410, "Expired"), errors.Gone),
        (refusal(410, "Gone"), errors.Gone),
        (refusal(422, "Invalid"), errors.Invalid),
        (refusal(418, "Teapot"), errors.ApiError),
        (Reply(404, b"404 page not found"), errors.NotFound),
        (Reply(409, b"{}"), errors.Conflict),
        (Reply(403, b"<html>"), errors.Forbidden),
    ],
)
async def test_refusals_become_errors_at_once(reply, error):
    async with Scripted({f"GET {ONE}": [reply]}) as server, opened(server) as client:
        with pytest.raises(error) as caught:
            await client.get(CONFIG_MAPS, "one", "default")
    assert type(caught.value) is error
    assert caught.value.code == reply.status
    assert str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(429, "TooManyRequests"),
        refusal(503, "ServiceUnavailable"),
        refusal(500, "InternalError"),
        Reply(502, b"bad gateway"),
        refusal(504, "Timeout"),
        Reply(reset=True),
    ],
)
async def test_a_read_is_tried_again(trouble):
    script = {f"GET {ONE}": [trouble, trouble, Reply(body=config_map("one", 7))]}
    async with Scripted(script) as server, opened(server) as client:
        assert (await client.get(CONFIG_MAPS, "one", "default")).name == "one"


@pytest.mark.parametrize(
    ("trouble", "attempts"),
    [
        pytest.param(refusal(429, "TooManyRequests"), 2, id="429-was-not-carried-out"),
        pytest.param(refusal(503, "ServiceUnavailable", headers={"Retry-After": "1"}), 2, id="503-retry-after"),
        pytest.param(refusal(503, "ServiceUnavailable"), 1, id="503"),
        pytest.param(refusal(500, "InternalError"), 1, id="500"),
        pytest.param(Reply(reset=True), 1, id="connection-lost"),
    ],
)
async def test_a_write_is_tried_again_only_if_it_was_not_carried_out(trouble, attempts):
    script = {f"POST {MAPS}": [trouble, Reply(201, config_map("one", 7))]}
    async with Scripted(script) as server, opened(server) as client:
        write = client.create(CONFIG_MAPS, {"metadata": {"name": "one"}}, "default")
        if attempts == 2:
            assert (await write).name == "one"
        else:
            with pytest.raises(errors.ApiError):
                await write
        assert len(server.requests) == attempts


async def test_a_lost_connection_says_that_the_outcome_is_unknown():
    async with Scripted({f"POST {MAPS}": [Reply(reset=True)]}) as server, opened(server) as client:
        with pytest.raises(errors.ServerUnavailable) as caught:
            await client.create(CONFIG_MAPS, {}, "default")
    assert caught.value.outcome_unknown


async def test_a_refused_connection_is_tried_again_and_then_reported():
    async with Scripted({}) as server:
        config = server.config
    clock = FastClock()
    async with Client(config, clock) as client:
        with pytest.raises(errors.ServerUnavailable, match=config.server) as caught:
            await client.create(CONFIG_MAPS, {}, "default")
    assert not caught.value.outcome_unknown
    assert len(clock.slept) == config.retries
    assert clock.slept[-1] > clock.slept[0]


async def test_retry_after_is_obeyed():
    clock = FastClock()
    script = {f"GET {ONE}": [refusal(429, "TooManyRequests", headers={"Retry-After": "7"}), Reply(body=config_map("one", 7))]}
    async with Scripted(script) as server, Client(server.config, clock) as client:
        await client.get(CONFIG_MAPS, "one", "default")
    assert clock.slept[0] >= 7


async def test_no_answer_in_time_is_an_error():
    slow = Reply(delay=5, body=config_map("one", 7))
    async with Scripted({f"GET {ONE}": [slow]}) as server, opened(server, timeout=0.05, retries=0) as client:
        with pytest.raises(errors.ServerUnavailable, match="no answer in time"):
            await client.get(CONFIG_MAPS, "one", "default")


async def test_a_budgets_veto_is_an_answer_not_an_overload():
    path = "/api/v1/namespaces/default/pods/p/eviction"
    async with Scripted({f"POST {path}": [refusal(429, "TooManyRequests")]}) as server, opened(server) as client:
        with pytest.raises(errors.TooManyRequests):
            await client.evict("default", "p", uid="u", grace_seconds=3)
    assert len(server.requests) == 1
    assert json.loads(server.bodies[0])["deleteOptions"] == {"gracePeriodSeconds": 3, "preconditions": {"uid": "u"}}


async def test_list_follows_continue_tokens():
    pages = [
        Reply(body=listing(5, config_map("a", 1), **{"continue": "next"})),
        Reply(body=listing(9, config_map("b", 2))),
    ]
    async with Scripted({f"GET {MAPS}": pages}) as server, opened(server) as client:
        page = await client.list(CONFIG_MAPS, "default", label_selector="a in (b,c),d=e")
    assert ([item.name for item in page.items], page.resource_version, page.continue_) == (["a", "b"], "5", "")
    assert [request[2].get("continue") for request in server.requests] == [None, "next"]
    assert {request[2]["labelSelector"] for request in server.requests} == {"a in (b,c),d=e"}
    assert {item.kind for item in page.items} == {"ConfigMap"}


async def test_a_snapshot_forgotten_half_way_is_listed_again_whole():
    pages = [
        Reply(body=listing(5, config_map("a", 1), **{"continue": "next"})),
        refusal(410, "Expired"),
        Reply(body=listing(6, config_map("a", 1), config_map("b", 2))),
    ]
    async with Scripted({f"GET {MAPS}": pages}) as server, opened(server) as client:
        page = await client.list(CONFIG_MAPS, "default")
    assert ([item.name for item in page.items], page.resource_version) == (["a", "b"], "6")


async def test_an_empty_list_may_be_null():
    async with Scripted({f"GET {MAPS}": [Reply(body=listing(5) | {"items": None})]}) as server, opened(server) as client:
        assert (await client.list(CONFIG_MAPS, "default")).items == []


BAD = config_map("bad", 3) | {"data": ["no", "map"]}


async def test_one_bad_object_in_a_list_does_not_hide_the_others():
    script = {f"GET {MAPS}": [Reply(body=listing(5, config_map("a", 1), BAD, 17))]}
    async with Scripted(script) as server, opened(server) as client:
        page = await client.list(CONFIG_MAPS, "default")
    assert [item.name for item in page.items] == ["a"]
    assert page.undecodable[0] == Undecodable("ConfigMap", "default", "bad", "uid-bad", page.undecodable[0].reason)
    assert "$.data" in page.undecodable[0].reason
    assert len(page.undecodable) == 2


async def test_a_bad_object_by_name_is_an_error_that_names_it():
    async with Scripted({f"GET {ONE}": [Reply(body=BAD)]}) as server, opened(server) as client:
        with pytest.raises(errors.Unreadable, match=r"ConfigMap default/bad cannot be read: .*\$\.data"):
            await client.get(CONFIG_MAPS, "one", "default")


async def watched(client, resource=CONFIG_MAPS):
    return [found async for found in client.watch(resource, "default", resource_version="1")]


async def test_watch_yields_until_the_server_ends_the_stream():
    lines = (
        event("ADDED", config_map("a", 2)) + event("MODIFIED", BAD) + event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    )
    chunks = [lines[:10], 0.01, lines[10:300], 0.01, lines[300:], b"\n"]
    async with Scripted({f"WATCH {MAPS}": [Reply(chunks=chunks)]}) as server, opened(server) as client:
        added, modified, bookmark = await watched(client)
    assert (added.type, added.object.name, added.resource_version) == ("ADDED", "a", "2")
    assert isinstance(modified.object, Undecodable)
    assert modified.resource_version == "3"
    assert (bookmark.type, bookmark.object, bookmark.resource_version) == ("BOOKMARK", None, "9")
    query = server.requests[0][2]
    assert (query["resourceVersion"], query["allowWatchBookmarks"]) == ("1", "true")
    assert 300 <= int(query["timeoutSeconds"]) <= 600


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(chunks=[event("ERROR", status(410, "Expired", "too old"))]), id="in-the-stream"),
        pytest.param(refusal(410, "Expired", "too old"), id="as-the-answer"),
    ],
)
@pytest.mark.parametrize("resource", [CONFIG_MAPS, PODS])
async def test_watch_says_gone(reply, resource):
    script = {f"WATCH /api/v1/namespaces/default/{resource.plural}": [reply]}
    async with Scripted(script) as server, opened(server) as client:
        with pytest.raises(errors.Gone, match="too old"):
            await watched(client, resource)


async def test_watch_reports_a_cut_connection_and_garbage():
    script = {
        f"WATCH {MAPS}": [Reply(chunks=[event("ADDED", config_map("a", 2)), 0.01, "reset"]), Reply(chunks=[b"garbage\n"])]
    }
    async with Scripted(script) as server, opened(server) as client:
        with pytest.raises(errors.ServerUnavailable):
            await watched(client)
        with pytest.raises(errors.Unreadable, match="no event"):
            await watched(client)


async def test_patch_bind_and_delete_say_it_as_the_api_wants_it():
    pod = "/api/v1/namespaces/default/pods/p"
    script = {
        f"PATCH {pod}/status": [Reply(body={"metadata": {"name": "p"}})],
        f"POST {pod}/binding": [Reply(201, status(201, ""))],
        f"DELETE {pod}": [Reply(body={})],
        "DELETE /api/v1/nodes/n": [Reply(body={})],
    }
    async with Scripted(script) as server, opened(server) as client:
        await client.patch(PODS, "p", {"status": {}}, "default", type=PatchType.STRATEGIC, subresource="status")
        await client.bind("default", "p", "n", uid="u")
        await client.delete(PODS, "p", "default", grace_seconds=0, uid="u")
        await client.delete(NODES, "n")
    assert server.requests[0][3]["Content-Type"] == "application/strategic-merge-patch+json"
    patch, binding, delete, plain = server.bodies
    assert json.loads(patch) == {"status": {}}
    assert json.loads(binding)["target"] == {"apiVersion": "v1", "kind": "Node", "name": "n"}
    assert json.loads(binding)["metadata"]["uid"] == "u"
    assert json.loads(delete)["gracePeriodSeconds"] == 0
    assert plain == b""


async def test_names_are_encoded():
    async with Scripted({}) as server, opened(server) as client:
        with pytest.raises(errors.NotFound, match=r"/nodes/a\?b c"):
            await client.get(NODES, "a?b c")


async def test_plain_json_for_kinds_without_a_type():
    async with Scripted({"GET /version": [Reply(body={"major": "1"})]}) as server, opened(server) as client:
        assert await client.request("GET", "/version") == {"major": "1"}


async def test_requests_over_the_rate_wait_their_turn():
    clock = FastClock()
    async with Scripted({"GET /version": [Reply()]}) as server:
        config = ClientConfig(server=server.config.server, qps=10, burst=2)
        async with Client(config, clock) as client:
            for _ in range(5):
                await client.request("GET", "/version")
    assert clock.slept == pytest.approx([0.1, 0.1, 0.1])


async def test_a_rotated_token_file_is_read_again(tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    clock = FastClock()
    async with Scripted({"GET /version": [Reply()]}) as server:
        async with Client(ClientConfig(server=server.config.server, token_file=str(token)), clock) as client:
            await client.request("GET", "/version")
            token.write_text("new\n")
            clock.time += 11
            await client.request("GET", "/version")
        assert [request[3]["Authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]


async def test_a_rejected_token_is_read_again_at_once(tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    async with Scripted({"GET /version": [refusal(401, "Unauthorized"), Reply()]}) as server:
        async with Client(ClientConfig(server=server.config.server, token_file=str(token)), FastClock()) as client:
            await client.request("GET", "/version")
        assert len(server.requests) == 2


async def test_many_calls_at_once_share_a_bounded_number_of_connections():
    async with Scripted({"GET /version": [Reply(delay=0.01)]}) as server, opened(server, max_in_flight=3) as client:
        await asyncio.gather(*[client.request("GET", "/version") for _ in range(12)])
    assert len(server.requests) == 12


async def test_using_a_client_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        await Client(ClientConfig(server="http://127.0.0.1:1")).get(NODES, "n")


async def test_requests_are_traced_without_secrets(caplog):
    script = {"GET /api/v1/namespaces/default/configmaps/a": [Reply(body=config_map("a", 1))]}
    async with Scripted(script) as server:
        config = msgspec.structs.replace(server.config, token="hush-hush")
        async with Client(config) as client:
            with caplog.at_level(logging.DEBUG, logger="koordinator.kube.client"):
                await client.get(CONFIG_MAPS, "a", "default")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "koordinator.kube.client"]
    assert re.fullmatch(r"GET 127\.0\.0\.1:\d+/api/v1/namespaces/default/configmaps/a: 200 in \d+\.\d ms", line)
    assert "hush-hush" not in caplog.text
