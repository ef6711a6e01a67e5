import asyncio
import contextlib
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api.registry import CONFIG_MAPS
from koordinator.kube.client import Client
from koordinator.kube.informer import Informer
from kube.fake_server import FastClock, Live, Reply, Scripted, config_map, event, listing, refusal, status, until
from waiting import background

MAPS = "/api/v1/configmaps"


@contextlib.asynccontextmanager
async def informed(server, on=None):
    clock = FastClock()
    async with Client(server.config, clock) as client:
        informer = Informer(client, CONFIG_MAPS, clock=clock)
        if on:
            informer.on(**on)
        async with background(informer.run()):
            yield informer


def recorder():
    """Handlers that write down what they hear."""
    heard = []
    handlers = {
        "added": lambda obj: heard.append(("added", obj.name, obj.data["value"])),
        "updated": lambda old, new: heard.append(("updated", new.name, old.data["value"], new.data["value"])),
        "deleted": lambda obj: heard.append(("deleted", obj.name)),
    }
    return heard, handlers


async def test_it_follows_a_server_and_tells_what_changed():
    heard, handlers = recorder()
    async with Live() as server:
        server.put("a", "1")
        async with informed(server, handlers) as informer:
            await informer.synced()
            assert heard == [("added", "a", "1")]
            server.put("a", "2")
            server.put("b", "1")
            server.delete("a")
            await until(lambda: len(heard) == 4)
            assert heard[1:] == [("updated", "a", "1", "2"), ("added", "b", "1"), ("deleted", "a")]
            assert [obj.name for obj in informer.items()] == ["b"]
            assert informer.get("default/b").data == {"value": "1"}
            assert informer.get("default/a") is None


async def test_what_was_missed_is_made_up_for_after_a_gone():
    heard, handlers = recorder()
    script = {
        f"GET {MAPS}": [
            Reply(body=listing(5, config_map("stays", 1), config_map("goes", 2), config_map("changes", 3, "old"))),
            Reply(body=listing(9, config_map("stays", 1), config_map("changes", 8, "new"), config_map("comes", 7))),
        ],
        f"WATCH {MAPS}": [Reply(chunks=[event("ERROR", status(410, "Expired"))]), Reply(chunks=[60])],
    }
    async with Scripted(script) as server, informed(server, handlers):
        await until(lambda: len(heard) == 6)
    assert set(heard[3:]) == {("deleted", "goes"), ("updated", "changes", "old", "new"), ("added", "comes", "")}


async def test_a_recreated_object_is_a_deletion_and_an_addition():
    heard, handlers = recorder()
    script = {
        f"GET {MAPS}": [Reply(body=listing(5, config_map("a", 1, uid="u1")))],
        f"WATCH {MAPS}": [Reply(chunks=[event("MODIFIED", config_map("a", 6, uid="u2")), 60])],
    }
    async with Scripted(script) as server, informed(server, handlers):
        await until(lambda: len(heard) == 3)
    assert [what[0] for what in heard] == ["added", "deleted", "added"]


async def test_a_reconnect_goes_on_from_the_last_bookmark_and_repeats_nothing():
    heard, handlers = recorder()
    script = {
        f"GET {MAPS}": [Reply(body=listing(5, config_map("a", 1)))],
        f"WATCH {MAPS}": [
            Reply(chunks=[event("ADDED", config_map("b", 6)), event("BOOKMARK", {"metadata": {"resourceVersion": "42"}})]),
            Reply(chunks=[event("ADDED", config_map("b", 6)), event("ADDED", config_map("c", 43)), 60]),
        ],
    }
    async with Scripted(script) as server, informed(server, handlers):
        await until(lambda: len(heard) == 3)
        watches = [request[2]["resourceVersion"] for request in server.requests if request[0] == "WATCH"]
    assert watches == ["5", "42"]
    assert [what[1] for what in heard] == ["a", "b", "c"]


async def test_it_waits_longer_and_longer_for_a_server_that_is_away_and_complains_once(caplog):
    script = {
        f"GET {MAPS}": [*[refusal(403, "Forbidden", "no way")] * 5, Reply(body=listing(5))],
        f"WATCH {MAPS}": [Reply(chunks=[60])],
    }
    async with Scripted(script) as server, informed(server) as informer:
        assert not informer.has_synced
        await informer.synced()
        slept = informer._clock.slept
    assert len(slept) == 5
    assert slept[4] > slept[0]
    assert [r.message for r in caplog.records].count("list of configmaps failed, trying again: no way") == 1


