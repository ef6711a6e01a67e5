"""Stories of the manager on a running cluster: what is sold, what is refused, what nodes are told. Each with its bad input.

The nodes are plain objects; the test plays kubelet and koordlet. All stories share one cluster, each has nodes of its own.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from koordinator.api import quantity
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GATES = "NodeMutatingWebhook=true,ConfigMapValidatingWebhook=true,MultiQuotaTree=true,EnableQuotaAdmission=true"
BATCH_CPU, BATCH_MEMORY = "kubernetes.io/batch-cpu", "kubernetes.io/batch-memory"
MID_CPU, MID_MEMORY = "kubernetes.io/mid-cpu", "kubernetes.io/mid-memory"
QUOTA = "quota.scheduling.koordinator.sh"
GIB = 1 << 30
NONE = {BATCH_CPU: None, BATCH_MEMORY: None}
USAGE = {
    "nodeUsage": {"resources": {"cpu": "3", "memory": "10Gi"}},
    "systemUsage": {"resources": {"cpu": "1", "memory": "4Gi"}},
}


class Story:
    """The cluster in a user's words."""

    def __init__(self, cluster):
        self._root = cluster.data.root
        self._environment = {**os.environ, "KUBECONFIG": str(cluster.data.kubeconfig), "HOME": str(cluster.data.root)}

    def kubectl(self, *arguments, given="", check=True):
        command = [str(Path(sys.executable).with_name("kubectl")), *arguments]
        done = subprocess.run(
            command, env=self._environment, input=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def plan(self, node, given):
        """What `koord plan overcommit` says of a proposed configuration."""
        command = [sys.executable, "-m", "koordinator", "plan", "overcommit", "--data", str(self._root), "-f", "-"]
        command += ["--node", node, "-o", "json"]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)

    def apply(self, *objects):
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self.kubectl("apply", "-f", "-", given=json.dumps(listed))

    def refused(self, obj):
        """What is said about an object that may not be created or changed so."""
        done = self.kubectl("apply", "-f", "-", given=json.dumps(obj), check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)

    def patch(self, *arguments, body, check=True):
        return self.kubectl("patch", *arguments, "--type=merge", "-p", json.dumps(body), check=check)

    def configure(self, **data):
        """Texts by key, underscores for dashes; None removes a key."""
        texts = {key.replace("_", "-"): json.dumps(text) if isinstance(text, dict) else text for key, text in data.items()}
        self.patch("configmap", "slo-controller-config", "-n", "koordinator-system", body={"data": texts})

    def node(self, name, **labels):
        amounts = {"cpu": "16", "memory": "64Gi", "pods": "110"}
        metadata = {"name": name, "labels": labels, "annotations": {"a": "b"}}
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        status = {"capacity": amounts, "allocatable": amounts, "conditions": conditions}
        self.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status})
        self.patch("node", name, "--subresource=status", body={"status": status})
        eventually(lambda: self.kubectl("get", "nodemetric", name, check=False).returncode == 0)

    def report(self, node, age=0.0, **status):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
        body = {"status": {"updateTime": moment, "nodeMetric": USAGE, **status}}
        self.patch("nodemetric", node, "--subresource=status", body=body)

    def amounts(self, node, *names):
        offered = self.get("node", node)["status"]
        assert {name: offered["capacity"].get(name) for name in names} == {
            name: offered["allocatable"].get(name) for name in names
        }
        return {
            name: quantity.value(offered["allocatable"][name]) if name in offered["allocatable"] else None for name in names
        }

    def sells(self, node, wanted):
        eventually(lambda: self.amounts(node, *wanted) == wanted, 15, f"{node} sells {wanted}")

    def annotations(self, node):
        return self.get("node", node)["metadata"].get("annotations", {})

    def events(self, reason):
        found = self.get("events", "-A")["items"]
        return [event["message"] for event in found if event["reason"] == reason]

    def service(self, node, name):
        """A prod pod that reserves 4 cores and 8 GiB and uses half."""
        self.apply(pod(name, {"koordinator.sh/qosClass": "LS"}, "4", "8Gi", nodeName=node, priorityClassName="koord-prod"))
        self.patch("pod", name, "-n", "demo", "--subresource=status", body={"status": {"phase": "Running"}})
        used = {"resources": {"cpu": "2", "memory": "6Gi"}}
        return [{"namespace": "demo", "name": name, "priority": "koord-prod", "qos": "LS", "podUsage": used}]


