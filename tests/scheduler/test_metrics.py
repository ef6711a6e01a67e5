"""What is counted, under which names, and how others add numbers of their own."""

import asyncio

import aiohttp
import pytest
from prometheus_client import generate_latest

from koordinator.clock import ManualClock
from koordinator.kube.metrics import Histogram
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.collector import registry_of
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.framework import SKIP, Code, PreFilterResult, Status
from koordinator.scheduler.engine.meter import EVERY, Meter, Stopwatch, evaluations, watched
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.metrics import Metrics, job_size
from scheduler.builders import READER, pod
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until


def shown(app):
    return generate_latest(registry_of(app)).decode().splitlines()


NATIVE = {
    "scheduler_schedule_attempts_total": "counter",
    "scheduler_scheduling_attempt_duration_seconds": "histogram",
    "scheduler_scheduling_algorithm_duration_seconds": "histogram",
    "scheduler_pod_scheduling_attempts": "histogram",
    "scheduler_pod_scheduling_sli_duration_seconds": "histogram",
    "scheduler_framework_extension_point_duration_seconds": "histogram",
    "scheduler_plugin_execution_duration_seconds": "histogram",
    "scheduler_plugin_evaluation_total": "counter",
    "scheduler_pending_pods": "gauge",
    "scheduler_queue_incoming_pods_total": "counter",
    "scheduler_scheduler_cache_size": "gauge",
    "scheduler_preemption_attempts_total": "counter",
    "scheduler_preemption_victims": "histogram",
    "scheduler_unschedulable_pods": "gauge",
    "scheduler_goroutines": "gauge",
    "scheduler_permit_wait_duration_seconds": "histogram",
    "scheduler_pod_scheduling_evaluated_nodes": "histogram",
    "scheduler_pod_scheduling_feasible_nodes": "histogram",
    "leader_election_master_status": "gauge",
}


def test_every_name_that_dashboards_know_is_there():
    types = dict(line.split()[2:] for line in shown(App(None, SchedulerOptions(), ManualClock())) if line.startswith("# TYPE"))
    assert NATIVE.items() <= types.items()
    assert "scheduler_scheduling_timeout" in types


def test_a_part_adds_numbers_of_its_own_and_all_begin_anew():
    app = App(None, SchedulerOptions(), ManualClock())
    metrics = app.metrics
    binds = metrics.counter("batch_partial_bind_pods_total", "Pods.", ("status",))
    assert metrics.counter("batch_partial_bind_pods_total", "Pods.", ("status",)) is binds
    seconds = metrics.histogram("gang_schedule_cycle_duration_seconds", "A gang.", ("reason",), (0.1, 0.5))
    metrics.gauge("waiting_gang_group_number", "Gangs.", (), lambda: {(): 3})
    binds.add(("success",), 2)
    seconds.observe(("ok",), 0.2)
    lines = shown(app)
    assert 'scheduler_batch_partial_bind_pods_total{status="success"} 2.0' in lines
    assert 'scheduler_gang_schedule_cycle_duration_seconds_bucket{le="0.5",reason="ok"} 1.0' in lines
    assert "scheduler_waiting_gang_group_number 3.0" in lines
    app.reset_metrics()
    binds.add(("failure",))
    lines = shown(app)
    assert 'scheduler_batch_partial_bind_pods_total{status="failure"} 1.0' in lines
    assert not [
        line
        for line in lines
        if line.startswith(
            ('scheduler_batch_partial_bind_pods_total{status="success', "scheduler_gang_schedule_cycle_duration_seconds_")
        )
    ]
    with pytest.raises(TypeError, match="waiting_gang_group_number"):
        metrics.counter("waiting_gang_group_number", "Gangs.")


def test_a_plugin_is_given_the_metrics_of_its_scheduler():
    app = App(None, SchedulerOptions(), ManualClock())
    assert {plugin.meter.profile for plugin in app.profile.plugins.values()} == {app.profile.name}


def test_waits_at_permit_are_counted_as_they_end():
    app = App(None, SchedulerOptions(), ManualClock())
    pods = [QueuedPod(READER.read(pod()), app.profile, 0.0) for _ in range(2)]
    for one in pods:
        app.scheduler.waiting.add(Binding(one, {}, "n"), {"Gang": 60.0})
    app.clock.advance(2.5)
    app.scheduler.submit = lambda _: None
    app.scheduler.waiting.allow(pods[0].info.uid, "Gang")
    app.scheduler.waiting.reject(pods[1].info.uid, "Gang", "no")
    lines = shown(app)
    for result in ("Success", "Unschedulable"):
        assert f'scheduler_permit_wait_duration_seconds_sum{{result="{result}"}} 2.5' in lines


