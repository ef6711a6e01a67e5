"""What the scheduler says about pods and nodes when it is asked."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api.core import ClaimSource, Taint, Toleration, Volume
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Code, PermitPlugin, Status
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.explain import text
from koordinator.scheduler.explain.explainer import Explainer, NotKnown
from koordinator.scheduler.profiles import default_profile
from scheduler.builders import READER, affinity, clusters, gates, info, node, pod, pods, requirement, term

NAME = "koord-scheduler"


class Quiet:
    """An outcome that keeps what the last attempt said, as the reporter does."""

    def assumed(self, binding): ...

    def bound(self, binding): ...

    def unschedulable(self, pod, diagnosis):
        pod.last_message = diagnosis.message

    def error(self, pod, message):
        pod.last_message = message


class World:
    def __init__(self, *nodes):
        self.clock, self.cluster = ManualClock(), Cluster()
        profile = default_profile((NAME,), self.cluster, None, self.clock)
        self.scheduler = Scheduler(self.cluster, SchedulingQueue(self.clock.monotonic), [profile], Quiet(), seed=1)
        self.explainer = Explainer(self.scheduler, self.clock.monotonic)
        self.scheduler.chosen = self.explainer.attempts.chosen
        for one in nodes:
            self.cluster.set_node(one)

    def run(self, *pods):
        for one in pods:
            self.scheduler.add_pending(one if hasattr(one, "template") else READER.read(one), NAME)
        while self.scheduler.schedule_one():
            pass

    def why(self, name):
        return self.explainer.pod("default", name)


def test_every_objection_of_every_node_and_the_smallest_change_first():
    world = World(
        node("small", "2"),
        node("tainted", "16", taints=[Taint(key="gpu", value="yes", effect="NoSchedule")]),
        node("closed", "3", unschedulable=True),
    )
    world.run(info("big", cpu="4"))
    answer = world.why("big")
    assert (answer.state, answer.attempts, answer.fitting, answer.nodes) == ("unschedulable", 1, 0, 3)
    assert answer.message == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}, "
        "1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    assert [(one.plugin, one.reason, one.preempt_might_help, one.nodes) for one in answer.groups] == [
        ("NodeResourcesFit", "Insufficient cpu", False, ["small"]),
        ("NodeUnschedulable", "node(s) were unschedulable", False, ["closed"]),
        ("TaintToleration", "node(s) had untolerated taint {gpu: yes}", False, ["tainted"]),
    ]
    assert [one.node for one in answer.closest] == ["tainted", "closed", "small"]
    assert [[fix.text for refusal in one.refusals for fix in refusal.remedies] for one in answer.closest] == [
        ["tolerate gpu=yes:NoSchedule"],
        ["kubectl uncordon closed", "request 3 cpu instead of 4"],
        ["request 2 cpu instead of 4"],
    ]
    assert answer.closest[2].refusals[0].remedies[0].have == "cpu: needs 4, 2 of 2 free"


def test_labels_that_the_node_would_need():
    world = World(node("a", labels={"zone": "b"}), node("b", labels={"disk": "ssd"}))
    wanted = affinity(required=[term(requirement("zone", "In", "a")), term(requirement("disk", "Exists"))])
    world.run(info("picky", affinity=wanted, node_selector={"gen": "5"}))
    texts = {one.node: [fix.text for refusal in one.refusals for fix in refusal.remedies] for one in world.why("picky").closest}
    assert texts == {"a": ["do not require gen=5", "do not require zone In [a]"], "b": ["do not require gen=5"]}


def test_a_choice_is_remembered_with_its_parts_and_the_next_best():
    world = World(node("a", "4"), node("b", "8"), node("c", "2"))
    world.run(info("p", cpu="1", memory="1Gi"))
    decision = world.why("p").decision
    assert (decision.node, decision.fitting, decision.nodes, decision.attempt) == ("b", 3, 3, 1)
    assert decision.score == sum(decision.parts.values())
    assert [one.node for one in decision.others] == ["a", "c"]
    assert all(one.score <= decision.score for one in decision.others)


def test_what_would_happen_now_is_told_apart_from_what_was():
    world = World(node("a", "1"))
    world.run(info("p", cpu="2"))
    world.cluster.set_node(node("b", "4"))
    answer = world.why("p")
    assert (answer.fitting, answer.groups[0].nodes) == (1, ["a"])
    assert "Insufficient cpu" in answer.message
    assert "1 of 2 nodes would take it now" in text.of_pod(answer)


def test_gated_and_unknown_pods():
    world = World(node("a"))
    world.run(info("kept", scheduling_gates=gates("quota")))
    answer = world.why("kept")
    assert (answer.state, answer.message) == ("gated", "waiting for scheduling gates: [quota]")
    said = text.of_pod(answer)
    assert "This would have to change first:\n  remove the scheduling gate quota" in said
    assert "1 of 1 nodes would take it then" in said
    with pytest.raises(NotKnown, match="default/nobody"):
        world.why("nobody")


def test_claims_that_do_not_exist_are_named_before_any_node():
    world = World(node("a"))
    volumes = [Volume(name=one, persistent_volume_claim=ClaimSource(claim_name=one)) for one in ("data", "logs")]
    world.run(info("p", volumes=volumes))
    answer = world.why("p")
    texts = [f"create PersistentVolumeClaim default/{one}" for one in ("data", "logs")]
    assert [one.text for one in answer.remedies] == texts
    assert "All of these would have to change first:\n  create" in text.of_pod(answer)


def test_nodes_with_the_same_remedy_are_told_together():
    world = World(*[node(name, "2") for name in "abcde"])
    world.run(info("p", cpu="3"))
    said = text.of_pod(world.why("p"))
    assert said.endswith("This would let it in:\n  a, b, c and 2 more: request 2 cpu instead of 3")


def test_a_pod_somebody_else_placed():
    world = World(node("a"))
    world.cluster.place(info("theirs"), "a")
    assert "why is not known" in text.of_pod(world.why("theirs"))


def test_without_nodes():
    world = World()
    world.run(info("p"))
    assert text.of_pod(world.why("p")).endswith("there is no node")


def test_the_one_node_that_a_pod_may_go_to():
    world = World(node("a", "1"), node("b", "4"))
    fields = [requirement("metadata.name", "In", "a")]
    world.run(info("daemon", cpu="2", affinity=affinity(required=[term(fields=fields)])))
    answer = world.why("daemon")
    assert [(one.plugin, one.nodes) for one in answer.groups] == [("NodeAffinity", ["b"]), ("NodeResourcesFit", ["a"])]


def test_a_node_tells_what_it_holds_and_what_it_would_take():
    world = World(node("a", "4", memory="8Gi", taints=[Taint(key="t", effect="NoSchedule")]))
    world.run(info("in", cpu="1500m", memory="1Gi", tolerations=[Toleration(operator="Exists")]))
    world.run(info("out", cpu="8"), pod("also", cpu="8"), info("other", cpu="1"))
    answer = world.explainer.node("a")
    held = {one.name: (one.allocatable, one.requested, one.free) for one in answer.resources}
    assert (held["cpu"], held["memory"]) == (("4", "1.5", "2.5"), ("8Gi", "1Gi", "7Gi"))
    assert (answer.pods, answer.assumed, answer.taints) == (["default/in"], ["default/in"], ["t=:NoSchedule"])
    plugins = {one.pod: [refusal.plugin for refusal in one.refusals] for one in answer.waiting}
    assert plugins == {"default/out": ["TaintToleration", "NodeResourcesFit"], "default/other": ["TaintToleration"]}
    assert answer.not_shown == 1
    assert "default/other" in text.of_node(answer)
    with pytest.raises(NotKnown):
        world.explainer.node("nowhere")


@settings(max_examples=60, deadline=None)
@given(clusters(), st.lists(pods(), min_size=1, max_size=4))
def test_explanations_agree_with_what_the_scheduler_did(nodes, wanted):
    world = World(*nodes)
    numbered = [info_of(one, index) for index, one in enumerate(wanted)]
    world.run(*numbered)
    for one in numbered:
        answer = world.why(one.name)
        assert text.of_pod(answer)
        if answer.state == "binding":
            assert answer.decision.node == answer.node
        elif answer.nodes and "no nodes" not in answer.message:
            named = list(itertools.chain.from_iterable(group.nodes for group in answer.groups))
            assert answer.fitting + len(named) == answer.nodes or not named
            assert answer.fitting == 0 or answer.closest[0].score is not None
    for one in nodes:
        assert text.of_node(world.explainer.node(one.name))


def info_of(one, index):
    one.metadata.name, one.metadata.uid = f"p{index}", f"u{index}"
    return READER.read(one)


class Gate(PermitPlugin):
    name = "Gate"

    def permit(self, state, pod, node):
        return Status(Code.WAIT, timeout_seconds=60)


def test_pods_that_wait_at_permit_say_for_whom():
    world = World(node("a"))
    profile = world.scheduler.profiles[NAME]
    profile.permits = [Gate()]
    world.run(info("p"))
    answer = world.why("p")
    assert (answer.state, answer.message) == ("permit", "waits for the word of Gate")
    assert "is on its way to a\n  permit     waits for the word of Gate" in text.of_pod(answer)


def test_a_promised_node_is_told():
    world = World(node("a", "1"))
    big = info("big", cpu="2")
    world.run(big)
    world.cluster.nominator.nominate(big, "a")
    assert "promised   a, where pods are making way" in text.of_pod(world.why("big"))
