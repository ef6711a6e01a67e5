"""The first story, and what must not break it. Everything here goes through `koord` and real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from koordinator.cluster.state import DataDir, start_ticks
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web, resources: {requests: {cpu: 100m, memory: 64Mi}}}]
"""

COLOCATION = """
apiVersion: v1
kind: ConfigMap
metadata: {name: slo-controller-config, namespace: koordinator-system}
data:
  colocation-config: '{"enable": true, "metricReportIntervalSeconds": 1, "metricAggregateDurationSeconds": 5}'
"""

BATCH_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: greedy
  labels: {koordinator.sh/qosClass: BE}
spec:
  priorityClassName: koord-batch
  schedulerName: koord-scheduler
  containers:
  - name: main
    image: batch
    resources:
      requests: {kubernetes.io/batch-cpu: 900k, kubernetes.io/batch-memory: 1Gi}
      limits: {kubernetes.io/batch-cpu: 900k, kubernetes.io/batch-memory: 1Gi}
"""


def kubectl(cluster, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("kubectl")), *arguments]
    environment = {**os.environ, "KUBECONFIG": str(cluster.data.kubeconfig), "HOME": str(cluster.data.root)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout


def get(cluster, *arguments: str) -> dict:
    return json.loads(kubectl(cluster, "get", *arguments, "-o", "json"))


def running_pods(cluster, app: str) -> int:
    return sum(pod["status"]["phase"] == "Running" for pod in get(cluster, "pods", "-l", f"app={app}")["items"])


def events(cluster, reason: str) -> list[str]:
    return [event["message"] for event in get(cluster, "events", "-A")["items"] if event["reason"] == reason]


def test_a_deployment_runs_on_hollow_nodes_and_status_shows_it(cluster, tmp_path):
    cluster.up("--nodes", "2")
    assert cluster.apply(DEPLOYMENT, tmp_path).stdout == "deployment/web created\n"
    eventually(lambda: running_pods(cluster, "web") == 3)
    status = cluster.koord("status").stdout
    assert "hollow-0" in status
    assert "scheduler   running" in status
    assert cluster.apply(DEPLOYMENT, tmp_path).stdout == "deployment/web unchanged\n"
    assert cluster.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 1"), tmp_path).stdout == "deployment/web configured\n"
    eventually(lambda: running_pods(cluster, "web") == 1)


def test_nodes_sell_what_is_idle_and_a_pod_that_asks_for_more_waits_and_says_why(cluster, tmp_path):
    cluster.up("--nodes", "2")
    cluster.apply(COLOCATION, tmp_path)

    def sold() -> bool:
        return all("kubernetes.io/batch-cpu" in node["status"]["allocatable"] for node in get(cluster, "nodes")["items"])

    eventually(sold, 30)
    assert cluster.apply(BATCH_POD, tmp_path).returncode == 0
    eventually(lambda: events(cluster, "FailedScheduling"), 20)
    assert events(cluster, "FailedScheduling")[0].startswith("0/2 nodes are available: 2 Insufficient kubernetes.io/batch-cpu.")
    assert cluster.koord("status").returncode == 0


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param("kind: [", "is not readable YAML", id="malformed"),
        pytest.param(
            "apiVersion: v1\nkind: Podd\nmetadata: {name: a}", "is a kind that the API server does not know", id="kind"
        ),
        pytest.param(BATCH_POD.replace("image:", "imagee:"), 'unknown field "spec.containers[0].imagee"', id="field"),
        pytest.param("# only a comment", "no objects in ", id="empty"),
        pytest.param(BATCH_POD.replace("1Gi", "1GiB"), "quantities must match the regular expression", id="quantity"),
        pytest.param(
            BATCH_POD.replace("{koordinator.sh/qosClass: BE}", "{koordinator.sh/qosClass: LS}"),
            "must specify koordinator QoS BE with koordinator colocation resources",
            id="qos",
        ),
    ],
)
def test_a_bad_manifest_is_refused_with_the_reason(cluster, tmp_path, manifest, message):
    cluster.up("--nodes", "1")
    refused = cluster.apply(manifest, tmp_path)
    assert refused.returncode == 1
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_bad_config_leaves_the_last_good_one_in_force_and_says_so(cluster, tmp_path):
    cluster.up("--nodes", "1")
    cluster.apply(COLOCATION, tmp_path)
    eventually(lambda: "kubernetes.io/batch-cpu" in get(cluster, "node", "hollow-0")["status"]["allocatable"], 30)
    cluster.apply(COLOCATION.replace("true,", "maybe,"), tmp_path)
    eventually(lambda: events(cluster, "ColocationCfgUnmarshalFailed"), 20)
    assert "kubernetes.io/batch-cpu" in get(cluster, "node", "hollow-0")["status"]["allocatable"]


def test_an_occupied_port_is_one_sentence(cluster):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = cluster.koord("up", "--detach", "--nodes", "1", "--port", str(port), check=False)
    assert refused.returncode == 1
    assert str(port) in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert cluster.data.running() is None


def test_a_second_cluster_on_the_directory_is_refused(cluster):
    first = cluster.up("--nodes", "1")
    refused = cluster.koord("up", "--detach", "--nodes", "1", "--port", "0", check=False)
    assert refused.returncode == 1
    assert f"a cluster runs on it (pid {first.pid})" in refused.stderr
    assert cluster.state().pid == first.pid


def test_any_killed_part_comes_back_and_nothing_is_lost(cluster, tmp_path):
    state = cluster.up("--nodes", "2")
    cluster.apply(DEPLOYMENT, tmp_path)
    eventually(lambda: running_pods(cluster, "web") == 3)
    for name, pid in state.components.items():
        os.kill(pid, signal.SIGKILL)
        eventually(lambda name=name, pid=pid: cluster.state().components.get(name, pid) != pid, what=f"{name} to start again")
    eventually(lambda: cluster.koord("status", check=False).returncode == 0, 30)
    cluster.apply(DEPLOYMENT.replace("replicas: 3", "replicas: 5"), tmp_path)
    eventually(lambda: running_pods(cluster, "web") == 5, 30)
    said = (cluster.data.logs / "supervisor.log").read_text().split("\n")[:-1]
    assert sum("was killed by SIGKILL; starting it again" in line for line in said) == len(state.components)


def test_what_was_stored_outlives_the_cluster(cluster, tmp_path):
    cluster.up("--nodes", "1")
    cluster.apply(DEPLOYMENT, tmp_path)
    eventually(lambda: running_pods(cluster, "web") == 3)
    uids = {pod["metadata"]["uid"] for pod in get(cluster, "pods")["items"]}
    cluster.koord("down")
    cluster.up("--nodes", "1")
    assert {pod["metadata"]["uid"] for pod in get(cluster, "pods")["items"]} == uids
    eventually(lambda: running_pods(cluster, "web") == 3)


def test_a_killed_supervisor_leaves_nothing_running_and_the_next_start_works(cluster):
    state = cluster.up("--nodes", "1")
    os.kill(state.pid, signal.SIGKILL)
    eventually(lambda: all(start_ticks(pid) is None for pid in state.components.values()), 30)
    assert cluster.up("--nodes", "1").pid != state.pid


PROCESS_POD = """
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: python
    command: [python3, -u, -c, "import time; print('hello'); time.sleep(1000)"]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {memory: 128Mi}}