def pod(name, labels=None, cpu="1", memory="1Gi", *, namespace="demo", annotations=None, **spec):
    amounts = {"cpu": cpu, "memory": memory}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "containers": [{"name": "main", "image": "pause", "resources": {"requests": amounts, "limits": amounts}}],
            **spec,
        },
    }


COLOCATION = {
    "enable": True,
    "cpuReclaimThresholdPercent": 75,
    "memoryReclaimThresholdPercent": 75,
    "resourceDiffThreshold": 0.01,
}
NOTHING_SET = dict.fromkeys(
    (
        "resource_threshold_config",
        "cpu_burst_config",
        "cpu_normalization_config",
        "resource_amplification_config",
    )
)


@pytest.fixture(scope="module")
def running(shared_cluster):
    before = os.environ.get("KOORD_MANAGER_FEATURE_GATES")
    os.environ["KOORD_MANAGER_FEATURE_GATES"] = GATES
    shared_cluster.up("--no-this-machine")
    if before is None:
        del os.environ["KOORD_MANAGER_FEATURE_GATES"]
    story = Story(shared_cluster)
    story.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo", "labels": {"colocation": "true"}}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "plain"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "slo-controller-config", "namespace": "koordinator-system"},
        },
    )
    return story


@pytest.fixture
def story(running):
    running.configure(colocation_config=COLOCATION, **NOTHING_SET)
    return running


# --- overcommit --------------------------------------------------------------------------------------------------------------


def test_batch_resources_appear_follow_what_is_measured_and_outlive_a_broken_configuration(story):
    story.node("batch")
    pods = story.service("batch", "web-0")
    story.report("batch", podsMetric=pods)
    story.sells("batch", {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB})
    origin = json.loads(story.annotations("batch")["node.koordinator.sh/originExtendedAllocatable"])["resources"]
    assert {name: quantity.value(text) for name, text in origin.items()} == {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB}
    story.configure(colocation_config={**COLOCATION, "memoryCalculatePolicy": "request"})
    story.sells("batch", {BATCH_CPU: 9000, BATCH_MEMORY: 40 * GIB})
    story.configure(colocation_config=COLOCATION)
    story.kubectl("delete", "pod", "web-0", "-n", "demo", "--force", "--grace-period=0")
    story.sells("batch", {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB})
    story.report("batch", podsMetric=[])
    story.sells("batch", {BATCH_CPU: 11000, BATCH_MEMORY: 44 * GIB})
    story.configure(colocation_config='{"enable":tru')
    eventually(lambda: story.events("ColocationCfgUnmarshalFailed"))
    assert story.events("ColocationCfgUnmarshalFailed")[0].startswith("failed to unmarshal colocation config, err: ")
    assert story.amounts("batch", BATCH_CPU) == {BATCH_CPU: 11000}


def test_batch_resources_vanish_when_reports_are_stale_or_colocation_is_off(story):
    story.node("stale")
    story.node("other")
    for node in ("stale", "other"):
        story.report(node)
    wanted = {BATCH_CPU: 11000, BATCH_MEMORY: 44 * GIB}
    story.sells("stale", wanted)
    story.report("stale", age=16 * 60)
    story.sells("stale", {**NONE, MID_CPU: None})
    origin = story.annotations("stale")["node.koordinator.sh/originExtendedAllocatable"]
    assert set(json.loads(origin)["resources"].values()) == {"0"}
    story.report("stale")
    story.sells("stale", wanted)
    off = "node.koordinator.sh/colocation-strategy"
    story.kubectl("annotate", "node", "stale", f'{off}={{"enable":false}}')
    story.sells("stale", NONE)
    story.sells("other", wanted)
    story.kubectl("annotate", "node", "stale", f"{off}-")
    story.sells("stale", wanted)
    story.configure(colocation_config={**COLOCATION, "degradeTimeMinutes": 0, "enable": False})
    eventually(lambda: story.events("ColocationCfgInvalid"))
    assert story.amounts("stale", BATCH_CPU) == {BATCH_CPU: 11000}
    story.configure(colocation_config={**COLOCATION, "enable": False})
    for node in ("stale", "other"):
        story.sells(node, {**NONE, MID_CPU: None, MID_MEMORY: None})


