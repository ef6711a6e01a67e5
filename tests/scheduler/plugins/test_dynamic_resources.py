"""Claims for devices: which nodes have them, who gets which, and what is said when there are none."""

import asyncio

import msgspec
import pytest

from koordinator.api.core import PodResourceClaim
from koordinator.api.dra import DELETE_PROTECTION, POD_CLAIM_NAME
from koordinator.api.registry import RESOURCE_CLAIMS
from koordinator.kube.errors import ServerUnavailable
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.plugins.dynamic_resources.stock import DeviceId
from scheduler import builders
from scheduler import devices as d
from scheduler.devices import DRIVER, World

NONE = "cannot allocate all claims"
A100 = f'device.attributes["{DRIVER}"].model == "A100"'
BIG = f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'


def world(*nodes, per_node=2, **attributes):
    found = World(*nodes)
    found.tell(d.class_("gpu", f'device.driver == "{DRIVER}"'))
    for name in nodes:
        found.tell(d.slice_(name, [d.device(f"d{place}", **attributes) for place in range(per_node)]))
    return found


def mixed():
    """One node with three kinds of devices."""
    here = World("n1")
    small, large = {"model": "T4", "memory": "16Gi", "numa": 0}, {"model": "A100", "memory": "80Gi"}
    kinds = [d.device("a", **small), d.device("b", **large, numa=0), d.device("c", **large, numa=1), d.device("e", model="odd")]
    here.tell(d.class_("gpu"), d.class_("a100", A100), d.slice_("n1", kinds))
    return here


def given(here, claim, node="n1"):
    """The devices that a claim gets, by request; or why it gets none."""
    here.tell(claim)
    state = here.reserve(d.pod(claim.name), node)
    if isinstance(state, str):
        return state
    (allocation,) = state["DynamicResources/decided"].allocations.values()
    return [(result["request"], result["device"]) for result in allocation["devices"]["results"]]


# --- where devices are -------------------------------------------------------------------------------------------------------


def test_a_pod_goes_where_devices_are():
    here = world("n1", "n2")
    here.cluster.set_node(builders.node("bare"))
    here.tell(d.claim("a", d.exactly()), d.claim("b", d.exactly(count=3)))
    assert here.judged(d.pod("a")) == ["n1", "n2"]
    assert here.judged(d.pod("b")) == {NONE: 3}
    assert here.judged(d.pod()) == ["n1", "n2", "bare"]


def test_what_one_pod_was_promised_the_next_does_not_get():
    here = world("n1")
    here.tell(*(d.claim(name, d.exactly()) for name in "abc"))
    states = [here.reserve(d.pod(name), "n1") for name in "ab"]
    assert [here.devices_of(state) for state in states] == [["d0"], ["d1"]]
    assert here.judged(d.pod("c")) == {NONE: 1}
    assert here.reserve(d.pod("c"), "n1") == NONE
    here.plugin.unreserve(states[0], here.reader.read(d.pod("a")), "n1")
    assert here.judged(d.pod("c")) == ["n1"]


def test_what_the_api_server_shows_as_allocated_is_taken_until_it_is_not():
    here = world("n1", per_node=1)
    result = {"request": "r0", "driver": DRIVER, "pool": "n1", "device": "d0"}
    taken = d.claim("a", d.exactly(), allocation={"devices": {"results": [result]}})
    here.tell(taken, d.claim("b", d.exactly()))
    assert here.judged(d.pod("b")) == {NONE: 1}
    here.stock.claims.object_deleted(taken)
    assert here.judged(d.pod("b")) == ["n1"]


def test_slices_come_grow_and_go():
    here = world("n1", "n2", per_node=1)
    here.tell(d.claim("a", d.exactly(count=2)))
    assert here.judged(d.pod("a")) == {NONE: 2}
    two = d.slice_("n2", [d.device("d0"), d.device("d1")], generation=2)
    here.tell(two)
    assert here.judged(d.pod("a")) == ["n2"]
    here.stock.slices.object_deleted(two)
    assert here.judged(d.pod("a")) == {NONE: 2}


