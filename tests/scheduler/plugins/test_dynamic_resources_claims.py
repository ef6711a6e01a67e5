"""Claims on their way: shared, promised, written, given up, and whom that wakes."""

import asyncio

import msgspec
import pytest

from koordinator.api.dra import DELETE_PROTECTION, POD_CLAIM_NAME
from koordinator.api.registry import RESOURCE_CLAIMS
from koordinator.kube.errors import ServerUnavailable
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Diagnosis
from scheduler import devices as d
from scheduler.devices import DRIVER, NONE, world

# --- claims that have devices ------------------------------------------------------------------------------------------------


def on_node(*names):
    return {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(names)}]}]}


def test_a_shared_claim_leads_its_pods_to_the_same_node():
    here = world("n1", "n2")
    here.tell(d.claim("c", d.exactly(), allocation={"devices": {}, "nodeSelector": on_node("n2")}))
    assert here.judged(d.pod("c")) == ["n2"]
    here.tell(d.claim("gone", d.exactly(), allocation={"devices": {}, "nodeSelector": on_node("away")}))
    assert here.judged(d.pod("gone")) == {"resourceclaim not available on the node": 2}


async def test_devices_out_of_reach_are_given_back_when_nobody_uses_them():
    here = world("n1", "n2")
    await here.stored(d.claim("c", d.exactly()))
    allocation = {"devices": {}, "nodeSelector": on_node("away")}
    user = {"resource": "pods", "name": "p", "uid": "u"}
    body = {"status": {"allocation": allocation, "reservedFor": [user]}}
    used = await here.store.patch(RESOURCE_CLAIMS, "c", body, "default", subresource="status")
    here.tell(used)
    pod = here.reader.read(d.pod("c"))
    assert here.plugin.post_filter({}, pod, Diagnosis(2))[1].message == "still not schedulable"
    free = await here.store.patch(RESOURCE_CLAIMS, "c", {"status": {"reservedFor": []}}, "default", subresource="status")
    here.tell(free)
    assert here.plugin.post_filter({}, pod, Diagnosis(2))[1].message == "deallocation of ResourceClaim completed"
    await asyncio.gather(*here.plugin._tasks)
    assert (await here.store.get(RESOURCE_CLAIMS, "c", "default")).status.allocation is None


# --- writing -----------------------------------------------------------------------------------------------------------------


async def test_what_was_promised_is_written_with_its_user_and_kept_until_it_is_seen():
    here = world("n1", per_node=1)
    await here.stored(d.claim("a", d.exactly()), d.claim("b", d.exactly()))
    pod = d.pod("a")
    state = here.reserve(pod, "n1")
    assert await here.plugin.pre_bind(state, here.reader.read(pod), "n1") is None
    written = await here.store.get(RESOURCE_CLAIMS, "a", "default")
    assert written.metadata.finalizers == [DELETE_PROTECTION]
    assert [one.device for one in written.status.allocation.devices.results] == ["d0"]
    users = msgspec.to_builtins(written.status.reserved_for)
    assert users == [{"resource": "pods", "name": pod.name, "uid": pod.metadata.uid}]
    here.plugin.unreserve(state, here.reader.read(pod), "n1")  # the bind failed after all
    assert here.judged(d.pod("b")) == {NONE: 1}
    here.tell(written)
    assert here.judged(pod) == ["n1"]
    assert here.judged(d.pod("b")) == {NONE: 1}


async def test_a_second_pod_joins_a_shared_claim():
    here = world("n1")
    await here.stored(d.claim("c", d.exactly()))
    for _ in range(2):
        pod = d.pod("c")
        state = here.reserve(pod, "n1")
        assert await here.plugin.pre_bind(state, here.reader.read(pod), "n1") is None
        here.tell(await here.store.get(RESOURCE_CLAIMS, "c", "default"))
    claim = here.stock.claims.get("default/c")
    assert len(claim.status.reserved_for) == 2
    assert len(here.stock.users) == 1


