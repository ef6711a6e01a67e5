"""The store against a dictionary: random operations, watchers from anywhere, restarts in between."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.clock import ManualClock
from koordinator.cluster.apiserver.journal import Journal
from koordinator.cluster.apiserver.store import Store
from koordinator.cluster.apiserver.watch import Watcher
from koordinator.kube.errors import ApiError

NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["x", "y"]), NAMES, st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from(["x", "y"]), NAMES),
        st.tuples(st.just("settle")),
        st.tuples(st.just("watch")),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


class World:
    """A store on disk, the dictionary that it should equal, and a client that follows it."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, {}
        self.open()

    def open(self) -> None:
        self.store = Store(Journal(self.path), ManualClock())
        self.store.open()
        self.things = self.store.register("things", lambda obj: {"value": str(obj["value"])})
        self.pending = []
        self.watcher, self.seen = Watcher(self.things, "", None), None

    async def put(self, namespace, name, value):
        before = self.store.head("things", namespace, name)
        uid = before.uid if before else f"{namespace}-{name}-{self.store.rv}-{len(self.pending)}"
        obj = {"metadata": {"namespace": namespace, "name": name, "uid": uid}, "value": value}
        self.pending.append(self.store.write("things", before, obj))
        self.model[namespace, name] = value

    async def delete(self, namespace, name):
        before = self.store.head("things", namespace, name)
        if before is not None:
            self.pending.append(self.store.write("things", before, before.decode(), delete=True))
        self.model.pop((namespace, name), None)

    async def settle(self):
        await asyncio.gather(*self.pending)
        self.pending.clear()
        assert self.contents() == self.model
        if self.seen is not None:
            await self.follow()
            assert self.seen == self.model

    def contents(self):
        return {(entry.namespace, entry.name): entry.decode()["value"] for entry in self.things.entries()}

    async def watch(self):
        """List, then watch from there: together they must show everything."""
        self.watcher.stop()
        self.seen = self.contents()
        self.watcher = Watcher(self.things, "", None)
        self.watcher.start(self.store.rv)

    async def follow(self):
        rv = 0
        if not self.watcher._lines:
            return
        for line in (await self.watcher.next()).splitlines():
            event = msgspec.json.decode(line)
            obj, meta = event["object"], event["object"]["metadata"]
            assert int(meta["resourceVersion"]) > rv
            rv, key = int(meta["resourceVersion"]), (meta["namespace"], meta["name"])
            assert (event["type"] == "ADDED") == (key not in self.seen)
            if event["type"] == "DELETED":
                del self.seen[key]
            else:
                self.seen[key] = obj["value"]

    async def restart(self):
        await self.settle()
        rv = self.store.rv
        await self.store.close()
        self.open()
        assert self.store.rv == rv
        assert self.contents() == self.model


@given(STEPS)
@settings(max_examples=60)
def test_the_store_is_a_dictionary_that_tells_of_its_changes(steps):
    async def play(path):
        world = World(path)
        for verb, *arguments in steps:
            await getattr(world, verb)(*arguments)
        await world.restart()
        await world.store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory) / "state.db"))


async def test_readers_see_only_what_is_on_disk(tmp_path):
    store = Store(Journal(tmp_path / "state.db"), ManualClock())
    store.open()
    store.register("things", lambda _: {})
    future = store.write("things", None, {"metadata": {"name": "a", "uid": "1"}})
    assert store.get("things", "", "a") is None
    assert store.head("things", "", "a").name == "a"
    await future
    assert store.get("things", "", "a").rv == store.rv == 1
    await store.close()


async def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    journal = Journal(tmp_path / "state.db")
    store = Store(journal, ManualClock())
    store.open()
    store.register("things", lambda _: {})
    await store.write("things", None, {"metadata": {"name": "a", "uid": "1"}})
    journal._connection.execute("PRAGMA max_page_count = 1")
    failing = store.write("things", None, {"metadata": {"name": "b", "uid": "2"}, "blob": "x" * 100_000})
    on_top = store.write(
        "things", store.head("things", "", "a"), {"metadata": {"name": "a", "uid": "1"}, "more": "y" * 100_000}
    )
    results = await asyncio.gather(failing, on_top, return_exceptions=True)
    assert all(isinstance(result, ApiError) and "could not be written to disk" in str(result) for result in results)
    assert store.head("things", "", "b") is None
    assert store.head("things", "", "a").rv == 1
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    await store.write("things", None, {"metadata": {"name": "c", "uid": "3"}})
    assert [entry.name for entry in store.collection("things").entries()] == ["a", "c"]
    await store.close()
