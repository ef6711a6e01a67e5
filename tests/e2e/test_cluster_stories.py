"""Stories of the cluster itself: installed and healthy, rollouts, maintenance, clean-up, webhooks, lost leaders.

All share one cluster of six hollow nodes. Every story has a namespace of its own.
"""

import base64
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from koordinator.api import quantity
from koordinator.cluster.apiserver import pki
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

BIN = Path(sys.executable).parent
SHAPE = "cpu=16,memory=64Gi,gpu=2:T4,numa=2,zone=a|b"
NODES = [f"hollow-{number}" for number in range(6)]


class User:
    """Somebody with kubectl."""

    def __init__(self, data):
        self.data = data
        self.environment = {**os.environ, "KUBECONFIG": str(data.kubeconfig), "HOME": str(data.root)}

    def run(self, *arguments, given="", check=True):
        command = [str(BIN / "kubectl"), *arguments]
        done = subprocess.run(
            command, env=self.environment, input=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def apply(self, *objects):
        self.run("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, *arguments):
        return json.loads(self.run("get", *arguments, "-o", "json").stdout)

    def items(self, *arguments):
        return self.get(*arguments)["items"]

    def names(self, *arguments):
        return sorted(obj["metadata"]["name"] for obj in self.items(*arguments))

    def gone(self, *arguments):
        return self.run("get", *arguments, check=False).returncode != 0

    def namespace(self, name, **labels):
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        return name


@pytest.fixture(scope="module")
def user(shared_cluster):
    shared_cluster.up("--nodes", str(len(NODES)), "--node-shape", SHAPE)
    user = User(shared_cluster.data)
    eventually(lambda: len(user.items("devices")) == len(NODES), 20)
    return user


def template(app, image="v1", cpu="100m", **spec):
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def workload(kind, namespace, name, template, **spec):
    group = {"Deployment": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}[kind]
    body = {"template": template, **spec}
    if kind != "Job":
        body["selector"] = {"matchLabels": template["metadata"]["labels"]}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": body}


def pod(namespace, name, **spec):
    container = {"name": "main", "image": "v1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    metadata = {"name": name, "namespace": namespace, "labels": spec.pop("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


# --- installed and healthy ---------------------------------------------------------------------------------------------------


def test_a_new_cluster_has_everything_of_ours(user):
    crds = user.items("crds")
    established = {
        crd["metadata"]["name"]
        for crd in crds
        if any(c["type"] == "Established" and c["status"] == "True" for c in crd["status"]["conditions"])
    }
    assert established == {crd["metadata"]["name"] for crd in crds}
    assert {"devices.scheduling.koordinator.sh", "nodeslos.slo.koordinator.sh"} <= established
    assert len(established) >= 13
    classes = {one["metadata"]["name"]: one["value"] for one in user.items("priorityclasses")}
    assert classes.items() >= {"koord-prod": 9000, "koord-mid": 7000, "koord-batch": 5000, "koord-free": 3000}.items()
    for kind in ("nodemetrics", "nodeslos", "noderesourcetopologies", "devices"):
        eventually(lambda kind=kind: user.names(kind) == NODES, 20, f"one of {kind} for each node")


def test_webhooks_are_registered_with_a_certificate_that_fits_their_authority(user):
    def registered():
        hooks = [
            hook
            for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
            for configuration in user.items(kind)
            for hook in configuration.get("webhooks") or []
        ]
        return hooks if hooks and all(hook["clientConfig"].get("caBundle") not in (None, "Cg==") for hook in hooks) else None

    eventually(registered, 20)
    for bundle in {hook["clientConfig"]["caBundle"] for hook in registered()}:
        ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
    refused = user.run(
        "apply",
        "-f",
        "-",
        given=json.dumps(pod("default", "bad", labels={"koordinator.sh/qosClass": "BE"}, priorityClassName="koord-prod")),
        check=False,
    )
    assert "denied the request" in refused.stderr


def test_a_deleted_node_takes_what_belongs_to_it_along(user):
    user.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "guest"}})
    eventually(lambda: "guest" in user.names("nodemetrics") and "guest" in user.names("nodeslos"), 20)
    user.run("delete", "node", "guest")
    eventually(lambda: "guest" not in user.names("nodemetrics") + user.names("nodeslos"), 20)


