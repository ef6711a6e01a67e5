"""Carrying out: lost answers, refusals and bugs with one key, against a store that answers as told."""

import asyncio
import contextlib

import pytest

from cluster.controllers.workloads import pod, replica_set
from koordinator.api.registry import PODS
from koordinator.clock import SystemClock
from koordinator.cluster.controllers.changes import Create, Delete, Outcome, Tell
from koordinator.cluster.controllers.driver import CONCURRENCY, Applier, Loop, Turned
from koordinator.cluster.controllers.hub import Hub
from koordinator.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound, ServerUnavailable
from waiting import until


class Store:
    """Answers creates from a list: an exception is raised, anything else is the object."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def create(self, resource, body, namespace=""):
        self.asked.append(body["metadata"]["name"])
        answer = self.answers.pop(0) if self.answers else pod(body["metadata"]["name"])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get(self, resource, name, namespace=""):
        return pod(name)

    async def delete(self, resource, name, namespace="", *, grace_seconds=None, uid=""):
        raise NotFound(404, "NotFound", "gone")


class Teller:
    def __init__(self):
        self.told = []

    def event(self, obj, type_, reason, message):
        self.told.append(reason)


class Quick(SystemClock):
    async def sleep(self, seconds):
        await asyncio.sleep(0)


def create(name):
    return Create(PODS, "default", {"metadata": {"name": name}})


def make(*answers):
    store, teller = Store(*answers), Teller()
    hub = Hub(store, Quick())
    return store, teller, hub, Applier(store, hub, teller, Quick())


async def test_a_lost_answer_is_asked_for_again_under_the_same_name():
    lost = ServerUnavailable(0, "ServerUnavailable", "connection reset", outcome_unknown=True)
    store, _, hub, applier = make(lost, lost, AlreadyExists(409, "AlreadyExists", "there"))
    view = hub.view(PODS)
    await applier.apply([create("a")])
    assert store.asked == ["a"] * 3
    assert view.get("default/a") is not None


async def test_a_refusal_of_the_first_stops_the_rest():
    store, teller, _, applier = make(Forbidden(403, "Forbidden", "quota"))
    changes = [create(f"p{i}") for i in range(100)]
    with pytest.raises(Turned) as caught:
        await applier.apply([*changes, Tell(replica_set(), "SuccessfulCreate", "")])
    assert (caught.value.change, str(caught.value)) == (changes[0], "quota")
    assert (len(store.asked), teller.told) == (1, [])


async def test_a_thousand_creates_go_before_the_event_that_tells_of_them():
    store, teller, _, applier = make()
    await applier.apply([*(create(f"p{i}") for i in range(1000)), Tell(replica_set(), "SuccessfulCreate", "")])
    assert (len(store.asked), teller.told) == (1000, ["SuccessfulCreate"])
    assert CONCURRENCY > 1


async def test_deleting_what_is_gone_is_no_trouble():
    _, _, _, applier = make()
    await applier.apply([Delete(PODS, "default", "a", "uid-a")])


class Controller:
    """Fails on some keys; notes what it was asked."""

    name = "test"

    def __init__(self):
        self.seen, self.refusals = [], []

    def wire(self, queue):
        for key in ("bug", "conflict", "refused", "good"):
            queue.add(key)

    async def decide(self, key):
        self.seen.append(key)
        if key == "bug" and self.seen.count(key) < 3:
            raise RuntimeError("a bug with this object")
        if key in ("conflict", "refused"):
            return Outcome([create(key)])
        return Outcome()

    def refused(self, key, change, error):
        self.refusals.append((key, str(error)))
        return []


async def test_one_bad_key_stops_no_other_and_is_tried_again(caplog):
    controller = Controller()

    class Picky(Store):
        async def create(self, resource, body, namespace=""):
            name = body["metadata"]["name"]
            if name == "conflict" and controller.seen.count(name) < 3:
                raise Conflict(409, "Conflict", "somebody wrote")
            if name == "refused" and controller.seen.count(name) < 3:
                raise Forbidden(403, "Forbidden", "quota")
            return pod(name)

    store = Picky()
    clock = SystemClock()
    loop = Loop(controller, Applier(store, Hub(store, clock), Teller(), clock), clock, workers=2)
    task = asyncio.create_task(loop.run())
    try:
        await until(lambda: all(controller.seen.count(key) >= 3 for key in ("bug", "conflict", "refused")))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert "good" in controller.seen
    assert controller.refusals == [("refused", "quota")] * 2
    assert "somebody wrote" not in caplog.text