async def test_others_may_write_in_between():
    here = world("n1")
    await here.stored(d.claim("c", d.exactly()))
    await here.store.patch(RESOURCE_CLAIMS, "c", {"metadata": {"labels": {"a": "b"}}}, "default")
    pod = d.pod("c")
    assert await here.passing(here.plugin.pre_bind(here.reserve(pod, "n1"), here.reader.read(pod), "n1")) is None
    assert (await here.store.get(RESOURCE_CLAIMS, "c", "default")).labels == {"a": "b"}


async def test_a_claim_that_was_allocated_elsewhere_or_deleted_meanwhile():
    here = world("n1")
    await here.stored(d.claim("c", d.exactly()))
    pod = d.pod("c")
    state = here.reserve(pod, "n1")
    body = {"status": {"allocation": {"devices": {"results": []}}}}
    await here.store.patch(RESOURCE_CLAIMS, "c", body, "default", subresource="status")
    status = await here.passing(here.plugin.pre_bind(state, here.reader.read(pod), "n1"))
    assert status.message == "claim default/c got allocated elsewhere in the meantime"
    await here.store.delete(RESOURCE_CLAIMS, "c", "default")
    status = await here.plugin.pre_bind(state, here.reader.read(pod), "n1")
    assert status.message == "claim default/c got deleted in the meantime"
    here.plugin.unreserve(state, here.reader.read(pod), "n1")
    assert here.stock.users == {}


async def test_a_claim_that_lost_its_devices_meanwhile_is_not_bound_without():
    here = world("n1")
    (claim,) = await here.stored(d.claim("c", d.exactly()))
    body = {"status": {"allocation": {"devices": {"results": []}}}}
    here.tell(await here.store.patch(RESOURCE_CLAIMS, claim.name, body, "default", subresource="status"))
    pod = d.pod("c")
    state = here.reserve(pod, "n1")
    body = {"status": {"allocation": None}}
    await here.store.patch(RESOURCE_CLAIMS, "c", body, "default", subresource="status")
    status = await here.passing(here.plugin.pre_bind(state, here.reader.read(pod), "n1"))
    assert status.message == "claim default/c lost its devices in the meantime"
    assert not (await here.store.get(RESOURCE_CLAIMS, "c", "default")).status.reserved_for


async def test_a_promise_ends_although_the_watch_missed_that_it_was_kept():
    here = world("n1", per_node=1)
    await here.stored(d.claim("a", d.exactly()), d.claim("b", d.exactly()))
    pod = d.pod("a")
    state = here.reserve(pod, "n1")
    before = await here.store.patch(RESOURCE_CLAIMS, "a", {"metadata": {"labels": {"a": "b"}}}, "default")
    assert await here.passing(here.plugin.pre_bind(state, here.reader.read(pod), "n1")) is None
    body = {"status": {"allocation": None, "reservedFor": None}}
    after = await here.store.patch(RESOURCE_CLAIMS, "a", body, "default", subresource="status")
    here.tell(before)
    assert here.judged(d.pod("b")) == {NONE: 1}
    here.tell(after)
    assert here.judged(d.pod("b")) == ["n1"]
    assert here.stock.freed(after)


class Mute:
    """A store that carries writes out (or not) and loses every answer, until it is told to speak."""

    def __init__(self, store, *, works):
        self._store, self._works, self.silent = store, works, True

    def _answer(self):
        if self.silent:
            raise ServerUnavailable(503, "ServiceUnavailable", "no answer", outcome_unknown=True)

    async def patch(self, *args, **kwargs):
        if self._works:
            await self._store.patch(*args, **kwargs)
        self._answer()

    async def get(self, *args):
        self._answer()
        return await self._store.get(*args)


