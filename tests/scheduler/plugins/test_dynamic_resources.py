"""Claims for devices: which nodes have them, and who has which."""

import pytest

from scheduler import builders
from scheduler import devices as d
from scheduler.devices import DRIVER, NONE, World, given, world

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


def test_devices_that_must_have_something_in_common_are_counted_by_that():
    here = World("n1")
    devices = [d.device(f"d{place}", numa=place // 3) for place in range(5)]
    here.tell(d.class_("gpu"), d.slice_("n1", devices))
    rule = [{"matchAttribute": f"{DRIVER}/numa"}]
    same = f"with the same {DRIVER}/numa"
    assert advice(here, d.claim("four", d.exactly(count=4), constraints=rule)) == [
        (f"1 device of class gpu more on n1 {same}", "3 of 3 free, 4 wanted")
    ]
    assert given(here, d.claim("two", d.exactly(count=2))) == [("r0", "d0"), ("r0", "d1")]
    assert advice(here, d.claim("three", d.exactly(count=3), constraints=rule)) == [
        (f"1 device of class gpu more on n1 {same}", "2 of 2 free, 3 wanted")
    ]


def test_who_has_what_on_a_node():
    here = world("n1")
    assert given(here, d.claim("a", d.exactly())) == [("r0", "d0")]
    devices = [{"name": "d0", "claims": ["default/a"]}, {"name": "d1", "claims": []}]
    answer = here.plugin.endpoints()["node/{name}"]
    assert answer("n1") == [{"driver": DRIVER, "pool": "n1", "state": "complete", "devices": devices}]
    with pytest.raises(LookupError, match="node n2 is not known"):
        answer("n2")
