"""A pod is never lost: a model of the queue, and one readable example per rule."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Plugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from scheduler.builders import READER, gates, info, pod


class NeedsNodes(Plugin):
    name = "NeedsNodes"

    def events(self):
        return ((Happening.NODE_ADD, None),)


class NeedsNodeA(Plugin):
    """Has a hint; the hint of a node called "broken" raises."""

    name = "NeedsNodeA"

    def events(self):
        return ((Happening.NODE_ADD, self.hint),)

    def hint(self, pod, event):
        if event.node == "broken":
            raise RuntimeError("a bug")
        return event.node == "a"


class NeedsPodsGone(Plugin):
    name = "NeedsPodsGone"

    def events(self):
        return ((Happening.POD_DELETE, None),)


PLUGINS = [NeedsNodes(), NeedsNodeA(), NeedsPodsGone()]
PROFILE = Profile(["x"], [PrioritySort(), SchedulingGates(), *PLUGINS])
EVENTS = [
    ClusterEvent(Happening.NODE_ADD, "a"),
    ClusterEvent(Happening.NODE_ADD, "b"),
    ClusterEvent(Happening.POD_DELETE, "a"),
    ClusterEvent(Happening.POD_ADD, "a"),
    ClusterEvent(Happening.ANYTHING),
]


def helps(rejected_by, event):
    """The rule, said once more and plainly."""
    if not rejected_by or event.kind == Happening.ANYTHING:
        return True
    return (
        ("NeedsNodes" in rejected_by and event.kind == Happening.NODE_ADD)
        or ("NeedsNodeA" in rejected_by and event.kind == Happening.NODE_ADD and event.node == "a")
        or ("NeedsPodsGone" in rejected_by and event.kind == Happening.POD_DELETE)
    )


class QueueModel(RuleBasedStateMachine):
    """The model knows for every pod which places it may be in."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.known = {}
        self.flying = {}
        self.refused = {}
        self.missed = {}

    @rule(gated=st.booleans(), priority=st.integers(0, 2))
    def add(self, gated, priority):
        one = info(priority=priority, scheduling_gates=gates("wait") if gated else None)
        self.queue.add(one, PROFILE)
        self.known[one.uid] = one

    @precondition(lambda self: self.known)
    @rule(data=st.data(), changed=st.booleans())
    def update(self, data, changed):
        uid = data.draw(st.sampled_from(sorted(self.known)))
        old = self.known[uid]
        new = pod(old.name, cpu="2" if changed else None, priority=old.priority)
        new.metadata.uid = uid
        self.known[uid] = READER.read(new)
        self.queue.add(self.known[uid], PROFILE)
        if self.known[uid].template is not old.template:
            self.refused.pop(uid, None)
            self.missed.get(uid, []).append(ClusterEvent(Happening.ANYTHING))

    @rule()
    def pop(self):
        ready = {uid for uid in self.known if self.queue.get(uid).where is Where.ACTIVE}
        popped = self.queue.pop()
        if ready:
            assert popped.info.uid in ready
            assert popped.info.priority == max(self.known[uid].priority for uid in ready)
        if popped is not None:
            self.flying[popped.info.uid] = popped
            self.missed[popped.info.uid] = []
            self.refused.pop(popped.info.uid, None)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), by=st.sets(st.sampled_from([plugin.name for plugin in PLUGINS])), error=st.booleans())
    def fail(self, data, by, error):
        uid = data.draw(st.sampled_from(sorted(self.flying)))
        self.queue.requeue(self.flying.pop(uid), by, error=error)
        if not error and not any(helps(by, event) for event in self.missed.pop(uid)):
            self.refused[uid] = by

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def bind(self, data):
        uid = data.draw(st.sampled_from(sorted(self.flying)))
        self.queue.done(uid)
        del self.flying[uid], self.known[uid]

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def remove(self, data):
        uid = data.draw(st.sampled_from(sorted(self.known)))
        late = self.flying.pop(uid, None)
        self.queue.remove(uid)
        del self.known[uid]
        self.refused.pop(uid, None)
        if late is not None:  # the bind that was under way comes to its end, too late to matter
            self.queue.requeue(late, ["NeedsNodes"])
            self.queue.done(uid)

    @rule(event=st.sampled_from(EVENTS))
    def happen(self, event):
        self.queue.on_event(event)
        for events in self.missed.values():
            events.append(event)
        self.refused = {uid: by for uid, by in self.refused.items() if not helps(by, event)}

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 400.0]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.queue.flush()
        if seconds > 300:
            self.refused = {}

    @invariant()
    def nobody_is_lost(self):
        assert {pod.info.uid for pod in self.queue} == set(self.known)
        for uid, one in self.known.items():
            where = self.queue.get(uid).where
            if uid in self.flying:
                assert where is Where.IN_FLIGHT
            elif where is Where.UNSCHEDULABLE:
                assert uid in self.refused, "a pod waits although something happened that may help it"
            elif where is Where.GATED:
                assert one.pod.spec.scheduling_gates or uid in self.known
            else:
                assert uid not in self.refused, "a pod was woken by nothing"
        places = [self.queue.get(uid).where for uid in self.known]
        assert self.queue.counts == {where: places.count(where) for where in Where}
        assert self.flying or not self.queue.flights.events

    def teardown(self):
        """In the end everybody who is not gated is tried again."""
        for uid, one in list(self.flying.items()):
            self.queue.requeue(one, error=True)
            assert self.queue.get(uid).where is Where.BACKOFF
        self.queue.on_event(ClusterEvent(Happening.ANYTHING))
        self.clock.advance(20)
        self.queue.flush()
        gated = {uid for uid in self.known if self.queue.get(uid).where is Where.GATED}
        popped = set()
        while (one := self.queue.pop()) is not None:
            popped.add(one.info.uid)
        assert popped == set(self.known) - gated


QueueModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestQueueModel = QueueModel.TestCase


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def queue(clock):
    return SchedulingQueue(clock.monotonic)


def refuse(queue, by=("NeedsNodes",)):
    queue.requeue(queue.pop(), by)


def test_higher_priority_first_then_first_come(queue, clock):
    order = []
    for name, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5)]:
        queue.add(info(name, priority=priority), PROFILE)
        clock.advance(0.1)
    while (one := queue.pop()) is not None:
        order.append(one.info.name)
    assert order == ["b", "d", "a", "c"]


def test_pauses_double_up_to_ten_seconds(queue, clock):
    queue.add(info(), PROFILE)
    pauses = []
    for _ in range(6):
        one = queue.pop()
        queue.requeue(one, error=True)
        assert queue.pop() is None, "after an error the pause is sat out"
        pauses.append(queue.next_flush() - clock.monotonic())
        clock.advance(pauses[-1])
        queue.flush()
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_with_nothing_else_to_do_a_woken_pod_need_not_sit_out_its_pause(queue):
    queue.add(info(), PROFILE)
    refuse(queue)
    assert queue.pop() is None
    queue.on_event(ClusterEvent(Happening.NODE_ADD, "n"))
    assert queue.counts[Where.BACKOFF] == 1
    assert queue.pop() is not None


def test_an_event_during_the_attempt_is_not_lost(queue):
    queue.add(info(), PROFILE)
    one = queue.pop()
    queue.on_event(ClusterEvent(Happening.NODE_ADD, "n"))
    queue.requeue(one, ["NeedsNodes"])
    assert one.where is Where.BACKOFF


def test_an_event_before_the_attempt_does_not_count(queue):
    queue.add(info(), PROFILE)
    queue.add(info(), PROFILE)
    queue.pop()
    queue.on_event(ClusterEvent(Happening.NODE_ADD, "n"))
    second = queue.pop()
    queue.requeue(second, ["NeedsNodes"])
    assert second.where is Where.UNSCHEDULABLE


def test_hints_decide_and_a_broken_hint_means_yes(queue):
    queue.add(info(), PROFILE)
    refuse(queue, ["NeedsNodeA"])
    queue.on_event(ClusterEvent(Happening.NODE_ADD, "b"))
    assert queue.counts[Where.UNSCHEDULABLE] == 1
    queue.on_event(ClusterEvent(Happening.NODE_ADD, "broken"))
    assert queue.counts[Where.UNSCHEDULABLE] == 0


def test_after_five_minutes_every_refused_pod_is_tried_again(queue, clock):
    queue.add(info(), PROFILE)
    refuse(queue)
    clock.advance(299)
    queue.flush()
    assert queue.counts[Where.UNSCHEDULABLE] == 1
    clock.advance(32)
    queue.flush()
    assert queue.counts[Where.ACTIVE] == 1


def test_gates_keep_a_pod_out_until_they_are_gone(queue):
    one = info("g", scheduling_gates=gates("quota", "license"))
    queued = queue.add(one, PROFILE)
    assert queue.pop() is None
    assert queued.gate.message == "waiting for scheduling gates: [quota license]"
    opened = pod("g")
    opened.metadata.uid = one.uid
    queue.update(READER.read(opened))
    assert queue.pop() is queued


def test_whoever_waits_to_pop_is_told(queue):
    told = []
    queue.woken = lambda: told.append(queue.counts[Where.ACTIVE])
    queue.add(info(), PROFILE)
    assert told == [1]