@pytest.mark.parametrize("works", [True, False])
async def test_a_write_without_an_answer_keeps_its_devices_until_there_is_one(works):
    here = world("n1", per_node=1)
    claim, _other = await here.stored(d.claim("a", d.exactly()), d.claim("b", d.exactly()))
    protect = {"metadata": {"finalizers": [DELETE_PROTECTION]}}
    here.tell(await here.store.patch(RESOURCE_CLAIMS, claim.name, protect, "default"))
    mute = here.plugin._writer._store = Mute(here.store, works=works)
    pod = d.pod("a")
    state = here.reserve(pod, "n1")
    status = await here.passing(here.plugin.pre_bind(state, here.reader.read(pod), "n1"))
    assert "no answer" in status.message
    here.plugin.unreserve(state, here.reader.read(pod), "n1")
    assert here.judged(d.pod("b")) == {NONE: 1}
    mute.silent = False
    await here.passing(asyncio.gather(*here.plugin._tasks))
    assert here.judged(d.pod("b")) == ({NONE: 1} if works else ["n1"])


# --- waking ------------------------------------------------------------------------------------------------------------------


def test_a_pod_wakes_for_its_own_claim_and_for_devices_that_come_free():
    here = world("n1", per_node=1)
    (_, hint), *_ = here.plugin.events()
    own, other = d.claim("own", d.exactly()), d.claim("other", d.exactly())
    pod = here.reader.read(d.pod("own"))

    def wakes(old, new):
        return hint(pod, ClusterEvent(Happening.RESOURCE_CLAIM, old=old, new=new))

    here.tell(own, other)
    assert wakes(None, own)
    assert not wakes(None, other)
    result = {"request": "r0", "driver": DRIVER, "pool": "n1", "device": "d0"}
    status = {"allocation": {"devices": {"results": [result]}}}
    here.tell(taken := msgspec.convert(msgspec.to_builtins(other) | {"status": status}, type(other)))
    assert not wakes(None, taken)
    freed = msgspec.convert(msgspec.to_builtins(other), type(other))
    freed.metadata.resource_version = "later"
    here.tell(freed)
    assert wakes(None, freed)
    here.tell(taken)
    here.stock.claims.object_deleted(taken)
    assert wakes(taken, None)


def test_a_pod_wakes_when_another_gives_up_what_it_was_promised():
    here = world("n1", per_node=1)
    _, (kind, hint), _ = here.plugin.events()
    here.tell(d.claim("a", d.exactly()), d.claim("b", d.exactly()))
    one, other = d.pod("a"), d.pod("b")
    gone = ClusterEvent(kind, "n1", old=one)
    state = here.reserve(one, "n1")
    assert kind == Happening.POD_DELETE
    assert not hint(here.reader.read(other), gone)
    here.plugin.unreserve(state, here.reader.read(one), "n1")
    assert hint(here.reader.read(other), gone)


def test_pods_whose_claims_are_still_to_be_made_stay_out_of_the_queue():
    here = world("n1")
    one = d.template_pod(name="p")
    assert here.plugin.pre_enqueue(here.reader.read(one)).message == 'pod "default/p": ResourceClaim not created yet'
    assert here.plugin.pre_enqueue(here.reader.read(d.template_pod("made"))) is None
    assert here.plugin.pre_enqueue(here.reader.read(d.pod("missing"))) is None
    assert here.plugin.pre_enqueue(here.reader.read(d.pod())) is None


def test_pods_that_ask_for_the_same_wait_together_and_others_alone():
    here = world("n1", per_node=1)
    pods = []
    for number, count in enumerate((2, 2, 3)):
        one = d.template_pod(f"made-{number}")
        here.tell(d.claim(f"made-{number}", d.exactly(count=count), owner=one, annotations={POD_CLAIM_NAME: "gpu"}))
        pods.append(here.reader.read(one))
    first, second, third = (here.profile.group(one, frozenset({"DynamicResources"})) for one in pods)
    assert first == second != third
