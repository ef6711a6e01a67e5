"""What is said when a claim can have no devices."""

import time

import pytest

from koordinator.api.core import PodResourceClaim
from koordinator.api.dra import POD_CLAIM_NAME
from scheduler import builders
from scheduler import devices as d
from scheduler.devices import A100, DRIVER, NONE, World, given, world

BIG = f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'


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


def hopeless(devices=24):
    """A claim that no order of devices can satisfy, and that takes longest to be sure of."""
    kinds = [d.device(f"d{place}", number=place, pair=place // 2) for place in range(devices)]
    rules = [{"distinctAttribute": f"{DRIVER}/{name}"} for name in ("number", "pair")]
    return kinds, d.claim("c", d.exactly(count=devices // 2 + 1), constraints=rules)


def test_a_search_without_end_is_given_up():
    here = World("n1")
    devices, claim = hopeless()
    here.tell(d.class_("gpu"), d.slice_("n1", devices))
    assert given(here, claim) == "timed out trying to allocate devices"


def test_a_search_without_end_on_many_nodes_takes_no_longer_than_on_a_few():
    here = World(*(f"n{number}" for number in range(40)), "free")
    devices, claim = hopeless()
    here.tell(d.class_("gpu"), claim, *(d.slice_(f"n{number}", devices) for number in range(40)))
    here.tell(d.slice_("free", [d.device(f"d{place}", number=place, pair=place) for place in range(13)]))
    before = time.process_time()
    assert here.judged(d.pod("c")) == ["free"]
    assert time.process_time() - before < 10


def test_all_devices_are_too_many_for_one_claim():
    here = world("n1")
    devices = [d.device(f"d{place}", number=place) for place in range(40)]
    here.tell(d.slice_("n1", devices, generation=2))
    rule = {"distinctAttribute": f"{DRIVER}/number"}
    assert given(here, d.claim("c", d.exactly(allocationMode="All"), constraints=[rule])) == NONE
