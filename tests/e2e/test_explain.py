"""Why is my pod pending? Five different reasons, in the very words that people get; and the scheduler's debug API."""

import json
import os
import re
from pathlib import Path

import pytest

from e2e.stories import NAMESPACE, control_plane, koord, stage
from koordinator.api.registry import NODES, SCHEDULE_EXPLANATIONS
from koordinator.kube.errors import NotFound
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GOLDEN = Path(__file__).parent / "golden"
HOT = json.dumps({"usageThresholds": {"cpu": 65, "memory": 95}})


@pytest.fixture(scope="module")
def cluster_data(tmp_path_factory):
    with control_plane(tmp_path_factory.mktemp("explain") / "data") as data:
        yield data


@pytest.fixture
async def world(cluster_data):
    async with stage(cluster_data) as made:
        yield made


def golden(name: str, text: str) -> None:
    """Ages and attempts differ from run to run; all else is compared. ``WRITE_GOLDEN=1`` writes the files afresh."""
    plain = re.sub(r"\d+ (s\b|attempts?)", r"N \1", text).replace("attempts", "attempt")
    file = GOLDEN / f"explain-{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(plain)
    assert plain == file.read_text()


async def demo_nodes(world) -> None:
    await world.node("large", "16", labels={"disk": "hdd"}, annotations={"scheduling.koordinator.sh/usage-thresholds": HOT})
    await world.node("gpu", "32", labels={"disk": "ssd"}, taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    await world.node("closed", "16", labels={"kubernetes.io/hostname": "closed"}, unschedulable=True)

    async def tainted() -> bool:
        return bool((await world.client.get(NODES, "closed")).spec.taints)

    await until(tainted, what="the controllers' taint on the cordoned node")


DB = {"topologyKey": "disk", "labelSelector": {"matchLabels": {"app": "db"}}}
REASONS = {
    "request": {"cpu": "20"},
    "taint": {"cpu": "30"},
    "affinity": {"nodeSelector": {"disk": "nvme"}},
    "cordoned": {"nodeSelector": {"kubernetes.io/hostname": "closed"}},
    "usage": {"cpu": "2"},
    "port": {"containers": [{"name": "main", "image": "pause", "ports": [{"containerPort": 80, "hostPort": 8080}]}]},
    "neighbour": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [DB]}}},
    "claim": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
    "gate": {"schedulingGates": [{"name": "example.com/quota"}]},
}


@pytest.mark.parametrize("reason", REASONS)
async def test_koord_explain_says_why_and_the_smallest_change(world, reason):
    await demo_nodes(world)
    if reason == "usage":
        await world.usage("large", "12")
        await until(lambda: "nodeDelta" in world.get("/apis/v1/plugins/LoadAwareScheduling/node/large")[1])
    if reason == "port":
        await world.pod("web", **REASONS[reason])
        await world.bound("web")
    await world.pod("p", **REASONS[reason])
    if reason == "gate":
        await until(lambda: world.get(f"/apis/v1/explain/pods/{NAMESPACE}/p")[0] == 200)
    else:
        await world.refused("p")
    golden(reason, koord(world.data, "explain", "pod", f"{NAMESPACE}/p").stdout)


async def test_the_change_that_explain_names_is_the_one_that_helps(world):
    await world.node("small", "2")
    await world.pod("p", cpu="3")
    await world.refused("p")
    answer = json.loads(koord(world.data, "explain", "pod", f"{NAMESPACE}/p", "-o", "json").stdout)
    remedy = answer["closest"][0]["refusals"][0]["remedies"][0]
    assert remedy["text"] == "request 2 cpu instead of 3"
    await world.pod("q", cpu="2")
    assert await world.bound("q") == "small"


async def test_koord_explain_says_why_there(world):
    await world.node("a", "16")
    await world.node("b", "8")
    await world.pod("p")
    assert await world.bound("p") == "a"
    text = koord(world.data, "explain", "pod", f"{NAMESPACE}/p").stdout
    assert text.startswith(f"{NAMESPACE}/p is on a\n  chosen     attempt 1; 2 of 2 nodes fitted\n")
    assert re.search(r"^  a +\d+", text, re.MULTILINE)
    node = koord(world.data, "explain", "node", "a").stdout
    assert re.search(r"cpu +16 +1 +15", node)


