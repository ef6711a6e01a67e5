import asyncio

import pytest

from koordinator.kube.errors import Conflict, NotFound
from koordinator.scheduler.engine.binding import Binder, Binding
from koordinator.scheduler.engine.framework import SKIP, BindPlugin, Code, PatientPreBindPlugin, PreBindPlugin, Status
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import READER, pod
from waiting import until


class Scripted(PreBindPlugin, BindPlugin):
    """Does what the pod's name says."""

    name = "Scripted"

    def __init__(self):
        self.most, self.now = 0, 0

    async def pre_bind(self, state, pod, node):
        return Status(Code.ERROR, ("volume not ready",)) if pod.name == "pre-bind" else None

    async def bind(self, state, pod, node):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        match pod.name:
            case "gone":
                raise NotFound(404, "NotFound", 'pods "gone" not found', {"kind": "pods"})
            case "conflict":
                raise Conflict(409, "Conflict", "pod is already assigned")
            case "bug":
                raise KeyError("oops")
            case "refused":
                return Status(Code.UNSCHEDULABLE, ("not here",))
            case "skipped":
                return SKIP
        return None


class Run:
    def __init__(self, concurrency=3):
        self.plugin = Scripted()
        self.profile = Profile(["koord-scheduler"], [PrioritySort(), self.plugin])
        self.bound, self.failed = [], {}
        self.binder = Binder(
            lambda binding: self.bound.append(binding.pod.info.name),
            lambda binding, failure: self.failed.__setitem__(binding.pod.info.name, failure),
            concurrency,
        )

    async def bind(self, *names):
        task = asyncio.create_task(self.binder.run())
        for name in names:
            self.binder.submit(Binding(QueuedPod(READER.read(pod(name)), self.profile, 0), {}, "n1"))
        async with asyncio.timeout(5):
            await self.binder.drained()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return self


async def test_many_at_once_but_not_more_than_allowed():
    run = await Run(concurrency=3).bind(*[f"p{index}" for index in range(20)])
    assert len(run.bound) == 20
    assert run.plugin.most == 3
    assert run.binder.in_flight == 0


async def test_every_failure_is_one_sentence_and_stops_nobody_else(caplog):
    run = await Run().bind("gone", "conflict", "bug", "refused", "skipped", "pre-bind", "fine")
    assert run.bound == ["fine"]
    assert {name: failure.gone for name, failure in run.failed.items() if failure.gone} == {"gone": True}
    assert {name: failure.reason for name, failure in run.failed.items()} == {
        "gone": 'pods "gone" not found',
        "conflict": "pod is already assigned",
        "bug": "running Bind plugin \"Scripted\": KeyError: 'oops'",
        "refused": 'running Bind plugin "Scripted": not here',
        "skipped": "no bind plugin took the pod",
        "pre-bind": 'running PreBind plugin "Scripted": volume not ready',
    }


class Patient(PatientPreBindPlugin):
    """Waits until somebody says that it is done."""

    name = "Patient"

    def __init__(self):
        self.done, self.waiting = asyncio.Event(), 0

    async def pre_bind(self, state, pod, node):
        return None if pod.name.startswith("slow") else SKIP

    async def wait(self, state, pod, node):
        self.waiting += 1
        await self.done.wait()
        self.waiting -= 1
        return Status(Code.UNSCHEDULABLE, ("no volume",)) if pod.name == "slow-0" else None


async def test_pods_that_wait_keep_no_other_from_being_bound():
    run = Run(concurrency=2)
    patient = Patient()
    run.profile = Profile(["koord-scheduler"], [PrioritySort(), patient, run.plugin])
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(run.binder.run())
        for name in (*[f"slow-{index}" for index in range(8)], "quick"):
            run.binder.submit(Binding(QueuedPod(READER.read(pod(name)), run.profile, 0), {}, "n1"))
        await until(lambda: run.bound == ["quick"] and run.binder.waiting == 8)
        assert (patient.waiting, run.binder.in_flight) == (8, 0)
        patient.done.set()
        await until(lambda: len(run.bound) == 8)
        assert run.failed["slow-0"].reason == 'running PreBind plugin "Patient": no volume'
        assert run.plugin.most == 2, "what comes after the wait is bounded as ever"
        working.cancel()


async def test_a_hand_over_gives_up_who_waits():
    run = Run(concurrency=2)
    run.profile = Profile(["koord-scheduler"], [PrioritySort(), Patient(), run.plugin])
    working = asyncio.create_task(run.binder.run())
    run.binder.submit(Binding(QueuedPod(READER.read(pod("slow-1")), run.profile, 0), {}, "n1"))
    await until(lambda: run.binder.waiting == 1)
    async with asyncio.timeout(5):
        await run.binder.drained()
    await until(lambda: run.binder.waiting == 0)
    assert (run.bound, run.failed) == ([], {})
    working.cancel()
