"""The dump of a refused pod: its exact line and fields, what plugins note down in it, who else gets it."""

import json
import logging

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.debug.flags import Flags
from koordinator.scheduler.debug.trace import Trace, score_table
from koordinator.scheduler.engine import notes
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import (
    Code,
    PostFilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    Status,
)
from koordinator.scheduler.engine.hooks import PreFilterTransformer
from koordinator.scheduler.engine.notes import DELETE_CLAIM, EVICT_SELF, Processors
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.explain.answers import NodeVerdict
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.report import Reporter
from scheduler.builders import READER, node, pod


class Recorder:
    def __init__(self):
        self.messages = []

    def event(self, obj, type_, reason, message):
        self.messages.append(message)


class Gang(PreFilterTransformer, PreFilterPlugin):
    """Refuses pods of a gang that has failed already, with the gang's own suggestion."""

    name = "Gang"

    def pre_filter(self, state, pod, nodes):
        return None

    def before_pre_filter(self, state, pod):
        if not pod.name.startswith("member"):
            return None
        noted = notes.notes(state)
        noted.root_cause, noted.questioned_key, noted.topology_key = False, "default/gang", "spine"
        noted.already_wait_for_bound, noted.node_offer_slot = 2, {"a": 1}
        noted.suggest(EVICT_SELF, "leave")
        return Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, ("the gang has failed",))


class Only(PreFilterPlugin):
    """Leaves one node to pods that are named so."""

    name = "Only"

    def signature(self, pod):
        return pod.name == "choosy"

    def pre_filter(self, state, pod, nodes):
        return PreFilterResult(nodes=frozenset(("a",))) if pod.name == "choosy" else None


class Advice(PostFilterPlugin):
    name = "Advice"

    def post_filter(self, state, pod, diagnosis):
        noted = notes.notes(state)
        noted.suggest(DELETE_CLAIM, "delete it")
        noted.suggest(EVICT_SELF, "too late")
        noted.dry_run = {"nodes": 3}
        return None, Status(Code.UNSCHEDULABLE, ("nothing to evict",))


class Grudge(ReservePlugin):
    name = "Grudge"

    def reserve(self, state, pod, node):
        return Status(Code.UNSCHEDULABLE, ("not today",)) if pod.name == "grudged" else None

    def unreserve(self, state, pod, node): ...


class World:
    def __init__(self, *plugins):
        self.clock, cluster, self.recorder = ManualClock(), Cluster(), Recorder()
        reporter = Reporter(None, self.recorder, self.clock, Metrics())
        made = [PrioritySort(), NodeUnschedulable(), NodeResourcesFit(), *plugins]
        self.profile = Profile(["koord-scheduler"], made)
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.scheduler = Scheduler(cluster, self.queue, [self.profile], reporter, seed=1)
        self.flags = Flags(diagnosis=True, diagnosis_blocking=True)
        self.trace = Trace(Explainer(self.scheduler, self.clock.monotonic), reporter, self.flags, self.clock)
        self.scheduler.chosen, reporter.trace = self.trace.chosen, self.trace
        self.processors = cluster.shared(Processors).by_name
        for one in (node("c", cpu="1"), node("a", cpu="1"), node("b", unschedulable=True)):
            cluster.set_node(one)

    def schedule(self, *args, **kwargs):
        one = READER.read(pod(*args, **kwargs))
        self.queue.add(one, self.profile)
        self.scheduler.schedule_one()
        return one

    @property
    def message(self):
        return self.recorder.messages[-1]


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [message for message in caplog.messages if message.startswith("dump diagnosis")]


def body(line):
    return json.loads(line.partition("$")[2])