def test_what_cannot_be_explained_is_one_clear_error(cluster_data):
    for arguments, said in (
        (("pod", "demo/nobody"), "pod demo/nobody is not known"),
        (("node", "nowhere"), "node nowhere is not known"),
        (("pod", "p", "--server", "http://127.0.0.1:1"), "scheduler at http://127.0.0.1:1"),
    ):
        done = koord(cluster_data, "explain", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


# --- S42: ask the scheduler why -----------------------------------------------------------------------------------------------


async def test_s42_scores_and_diagnoses_are_logged_when_asked_for(world):
    assert world.http("PUT", "/debug/flags/s", "5") == (200, "successfully set debugTopNScores to 5")
    assert world.http("PUT", "/debug/flags/d", "true")[0] == 200
    await world.node("n1")
    await world.node("n2")
    await world.pod("p")
    await world.bound("p")
    await until(lambda: "Top5 scores for Pod: demo/p, feasibleNodes: 2" in world.log())
    await world.pod("big", cpu="64")
    await world.refused("big")
    await until(lambda: "dump diagnosis for demo/big, targetPod: demo/big/" in world.log())
    line = next(line for line in world.log().splitlines() if "dump diagnosis for demo/big" in line)
    details = json.loads(line.partition("$")[2])["scheduleDiagnosis"]["nodeFailedDetails"]
    assert [(one["failedPlugin"], one["reason"], one["failedNodes"]) for one in details] == [
        ("NodeResourcesFit", "Insufficient cpu", ["n1", "n2"])
    ]
    assert world.http("PUT", "/debug/flags/s", "0")[0] == world.http("PUT", "/debug/flags/d", "false")[0] == 200


async def test_s42b_flags_refuse_what_they_cannot_read(world):
    status, text = world.http("PUT", "/debug/flags/s", "abc")
    assert (status, text.startswith("failed set debugTopNScores abc: ")) == (400, True)
    assert world.http("GET", "/debug/flags/s") == (406, "unsupported http method")


async def test_s42_what_the_scheduler_knows(world):
    await world.node("n1")
    await until(lambda: world.get("/apis/v1/nodes/n1")[0] == 200)
    assert json.loads(world.get("/apis/v1/nodes/n1")[1])["allocatable"]["MilliCPU"] == 16000
    services = json.loads(world.get("/apis/v1/__services__")[1])["GET"]
    assert "/apis/v1/plugins/LoadAwareScheduling/node/:nodeName" in services


async def test_s42_schedule_explanations_are_answered_and_expire(world):
    async def ask(name: str, key: str, ttl: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"questionObjectKey": key, "ttl": ttl}}
        await world.client.create(SCHEDULE_EXPLANATIONS, body, NAMESPACE)

    async def status(name: str):
        return (await world.client.get(SCHEDULE_EXPLANATIONS, name, NAMESPACE)).status

    async def written(name: str) -> bool:
        return (await status(name)).last_update_time is not None

    async def schedulable() -> bool:
        return (await status("why")).schedulable

    async def expired() -> bool:
        try:
            await status("short")
        except NotFound:
            return True
        return False

    await world.node("n1")
    await world.pod("p", cpu="64")
    message = await world.refused("p")
    await ask("why", "demo/p", "1h")
    await ask("short", "demo/p", "1s")
    await ask("unknown", "demo/nobody", "1h")
    await until(lambda: written("why"))
    found = await status("why")
    assert (found.schedulable, found.failed_message) == (False, message)
    explained = found.detailed_explanation[0].schedule_explanation
    assert [one.failed_nodes for one in explained.node_failed_details] == [["n1"]]
    await until(lambda: written("unknown"))
    assert "not found" in (await status("unknown")).failed_message
    await world.node("n2", "96")
    await until(schedulable)
    await until(expired)