def test_a_plan_says_what_a_configuration_would_sell_before_it_is_applied(story):
    story.node("planned")
    story.report("planned")
    story.sells("planned", {BATCH_CPU: 11000, BATCH_MEMORY: 44 * GIB})
    config = {**COLOCATION, "cpuReclaimThresholdPercent": 60}
    done = story.plan("planned", json.dumps({"colocation-config": config}))
    (plan,) = json.loads(done.stdout)
    sides = [plan["current"]["sold"][BATCH_CPU], plan["proposed"]["sold"][BATCH_CPU]]
    assert sides == [11000, 8600]
    parts = plan["proposed"]["parts"]["batch-cpu"]
    assert parts["capacity"] - parts["system"] - parts["highPriority"] - parts["margin"] == parts["batch"] == 8600
    assert story.amounts("planned", BATCH_CPU) == {BATCH_CPU: 11000}
    story.configure(colocation_config=config)
    story.sells("planned", {BATCH_CPU: 8600})
    refused = story.plan("planned", "colocation-config: {degradeTimeMinutes: 0}")
    assert refused.returncode == 1
    assert refused.stderr.startswith("koord: standard input: colocation-config: degradeTimeMinutes is 0")


def test_an_absurd_report_is_told_and_sells_nothing(story):
    story.node("absurd")
    story.report("absurd")
    story.sells("absurd", {BATCH_CPU: 11000, BATCH_MEMORY: 44 * GIB})
    story.report("absurd", age=-3600)
    story.sells("absurd", NONE)
    story.report("absurd", nodeMetric={"systemUsage": {"resources": {"cpu": "-4", "memory": "4Gi"}}})
    story.sells("absurd", {BATCH_CPU: 12000, BATCH_MEMORY: 44 * GIB})
    eventually(lambda: [text for text in story.events("AbnormalNodeMetric") if "'-4'" in text])


def test_mid_resources_follow_prediction(story):
    story.node("mid")
    config = {**COLOCATION, "midCPUThresholdPercent": 50, "midMemoryThresholdPercent": 50}
    story.configure(colocation_config=config)
    pods = story.service("mid", "web-mid")

    def report(cpu):
        predicted = {"prodReclaimableMetric": {"resource": {"resources": {"cpu": cpu, "memory": "8Gi"}}}} if cpu else {}
        story.report("mid", podsMetric=pods, **predicted)

    report("3")
    story.sells("mid", {MID_CPU: 3000, MID_MEMORY: 8 * GIB})
    report("20")
    story.sells("mid", {MID_CPU: 8000, MID_MEMORY: 8 * GIB})
    report("3")
    story.configure(colocation_config={**config, "midUnallocatedPercent": 10})
    story.sells("mid", {MID_CPU: 4100})
    story.configure(colocation_config=config)
    story.patch("nodemetric", "mid", "--subresource=status", body={"status": {"prodReclaimableMetric": None}})
    story.sells("mid", {MID_CPU: 0, MID_MEMORY: 0, BATCH_CPU: 9000})
    refused = story.refused(labelled_config(colocation_config={**config, "midCPUThresholdPercent": 101}))
    assert "MidCPUThresholdPercent must be 100 or less" in refused


def test_reserved_and_third_parties_resources_are_not_sold(story):
    story.node("kept")
    story.report("kept", podsMetric=story.service("kept", "web-kept"))
    story.sells("kept", {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB})
    reservation = {"resources": {"cpu": "2", "memory": "8Gi"}, "applyPolicy": "Default"}
    reserve = "node.koordinator.sh/reservation"
    story.kubectl("annotate", "node", "kept", f"{reserve}={json.dumps(reservation)}")
    story.sells("kept", {BATCH_CPU: 8000, BATCH_MEMORY: 34 * GIB})
    story.kubectl("annotate", "node", "kept", "--overwrite", f'{reserve}={{"resources":')
    story.sells("kept", {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB})
    eventually(lambda: [text for text in story.events("InvalidNodeAnnotation") if reserve in text])
    taken = {"name": "hadoop-yarn", "priority": "koord-batch", "resources": {BATCH_CPU: "2000", BATCH_MEMORY: "8Gi"}}
    third = "node.koordinator.sh/thirdPartyAllocations"
    story.kubectl("annotate", "node", "kept", f"{third}={json.dumps({'allocations': [taken]})}")
    story.sells("kept", {BATCH_CPU: 7000, BATCH_MEMORY: 30 * GIB})
    story.kubectl("annotate", "node", "kept", "--overwrite", f"{third}={{")
    story.sells("kept", {BATCH_CPU: 9000, BATCH_MEMORY: 38 * GIB})
    eventually(lambda: [text for text in story.events("InvalidNodeAnnotation") if third in text])