@pytest.mark.parametrize("end", [[], ["reset"]])
async def test_a_stream_that_ends_at_once_does_not_spin(end):
    script = {f"GET {MAPS}": [Reply(body=listing(5))], f"WATCH {MAPS}": [*[Reply(chunks=end)] * 3, Reply(chunks=[60])]}
    async with Scripted(script) as server, informed(server) as informer:
        await until(lambda: server.asked[f"WATCH {MAPS}"] == 4)
        assert len(informer._clock.slept) == 3


async def test_a_failing_handler_stops_neither_the_stream_nor_its_neighbours(caplog):
    heard, handlers = recorder()

    def explode(*_):
        raise ValueError("handler bug")

    async with Live() as server, informed(server, {"added": explode, "updated": explode, "deleted": explode}) as informer:
        informer.on(**handlers)
        await informer.synced()
        server.put("a", "1")
        server.put("a", "2")
        server.delete("a")
        await until(lambda: len(heard) == 3)
    assert "a handler failed on ConfigMap default/a" in caplog.text
    assert "handler bug" in caplog.text


async def test_an_unreadable_object_is_reported_once_and_keeps_its_last_good_state(caplog):
    reported = []
    caplog.set_level(logging.WARNING)
    async with Live() as server, informed(server, {"unreadable": reported.append}) as informer:
        server.put("a", "good")
        await until(lambda: informer.get("default/a"))
        for _ in range(3):
            server.put("a", "", readable=False)
        server.put("b", "1")
        await until(lambda: informer.get("default/b"))
        assert informer.get("default/a").data == {"value": "good"}
        assert [bad.name for bad in informer.unreadable] == ["a"]
        server.put("a", "better")
        await until(lambda: informer.get("default/a").data == {"value": "better"})
        assert informer.unreadable == []
        server.put("a", "", readable=False)
        server.delete("a")
        await until(lambda: informer.get("default/a") is None)
    assert len(reported) == 2
    assert caplog.text.count("ConfigMap default/a cannot be read") == 2


async def test_a_late_handler_hears_of_what_is_there():
    heard, handlers = recorder()
    async with Live() as server:
        server.put("a", "1")
        async with informed(server) as informer:
            await informer.synced()
            informer.on(**handlers)
    assert heard == [("added", "a", "1")]


async def test_indexes_follow_the_objects(caplog):
    async with Live() as server:
        server.put("a", "red")
        server.put("b", "red")
        async with informed(server) as informer:
            await informer.synced()
            informer.add_index("color", lambda obj: [obj.data["value"]])
            informer.add_index("broken", lambda obj: [obj.nonsense])
            assert {obj.name for obj in informer.by_index("color", "red")} == {"a", "b"}
            server.put("a", "blue")
            server.delete("b")
            await until(lambda: len(informer) == 1)
            assert [obj.name for obj in informer.by_index("color", "blue")] == ["a"]
            assert informer.by_index("color", "red") == []
            assert informer.by_index("broken", "x") == []
    assert "index broken failed on default/" in caplog.text


def values(informer):
    return {obj.key: obj.data["value"] for obj in informer.items()}


names = st.sampled_from("abc")
steps = st.one_of(
    st.tuples(st.just("put"), names, st.sampled_from("xyz")),
    st.tuples(st.just("spoil"), names),
    st.tuples(st.just("delete"), names),
    st.tuples(st.sampled_from(["cut", "forget", "bookmark", "let run"])),
)


@pytest.mark.slow
@settings(max_examples=200)
@given(script=st.lists(steps, max_size=25))
async def test_the_cache_becomes_the_servers_state_whatever_happens_in_between(script):
    """And whoever only listens knows the same as whoever reads the cache."""
    shadow = {}

    def deleted(obj):
        del shadow[obj.key]

    def added(obj):
        assert obj.key not in shadow
        shadow[obj.key] = obj

    def updated(old, new):
        assert shadow[old.key] is old
        shadow[new.key] = new

    async with Live() as server, informed(server, {"added": added, "updated": updated, "deleted": deleted}) as informer:
        for what, *args in script:
            match what:
                case "put":
                    server.put(*args)
                case "spoil":
                    server.put(args[0], "", readable=False)
                case "delete":
                    server.delete(*args)
                case "let run":
                    await asyncio.sleep(0.002)
                case _:
                    getattr(server, what)()
        for name in "abc":
            if f"default/{name}" not in server.readable():
                server.delete(name)
        await until(lambda: values(informer) == server.readable() and not informer.unreadable)
        assert shadow == {obj.key: obj for obj in informer.items()}
