"""What plugins say would help does help: the change is made in a new cluster, and the plugin asked again."""

import re

import hypothesis.strategies as st
import msgspec
from hypothesis import assume, given, settings

from koordinator.api.core import (
    Affinity,
    ContainerPort,
    PodAffinity,
    PodAffinityTerm,
    TopologySpreadConstraint,
)
from koordinator.api.meta import LabelSelector
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.node_name import NodeName
from koordinator.scheduler.plugins.node_ports import NodePorts
from koordinator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from scheduler import builders
from scheduler.builders import READER
from scheduler.remedies import HOST, NODES, ZONE, World, changed, every_remedy_helps, labelled, leaving, on, placed

# --- ports -------------------------------------------------------------------------------------------------------------------


@st.composite
def with_ports(draw):
    one = builders.pod()
    one.spec.containers[0].ports = draw(
        st.lists(
            st.builds(
                ContainerPort, host_port=st.sampled_from([80, 81]), host_ip=st.sampled_from([None, "10.0.0.1", "10.0.0.2"])
            ),
            max_size=2,
        )
    )
    return one


@settings(max_examples=80, deadline=None)
@given(placed(with_ports()), with_ports())
def test_freed_ports(residents, pod):
    every_remedy_helps(World(NodePorts, dict.fromkeys(NODES), residents, pod), leaving)


def test_the_holder_of_a_port_is_named():
    holder, pod = on(builders.pod("web"), "n0"), builders.pod()
    for one in (holder, pod):
        one.spec.containers[0].ports = [ContainerPort(host_port=8080)]
    ((remedy,),) = World(NodePorts, dict.fromkeys(NODES), [holder], pod).refused().values()
    assert remedy.text == "free host port 8080/TCP on n0 (pod default/web holds it)"


# --- neighbours --------------------------------------------------------------------------------------------------------------


apps = st.sampled_from([{"app": "x"}, {"app": "y"}, {"app": "x", "tier": "db"}])
terms = st.builds(
    PodAffinityTerm,
    topology_key=st.sampled_from([HOST, ZONE, "rack"]),
    label_selector=st.builds(LabelSelector, match_labels=st.sampled_from([{"app": "x"}, {"app": "y"}, {"tier": "db"}])),
)


def sided(terms, side):
    required = PodAffinity(required_during_scheduling_ignored_during_execution=terms)
    return Affinity(pod_affinity=required) if side == "near" else Affinity(pod_anti_affinity=required)


@st.composite
def with_affinity(draw, sides=("near", "apart", "none")):
    side = draw(st.sampled_from(sides))
    affinity = None if side == "none" else sided(draw(st.lists(terms, min_size=1, max_size=2)), side)
    return builders.pod(labels=draw(apps), affinity=affinity)


def company(world, name, remedy):
    """Move pods away, label the node, or start the pod that is asked for."""
    if remedy.pods:
        return leaving(world, name, remedy)
    if found := re.fullmatch(r"label (\S+) with (\S+)", remedy.text):
        assert found[1] == name
        return world._replace(nodes=world.nodes | {name: world.nodes[name] | {found[2]: "new"}})
    found = re.match(r"start a pod that matches (.+) (?:in \S+ ?\S*|on \S+), or do not require one$", remedy.text)
    pairs = re.findall(r"(\w+)=(\w+)", found[1])
    labels = dict(pairs)
    assume(len(set(pairs)) == len(labels))  # nothing matches two values of one label
    return world._replace(residents=[*world.residents, on(builders.pod(labels=labels), name)])


@settings(max_examples=150, deadline=None)
@given(labelled(), placed(with_affinity()), with_affinity(("near", "apart")))
def test_company_and_distance(nodes, residents, pod):
    if pod.spec.affinity.pod_affinity is not None:  # what comes near by one change must not come too near for another's terms
        residents = [one for one in residents if one.spec.affinity is None or one.spec.affinity.pod_anti_affinity is None]
    every_remedy_helps(World(InterPodAffinity, nodes, residents, pod), company)