def test_labels_of_attempts_end_at_fifteen():
    metrics = Metrics()
    for attempts in (1, 14, 15, 400):
        metrics.bound(attempts, 1.0)
    assert sorted(metrics.sli_duration.series) == [("1",), ("14",), ("15+",)]


@pytest.mark.parametrize(
    ("pods", "label"), [(0, "0"), (1, "1-100"), (100, "1-100"), (101, "101-200"), (1000, "901-1000"), (1001, "1000+")]
)
def test_job_sizes(pods, label):
    assert job_size(pods) == label


# --- durations ---------------------------------------------------------------------------------------------------------------


class Timed:
    """A stopwatch on a clock of ours."""

    def __init__(self):
        self.clock = ManualClock()
        self.watch = Stopwatch(self.clock.monotonic, Histogram((1.0,)), Histogram((1.0,)))

    def attempt(self, *hooks):
        """One attempt in which plugins take some seconds and answer something."""
        self.watch.begin()
        for plugin, point, seconds, answer in hooks:
            if self.watch.on:
                self.watch.timed(plugin, point, lambda seconds=seconds, answer=answer: (self.clock.advance(seconds), answer)[1])
        self.watch.end("p")

    def seen(self, histogram):
        return {labels: total for labels, _, total in histogram.rows()}


def test_one_attempt_in_ten_is_timed():
    timed = Timed()
    for _ in range(3 * EVERY):
        timed.attempt(("A", "Filter", 1.0, None))
    assert timed.seen(timed.watch.plugins) == {("A", "Filter", "Success"): 3.0}


def test_an_extension_point_is_the_sum_of_its_plugins_and_ends_as_the_one_that_refused():
    timed = Timed()
    refused = Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE)
    for _ in range(EVERY):
        timed.attempt(
            ("A", "PreFilter", 1.0, PreFilterResult(SKIP)),
            ("B", "PreFilter", 2.0, None),
            ("A", "PostFilter", 1.0, ("", Status(Code.UNSCHEDULABLE))),
            ("A", "Permit", 1.0, refused),
            ("B", "Permit", 0.5, None),
        )
    assert timed.seen(timed.watch.plugins) == {
        ("A", "PreFilter", "Skip"): 1.0,
        ("B", "PreFilter", "Success"): 2.0,
        ("A", "PostFilter", "Unschedulable"): 1.0,
        ("A", "Permit", "UnschedulableAndUnresolvable"): 1.0,
        ("B", "Permit", "Success"): 0.5,
    }
    assert timed.seen(timed.watch.points) == {
        ("PreFilter", "Success", "p"): 3.0,
        ("PostFilter", "Unschedulable", "p"): 1.0,
        ("Permit", "UnschedulableAndUnresolvable", "p"): 1.5,
    }


def test_a_hook_that_raises_is_an_error_and_raises():
    timed = Timed()
    with pytest.raises(ZeroDivisionError):
        timed.watch.timed("A", "Filter", lambda: 1 / 0)
    assert list(timed.watch.plugins.series) == [("A", "Filter", "Error")]


async def test_hooks_that_are_awaited_are_timed_as_well():
    timed = Timed()

    class Plugin:
        name = "A"
        meter = Meter("p", timed.watch)

    async def work():
        timed.clock.advance(2)

    for _ in range(EVERY):
        await watched(Plugin, "Bind", work())
    assert timed.seen(timed.watch.points) == {("Bind", "Success", "p"): 2.0}
    Plugin.meter = None
    await watched(Plugin, "Bind", work())
    assert evaluations([Plugin]) == {}


async def test_pods_that_are_scheduled_show_in_all_of_it(apiserver):
    async with running(apiserver.client, http_port=0) as app:
        await add_node(apiserver.client, "a", cpu="8")
        names = [f"p{index}" for index in range(2 * EVERY)]
        await asyncio.gather(*(add_pod(apiserver.client, name) for name in names))

        async def all_bound():
            return all([await bound(apiserver.client, name) for name in names])

        await until(all_bound)
        async with aiohttp.ClientSession() as session, session.get("http://{}:{}/metrics".format(*app.http_address)) as answer:
            text = await answer.text()
    for part in (
        'scheduler_plugin_execution_duration_seconds_count{extension_point="Filter",plugin="NodeResourcesFit",status="Success"}',
        'scheduler_plugin_execution_duration_seconds_count{extension_point="Bind",plugin="DefaultBinder",status="Success"}',
        'scheduler_framework_extension_point_duration_seconds_count{extension_point="Score",profile="koord-scheduler",status="Su',
        'scheduler_plugin_evaluation_total{extension_point="Score",plugin="NodeResourcesFit",profile="koord-scheduler"}',
        'rest_client_requests_total{code="201",host="127.0.0.1',
    ):
        assert part in text, part