def test_mixed_hardware_looks_equal(story):
    ratio, amplified = "node.koordinator.sh/cpu-normalization-ratio", "node.koordinator.sh/resource-amplification-ratio"
    story.node("fast")
    story.report("fast")
    info = json.dumps({"cpuModel": "cpu-x", "hyperThreadEnabled": True, "turboEnabled": False})
    topology = {"apiVersion": "topology.node.k8s.io/v1alpha1", "kind": "NodeResourceTopology", "topologyPolicies": ["None"]}
    metadata = {"name": "fast", "annotations": {"node.koordinator.sh/cpu-basic-info": info}}
    story.apply({**topology, "metadata": metadata, "zones": []})
    normalization = {"enable": True, "ratioModel": {"cpu-x": {"baseRatio": 1.1, "hyperThreadEnabledRatio": 1.2}}}
    amplification = {"enable": True, "resourceAmplificationRatio": {"cpu": 1.5}}
    story.configure(cpu_normalization_config=normalization, resource_amplification_config=amplification)
    eventually(lambda: story.annotations("fast").get(ratio) == "1.20")
    eventually(lambda: story.annotations("fast").get(amplified) == '{"cpu":1.80}')
    story.sells("fast", {BATCH_CPU: 13200})
    kubelet = {"status": {"allocatable": {"cpu": "16", "memory": "64Gi"}}}
    story.patch("node", "fast", "--subresource=status", body=kubelet)
    node = story.get("node", "fast")
    assert (node["status"]["allocatable"]["cpu"], node["status"]["capacity"]["cpu"]) == ("28800m", "16")
    raw = json.loads(node["metadata"]["annotations"]["node.koordinator.sh/raw-allocatable"])
    assert raw == {"cpu": "16", "memory": "64Gi"}
    unknown = {**normalization, "ratioModel": {"cpu-y": {"baseRatio": 1.1}}}
    less = {"enable": True, "resourceAmplificationRatio": {"cpu": 0.5, "memory": 0.5}}
    story.configure(cpu_normalization_config=unknown, resource_amplification_config=less)
    eventually(lambda: amplified not in story.annotations("fast"))
    assert story.annotations("fast")[ratio] == "1.20"
    eventually(lambda: [text for text in story.events("CPUNormalizationUnknown") if "cpu-x" in text])
    eventually(lambda: story.events("ResourceAmplificationInvalid"))
    story.configure(cpu_normalization_config=None, resource_amplification_config=None)
    eventually(lambda: story.annotations("fast").get(ratio) == "1.00" and amplified not in story.annotations("fast"))
    story.patch("node", "fast", "--subresource=status", body=kubelet)
    node = story.get("node", "fast")
    assert node["status"]["allocatable"]["cpu"] == "16"
    assert "node.koordinator.sh/raw-allocatable" not in node["metadata"]["annotations"]


# --- strategies --------------------------------------------------------------------------------------------------------------


