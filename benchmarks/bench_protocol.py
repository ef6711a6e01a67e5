"""The protocol: decoding a pod from the wire, deriving its classes, reading annotations, matching selectors.

Times are processor time of this process, best of five rounds, so that neighbours on the machine do not count.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.figures import report
from koordinator.api import keys, numa, priority, qos, quantity, resources, selectors
from koordinator.api.core import Pod
from koordinator.api.sloconfig.resolve import resolve_colocation

ROUNDS = 5
CALLS = 4_000
STATUS = '{"cpuset":"0-3","numaNodeResources":[{"node":0,"resources":{"cpu":"4"}}]}'


def sample_pod() -> bytes:
    """A pod of about 1.8 KB, as API servers send it."""
    container: dict[str, Any] = {
        "name": "main",
        "image": "registry.example.com/team/web:1.2.3",
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
        "env": [{"name": f"SETTING_{number}", "value": "value"} for number in range(4)],
        "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets", "readOnly": True}],
        "terminationMessagePath": "/dev/termination-log",
    }
    condition = {"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-07-01T08:00:00Z"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-5d4f8c7b9-x2x4z",
            "namespace": "default",
            "uid": "0f3a4f0e-6c1e-4a3e-9d0f-1c2b3a4d5e6f",
            "resourceVersion": "12345",
            "labels": {"app": "web", "tier": "front", keys.QOS_CLASS: "LS"},
            "annotations": {keys.RESOURCE_STATUS: STATUS},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {}}}}],
        },
        "spec": {
            "containers": [container, {**container, "name": "side"}],
            "schedulerName": "koord-scheduler",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
            "volumes": [{"name": "token", "projected": {"sources": []}}],
        },
        "status": {"phase": "Running", "conditions": [condition] * 3},
    }
    return msgspec.json.encode(pod)


def microseconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - start)
    return best / CALLS * 1e6


def main() -> bool:
    raw = sample_pod()
    decoder = msgspec.json.Decoder(Pod)
    pod = decoder.decode(raw)
    selector = selectors.parse_labels("app=web,tier in (front,back),!legacy")
    text = '{"enable":true,"nodeConfigs":[{"nodeSelector":{"matchLabels":{"a":"b"}},"cpuReclaimThresholdPercent":70}]}'
    quantity.parse("1Gi")
    return all(
        [
            report("protocol_pod_bytes", len(raw), "B"),
            report("protocol_pod_decode", microseconds(lambda: decoder.decode(raw)), "us", "<= 8"),
            report("protocol_pod_requests", microseconds(lambda: resources.pod_requests(pod)), "us", "<= 10"),
            report("protocol_qos_labelled", microseconds(lambda: qos.with_default(pod)), "us", "<= 1"),
            report("protocol_priority_band", microseconds(lambda: priority.with_default(pod)), "us", "<= 2"),
            report("protocol_annotation_absent", microseconds(lambda: numa.RESOURCE_SPEC.read(pod.annotations)), "us", "<= 1"),
            report("protocol_annotation_read", microseconds(lambda: numa.RESOURCE_STATUS.read(pod.annotations)), "us", "<= 20"),
            report("protocol_selector_match", microseconds(lambda: selector.matches(pod.labels)), "us", "<= 2"),
            report("protocol_quantity_known", microseconds(lambda: quantity.milli_value("1Gi")), "us", "<= 1"),
            report("protocol_colocation_config", microseconds(lambda: resolve_colocation(text)), "us", "<= 200"),
        ]
    )
