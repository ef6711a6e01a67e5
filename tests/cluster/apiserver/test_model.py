"""Random operations with kills in between, against a dictionary that says what must come of them.

Every answer, every watch event and the state after every kill is compared. ``KOORD_FUZZ_OPERATIONS`` asks for more of them,
``KOORD_FUZZ_SEED`` for the ones that failed.
"""

import asyncio
import copy
import os
import random

import aiohttp
import msgspec
import pytest

from cluster.apiserver.programs import ServerProcess

OPERATIONS = int(os.environ.get("KOORD_FUZZ_OPERATIONS", "1200"))
SEED = int(os.environ.get("KOORD_FUZZ_SEED", "1"))
MAPS = "/api/v1/namespaces/default/configmaps"
NAMES = [f"m{number}" for number in range(12)]
LIFE = 300  # operations between two kills
MERGE = "application/merge-patch+json"
JSON = "application/json"
Operation = tuple[str, str, dict, str]


class Model:
    """What the objects must be: name → data, labels, finalizers and whether deletion has begun."""

    def __init__(self, random_):
        self.objects, self.random = {}, random_

    def operation(self, versions):
        """Something to do: method, name, body, content type."""
        name = self.random.choice(NAMES)
        body = {"metadata": {"name": name}, "data": {self.random.choice("abc"): str(self.random.randrange(1000))}}
        kind = self.random.choice(
            ["create", "create", "replace", "stale", "patch", "patch", "label", "hold", "release", "delete"]
        )
        match kind:
            case "create":
                if self.random.random() < 0.1:
                    body["metadata"]["finalizers"] = ["test/hold"]
                return "POST", name, body, JSON
            case "replace":
                return "PUT", name, {**body, "metadata": {"name": name, **self._kept(name)}}, JSON
            case "stale":
                version = str(int(versions.get(name, "1")) - self.random.randrange(2))
                return "PUT", name, {**body, "metadata": {"name": name, "resourceVersion": version, **self._kept(name)}}, JSON
            case "patch":
                return "PATCH", name, {"data": {**body["data"], self.random.choice("abc"): None}}, MERGE
            case "label":
                return "PATCH", name, {"metadata": {"labels": {"color": self.random.choice(["red", "blue", None])}}}, MERGE
            case "hold" | "release":
                return "PATCH", name, {"metadata": {"finalizers": ["test/hold"] if kind == "hold" else None}}, MERGE
        return "DELETE", name, {}, JSON

    def _kept(self, name):
        finalizers = self.objects.get(name, {}).get("finalizers")
        return {"finalizers": finalizers} if finalizers else {}

    def apply(self, operation, versions):
        """The code that must be answered; the objects change accordingly."""
        method, name, body, _ = operation
        there = self.objects.get(name)
        metadata = body.get("metadata", {})
        if method == "POST":
            if there is not None:
                return 409
            self.objects[name] = {"data": body["data"], "labels": {}, "finalizers": metadata.get("finalizers", [])}
            return 201
        if there is None:
            return 404
        if method == "DELETE":
            return self._delete(name, there)
        wanted = copy.deepcopy(there)
        if method == "PUT":
            if metadata.get("resourceVersion", versions[name]) != versions[name]:
                return 409
            wanted |= {"data": body["data"], "labels": {}}
        else:
            self._merge(wanted, body)
        if there.get("deleting") and set(wanted["finalizers"]) - set(there["finalizers"]):
            return 422
        self.objects[name] = wanted
        if wanted.get("deleting") and not wanted["finalizers"]:
            del self.objects[name]
        return 200

    def _delete(self, name, there):
        if there["finalizers"]:
            there["deleting"] = True
        else:
            del self.objects[name]
        return 200

    @staticmethod
    def _merge(wanted, body):
        for field, change in (("data", body.get("data", {})), ("labels", body.get("metadata", {}).get("labels", {}))):
            merged = {**wanted[field], **change}
            wanted[field] = {key: value for key, value in merged.items() if value is not None}
        if "finalizers" in body.get("metadata", {}):
            wanted["finalizers"] = body["metadata"]["finalizers"] or []


def state_of(obj):
    """The part of an object that the model speaks of."""
    metadata = obj["metadata"]
    state = {
        "data": obj.get("data", {}),
        "labels": metadata.get("labels", {}),
        "finalizers": metadata.get("finalizers", []),
    }
    return {**state, "deleting": True} if metadata.get("deletionTimestamp") else state


