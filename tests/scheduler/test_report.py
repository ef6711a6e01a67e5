"""Conditions are written on the version that was judged, and never over a bind."""

import asyncio
import contextlib

import pytest

from koordinator.api import keys
from koordinator.api.core import Pod
from koordinator.clock import ManualClock
from koordinator.kube.errors import Conflict, ServerUnavailable
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.report import Reporter, _note
from scheduler.builders import READER, pod
from waiting import until

PROFILE = Profile(["x"], [PrioritySort()])


class Server:
    """One pod, with the API server's rule for stale versions."""

    def __init__(self, current: Pod):
        self.current, self.patches, self.down = current, [], 0

    async def get(self, resource, name, namespace=""):
        return self.current

    async def patch(self, resource, name, patch, namespace="", *, type, subresource=""):  # noqa: A002
        if self.down:
            self.down -= 1
            raise ServerUnavailable(503, "ServiceUnavailable", "not now")
        if patch["metadata"]["resourceVersion"] != self.current.metadata.resource_version:
            raise Conflict(409, "Conflict", "somebody was faster")
        self.patches.append(patch["status"]["conditions"][0])


class Recorder:
    pending = False

    def __init__(self):
        self.messages = []

    def event(self, obj, type_, reason, message):
        self.messages.append(message)


def version(one, number, **spec):
    copy = pod(one.name, **spec)
    copy.metadata.uid, copy.metadata.resource_version = one.metadata.uid, number
    return copy


@contextlib.asynccontextmanager
async def reporting(server):
    reporter = Reporter(server, Recorder(), ManualClock(), Metrics())
    task = asyncio.create_task(reporter.run())
    yield reporter
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def refused(one):
    return QueuedPod(READER.read(one), PROFILE, 0.0), Diagnosis(1, {"Insufficient cpu": 1}, {"NodeResourcesFit"})


@pytest.fixture
def judged():
    return version(pod("p"), "5")


async def test_a_pod_that_changed_meanwhile_is_read_again(judged):
    server = Server(version(judged, "6"))
    async with reporting(server) as reporter:
        reporter.unschedulable(*refused(judged))
        await until(lambda: server.patches)
    assert server.patches[0]["message"] == "0/1 nodes are available: 1 Insufficient cpu."


async def test_a_pod_bound_meanwhile_is_not_called_unschedulable(judged):
    server = Server(version(judged, "6", node_name="n1"))
    async with reporting(server) as reporter:
        reporter.unschedulable(*refused(judged))
        await until(lambda: not reporter._patches)
        for _ in range(10):
            await asyncio.sleep(0)
    assert server.patches == []


async def test_what_could_not_be_written_is_told_again_at_the_next_attempt(judged):
    server = Server(judged)
    server.down = 1
    async with reporting(server) as reporter:
        queued, diagnosis = refused(judged)
        reporter.unschedulable(queued, diagnosis)
        await until(lambda: not server.down and not queued.last_message)
        reporter.unschedulable(queued, diagnosis)
        await until(lambda: server.patches)


def test_a_long_note_is_cut_between_characters():
    assert _note("é" * 600) == "é" * 512
    assert _note("short") == "short"


def test_a_pod_that_asked_for_a_reservation_hears_of_reservations_apart():
    recorder = Recorder()
    reporter = Reporter(Server(pod("p")), recorder, ManualClock(), Metrics())
    asking = pod("p", annotations={keys.RESERVATION_AFFINITY: "{}"})
    reasons = {"Reservation(s) Insufficient cpu": 1, "Reservation(s) matched owner total": 1}
    reporter.unschedulable(QueuedPod(READER.read(asking), PROFILE, 0.0), Diagnosis(nodes=3, reasons=reasons))
    assert recorder.messages[1:] == ["0/1 reservations are available: 1 Reservation(s) Insufficient cpu."]
    reporter.unschedulable(QueuedPod(READER.read(pod("q")), PROFILE, 0.0), Diagnosis(nodes=3, reasons=reasons))
    assert len(recorder.messages) == 3


async def test_a_failure_that_a_plugin_takes_care_of_ends_the_watch_over_the_pod():
    reporter = Reporter(None, Recorder(), ManualClock(), Metrics())
    queued, _ = refused(pod("p"))
    reporter.assumed(Binding(queued, {}, "n"))
    reporter.handled(queued)
    reporter._clock.advance(1000)
    assert reporter.monitor.late() == 0
    assert not reporter._recorder.messages