def labelled_config(**data):
    texts = {key.replace("_", "-"): text if isinstance(text, str) else json.dumps(text) for key, text in data.items()}
    labels = {"koordinator.sh/configmap-type": "slo-controller-config"}
    metadata = {"name": "slo-controller-config", "namespace": "koordinator-system", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": texts}


def test_strategies_reach_the_nodes_and_mistakes_are_refused(story):
    story.node("a", pool="slo")
    story.node("b")
    mine = {"name": "a", "nodeSelector": {"matchLabels": {"pool": "slo"}}, "memoryEvictThresholdPercent": 80}
    threshold = {"clusterStrategy": {"enable": True, "cpuSuppressThresholdPercent": 60}, "nodeStrategies": [mine]}
    story.configure(resource_threshold_config=threshold, cpu_burst_config={"clusterStrategy": {"policy": "auto"}})

    def spec(node):
        return story.get("nodeslo", node)["spec"]

    eventually(lambda: spec("a")["resourceUsedThresholdWithBE"].get("memoryEvictThresholdPercent") == 80)
    found = spec("a")["resourceUsedThresholdWithBE"]
    assert found == {
        "enable": True,
        "cpuSuppressThresholdPercent": 60,
        "cpuSuppressPolicy": "cpuset",
        "memoryEvictThresholdPercent": 80,
        "cpuEvictPolicy": "evictByRealLimit",
    }
    eventually(lambda: spec("b")["resourceUsedThresholdWithBE"].get("memoryEvictThresholdPercent") == 70)
    assert spec("a")["cpuBurstStrategy"] == {
        "policy": "auto",
        "cpuBurstPercent": 1000,
        "cfsQuotaBurstPercent": 300,
        "cfsQuotaBurstPeriodSeconds": -1,
        "sharePoolThresholdPercent": 50,
    }
    story.kubectl("label", "node", "a", "--overwrite", "pool=none")
    eventually(lambda: spec("a")["resourceUsedThresholdWithBE"]["memoryEvictThresholdPercent"] == 70)
    story.configure(resource_threshold_config='{"clusterStrategy":', cpu_burst_config={"clusterStrategy": {"policy": "none"}})
    eventually(lambda: spec("a")["cpuBurstStrategy"]["policy"] == "none")
    assert spec("a")["resourceUsedThresholdWithBE"]["cpuSuppressThresholdPercent"] == 60
    eventually(lambda: story.events("SLOCfgUnmarshalFailed"))
    assert story.events("SLOCfgUnmarshalFailed")[0].startswith("failed to unmarshal ThresholdCfg, err: ")
    broken = story.refused(labelled_config(colocation_config="{"))
    assert "Failed to parse colocation config in configmap koordinator-system/slo-controller-config, err:" in broken
    for_nobody = {**threshold, "nodeStrategies": [{**mine, "nodeSelector": {}}]}
    empty = story.refused(labelled_config(resource_threshold_config=for_nobody))
    assert "NodeSelector must not empty error! configType: resource-threshold-config" in empty


# --- pods --------------------------------------------------------------------------------------------------------------------


PROFILE = {
    "apiVersion": "config.koordinator.sh/v1alpha1",
    "kind": "ClusterColocationProfile",
    "metadata": {"name": "to-batch"},
    "spec": {
        "namespaceSelector": {"matchLabels": {"colocation": "true"}},
        "selector": {"matchLabels": {"job": "etl"}},
        "qosClass": "BE",
        "priorityClassName": "koord-batch",
        "koordinatorPriority": 1000,
        "schedulerName": "koord-scheduler",
        "labels": {"koordinator.sh/mutated": "true"},
        "annotations": {"koordinator.sh/intercepted": "true"},
        "patch": {"spec": {"terminationGracePeriodSeconds": 33}},
    },
}


def test_a_profile_turns_a_plain_pod_into_a_batch_pod(story):
    story.apply(PROFILE)

    def tried():
        given = json.dumps(pod("probe", {"job": "etl"}))
        done = story.kubectl("create", "-f", "-", "--dry-run=server", "-o", "json", given=given)
        return json.loads(done.stdout)["spec"].get("priority") == 5000

    eventually(tried)
    story.apply(pod("etl-0", {"job": "etl"}, memory="3456Mi"), pod("etl-1", {"job": "etl"}, namespace="plain"))
    made = story.get("pod", "etl-0", "-n", "demo")
    metadata, spec = made["metadata"], made["spec"]
    assert metadata["labels"] == {
        "job": "etl",
        "koordinator.sh/qosClass": "BE",
        "koordinator.sh/priority": "1000",
        "koordinator.sh/mutated": "true",
    }
    assert metadata["annotations"]["koordinator.sh/intercepted"] == "true"
    batch = {BATCH_CPU: "1k", BATCH_MEMORY: "3456Mi"}
    extended = json.loads(metadata["annotations"]["node.koordinator.sh/extended-resource-spec"])
    assert extended == {"containers": {"main": {"limits": batch, "requests": batch}}}
    assert (spec["priority"], spec["priorityClassName"], spec["preemptionPolicy"]) == (
        5000,
        "koord-batch",
        "PreemptLowerPriority",
    )
    assert (spec["schedulerName"], spec["terminationGracePeriodSeconds"]) == ("koord-scheduler", 33)
    assert spec["containers"][0]["resources"] == {"requests": batch, "limits": batch}
    elsewhere = story.get("pod", "etl-1", "-n", "plain")
    assert elsewhere["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert elsewhere["metadata"]["labels"] == {"job": "etl"}
    spec = {"selector": {"matchLabels": {"job": "lost"}}, "priorityClassName": "nope"}
    story.apply({**PROFILE, "metadata": {"name": "broken"}, "spec": spec})

    def create():
        given = json.dumps(pod("lost", {"job": "lost"}))
        return story.kubectl("create", "--dry-run=server", "-f", "-", given=given, check=False)

    eventually(lambda: create().returncode)
    denied = create().stderr
    assert 'admission webhook "mpod-create.koordinator.sh" denied the request: ' in denied
    assert '"nope" not found' in denied


QOS, LSR = "koordinator.sh/qosClass", {"koordinator.sh/qosClass": "LSR"}
CANNOT = "cannot be used in combination"
ILLEGAL = [
    (
        pod("x", {QOS: "BE"}, priorityClassName="koord-prod"),
        f"Pod: Forbidden: {QOS}=BE and priorityClass=koord-prod {CANNOT}",
    ),
    (pod("x", LSR, priorityClassName="koord-batch"), f"{QOS}=LSR and priorityClass=koord-batch {CANNOT}"),
    (
        pod("x", LSR, "1500m", priorityClassName="koord-prod"),
        'Invalid value: "1500m": the requested CPUs of LSR Pod must be integer',
    ),
    (pod("x", LSR, "0", priorityClassName="koord-prod"), "Required value: LSR Pod must declare the requested CPUs"),
    (
        pod("x", annotations={"scheduling.koordinator.sh/reserve-pod": "true"}),
        "annotations.scheduling.koordinator.sh/reserve-pod: Forbidden: cannot set in annotations",
    ),
]


@pytest.mark.parametrize(("given", "message"), ILLEGAL, ids=["be-prod", "lsr-batch", "lsr-fraction", "lsr-none", "reserve"])
def test_an_illegal_pod_is_refused_with_the_reason(story, given, message):
    refused = story.refused(given)
    assert 'admission webhook "vpod.koordinator.sh" denied the request' in refused
    assert message in refused


def test_a_legal_pod_is_accepted_and_keeps_its_qos_class(story):
    story.apply(pod("legal", {QOS: "LS"}, priorityClassName="koord-prod"))
    refused = story.kubectl("label", "pod", "legal", "-n", "demo", "--overwrite", f"{QOS}=BE", check=False).stderr
    assert f'labels.{QOS}: Invalid value: "BE": field is immutable' in refused


# --- quotas ------------------------------------------------------------------------------------------------------------------


def quota(name, labels=None, annotations=None, **spec):
    labels = {f"{QUOTA}/{key}": text for key, text in (labels or {}).items()}
    annotations = {f"{QUOTA}/{key}": text for key, text in (annotations or {}).items()}
    metadata = {"name": name, "namespace": "koordinator-system", "labels": labels, "annotations": annotations}
    return {"apiVersion": "scheduling.sigs.k8s.io/v1alpha1", "kind": "ElasticQuota", "metadata": metadata, "spec": spec}


def test_quotas_that_break_the_trees_rules_are_refused(story):
    low, high = {"cpu": "10"}, {"cpu": "20"}
    assert "resourceKey cpu of quota q5 min 12 > max 10" in story.refused(quota("q5", min={"cpu": "12"}, max=low))
    story.apply(quota("team", {"is-parent": "true"}, min=low, max=high))
    made = story.get("elasticquota", "team", "-n", "koordinator-system")["metadata"]
    assert made["labels"][f"{QUOTA}/parent"] == "koordinator-root-quota"
    assert json.loads(made["annotations"][f"{QUOTA}/shared-weight"]) == high
    story.apply(quota("team-a", {"parent": "team"}, min={"cpu": "6"}, max=high))
    refused = story.refused(quota("team-b", {"parent": "team"}, min={"cpu": "6"}, max=high))
    assert "checkMinQuotaSum all brothers' MinQuota > parent MinQuota, parent: team" in refused
    member = {f"{QUOTA}/name": "team-a", f"{QUOTA}/preemptible": "false"}
    story.apply(pod("member", member, "5"))
    wrong = story.refused(pod("wrong", {f"{QUOTA}/name": "team"}))
    assert "pod can not be linked to a parentQuotaGroup,quota:team, pod:wrong" in wrong
    changed = story.kubectl("label", "pod", "member", "-n", "demo", "--overwrite", f"{QUOTA}/preemptible=true", check=False)
    assert "Preemptible label is forbidden modify now." in changed.stderr
    for name, why in (("team", "has 1 child quotas"), ("team-a", "has 1 child pods: member")):
        kept = story.kubectl("delete", "elasticquota", name, "-n", "koordinator-system", check=False)
        assert f"delete quota failed, quota {name} {why}" in kept.stderr
    account = story.get("elasticquota", "team-a", "-n", "koordinator-system")["metadata"]["annotations"]
    assert json.loads(account[f"{QUOTA}/child-request"]) == {"cpu": "5"}
    exceeded = story.refused(pod("greedy", {f"{QUOTA}/name": "team-a"}, "16"))
    wanted = "exceeded quota: koordinator-system/team-a, requested: cpu=16, used: cpu=5, limited: cpu=20"
    assert wanted in exceeded
    assert "elastic quota nobody not found" in story.refused(pod("lost", {f"{QUOTA}/name": "nobody"}))


def test_a_quota_tree_keeps_its_pods_on_its_own_nodes(story):
    story.node("pool-1", pool="tree")
    story.node("pool-2", pool="tree")
    profile = {"name": "pool", "namespace": "koordinator-system", "labels": {f"{QUOTA}/tree-id": "tree-a"}}
    spec = {"quotaName": "root-a", "quotaLabels": {f"{QUOTA}/is-parent": "true"}}
    story.apply(
        {
            "apiVersion": "quota.koordinator.sh/v1alpha1",
            "kind": "ElasticQuotaProfile",
            "metadata": profile,
            "spec": {**spec, "nodeSelector": {"matchLabels": {"pool": "tree"}}},
        }
    )

    def root():
        found = story.kubectl("get", "elasticquota", "root-a", "-n", "koordinator-system", "-o", "json", check=False)
        return json.loads(found.stdout) if found.returncode == 0 else None

    eventually(root, 20)
    labels, annotations = root()["metadata"]["labels"], root()["metadata"]["annotations"]
    assert labels == {
        f"{QUOTA}/is-root": "true",
        f"{QUOTA}/is-parent": "true",
        f"{QUOTA}/tree-id": "tree-a",
        f"{QUOTA}/profile": "pool",
        f"{QUOTA}/parent": "koordinator-root-quota",
    }
    total = json.loads(annotations[f"{QUOTA}/total-resource"])
    assert (total["cpu"], total["memory"]) == ("32", "128Gi")
    assert root()["spec"] == {
        "min": {"cpu": "32", "memory": "128Gi"},
        "max": {"cpu": "4611686018427387", "memory": "4611686018427387"},
    }
    limits = {"min": {"cpu": "1", "memory": "1Gi"}, "max": {"cpu": "20", "memory": "64Gi"}}
    story.apply(quota("leaf", {"parent": "root-a"}, **limits))
    made = story.get("elasticquota", "leaf", "-n", "koordinator-system")
    assert made["metadata"]["labels"][f"{QUOTA}/tree-id"] == "tree-a"
    story.apply(pod("on-pool", {f"{QUOTA}/name": "leaf"}))
    affinity = story.get("pod", "on-pool", "-n", "demo")["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["tree"]}]}
    refused = story.refused(quota("stranger", {"parent": "root-a", "tree-id": "tree-b"}, **limits))
    assert "tree id is different from parent" in refused
