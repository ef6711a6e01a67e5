"""Claims for devices: which nodes have them, who gets which, and what is said when there are none."""

from scheduler import devices as d
from scheduler.devices import World

A100 = 'device.attributes["gpu.example.com"].model == "A100"'


def world(*nodes, per_node=2):
    found = World(*nodes)
    found.tell(d.class_("gpu", 'device.driver == "gpu.example.com"'))
    for name in nodes:
        found.tell(d.slice_(name, [d.device(f"d{place}", model="A100") for place in range(per_node)]))
    return found


def test_a_pod_goes_where_devices_are():
    here = world("n1", "n2")
    here.cluster.set_node(d.builders.node("bare"))
    here.tell(d.claim("a", d.exactly()), d.claim("b", d.exactly(count=3)))
    assert here.judged(d.pod("a")) == ["n1", "n2"]
    assert here.judged(d.pod("b")) == {"cannot allocate all claims": 3}
    assert here.judged(d.pod()) == ["n1", "n2", "bare"]


def test_what_one_pod_was_promised_the_next_does_not_get():
    here = world("n1")
    here.tell(*(d.claim(name, d.exactly()) for name in "abc"))
    states = [here.reserve(d.pod(name), "n1") for name in "ab"]
    assert [here.devices_of(state) for state in states] == [["d0"], ["d1"]]
    assert here.judged(d.pod("c")) == {"cannot allocate all claims": 1}
    here.plugin.unreserve(states[0], d.builders.READER.read(d.pod("a")), "n1")
    assert here.judged(d.pod("c")) == ["n1"]