def test_an_unknown_gate_is_refused_before_anything_starts(user):
    command = [
        str(BIN / "koord-manager"),
        "--kubeconfig",
        str(user.data.component_kubeconfig),
        "--feature-gates=NoSuchGate=true",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "unrecognized feature gate: NoSuchGate" in done.stderr


def test_hollow_nodes_show_their_hardware(user):
    device = user.get("device", "hollow-3")
    assert [(one["minor"], one["topology"]["nodeID"]) for one in device["spec"]["devices"]] == [(0, 0), (1, 1)]
    topology = user.get("noderesourcetopology", "hollow-3")
    assert [zone["name"] for zone in topology["zones"]] == ["node-0", "node-1"]
    cpus = json.loads(topology["metadata"]["annotations"]["node.koordinator.sh/cpu-topology"])["detail"]
    assert Counter(cpu["node"] for cpu in cpus) == {0: 8, 1: 8}


# --- rollouts and maintenance ------------------------------------------------------------------------------------------------


def test_a_rollout_is_scaled_in_the_middle_followed_and_undone(user):
    space = user.namespace("rollout")
    user.apply(workload("Deployment", space, "web", template("web"), replicas=8))
    user.run("rollout", "status", "deployment/web", "-n", space, "--timeout=30s")
    unschedulable = template("web", image="v2", nodeSelector={"nowhere": "true"})
    user.apply(workload("Deployment", space, "web", unschedulable, replicas=8))

    def sets():
        return sorted(rs["spec"]["replicas"] for rs in user.items("rs", "-n", space))

    eventually(lambda: sets() == [4, 6], 20, "a rollout that is stuck half way")
    user.run("scale", "deployment/web", "-n", space, "--replicas=16")
    eventually(lambda: sets() == [8, 12], 20, "both templates to grow in proportion")
    user.run("rollout", "undo", "deployment/web", "-n", space)
    user.run("rollout", "status", "deployment/web", "-n", space, "--timeout=30s")

    def images():
        return Counter(one["spec"]["containers"][0]["image"] for one in user.items("pods", "-n", space))

    eventually(lambda: images() == {"v1": 16}, 20, "those that were given up on the way to end")


def test_daemons_stay_on_a_node_in_maintenance_and_services_move_within_their_budget(user):
    space = user.namespace("maintenance")
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    user.apply(
        workload("DaemonSet", space, "agent", template("agent")),
        workload("Deployment", space, "web", template("web"), replicas=12),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": space},
            "spec": budget,
        },
    )
    user.run("rollout", "status", "ds/agent", "-n", space, "--timeout=30s")
    user.run("rollout", "status", "deployment/web", "-n", space, "--timeout=30s")
    agents = user.items("pods", "-n", space, "-l", "app=agent")
    assert sorted(one["spec"]["nodeName"] for one in agents) == NODES
    assert {one["spec"]["schedulerName"] for one in agents} == {"default-scheduler"}
    user.run("drain", "hollow-0", "--ignore-daemonsets", "--pod-selector=app", "--timeout=50s", "--force")
    where = Counter(one["spec"]["nodeName"] for one in user.items("pods", "-n", space, "-l", "app=web"))
    assert "hollow-0" not in where
    user.run("rollout", "status", "deployment/web", "-n", space, "--timeout=30s")
    user.run("rollout", "restart", "ds/agent", "-n", space)
    user.run("rollout", "status", "ds/agent", "-n", space, "--timeout=40s")
    agents = user.items("pods", "-n", space, "-l", "app=agent")
    assert sorted(one["spec"]["nodeName"] for one in agents) == NODES, "a daemon comes back to a cordoned node, too"
    user.run("uncordon", "hollow-0")


def test_daemons_follow_labels_and_taints(user):
    space = user.namespace("daemons")
    gpu_agent = template("gpu-agent", nodeSelector={"gpu": "t4"})
    user.apply(workload("DaemonSet", space, "gpu-agent", gpu_agent))

    def where():
        return sorted(one["spec"].get("nodeName", "") for one in user.items("pods", "-n", space))

    user.run("label", "node", "hollow-1", "hollow-2", "gpu=t4")
    eventually(lambda: where() == ["hollow-1", "hollow-2"], 20)
    user.run("taint", "node", "hollow-2", "broken=yes:NoExecute")
    eventually(lambda: where() == ["hollow-1"], 20)
    user.run("taint", "node", "hollow-2", "broken=yes:NoExecute-")
    eventually(lambda: where() == ["hollow-1", "hollow-2"], 20)
    user.run("label", "node", "hollow-1", "hollow-2", "gpu-")
    eventually(lambda: where() == [], 20)


