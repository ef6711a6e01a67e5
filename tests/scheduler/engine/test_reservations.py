"""What plugins have to say about reservations: asked in order, the first refusal counts, points are summed and checked."""

from types import SimpleNamespace

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Code, PermitPlugin, PluginFailed, Status
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.reservations import (
    ReservationFilterPlugin,
    ReservationHooks,
    ReservationRestorePlugin,
    ReservationScorePlugin,
)
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import READER, info, node, pod
from scheduler.stories import Story


class Knows(ReservationRestorePlugin, ReservationFilterPlugin, ReservationScorePlugin):
    def __init__(self, name, points, refuses=()):
        self.name, self.points, self.refuses = name, points, refuses

    def _said(self, hook):
        if f"{hook} raises" in self.refuses:
            raise KeyError(hook)
        return Status(Code.UNSCHEDULABLE, (f"{self.name}: {hook}",)) if hook in self.refuses else None

    def pre_restore(self, state, pod):
        return self._said("pre")

    def restore(self, state, pod, matched, unmatched, node):
        return self._said("restore") or [one.name for one in (*matched, *unmatched)]

    def restore_pre_allocation(self, state, reservation, pods, node):
        return len(pods)

    def filter_reservation(self, state, pod, reservation, node):
        return self._said("filter")

    def filter_nominated(self, state, pod, reservation, node):
        return self._said("nominated")

    def score_reservation(self, state, pod, reservation, node):
        return self.points[reservation.name]


class Raw(Knows):
    def normalize_reservations(self, state, pod, scores):
        return scores


A, B = SimpleNamespace(name="a"), SimpleNamespace(name="b")


def hooks(*plugins):
    found = ReservationHooks()
    found.find(Profile(["x"], [PrioritySort(), *plugins]))
    return found


def test_what_each_wants_to_know_is_kept_by_name():
    found = hooks(Knows("One", {}), Knows("Two", {}))
    assert found.pre_restore({}, info()) is None
    assert found.restore({}, info(), [A], [B], "n") == {"One": ["a", "b"], "Two": ["a", "b"]}
    assert found.pre_restore_pre_allocation({}, A) is None
    assert found.restore_pre_allocation({}, A, [info()], "n") == {"One": 1, "Two": 1}


@pytest.mark.parametrize(
    ("hook", "ask"),
    [
        ("pre", lambda one: one.pre_restore({}, info())),
        ("restore", lambda one: one.restore({}, info(), [A], [], "n")),
        ("filter", lambda one: one.filter({}, info(), A, "n")),
        ("nominated", lambda one: one.filter_nominated({}, info(), A, "n")),
    ],
)
def test_the_first_refusal_counts_and_says_whose_it_is(hook, ask):
    found = hooks(Knows("One", {}), Knows("Two", {}, [hook]), Knows("Three", {}, [hook]))
    assert ask(found) == Status(Code.UNSCHEDULABLE, (f"Two: {hook}",), "Two")
    assert ask(hooks(Knows("One", {}))) in (None, {"One": ["a"]})
    with pytest.raises(PluginFailed, match=r'plugin "One": KeyError'):
        ask(hooks(Knows("One", {}, [f"{hook} raises"])))


def test_points_are_scaled_per_plugin_and_summed():
    found = hooks(Knows("One", {"a": 20, "b": 40}), Knows("Two", {"a": 3, "b": 1}), Knows("Three", {"a": 0, "b": 0}))
    assert found.scores({}, info(), [A, B], "n") == {"a": 50 + 100, "b": 100 + 33}
    assert found.scores({}, info(), [], "n") == {}


@pytest.mark.parametrize("score", [-1, 101])
def test_points_out_of_range_are_an_error(score):
    found = hooks(Raw("Odd", {"a": score}))
    reason = f'plugin "Odd" returns an invalid score {score}, it should in the range of [0, 100]'
    assert found.scores({}, info(), [A], "n") == Status(Code.ERROR, (reason,), "Odd")


# --- nominations after a job's preemption ------------------------------------------------------------------------------------


class Waits(PermitPlugin):
    name = "Waits"

    def permit(self, state, pod, node):
        return Status(Code.WAIT, timeout_seconds=30)


@pytest.mark.parametrize(
    ("plugin", "promised"),
    [("JobPreemptionSuccessPlugin", "a"), ("JobRejectPlugin", "b"), ("JobPreemptionFailurePlugin", ""), ("Waits", "")],
)
def test_a_job_that_rejects_a_waiting_pod_decides_about_its_promise(plugin, promised):
    cluster, clock = Cluster(), ManualClock()
    queue = SchedulingQueue(clock.monotonic)
    scheduler = Scheduler(
        cluster, queue, [Profile(["koord-scheduler"], [PrioritySort(), NodeUnschedulable(), Waits()])], Story(), 1
    )
    cluster.set_node(node("a"))
    cluster.set_node(node("b", unschedulable=True))
    wanted = pod("p", node_name="")
    wanted.status.nominated_node_name = "b"
    one = READER.read(wanted)
    scheduler.add_pending(one, "koord-scheduler")
    scheduler.schedule_one()
    scheduler.waiting.reject(one.uid, plugin, "the job")
    assert cluster.nominator.node_of(one.uid) == promised