def test_a_slice_of_a_node_that_is_not_there_waits_for_it():
    here = World("n1")
    here.tell(d.class_("gpu"), d.slice_("late", [d.device()]), d.claim("a", d.exactly()))
    assert here.judged(d.pod("a")) == {NONE: 1}
    here.cluster.set_node(builders.node("late"))
    assert here.judged(d.pod("a")) == ["late"]
    here.cluster.remove_node("late")
    assert here.judged(d.pod("a")) == {NONE: 1}


def test_devices_for_all_nodes_and_for_some():
    here = World("n1", "n2", "n3")
    selector = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
    here.tell(d.class_("gpu"), d.class_("net"))
    here.cluster.set_node(builders.node("n2", labels={"zone": "a"}))
    here.tell(d.slice_(pool="some", devices=[d.device()], nodeSelector=selector))
    here.tell(*(d.claim(name, d.exactly()) for name in "abcd"))
    assert here.judged(d.pod("a")) == ["n2"]
    here.cluster.set_node(builders.node("n3", labels={"zone": "a"}))
    assert here.judged(d.pod("a")) == ["n2", "n3"]
    state = here.reserve(d.pod("a"), "n3")
    assert next(iter(state["DynamicResources/decided"].allocations.values()))["nodeSelector"] == selector
    assert here.judged(d.pod("b")) == {NONE: 3}
    here.tell(d.slice_(pool="all", devices=[d.device()], allNodes=True))
    assert here.judged(d.pod("b")) == ["n1", "n2", "n3"]
    state = here.reserve(d.pod("b"), "n1")
    assert "nodeSelector" not in next(iter(state["DynamicResources/decided"].allocations.values()))
    assert here.judged(d.pod("c")) == {NONE: 3}


def test_each_device_may_have_a_place_of_its_own():
    here = World("n1", "n2")
    devices = [{**d.device("x"), "nodeName": "n1"}, {**d.device("y"), "allNodes": True}]
    here.tell(d.class_("gpu"), d.slice_(pool="p", devices=devices, perDeviceNodeSelection=True))
    here.tell(d.claim("a", d.exactly(count=2)), d.claim("b", d.exactly()))
    assert here.judged(d.pod("a")) == ["n1"]
    assert here.judged(d.pod("b")) == ["n1", "n2"]


# --- what is asked for -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        pytest.param(d.exactly(), ["a"], id="any"),
        pytest.param(d.exactly("r0", "a100"), "class", id="an error on one device is no verdict on others"),
        pytest.param(d.exactly("r0", "gpu", f"has({A100.split(' ==', maxsplit=1)[0]}) && {A100}"), ["b"], id="by attribute"),
        pytest.param(d.exactly("r0", "gpu", A100), ["b"], id="by attribute in the claim"),
        pytest.param(d.exactly("r0", "gpu", A100, count=2), ["b", "c"], id="several"),
        pytest.param(d.exactly("r0", "gpu", A100, allocationMode="All"), ["b", "c"], id="all of a kind"),
        pytest.param(d.exactly("r0", "gpu", A100, count=3), NONE, id="too many"),
        pytest.param(d.exactly("r0", "gpu", 'device.driver == "other"', allocationMode="All"), NONE, id="all of nothing"),
    ],
)
def test_requests(request_, found):
    answer = given(mixed(), d.claim("c", request_))
    if found == "class":
        found = ["b"]
    assert answer == (found if isinstance(found, str) else [("r0", name) for name in found])


def test_capacity_and_an_attribute_that_a_device_lacks():
    here = mixed()
    answer = given(here, d.claim("c", d.exactly("r0", "gpu", BIG)))
    assert answer == [("r0", "b")]
    answer = given(mixed(), d.claim("c", d.exactly("r0", "gpu", BIG, count=3)))
    title = "claim default/c: selector #0: CEL runtime error: no such key: memory"
    assert answer == f"{title} (in {BIG!r})"


def test_the_first_alternative_that_can_be_had():
    options = [
        {"name": "big", "deviceClassName": "gpu", "count": 3, "selectors": [{"cel": {"expression": A100}}]},
        {"name": "small", "deviceClassName": "gpu", "count": 2, "selectors": [{"cel": {"expression": A100}}]},
    ]
    here = mixed()
    assert given(here, d.claim("c", {"name": "r", "firstAvailable": options})) == [("r/small", "b"), ("r/small", "c")]


