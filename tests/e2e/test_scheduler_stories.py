"""S24, S25 and S42 where a scheduler needs a file of its own; several profiles, hints and preemption, as users run them."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.stories import NAMESPACE, Stage, control_plane, stage
from koordinator.api.registry import EVENTS, PODS, PRIORITY_CLASSES
from koordinator.cluster.demo.manifests import free_port
from koordinator.kube.errors import AlreadyExists
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BIN = Path(sys.executable).parent
HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
LEASE = "leaderElection: {leaderElect: true, resourceName: second-scheduler, resourceNamespace: koordinator-system}\n"
USAGE = """profiles:
- schedulerName: {name}
  plugins: {{multiPoint: {{enabled: [{{name: LoadAwareScheduling}}]}}}}
  pluginConfig:
  - name: LoadAwareScheduling
    args: {args}
"""


@pytest.fixture(scope="module")
def cluster_data(tmp_path_factory):
    with control_plane(tmp_path_factory.mktemp("scheduler") / "data") as data:
        yield data


@pytest.fixture
async def world(cluster_data):
    async with stage(cluster_data) as made:
        yield made


def command(world, file, port=0):
    flags = [f"--kubeconfig={world.data.component_kubeconfig}", f"--port={port}", "--secure-port=0", f"--config={file}"]
    return [str(BIN / "koord-scheduler"), *flags]


@contextlib.asynccontextmanager
async def another(world, folder, text, name="one"):
    """A scheduler beside the cluster's own, ready; as a stage that asks it."""
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    file.write_text(HEAD + text)
    port = free_port(18_000)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command(world, file, port), stdout=out, stderr=out)
    made = Stage(world.data, world.client)
    made.scheduler = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: answers(made) or process.returncode is not None, 20, "the scheduler to be ready")
        assert process.returncode is None, log.read_text()
        yield made
    finally:
        process.terminate()
        await process.wait()


def answers(made):
    with contextlib.suppress(OSError):
        return made.get("/healthz")[0] == 200
    return False


async def events(world, kind, name, reason):
    found = (await world.client.list(EVENTS, "", field_selector=f"involvedObject.name={name}")).items
    return [one.message for one in found if (one.involved_object.kind, one.reason) == (kind, reason)]


