"""What ScheduleExplanations say, when they are written again and when they go."""

import msgspec
import pytest

from koordinator.api import keys
from koordinator.api.explanation import ScheduleExplanation, ScheduleExplanationSpec, ScheduleExplanationStatus
from koordinator.api.meta import ObjectMeta, OwnerReference, format_time
from koordinator.api.registry import SCHEDULE_EXPLANATIONS
from koordinator.clock import ManualClock
from koordinator.kube.memory import MemoryStore
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.explain.controller import Explanations, expired, status_of, worth_writing
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler.builders import READER, node, pod
from scheduler.stories import Story
from waiting import background, until


class World:
    def __init__(self):
        self.clock, self.cluster = ManualClock(), Cluster()
        preemption = DefaultPreemption(Handle(self.cluster, None, self.clock, "koord-scheduler"))
        plugins = [PrioritySort(), NodeUnschedulable(), NodeResourcesFit(), preemption]
        self.profile = Profile(["koord-scheduler"], plugins)
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], Story(), seed=1)
        self.explainer = Explainer(self.scheduler, self.clock.monotonic)
        for name in ("a", "b"):
            self.cluster.set_node(node(name, cpu="2"))

    def runs(self, name, where, **kwargs):
        self.cluster.place(READER.read(pod(name, **kwargs)), where)

    def waits(self, name, **kwargs):
        self.queue.add(READER.read(pod(name, **kwargs)), self.profile)

    def answer(self, key, **spec):
        return status_of(self.explainer, ScheduleExplanationSpec(question_object_key=key, **spec))


@pytest.fixture
def world():
    return World()


def test_a_pod_that_fits(world):
    world.waits("p", cpu="1")
    found = world.answer("default/p")
    assert (found.schedulable, found.schedulable_after_preemption, found.failed_message) == (True, True, "")
    (domain,) = found.detailed_explanation
    (placed,) = domain.schedule_explanation.feasible_scheduling_result
    assert (placed.name, placed.node_name in ("a", "b")) == ("p", True)
    assert domain.node_possible_victims is None


def test_a_pod_for_which_others_could_make_way(world):
    world.runs("small", "a", cpu="2", priority=1)
    world.runs("high", "b", cpu="2", priority=99)
    world.waits("p", cpu="1", priority=50)
    found = world.answer("default/p")
    assert (found.schedulable, found.schedulable_after_preemption) == (False, True)
    (domain,) = found.detailed_explanation
    (possible,) = domain.node_possible_victims
    assert (possible.node_name, [one.name for one in possible.possible_victims]) == ("a", ["small"])
    assert domain.preempt_explanation.schedulable
    assert domain.preempt_explanation.feasible_scheduling_result[0].node_name == "a"
    (failed,) = domain.schedule_explanation.node_failed_details
    assert (failed.failed_plugin, failed.failed_nodes, failed.preempt_might_help) == ("NodeResourcesFit", ["a", "b"], True)
    assert "small" in {one.info.name for one in world.cluster.pods.values()}, "a question evicts nobody"


@pytest.mark.parametrize("spec", [{"priority": 0}, {"priority": 50, "preemption_policy": "Never"}])
def test_a_pod_for_which_nobody_makes_way(world, spec):
    for name, where in (("one", "a"), ("two", "b")):
        world.runs(name, where, cpu="2", priority=1)
    world.waits("p", cpu="1", **spec)
    found = world.answer("default/p")
    assert (found.schedulable, found.schedulable_after_preemption) == (False, False)
    assert found.detailed_explanation[0].preempt_explanation.failed_message == "no pods that could make way"


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        ("", {"question_object_template": {}}, "questionObjectTemplate is not supported: give a questionObjectKey"),
        ("p", {}, "questionObjectKey 'p' is not namespace/name"),
        ("default/none", {}, "default/none not found: no job or gang with pods, and pod default/none is not known"),
    ],
)
def test_questions_without_an_answer(world, key, spec, message):
    assert world.answer(key, **spec).failed_message.startswith(message)


def member(name, **kwargs):
    one = pod(name, **kwargs)
    one.metadata.owner_references = [OwnerReference(kind="Job", name="job", controller=True)]
    return READER.read(one)


