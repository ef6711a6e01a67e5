"""What claims ask for, and which devices they get for it."""

import pytest

from koordinator.scheduler.plugins.dynamic_resources.stock import DeviceId
from scheduler import devices as d
from scheduler.devices import A100, DRIVER, NONE, World, given, mixed, world

BIG = f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'


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