@pytest.mark.parametrize(
    ("constraint", "requests", "found"),
    [
        pytest.param({"matchAttribute": f"{DRIVER}/numa"}, [d.exactly(count=2)], ["a", "b"], id="match"),
        pytest.param({"matchAttribute": f"{DRIVER}/numa"}, [d.exactly("r0", "gpu", A100, count=2)], NONE, id="no match"),
        pytest.param(
            {"matchAttribute": f"{DRIVER}/model", "requests": ["r0"]},
            [d.exactly(count=2), d.exactly("r1")],
            ["b", "c", "a"],
            id="of one request",
        ),
        pytest.param({"distinctAttribute": f"{DRIVER}/numa"}, [d.exactly(count=2)], ["a", "c"], id="distinct"),
        pytest.param({"distinctAttribute": f"{DRIVER}/numa"}, [d.exactly(count=3)], NONE, id="too few values"),
        pytest.param({"matchAttribute": "other.io/numa"}, [d.exactly()], NONE, id="nobody has it"),
    ],
)
def test_constraints(constraint, requests, found):
    answer = given(mixed(), d.claim("c", *requests, constraints=[constraint]))
    assert answer == NONE if found == NONE else [device for _, device in answer] == found


def test_several_requests_and_claims_of_one_pod_share_a_node():
    here = mixed()
    here.tell(d.claim("a", d.exactly("r0"), d.exactly("r1", "gpu", A100)), d.claim("b", d.exactly("r0", "gpu", A100)))
    state = here.reserve(d.pod("a", "b"), "n1")
    assert here.devices_of(state) == ["a", "b", "c"]
    assert here.judged(d.pod("a", "b")) == "resource claim default/a is in the process of being allocated"


def test_admin_access_takes_nothing_away():
    here = world("n1", per_node=1)
    assert given(here, d.claim("a", d.exactly())) == [("r0", "d0")]
    assert given(here, d.claim("watch", d.exactly(adminAccess=True))) == [("r0", "d0")]
    assert given(here, d.claim("b", d.exactly())) == NONE


def test_taints_of_devices():
    here = World("n1")
    tainted = {**d.device("sick"), "taints": [{"key": "health", "value": "bad", "effect": "NoSchedule"}]}
    noted = {**d.device("noted"), "taints": [{"key": "health", "value": "meh", "effect": "None"}]}
    here.tell(d.class_("gpu"), d.slice_("n1", [tainted, noted]))
    here.tell(d.claim("a", d.exactly(count=2)))
    assert here.judged(d.pod("a")) == {NONE: 1}
    tolerations = [{"key": "health", "operator": "Exists"}]
    assert given(here, d.claim("b", d.exactly(count=2, tolerations=tolerations))) == [("r0", "sick"), ("r0", "noted")]
    held = here.stock.promised
    assert list(held.values()) == [{DeviceId(DRIVER, "n1", "sick"), DeviceId(DRIVER, "n1", "noted")}]


def test_partitions_share_counters():
    here = World("n1")
    whole = d.device("whole", counters={"memory": 8})
    halves = [d.device(f"half{place}", counters={"memory": 4}, half=True) for place in range(3)]
    counters = [{"name": "set", "counters": {"memory": {"value": "8"}}}]
    here.tell(d.class_("gpu"), d.class_("half", f'has(device.attributes["{DRIVER}"].half)'))
    here.tell(d.slice_("n1", [whole, *halves], sharedCounters=counters))
    assert given(here, d.claim("a", d.exactly("r0", "half", count=3))) == NONE
    assert given(here, d.claim("b", d.exactly("r0", "half"))) == [("r0", "half0")]
    assert given(here, d.claim("c", d.exactly("r0", "gpu", 'device.attributes["gpu.example.com"].exists(k, k == "x")'))) == NONE
    assert given(here, d.claim("e", d.exactly())) == [("r0", "half1")]
    assert given(here, d.claim("f", d.exactly())) == NONE


