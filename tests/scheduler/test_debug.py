"""Debug switches and endpoints, over HTTP, of a scheduler that runs against a real API server."""

import json
import logging

import aiohttp
import pytest

from koordinator.api.registry import SCHEDULE_EXPLANATIONS
from koordinator.clock import SystemClock
from koordinator.kube.errors import NotFound
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.debug.flags import Flags, put
from koordinator.scheduler.monitor import Monitor
from koordinator.scheduler.serve import serving
from scheduler.test_app import scheduling
from waiting import until


class Http:
    def __init__(self, session, port):
        self.session, self.base = session, f"http://127.0.0.1:{port}"

    async def get(self, path):
        async with self.session.get(self.base + path) as answer:
            return answer.status, await answer.json()

    async def text(self, method, path, data=None):
        async with self.session.request(method, self.base + path, data=data) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def world(apiserver):
    async with scheduling(apiserver, http_port=0) as driver, aiohttp.ClientSession() as session:
        driver.http = Http(session, driver.app.http_address[1])
        yield driver


async def test_flags_answer_in_the_words_that_scripts_know(world):
    assert await world.http.text("PUT", "/debug/flags/s", "5") == (200, "successfully set debugTopNScores to 5")
    assert await world.http.text("PUT", "/debug/flags/f", "true") == (200, "successfully set debugFilterFailure to true")
    assert await world.http.text("PUT", "/debug/flags/d", "true") == (200, "successfully set debugFilterFailure to true")
    assert await world.http.text("PUT", "/debug/flags/db", "false") == (200, "successfully set debugFilterFailure to false")
    assert await world.http.text("GET", "/debug/flags/s") == (406, "unsupported http method")
    status, text = await world.http.text("PUT", "/debug/flags/s", "abc")
    assert (status, text.startswith("failed set debugTopNScores abc: ")) == (400, True)
    assert (await world.http.text("PUT", "/debug/flags/x", "1"))[0] == 404
    status, page = await world.http.text("GET", "/debug/flags/")
    assert (status, "top_scores</td><td>5" in page) == (200, True)


async def test_scores_refusals_and_diagnoses_are_logged_when_asked_for(world, caplog):
    world.app.flags.top_scores, world.app.flags.filters, world.app.flags.diagnosis = 2, True, True
    await world.node("a")
    await world.node("b", unschedulable=True)
    await world.node("c", cpu="8")
    with caplog.at_level(logging.INFO):
        await world.pod("fits")
        await world.bound("fits")
        await world.pod("big", cpu="6", nodeSelector={"gen": "9"})
        await until(lambda: any("dump diagnosis for default/big" in message for message in caplog.messages))
    table = next(message for message in caplog.messages if message.startswith("Top2 scores for Pod: default/fits"))
    assert "feasibleNodes: 2" in table
    assert "| 0 | default/fits | c | " in table
    refused = 'Failed to filter for Pod "default/big" on Node "b" (pass 1), failedPlugin: NodeUnschedulable, reason: '
    assert any(message.startswith(refused) for message in caplog.messages)
    line = next(message for message in caplog.messages if message.startswith("dump diagnosis for default/big, targetPod: "))
    details = json.loads(line.partition("$")[2])["scheduleDiagnosis"]["nodeFailedDetails"]
    assert [(one["failedPlugin"], one["failedNodes"], one["preemptMightHelp"]) for one in details] == [
        ("NodeAffinity", ["a", "c"], False),
        ("NodeUnschedulable", ["b"], False),
    ]


async def test_what_the_scheduler_knows_of_a_node(world):
    await world.node("a")
    await world.pod("p", cpu="1")
    await world.bound("p")
    status, found = await world.http.get("/apis/v1/nodes/a")
    assert (status, found["node"]["metadata"]["name"]) == (200, "a")
    assert [pod["metadata"]["name"] for pod in found["pods"]] == ["p"]
    assert (found["requested"]["MilliCPU"], found["remaining"]["MilliCPU"]) == (1000, 3000)
    assert (found["allocatable"]["AllowedPodNumber"], found["remaining"]["AllowedPodNumber"]) == (110, 110)
    assert await world.http.get("/apis/v1/nodes/x") == (404, {"message": "cannot find node x"})


async def test_services_plugins_and_explanations(world):
    await world.node("a")
    await world.pod("big", cpu="40")
    await until(lambda: world.condition("big"))
    status, services = await world.http.get("/apis/v1/__services__")
    assert (status, services["GET"]) == (200, sorted(services["GET"]))
    assert "/apis/v1/plugins/LoadAwareScheduling/node/:nodeName" in services["GET"]
    assert await world.http.get("/apis/v1/plugins/LoadAwareScheduling/node/x") == (200, {})
    status, why = await world.http.get("/apis/v1/explain/pods/default/big")
    assert (status, why["groups"][0]["plugin"], why["fitting"]) == (200, "NodeResourcesFit", 0)
    assert why["closest"][0]["refusals"][0]["remedies"][0]["text"] == "request 4 cpu instead of 40"
    status, node = await world.http.get("/apis/v1/explain/nodes/a")
    assert (status, node["waiting"][0]["pod"]) == (200, "default/big")
    assert (await world.http.get("/apis/v1/explain/pods/default/none"))[0] == 404