def test_a_job_counts_every_pod_even_those_that_are_swept_away(user):
    space = user.namespace("jobs")
    work = template("work", restartPolicy="Never")
    work["metadata"]["annotations"] = {"hollow.koordinator.sh/duration": "0s"}
    user.apply(workload("Job", space, "work", work, completions=30, parallelism=10))

    def swept():
        user.run("delete", "pods", "-n", space, "--field-selector=status.phase=Succeeded", "--wait=false", "--grace-period=0")
        status = user.get("job", "work", "-n", space)["status"]
        return any(c["type"] == "Complete" and c["status"] == "True" for c in status.get("conditions") or [])

    eventually(swept, 30)
    status = user.get("job", "work", "-n", space)["status"]
    assert (status["succeeded"], status.get("failed", 0)) == (30, 0)


# --- clean-up ----------------------------------------------------------------------------------------------------------------


def test_a_deleted_namespace_takes_everything_with_it(user):
    space = user.namespace("short-lived")
    user.apply(
        workload("Deployment", space, "web", template("web"), replicas=3),
        workload("DaemonSet", space, "agent", template("agent")),
        workload("Job", space, "work", template("work", restartPolicy="Never"), completions=2, parallelism=2),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": space}},
        {
            "apiVersion": "scheduling.sigs.k8s.io/v1alpha1",
            "kind": "PodGroup",
            "metadata": {"name": "gang", "namespace": space},
            "spec": {"minMember": 2},
        },
    )
    eventually(lambda: len(user.items("pods", "-n", space)) == 11, 20)
    user.run("delete", "namespace", space, "--timeout=40s")
    assert user.gone("namespace", space)
    assert not [one for one in user.items("pods", "-A") if one["metadata"]["namespace"] == space]
    user.namespace(space)
    assert user.names("podgroups,configmaps,jobs,deployments,daemonsets,controllerrevisions", "-n", space) == []


def test_owners_take_their_dependents_along_unless_told_to_leave_them(user):
    space = user.namespace("owners")
    user.apply(workload("Deployment", space, "left", template("left"), replicas=2))
    user.apply(workload("Deployment", space, "taken", template("taken"), replicas=2))
    eventually(lambda: len(user.items("pods", "-n", space)) == 4, 20)
    user.run("delete", "deployment", "taken", "-n", space, "--cascade=foreground")
    assert user.names("pods", "-n", space, "-l", "app=taken") == []
    user.run("delete", "deployment", "left", "-n", space, "--cascade=orphan")
    kept = user.names("pods,rs", "-n", space, "-l", "app=left")
    assert len(kept) == 3
    user.apply(workload("Deployment", space, "left", template("left"), replicas=2))
    user.run("rollout", "status", "deployment/left", "-n", space, "--timeout=20s")
    assert user.names("pods,rs", "-n", space, "-l", "app=left") == kept, "taken on again, not made anew"


# --- webhooks ----------------------------------------------------------------------------------------------------------------