"""


@pytest.mark.usefixtures("needs_root")
def test_this_machine_runs_pods_as_processes_with_logs_and_cgroups_and_cleans_up(cluster, tmp_path):
    state = cluster.up()
    assert state.node == "process"
    cluster.apply(PROCESS_POD, tmp_path)
    eventually(lambda: get(cluster, "pod", "busy")["status"]["phase"] == "Running", 20)
    eventually(lambda: kubectl(cluster, "logs", "busy") == "hello\n")
    uid = get(cluster, "pod", "busy")["metadata"]["uid"]
    found = list(Path("/sys/fs/cgroup").glob(f"**/{cluster.data.cgroup_parent}/kubepods/burstable/pod{uid}"))
    assert found
    cluster.koord("down")
    assert not [path for path in found if path.exists()]


@pytest.mark.usefixtures("needs_root")
def test_the_demo_measures_three_phases_and_writes_its_report(tmp_path):
    command = [sys.executable, "-m", "koordinator", "demo", "--out", str(tmp_path / "out"), "--seconds", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    alone, unprotected, guarded = report["phases"]
    assert [phase["name"] for phase in report["phases"]] == ["alone", "unprotected", "koordinator"]
    assert alone["batch_work"] == 0
    assert unprotected["batch_work"] > 0
    assert guarded["batch_work"] > 0
    assert all(phase["requests_per_second"] > 50 for phase in (alone, guarded))
    assert (tmp_path / "out" / "timeline.png").stat().st_size > 10_000


@pytest.mark.usefixtures("needs_root")
def test_a_demo_that_is_told_to_end_leaves_nothing_running(tmp_path):
    command, out = [sys.executable, "-m", "koordinator", "demo", "--seconds", "8"], tmp_path / "out" / "demo"

    def at_work() -> list[Path]:
        """Processes that started in the demo's folder: the demo and its plain batch processes."""
        return [proc for proc in Path("/proc").glob("[0-9]*") if _folder_of(proc) == tmp_path]

    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        eventually(lambda: demo.poll() is not None or (out / "plain-batch-5.log").exists(), 90)
        assert len(at_work()) > 6
        demo.terminate()
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0, said
    assert not at_work()
    assert DataDir(out / "cluster").running() is None


def _folder_of(proc: Path) -> Path | None:
    try:
        return (proc / "cwd").readlink()
    except OSError:
        return None


@pytest.mark.usefixtures("needs_root")
def test_down_clears_away_what_a_cluster_left_that_was_killed_with_all_its_parts(cluster, tmp_path):
    state = cluster.up()
    cluster.apply(PROCESS_POD, tmp_path)
    eventually(lambda: get(cluster, "pod", "busy")["status"]["phase"] == "Running", 20)
    left = list(Path("/sys/fs/cgroup").glob(f"**/{cluster.data.cgroup_parent}"))
    pids = [pid for path in left for file in path.rglob("cgroup.procs") for pid in file.read_text().split()]
    for pid in (*state.components.values(), state.pid):  # the other way round parts would hear of it and stop cleanly
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: start_ticks(state.pid) is None)
    assert pids
    assert "processes (1)" in cluster.koord("down").stdout
    assert not [path for path in left if path.exists()]
    assert not [pid for pid in pids if start_ticks(int(pid)) is not None]
    assert "none runs" in cluster.koord("down", check=False).stderr
    cluster.up()
    eventually(lambda: kubectl(cluster, "logs", "busy") == "hello\n")


def test_manifests_may_come_from_standard_input(cluster):
    cluster.up("--nodes", "1")
    command = [sys.executable, "-m", "koordinator", "apply", "--data", str(cluster.data.root), "-f", "-"]
    assert (
        subprocess.run(command, input=DEPLOYMENT, check=True, capture_output=True, text=True).stdout
        == "deployment/web created\n"
    )
    refused = subprocess.run(command, input="kind: [", check=False, capture_output=True, text=True)
    assert (refused.returncode, "standard input" in refused.stderr) == (1, True)