def test_s24_a_threshold_above_all_is_refused_before_anything_starts(cluster_data, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(HEAD + USAGE.format(name="s", args="{usageThresholds: {cpu: 101}}"))
    world = Stage(cluster_data, None)
    done = subprocess.run(command(world, file), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert re.search(r"profiles\[0\]\.pluginConfig\[0\]\.args\.usageThresholds\[cpu\] is 101, must be 0 to 100", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("filters", [False, True])
async def test_s25d_an_old_report_refuses_only_where_the_arguments_say_so(world, tmp_path, filters):
    args = f"{{filterExpiredNodeMetrics: {str(filters).lower()}, nodeMetricExpirationSeconds: 300}}"
    await world.node("n1")
    await world.usage("n1", "1", age=400)
    async with another(
        world, tmp_path, "leaderElection: {leaderElect: false}\n" + USAGE.format(name="other", args=args)
    ) as made:
        await made.pod("p", schedulerName="other")
        if filters:
            assert "1 node(s) nodeMetric expired" in await made.refused("p")
            await world.usage("n1", "1")
        assert await made.bound("p") == "n1"


async def test_s25_the_node_hears_that_its_thresholds_cannot_be_read(world):
    await world.node("n1")
    await world.annotate("n1", usage_thresholds="{")

    async def told():
        return await events(world, "Node", "n1", "InvalidAnnotation")

    await until(told, what="an event on the node")
    [message] = await told()
    assert message.startswith("scheduling.koordinator.sh/usage-thresholds: '{' cannot be read: ")
    await world.pod("p")
    assert await world.bound("p") == "n1"


async def test_s42d_who_does_not_lead_says_so(world, tmp_path):
    profile = LEASE + "profiles: [{schedulerName: second}]\n"
    async with another(world, tmp_path, profile, "leader") as leader:
        await until(lambda: leader.get("/apis/v1/nodes/none")[0] == 404, what="the first to lead")
        async with another(world, tmp_path, profile, "standby") as standby:
            status, text = standby.get("/apis/v1/nodes/none")
            assert (status, json.loads(text)) == (503, {"message": "the instance is not leader"})
            assert standby.get("/healthz")[0] == 200
            await world.node("n1")
            await world.pod("p", schedulerName="second")
            assert await world.bound("p") == "n1"


async def test_profiles_schedule_their_own_and_the_label_wins_over_the_spec(world, tmp_path):
    """One profile packs, the other spreads; a pod whose label is empty belongs to nobody."""
    pack = "{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}}"
    profiles = f"profiles: [{{schedulerName: packs, pluginConfig: [{pack}]}}, {{schedulerName: spreads}}]\n"
    text = "leaderElection: {leaderElect: false}\n" + profiles
    label = "scheduling.koordinator.sh/scheduler-name"
    await world.node("full")
    await world.node("empty")
    await world.pod("resident", cpu="8", nodeName="full")
    async with another(world, tmp_path, text):
        await world.pod("a", schedulerName="packs")
        assert await world.bound("a") == "full"
        await world.pod("b", schedulerName="packs", labels={label: "spreads"})
        assert await world.bound("b") == "empty"
        await world.pod("nobodys", schedulerName="packs", labels={label: ""})
        await world.pod("c", schedulerName="spreads")
        await world.bound("c")
        assert await world.where("nobodys") == ""


async def test_a_hint_is_followed_and_one_that_cannot_be_read_is_told(world):
    for name in ("n1", "n2", "n3"):
        await world.node(name)
    await world.pod("resident", cpu="8", nodeName="n2")
    key = "internal.scheduling.koordinator.sh/scheduling-hint"
    await hinted(world, "prefers", key, '{"preferredNodeNames":["n2"]}')
    assert await world.bound("prefers") == "n2"
    await hinted(world, "must", key, '{"nodeNames":["n2"]}')
    assert await world.bound("must") == "n2"
    await hinted(world, "odd", key, "{")
    said = await world.refused("odd")
    assert key in said
    assert "SchedulingHint" in said
    await hinted(world, "nowhere", key, '{"nodeNames":["gone"]}')
    assert "didn't satisfy plugin" in await world.refused("nowhere")


async def hinted(world, name, key, text):
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}}
    containers = [{"name": "main", "image": "pause", "resources": resources}]
    meta = {"name": name, "annotations": {key: text}}
    body = {"metadata": meta, "spec": {"schedulerName": "koord-scheduler", "containers": containers}}
    await world.client.create(PODS, body, NAMESPACE)


async def test_a_more_important_pod_makes_room_and_one_that_never_preempts_waits(world):
    for name, policy in (("vip", "PreemptLowerPriority"), ("modest", "Never")):
        body = {"metadata": {"name": name}, "value": 1000, "preemptionPolicy": policy}
        with contextlib.suppress(AlreadyExists):
            await world.client.create(PRIORITY_CLASSES, body)
    await world.node("n1", cpu="2")
    await world.pod("low", cpu="2")
    await world.bound("low")
    await world.pod("modest", cpu="2", priorityClassName="modest")
    assert "not eligible due to preemptionPolicy=Never." in await world.refused("modest")
    assert await world.where("low") == "n1"
    await world.gone("modest")
    await world.pod("vip", cpu="2", priorityClassName="vip")

    async def leaving():
        pods = {one.name: one for one in (await world.client.list(PODS, NAMESPACE)).items}
        promised = pods["vip"].status.nominated_node_name == "n1"
        return promised and ("low" not in pods or pods["low"].metadata.deletion_timestamp is not None)

    await until(leaving, what="the victim to be told to go")
    await world.gone("low")
    assert await world.bound("vip") == "n1"