class Policy(BaseHTTPRequestHandler):
    """Labels every pod, and refuses those that want to be called evil."""

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        answer = {"uid": request["uid"], "allowed": True}
        if self.path.startswith("/label?"):
            patch = [{"op": "add", "path": "/metadata/labels/checked", "value": "yes"}]
            answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        elif request["object"]["metadata"]["labels"].get("evil"):
            answer |= {"allowed": False, "status": {"code": 403, "message": "no evil pods, please"}}
        body = json.dumps({**review, "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder, port=0):
    """The policy over HTTPS, in a thread; its port and the certificate of its authority."""
    authority = pki.ensure(folder, time.time())
    certificate, key = pki.issue(authority, "policy", ("127.0.0.1",), time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", port), Policy)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], base64.b64encode(authority.ca.read_bytes()).decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hook(kind, name, port, bundle, **fields):
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    body = {
        "name": f"{name}.demo.example.com",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/{name}", "caBundle": bundle},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"policy": "on"}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
        **fields,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": f"policy-{name}"},
        "webhooks": [body],
    }


def test_a_users_own_webhooks_change_and_refuse_and_their_failure_counts_as_told(user, tmp_path):
    space = user.namespace("policed", policy="on")
    with serving(tmp_path / "pki") as (port, bundle):
        user.apply(hook("Mutating", "label", port, bundle), hook("Validating", "refuse", port, bundle))
        user.apply(pod(space, "good", labels={"app": "a"}))
        assert user.get("pod", "good", "-n", space)["metadata"]["labels"] == {"app": "a", "checked": "yes"}
        evil = json.dumps(pod(space, "bad", labels={"evil": "very"}))
        refused = user.run("apply", "-f", "-", given=evil, check=False).stderr
        assert 'admission webhook "refuse.demo.example.com" denied the request: no evil pods, please' in refused
        user.apply(workload("Deployment", space, "web", template("web"), replicas=1))
        user.run("rollout", "status", "deployment/web", "-n", space, "--timeout=20s")
        assert [one["metadata"]["labels"]["checked"] for one in user.items("pods", "-n", space, "-l", "app=web")] == ["yes"]
    down = user.run("apply", "-f", "-", given=json.dumps(pod(space, "late", labels={"app": "a"})), check=False)
    assert 'failed calling webhook "label.demo.example.com"' in down.stderr
    user.apply(*(hook(kind, name, port, bundle, failurePolicy="Ignore") for kind, name in KINDS))
    user.apply(pod(space, "late", labels={"app": "a"}))
    assert "checked" not in user.get("pod", "late", "-n", space)["metadata"]["labels"]
    user.run("delete", "mutatingwebhookconfiguration/policy-label", "validatingwebhookconfiguration/policy-refuse")


KINDS = (("Mutating", "label"), ("Validating", "refuse"))


# --- lost leaders ------------------------------------------------------------------------------------------------------------

LEASE = ["lease", "spare-scheduler", "-n", "koordinator-system"]
ELECTION = {
    "leaderElect": True,
    "leaseDuration": "3s",
    "renewDeadline": "2s",
    "retryPeriod": "500ms",
    "resourceName": "spare-scheduler",
    "resourceNamespace": "koordinator-system",
}


@contextlib.contextmanager
def schedulers(user, folder, count):
    """So many replicas of a scheduler for pods that name it."""
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": ELECTION,
        "profiles": [{"schedulerName": "spare-scheduler"}],
    }
    (folder / "scheduler.json").write_text(json.dumps(configuration))
    command = [str(BIN / "koord-scheduler"), f"--kubeconfig={user.data.component_kubeconfig}", "--port=0", "--secure-port=0"]
    command.append(f"--config={folder / 'scheduler.json'}")
    logs = [(folder / f"{number}.log").open("wb") for number in range(count)]
    started = [subprocess.Popen(command, stdout=log, stderr=log) for log in logs]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
        for log in logs:
            log.close()
            sys.stdout.write(Path(log.name).read_text()[-2000:])


def holder(user):
    if user.gone(*LEASE):
        return ""
    return user.get(*LEASE)["spec"].get("holderIdentity", "")


def test_the_standby_takes_over_from_a_killed_leader_and_no_pod_is_lost_or_bound_twice(user, tmp_path):
    space = user.namespace("leaders")
    with schedulers(user, tmp_path, 1) as (first,):
        eventually(lambda: holder(user), 20)
        leader = holder(user)
        (tmp_path / "standby").mkdir()
        with schedulers(user, tmp_path / "standby", 1):
            pods = [pod(space, f"p{number}", schedulerName="spare-scheduler") for number in range(50)]
            user.apply(*pods[:25])
            first.send_signal(signal.SIGKILL)
            killed = time.monotonic()
            user.apply(*pods[25:])
            eventually(lambda: all(one["spec"].get("nodeName") for one in user.items("pods", "-n", space)), 30)
            assert time.monotonic() - killed < 20
            assert holder(user) not in ("", leader)
    placed = Counter(one["spec"]["nodeName"] for one in user.items("pods", "-n", space))
    assert placed.total() == 50
    for node in user.items("nodes"):
        used = sum(
            quantity.milli_value(container["resources"].get("requests", {}).get("cpu", "0"))
            for one in user.items("pods", "-A", f"--field-selector=spec.nodeName={node['metadata']['name']}")
            for container in one["spec"]["containers"]
        )
        assert used <= quantity.milli_value(node["status"]["allocatable"]["cpu"])


def test_a_leader_that_could_outlive_its_lease_does_not_start(user):
    command = [str(BIN / "koord-scheduler"), f"--kubeconfig={user.data.component_kubeconfig}", "--port=0", "--secure-port=0"]
    command += ["--leader-elect-lease-duration=5s", "--leader-elect-renew-deadline=10s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "leaseDuration" in done.stderr
    assert "must be more than renewDeadline" in done.stderr
    assert "Traceback" not in done.stderr
