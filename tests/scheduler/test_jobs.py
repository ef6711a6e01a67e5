"""Jobs placed at once by the whole scheduler on a real API server, planned by a small plugin from outside."""

import pytest
from prometheus_client import generate_latest

from koordinator.api.features import SCHEDULER
from koordinator.api.registry import EVENTS, PODS
from koordinator.scheduler.catalogue import built_in, foreign
from koordinator.scheduler.collector import registry_of
from koordinator.scheduler.engine.framework import Code, PreFilterPlugin, Status
from koordinator.scheduler.engine.hooks import FindOneNodePlugin, Plan
from koordinator.scheduler.engine.queued import Where
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until

CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins: {preFilter: {enabled: [{name: Jobs}]}}
"""


class Jobs(FindOneNodePlugin, PreFilterPlugin):
    """Pods "JOB-SIZE-NUMBER" go together, one to a node in turn, once all are there."""

    name = "Jobs"
    per_pod = True

    def __init__(self, handle):
        self.handle = handle

    def pre_filter(self, state, pod, nodes):
        return None

    def find_one_node(self, state, pod):
        job, size, _ = pod.name.split("-")
        pods = sorted((one.info for one in self.handle.queue if one.info.name.startswith(f"{job}-")), key=lambda one: one.name)
        if len(pods) < int(size):
            return Status(Code.UNSCHEDULABLE, (f"{len(pods)} of {size} are there",))
        names = sorted(self.handle.cluster.nodes)
        return Plan(tuple(pods), {one.key: names[index % len(names)] for index, one in enumerate(pods)})


@pytest.fixture
async def app(apiserver, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    catalogue = {**built_in(), "Jobs": foreign("Jobs", Jobs)}
    for name in ("a", "b"):
        await add_node(apiserver.client, name, cpu="2")
    gates = SCHEDULER.defaults | {"EnableInlineBatchSchedule"}
    async with running(apiserver.client, None, catalogue, config=str(file), gates=gates) as app:
        yield app


async def message(client, name):
    conditions = (await client.get(PODS, name, "default")).status.conditions or []
    return next((one.message for one in conditions if one.type == "PodScheduled"), "")


async def test_jobs_go_as_a_whole_or_wait_as_a_whole(apiserver, app):
    client = apiserver.client
    await add_pod(client, "small-4-0", cpu="1")
    await until(lambda: message(client, "small-4-0"))
    assert await message(client, "small-4-0") == "0/2 nodes are available: 1 of 4 are there."
    for index in range(1, 4):
        await add_pod(client, f"small-4-{index}", cpu="1")
    for index in range(4):
        await until(lambda index=index: bound(client, f"small-4-{index}"))
    nodes = [(await client.get(PODS, f"small-4-{index}", "default")).spec.node_name for index in range(4)]
    assert nodes == ["a", "b", "a", "b"]

    for index in range(2):
        await add_pod(client, f"late-2-{index}", cpu="1")

    async def told():
        return "first failed pod default/late-2-0@a failed due to filter pod" in await message(client, "late-2-1")

    await until(told)
    assert not await bound(client, "late-2-0")
    for index in (0, 1):
        await client.delete(PODS, f"small-4-{index}", "default", grace_seconds=0)
    await until(lambda: bound(client, "late-2-0"))
    await until(lambda: bound(client, "late-2-1"))

    async def all_told():
        reasons = [one.reason for one in (await client.list(EVENTS, "default")).items]
        return reasons.count("Scheduled") == 6

    await until(all_told)
    lines = generate_latest(registry_of(app)).decode().splitlines()
    assert 'scheduler_inline_batch_schedule_duration_seconds_count{result="success"} 2.0' in lines
    assert not app.queue.counts[Where.IN_FLIGHT]
    assert not app.scheduler.cluster.assumed