class Replica:
    """What a watch shows."""

    def __init__(self, items):
        self.objects = {item["metadata"]["name"]: state_of(item) for item in items}
        self.rv, self.moved = 0, asyncio.Event()

    async def follow(self, response):
        async for line in response.content:
            event = msgspec.json.decode(line)
            metadata = event["object"]["metadata"]
            rv = int(metadata["resourceVersion"])
            assert event["type"] != "ERROR", event
            assert rv > self.rv, "events out of order"
            self.rv = rv
            if event["type"] == "DELETED":
                del self.objects[metadata["name"]]
            else:
                assert (event["type"] == "ADDED") is (metadata["name"] not in self.objects), event
                self.objects[metadata["name"]] = state_of(event["object"])
            self.moved.set()

    async def reach(self, rv):
        async with asyncio.timeout(20):
            while self.rv < rv:
                self.moved.clear()
                await self.moved.wait()


class Life:
    """One run of the server, from start to kill."""

    def __init__(self, server, session):
        self.server, self.session, self.url = server, session, server.url

    async def send(self, operation):
        method, name, body, type_ = operation
        path = MAPS if method == "POST" else f"{MAPS}/{name}"
        data = msgspec.json.encode(body) if body else None
        async with self.session.request(method, self.url + path, data=data, headers={"Content-Type": type_}) as response:
            return response.status, msgspec.json.decode(await response.read())

    async def list(self):
        async with self.session.get(self.url + MAPS) as response:
            return msgspec.json.decode(await response.read())

    async def run(self, model, versions):
        """Operations one by one, a watch beside them; ends with a kill in the middle of the last."""
        listed = await self.list()
        assert {item["metadata"]["name"]: state_of(item) for item in listed["items"]} == model.objects
        replica, rv = Replica(listed["items"]), int(listed["metadata"]["resourceVersion"])
        watch = await self.session.get(f"{self.url}{MAPS}?watch=1&resourceVersion={rv}")
        following = asyncio.create_task(replica.follow(watch))
        for _ in range(LIFE):
            operation = model.operation(versions)
            expected = model.apply(operation, versions)
            code, answer = await self.send(operation)
            assert code == expected, (operation, answer)
            if code < 300 and "resourceVersion" in answer["metadata"]:
                versions[operation[1]] = answer["metadata"]["resourceVersion"]
        listed = await self.list()
        await replica.reach(int(listed["metadata"]["resourceVersion"]))
        assert replica.objects == {item["metadata"]["name"]: state_of(item) for item in listed["items"]} == model.objects
        await self._kill(model, versions)
        with pytest.raises((aiohttp.ClientError, asyncio.TimeoutError)):
            await following
        watch.close()

    async def _kill(self, model, versions):
        """Kill while an operation is under way: it has happened or it has not, nothing else."""
        operation = model.operation(versions)
        self.in_doubt = operation
        sending = asyncio.create_task(self.send(operation))
        await asyncio.sleep(model.random.random() * 0.003)
        self.server.kill()
        await asyncio.gather(sending, return_exceptions=True)


def settle(model, versions, listed, operation):
    """Take the state after a kill for the truth, if it is one of the two that are possible."""
    found = {item["metadata"]["name"]: state_of(item) for item in listed["items"]}
    before = copy.deepcopy(model.objects)
    model.apply(operation, versions)
    assert found in (before, model.objects), (operation, before, found)
    model.objects = found
    versions.clear()
    versions.update({item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]})


@pytest.mark.slow
async def test_random_operations_and_kills(tmp_path):
    server, model, versions = ServerProcess(tmp_path / "data"), Model(random.Random(SEED)), {}
    assert await asyncio.to_thread(server.start) == "ready"
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {server.token}"}, timeout=aiohttp.ClientTimeout(total=None, sock_read=30)
    ) as session:
        try:
            for _ in range(max(OPERATIONS // LIFE, 1)):
                life = Life(server, session)
                await life.run(model, versions)
                assert await asyncio.to_thread(server.start) == "ready"
                settle(model, versions, await Life(server, session).list(), life.in_doubt)
        except BaseException:
            print(f"KOORD_FUZZ_SEED={SEED}")
            raise
        finally:
            server.kill()