def columns_of(world):
    return world.cluster.columns.requested.tolist(), world.cluster.columns.position


def test_a_job_is_asked_about_as_a_whole(world):
    for index in range(4):
        world.queue.add(member(f"p{index}", cpu="1"), world.profile)
    before = columns_of(world)
    found = world.answer("default/job")
    assert (found.schedulable, found.failed_message) == (True, "")
    placed = found.detailed_explanation[0].schedule_explanation.feasible_scheduling_result
    assert sorted((one.name, one.node_name) for one in placed) == [("p0", "a"), ("p1", "b"), ("p2", "a"), ("p3", "b")]
    assert columns_of(world) == before
    assert not world.cluster.pods


def test_a_job_of_which_one_pod_is_too_many(world):
    world.cluster.place(member("p0", cpu="1"), "a")
    for index in range(1, 5):
        world.queue.add(member(f"p{index}", cpu="1"), world.profile)
    found = world.answer("default/job")
    assert (found.schedulable, found.schedulable_after_preemption) == (False, False)
    assert found.failed_message == "pod default/p4: 4 of its job have a node: 2 Insufficient cpu"
    (failed,) = found.detailed_explanation[0].schedule_explanation.node_failed_details
    assert (failed.failed_plugin, failed.failed_nodes) == ("NodeResourcesFit", ["a", "b"])


def test_gangs_that_go_together_are_one_question(world):
    for index, gang in enumerate(("x", "y", "y")):
        world.waits(f"p{index}", cpu="1500m", annotations={keys.GANG_NAME: gang})
    assert world.answer("default/y").schedulable
    found = world.answer("default/x,default/y")
    assert (found.schedulable, found.failed_message.startswith("pod default/p2: 2 of its job")) == (False, True)


def test_of_a_large_job_some_are_tried(world):
    for index in range(25):
        world.queue.add(member(f"p{index}", cpu="10m"), world.profile)
    found = world.answer("default/job")
    assert (found.schedulable, found.failed_message) == (True, "only 20 of 25 waiting pods were tried")


def asked(ttl, age, now=1e9):
    meta = ObjectMeta(name="x", creation_timestamp=format_time(now - age))
    return expired(ScheduleExplanation(metadata=meta, spec=ScheduleExplanationSpec(ttl=ttl)), now)


def test_answers_go_when_their_time_is_over():
    day = 86400
    assert (asked(None, day - 1), asked(None, day + 1)) == (False, True)
    assert (asked("1h", 3599), asked("1h", 3601)) == (False, True)
    assert not asked("0", 10 * day)
    assert not asked("0s", 10 * day)
    assert asked("nonsense", day + 1)


def test_answers_are_written_when_they_change_and_once_a_minute():
    old = ScheduleExplanationStatus(failed_message="no", last_update_time=format_time(1000))
    same = msgspec.structs.replace(old, last_update_time=None)
    assert not worth_writing(old, same, 1040)
    assert worth_writing(old, same, 1059)
    assert worth_writing(old, msgspec.structs.replace(same, failed_message="yes"), 1001)
    assert worth_writing(ScheduleExplanationStatus(), same, 1000)


async def test_the_leader_answers_beats_and_deletes(world):
    clock, store, leading = world.clock, MemoryStore(world.clock, create_namespaces=True), [False]
    world.waits("p", cpu="1")
    body = {"metadata": {"name": "x"}, "spec": {"questionObjectKey": "default/p", "ttl": "3m"}}
    await store.create(SCHEDULE_EXPLANATIONS, body, "default")
    explanations = Explanations(store, world.explainer, clock, lambda: leading[0])

    async def written():
        page = await store.list(SCHEDULE_EXPLANATIONS, "default")
        return [one.status.last_update_time for one in page.items]

    async with background(explanations.run()):
        await clock.run(5)
        assert await written() == [None]
        leading[0] = True
        times = set()
        for _ in range(170):
            await clock.run(1)
            times.update(await written())
        beats = sorted(filter(None, times))
        assert len(beats) == 4
        await clock.run(10)
        await until(lambda: gone(written))


async def gone(written):
    return await written() == []