def test_what_drivers_are_to_know_comes_along():
    here = World("n1")
    opaque = {"driver": DRIVER, "parameters": {"a": 1}}
    config = [{"opaque": opaque}, {"opaque": opaque, "requests": ["other"]}]
    here.tell(d.class_("gpu", config=[{"opaque": opaque}]), d.slice_("n1", [d.device()]))
    here.tell(d.claim("c", d.exactly(), config=config))
    (allocation,) = here.reserve(d.pod("c"), "n1")["DynamicResources/decided"].allocations.values()
    assert allocation["devices"]["config"] == [
        {"source": "FromClass", "requests": ["r0"], "opaque": opaque},
        {"source": "FromClaim", "requests": [], "opaque": opaque},
    ]
    fields = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    assert allocation["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": fields}]}


# --- what is wrong -----------------------------------------------------------------------------------------------------------


def foreign():
    owner = builders.pod("other")
    return d.template_pod("theirs"), d.claim("theirs", d.exactly(), owner=owner)


@pytest.mark.parametrize(
    ("pod", "claims", "reason"),
    [
        pytest.param(d.pod("nope"), [], 'resourceclaim "nope" not found', id="missing"),
        pytest.param(
            d.template_pod(name="p"), [], 'pod "default/p": ResourceClaim not created yet', id="not made from its template yet"
        ),
        pytest.param(
            builders.pod("p", resource_claims=[PodResourceClaim(name="x")]),
            [],
            'pod "default/p", spec.resourceClaim "x": none of the supported fields are set',
            id="neither claim nor template",
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly("r0", "nothing"))],
            "request r0: device class nothing does not exist",
            id="no class",
        ),
        pytest.param(
            d.pod("c"), [d.claim("c", {"name": "r0"})], "request r0: unsupported request type", id="a request of the future"
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly("r0", "gpu", "device.driver =="))],
            "claim default/c: selector #0: CEL compile error:",
            id="malformed expression",
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly(allocationMode="Half"))],
            "claim default/c, request r0: unsupported count mode Half",
            id="mode",
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly(capacity={"requests": {"memory": "1Gi"}}))],
            "claim default/c, request r0: capacity is set, this scheduler gives away whole devices only",
            id="parts of a device",
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly(count=33))],
            "claim default/c: number of requested devices 33 exceeds the claim limit of 32",
            id="too many",
        ),
        pytest.param(
            d.pod("c"),
            [d.claim("c", d.exactly(), constraints=[{}])],
            "claim default/c, constraint #0: empty constraint (unsupported constraint type?)",
            id="constraint",
        ),
    ],
)
def test_what_keeps_a_pod_off_every_node(pod, claims, reason):
    here = world("n1")
    here.tell(*claims)
    assert here.judged(pod).startswith(reason)


def test_a_resource_that_only_a_class_stands_for_is_to_be_claimed():
    here = world("n1")
    pod = builders.pod(requests={"example.com/gpu": "1"})
    assert here.judged(pod) == ["n1"]  # for the plugin about resources to say
    here.tell(d.class_("ext", extendedResourceName="example.com/gpu"))
    why = "this scheduler does not allocate devices for extended resources: claim them"
    assert here.judged(pod) == f"device class ext: extendedResourceName example.com/gpu: {why}"
    here.cluster.set_node(builders.node("n3", **{"example.com__gpu": 1}))
    assert here.judged(pod) == ["n1", "n3"]
    assert here.judged(d.pod()) == ["n1", "n3"]


def test_a_claim_of_another_pod_is_not_used():
    here = world("n1")
    pod, claim = foreign()
    here.tell(claim)
    assert here.judged(pod) == f"ResourceClaim default/theirs was not created for Pod {pod.key} (Pod is not owner)"


def test_a_claim_on_its_way_out_is_not_used():
    here = world("n1")
    going = d.claim("c", d.exactly())
    going.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    here.tell(going)
    assert here.judged(d.pod("c")) == 'resourceclaim "c" is being deleted'


def test_a_claim_that_too_many_use():
    here = world("n1")
    users = [{"resource": "pods", "name": f"p{number}", "uid": f"u{number}"} for number in range(256)]
    here.tell(d.claim("c", d.exactly(), allocation={"devices": {}}, reservedFor=users))
    assert here.judged(d.pod("c")) == "resourceclaim in use"