async def test_metrics_under_the_names_that_dashboards_know(world):
    await world.node("a")
    await world.pod("p", cpu="1")
    await world.pod("big", cpu="40")
    await world.bound("p")
    await until(lambda: world.condition("big"))
    _, text = await world.http.text("GET", "/metrics")
    lines = text.splitlines()
    for line in (
        'scheduler_schedule_attempts_total{profile="koord-scheduler",result="unschedulable"} 1.0',
        'scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="koord-scheduler"} 1.0',
        "scheduler_pod_scheduling_feasible_nodes_count 1.0",
        "scheduler_pod_scheduling_evaluated_nodes_sum 1.0",
        'scheduler_scheduling_algorithm_duration_seconds_count{profile="koord-scheduler"} 1.0',
        'leader_election_master_status{name="koord-scheduler"} 1.0',
        'scheduler_goroutines{operation="binding"} 0.0',
    ):
        assert line in lines
    assert any(line.startswith("rest_client_requests_total{") for line in lines)
    _, resources = await world.http.text("GET", "/metrics/resources")
    assert 'pod="p",priority="0",resource="cpu",scheduler="koord-scheduler",unit="cores"} 1.0' in resources
    assert (await world.http.text("DELETE", "/metrics"))[0] == 200
    assert "scheduler_pod_scheduling_feasible_nodes_count" not in (await world.http.text("GET", "/metrics"))[1]


async def test_who_does_not_lead_answers_no_questions(apiserver):
    app = App(apiserver.client, SchedulerOptions(http_port=0), SystemClock())
    async with serving(app), aiohttp.ClientSession() as session:
        http = Http(session, app.http_address[1])
        assert await http.get("/apis/v1/nodes/a") == (503, {"message": "the instance is not leader"})


def test_a_flag_that_cannot_be_read_changes_nothing():
    flags = Flags(top_scores=3)
    assert put(flags, "s", "many")[0] == 400
    assert flags.top_scores == 3


def test_the_monitor_forgets_pods_that_have_no_end_that_anybody_hears_of(caplog):
    now = [0.0]
    monitor = Monitor(lambda: now[0], timeout=30)
    gone = set()
    monitor.on_its_way = lambda uid: uid not in gone
    monitor.started("u1", "default/deleted", "koord-scheduler")
    monitor.started("u2", "default/slow", "koord-scheduler", at=-20.0)
    now[0] = 31
    assert monitor.late() == 2
    gone.add("u1")
    assert monitor.late() == 1
    for _ in range(2):
        monitor.look()
    assert monitor.timeouts == {"koord-scheduler": 2}
    assert "default/deleted" not in caplog.text
    assert "default/slow(u2) took longer (51.0s) than the timeout 30s" in caplog.text


def test_the_monitor_tells_of_late_pods_and_counts_them(caplog):
    now = [0.0]
    monitor = Monitor(lambda: now[0], timeout=30)
    monitor.started("u1", "default/slow", "koord-scheduler")
    now[0] = 20.0
    monitor.started("u2", "default/fine", "koord-scheduler")
    now[0] = 31.0
    monitor.look()
    monitor.ended("u2")
    monitor.ended("u1")
    monitor.ended("u1")
    assert monitor.timeouts == {"koord-scheduler": 2}
    assert caplog.messages[0].startswith("!!!CRITICAL TIMEOUT!!! scheduling pod default/slow(u1) took longer (31.0s)")


async def test_a_question_is_answered_again_when_the_answer_changes_and_forgotten_in_time(world):
    async def ask(name, key, **spec):
        body = {"metadata": {"name": name}, "spec": {"questionObjectKey": key, **spec}}
        await world.client.create(SCHEDULE_EXPLANATIONS, body, "default")

    async def answer(name):
        return (await world.client.get(SCHEDULE_EXPLANATIONS, name, "default")).status

    await world.node("a")
    await world.pod("big", cpu="6")
    await ask("why", "default/big", ttl="1h")
    await ask("who", "default/nobody")
    await ask("gone", "default/big", ttl="1s")
    await until(lambda: _told(answer("why")))
    status = await answer("why")
    assert not status.schedulable
    assert status.failed_message.startswith(
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
    )
    details = status.detailed_explanation[0].schedule_explanation.node_failed_details
    assert [(one.failed_plugin, one.reason, one.failed_nodes) for one in details] == [
        ("NodeResourcesFit", "Insufficient cpu", ["a"])
    ]
    await until(lambda: _told(answer("who")))
    assert "not found" in (await answer("who")).failed_message
    await world.node("b", cpu="8")
    await world.bound("big")
    await until(lambda: _schedulable(answer("why")))
    result = (await answer("why")).detailed_explanation[0].schedule_explanation.feasible_scheduling_result
    assert [(one.name, one.node_name) for one in result] == [("big", "b")]
    await until(lambda: _is_gone(answer("gone")))


async def _told(status):
    return (await status).last_update_time is not None


async def _schedulable(status):
    return (await status).schedulable


async def _is_gone(status):
    try:
        await status
    except NotFound:
        return True
    return False