def test_the_line_and_its_fields(lines):
    one = World().schedule("big", cpu="2")
    (line,) = lines()
    assert line == (
        f"dump diagnosis for default/big, targetPod: default/big/{one.uid}: $"
        '{"timestamp":"2026-01-01T00:00:00Z","questionedKey":"default/big","nominatedNode":"","preFilterMessage":"",'
        '"topologyKeyToExplain":"","isRootCausePod":true,"scheduleDiagnosis":{"alreadyWaitForBound":0,"nodeOfferSlot":{},'
        '"nodeFailedDetails":['
        '{"failedPlugin":"NodeResourcesFit","reason":"Insufficient cpu","preemptMightHelp":false,"failedNodes":["a","c"]},'
        '{"failedPlugin":"NodeUnschedulable","reason":"node(s) were unschedulable","preemptMightHelp":false,'
        '"failedNodes":["b"]}]}}'
    )


def test_what_plugins_note_down_is_in_it_and_the_first_suggestion_ends_the_message(lines):
    world = World(Advice())
    world.schedule("big", cpu="2")
    found = body(lines()[0])
    failed = "nothing to evict"
    assert found["preemptionDiagnosis"] == {"dryRunFilterDiagnosis": {"nodes": 3}, "failedMessage": failed}
    assert found["suggestion"] == {"type": "DeleteConflictPVC", "message": "delete it"}
    assert world.message.endswith(f". {failed}, Suggestion: {{type: DeleteConflictPVC, message: delete it}}")


def test_notes_of_one_attempt_are_not_those_of_the_next(lines):
    world = World(Advice(), Gang())
    world.schedule("member", cpu="1")
    world.schedule("big", cpu="2")
    gang, alone = map(body, lines())
    assert (gang["isRootCausePod"], alone["isRootCausePod"]) == (False, True)
    assert (gang["suggestion"]["type"], alone["suggestion"]["type"]) == ("EvictWorkloadSelf", "DeleteConflictPVC")


def test_a_refusal_before_any_node_has_its_message_and_no_nodes(lines):
    world = World(Gang())
    world.schedule("member", cpu="1")
    (line,) = lines()
    assert line.startswith("dump diagnosis for default/gang, targetPod: default/member/")
    found = body(line)
    assert (found["preFilterMessage"], found["topologyKeyToExplain"]) == ("the gang has failed", "spine")
    schedule = {"alreadyWaitForBound": 2, "nodeOfferSlot": {"a": 1}, "nodeFailedDetails": []}
    assert found["scheduleDiagnosis"] == schedule
    message = "0/3 nodes are available: the gang has failed. Suggestion: {type: EvictWorkloadSelf, message: leave}"
    assert world.message == message


def test_nodes_that_prefilter_left_out_are_not_named(lines):
    World(Only()).schedule("choosy", cpu="2")
    details = body(lines()[0])["scheduleDiagnosis"]["nodeFailedDetails"]
    assert [(one["failedPlugin"], one["failedNodes"]) for one in details] == [("NodeResourcesFit", ["a"])]


def test_a_refusal_after_the_choice_names_the_plugin(lines):
    World(Grudge()).schedule("grudged", cpu="1")
    details = body(lines()[0])["scheduleDiagnosis"]["nodeFailedDetails"]
    assert [(one["failedPlugin"], one["reason"]) for one in details] == [("Grudge", "not today")]


def test_others_get_diagnoses_by_name_though_nothing_is_logged_and_one_that_fails_stops_nobody(lines, caplog):
    world, got = World(), []
    world.flags.diagnosis = False

    def broken(_):
        raise RuntimeError("no")

    world.processors.update(broken=broken, keeper=got.append)
    world.schedule("big", cpu="2")
    assert [one["questionedKey"] for one in got] == ["default/big"]
    assert lines() == []
    assert "diagnosis processor broken for pod default/big" in caplog.text


def test_the_table_of_scores():
    best = [NodeVerdict(node="b", score=30, parts={"X": 10, "Y": 20}), NodeVerdict(node="a", score=9, parts={"X": 9, "Y": 0})]
    assert score_table("default/p", best, 7, 2).splitlines() == [
        "Top2 scores for Pod: default/p, feasibleNodes: 7, plugins:[X Y]",
        "| # | Pod | Node | Score | X | Y |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 0 | default/p | b | 30 | 10 | 20 |",
        "| 1 | default/p | a | 9 | 9 | 0 |",
    ]