def test_pools_that_are_not_whole_or_not_sound():
    here = World("n1")
    here.tell(d.class_("gpu"), d.slice_("n1", [d.device()], count=2))
    here.tell(d.claim("one", d.exactly()), d.claim("all", d.exactly(allocationMode="All")))
    assert here.judged(d.pod("one")) == {f"{NONE}, resource pools are currently being updated": 1}
    asks = "claim default/all, request r0: asks for all devices, but resource pool gpu.example.com/n1 is currently"
    assert here.judged(d.pod("all")) == {f"{asks} being updated": 1}
    here.tell(d.slice_("n1", [d.device()], name="second", count=2))
    assert here.judged(d.pod("one")) == {"invalid resource pools were encountered": 1}
    assert here.judged(d.pod("all")) == {f"{asks} invalid": 1}
    here.tell(d.slice_("n1", [d.device("other")], name="second", count=2))
    assert here.judged(d.pod("one")) == ["n1"]
    here.tell(d.slice_("n1", [d.device("new")], name="third", generation=2, count=1))
    assert given(here, d.claim("x", d.exactly())) == [("r0", "new")]


def test_a_slice_that_cannot_be_read_leaves_the_pool_as_it_was():
    here = world("n1", per_node=1)
    here.tell(d.claim("a", d.exactly()))
    odd = d.slice_("n1", [d.device("odd", counters={"memory": "lots"})])
    with pytest.raises(ValueError, match=r"device odd: consumesCounters set.memory is 'lots': quantit"):
        here.tell(odd)
    assert here.judged(d.pod("a")) == ["n1"]


def test_messages_that_pods_of_one_template_share_name_the_entry_and_not_a_claim():
    here = world("n1")
    for number in range(2):
        pod = d.template_pod(f"made-{number}")
        entry = {POD_CLAIM_NAME: "gpu"}
        here.tell(d.claim(f"made-{number}", d.exactly("r0", "gpu", A100), owner=pod, annotations=entry))
        (reason,) = here.judged(pod)
        assert reason.startswith('claim "gpu" of the pod: selector #0: CEL runtime error: no such key: model')


def test_a_search_without_end_is_given_up():
    here = World("n1")
    devices = [d.device(f"d{place}", number=place) for place in range(24)]
    here.tell(d.class_("gpu"), d.slice_("n1", devices))
    claim = d.claim("c", d.exactly(count=12), d.exactly("r1", "gpu", f'device.attributes["{DRIVER}"].number == 100'))
    assert given(here, claim) in (NONE, "timed out trying to allocate devices")


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
    (_, hint), _ = here.plugin.events()
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


# --- what people ask ---------------------------------------------------------------------------------------------------------


def advice(here, claim):
    here.tell(claim)
    evaluation = here.evaluator.evaluate(here.reader.read(d.pod(claim.name)))
    return [(one.text, one.have) for one in here.plugin.remedies(evaluation.state, evaluation.pod, here.cluster.columns, 0)]


def test_what_would_make_a_node_take_the_pod():
    here = world("n1", numa=0)
    result = {"request": "r0", "driver": DRIVER, "pool": "n1", "device": "d0"}
    user = {"resource": "pods", "name": "p", "uid": "u"}
    here.tell(d.claim("a", d.exactly(), allocation={"devices": {"results": [result]}}, reservedFor=[user]))
    free = ("free 1 device of class gpu on n1 (held by pod default/p)", "1 of 2 free, 2 wanted")
    assert advice(here, d.claim("two", d.exactly(count=2))) == [free]
    more = ("3 devices of class gpu more on n1", "1 of 2 free, 4 wanted")
    assert advice(here, d.claim("four", d.exactly(count=4))) == [more]
    rule = {"matchAttribute": "other.io/x"}
    text = "loosen the constraint of claim default/odd on other.io/x, or free devices that satisfy it"
    assert advice(here, d.claim("odd", d.exactly(), constraints=[rule])) == [(text, "")]


def test_who_has_what_on_a_node():
    here = world("n1")
    assert given(here, d.claim("a", d.exactly())) == [("r0", "d0")]
    devices = [{"name": "d0", "claims": ["default/a"]}, {"name": "d1", "claims": []}]
    answer = here.plugin.endpoints()["node/{name}"]
    assert answer("n1") == [{"driver": DRIVER, "pool": "n1", "state": "complete", "devices": devices}]
    with pytest.raises(LookupError, match="node n2 is not known"):
        answer("n2")