def test_what_is_said_of_neighbours():
    def said(residents, pod):
        nodes = {"n0": {HOST: "n0", ZONE: "a"}, "n1": {HOST: "n1", ZONE: "b"}}
        return {
            name: [(one.text, one.have) for one in found]
            for name, found in World(InterPodAffinity, nodes, residents, pod).refused().items()
        }

    def wanting(key, side, app="db"):
        term = PodAffinityTerm(topology_key=key, label_selector=LabelSelector(match_labels={"app": app}))
        return builders.pod("p", labels={"app": "web"}, affinity=sided([term], side))

    db = on(builders.pod("db-0", labels={"app": "db"}), "n0")
    assert said([], wanting(ZONE, "near"))["n0"] == [
        ("start a pod that matches app=db of namespace default in zone a, or do not require one", "there is no such pod")
    ]
    assert said([db], wanting(ZONE, "near")) == {
        "n1": [
            ("start a pod that matches app=db of namespace default in zone b, or do not require one", "such pods are in zone a")
        ]
    }
    assert said([db], wanting(HOST, "apart")) == {
        "n0": [("move pod default/db-0 away from node n0, which this pod's anti-affinity refuses", "")]
    }
    lone = on(wanting(ZONE, "apart", "web"), "n1")
    assert said([lone], builders.pod(labels={"app": "web"})) == {
        "n1": [("move pod default/p away from zone b, whose anti-affinity refuses this pod", "")]
    }


@st.composite
def constraints(draw):
    return TopologySpreadConstraint(
        max_skew=draw(st.integers(1, 2)),
        topology_key=draw(st.sampled_from([HOST, ZONE, "rack"])),
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": draw(st.sampled_from("xy"))}),
        min_domains=draw(st.sampled_from([None, None, 4])),
    )


@settings(max_examples=200, deadline=None)
@given(
    labelled(),
    placed(st.builds(lambda labels: builders.pod(labels=labels), apps), most=9),
    st.lists(constraints(), min_size=1, max_size=2),
    apps,
    st.booleans(),
)
def test_looser_or_emptier(nodes, residents, wanted, labels, looser):
    pod = builders.pod(labels=labels, topology_spread_constraints=wanted)
    world = World(PodTopologySpread, nodes, residents, pod)
    for name, remedies in world.refused().items():
        for one in remedies:
            if one.kind == "node":
                assert one.text.endswith(f"do not spread over {one.have[6:-8]}")
        if any(one.kind == "node" for one in remedies) and len(wanted) > 1:
            continue  # other nodes then count for the other constraint
        changed = world
        for one in remedies:
            changed = _spread(changed, name, one, looser=looser)
        assert name not in changed.refused(), (remedies, residents)


def _spread(world, name, remedy, *, looser):
    constraints = world.pod.spec.topology_spread_constraints
    if remedy.kind == "node":
        if looser or not remedy.text.startswith("label "):
            return world._replace(pod=changed(world.pod, topology_spread_constraints=[]))
        (key,) = (one.topology_key for one in constraints)
        return world._replace(nodes=world.nodes | {name: world.nodes[name] | {key: "new"}})
    key, old, new = re.match(r"raise maxSkew over (\S+) from (\d+) to (\d+)", remedy.text).groups()
    if looser or not remedy.pods:
        raised = [
            msgspec.structs.replace(one, max_skew=int(new)) if (one.topology_key, one.max_skew) == (key, int(old)) else one
            for one in constraints
        ]
        return world._replace(pod=changed(world.pod, topology_spread_constraints=raised))
    fewer = int(re.search(r"or move (\d+) pods? away", remedy.text)[1])
    there = [one for one in remedy.pods if one in {f"default/{other.metadata.name}" for other in world.residents}]
    gone = len(remedy.pods) - len(there)  # another remedy has moved some already
    return world.without(there[: max(fewer - gone, 0)])


def test_the_skew_and_who_makes_it_are_named():
    residents = [on(builders.pod(f"w{index}", labels={"app": "x"}), "n0") for index in range(2)]
    wanted = TopologySpreadConstraint(
        max_skew=1,
        topology_key=ZONE,
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "x"}),
    )
    pod = builders.pod(labels={"app": "x"}, topology_spread_constraints=[wanted])
    refused = World(PodTopologySpread, {"n0": {ZONE: "a"}, "n1": {ZONE: "b"}}, residents, pod).refused()
    ((remedy,),) = refused.values()
    assert (
        remedy.text == f"raise maxSkew over {ZONE} from 1 to 3, or move 2 pods away from zone a (pods default/w0, default/w1)"
    )
    assert remedy.have == "zone a: 2 pods, the emptiest has 0, maxSkew 1"


# --- the rest ----------------------------------------------------------------------------------------------------------------


def test_another_node_than_the_one_that_is_named():
    world = World(lambda _: NodeName(), dict.fromkeys(NODES), [], on(builders.pod(), "n9"))
    for name, (remedy,) in world.refused().items():
        assert remedy.text == f"name node {name} instead of n9, or none"
        assert remedy.have == "the pod names n9, which does not exist"


def test_gates_are_named():
    pod = READER.read(builders.pod(scheduling_gates=builders.gates("quota", "audit")))
    texts = [one.text for one in SchedulingGates().advice(pod)]
    assert texts == [
        f"remove the scheduling gate {gate}, as whoever has set it does when it is time" for gate in ("quota", "audit")
    ]
