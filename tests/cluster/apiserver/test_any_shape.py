"""Every field of a valid object replaced by every kind of nonsense: accepted or refused, never a server error."""

import copy

import msgspec
import pytest

from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.calls import Call, Target
from koordinator.cluster.apiserver.server import Server
from koordinator.kube.errors import ApiError

NONSENSE = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "1",
    "é",
    [],
    ["a"],
    [None],
    [{}],
    [[]],
    {},
    {"a": "b"},
    {"a": None},
    {"a": {}},
]
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "restartPolicy": "Always",
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
                ],
            }
        },
        "volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/"}}],
        "initContainers": [{"name": "i", "image": "x"}],
        "containers": [
            {
                "name": "c",
                "image": "i:1",
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "ports": [{"containerPort": 80}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}},
            }
        ],
        "schedulingGates": [{"name": "x.io/g"}],
        "overhead": {"cpu": "1"},
        "activeDeadlineSeconds": 3,
        "hostNetwork": True,
    },
}
CONDITION = {"type": "Ready", "status": "True"}
OBJECTS = {
    ("", "v1", "pods"): {
        "metadata": {
            "annotations": {"a": "b"},
            "finalizers": ["x.io/f"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "b", "uid": "c", "controller": True}],
        },
        "spec": TEMPLATE["spec"],
        "status": {
            "phase": "Running",
            "conditions": [CONDITION],
            "containerStatuses": [{"name": "c", "state": {"running": {}}}],
        },
    },
    ("", "v1", "nodes"): {
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}], "unschedulable": True},
        "status": {
            "capacity": {"cpu": "1"},
            "allocatable": {"cpu": "1"},
            "conditions": [CONDITION],
            "addresses": [{"type": "Hostname", "address": "a"}],
        },
    },
    ("", "v1", "namespaces"): {"spec": {"finalizers": ["a"]}, "status": {"phase": "Active"}},
    ("", "v1", "configmaps"): {"data": {"a": "b"}, "binaryData": {"a": "b"}, "immutable": False},
    ("", "v1", "secrets"): {"data": {"a": "Yg=="}, "stringData": {"a": "b"}, "type": "Opaque"},
    ("", "v1", "services"): {"spec": {"type": "ClusterIP", "ports": [{"port": 80}], "selector": {"a": "b"}}},
    ("", "v1", "endpoints"): {"subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 1}]}]},
    ("", "v1", "events"): {
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "R",
        "source": {"component": "c"},
        "series": {"count": 1},
    },
    ("apps", "v1", "deployments"): {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": TEMPLATE,
        }
    },
    ("apps", "v1", "replicasets"): {
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE},
        "status": {"replicas": 1},
    },
    ("apps", "v1", "daemonsets"): {
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": {}, "template": TEMPLATE}
    },
    ("apps", "v1", "statefulsets"): {
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": {}, "template": TEMPLATE}
    },
    ("batch", "v1", "jobs"): {
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "template": {**TEMPLATE, "spec": TEMPLATE["spec"] | {"restartPolicy": "Never"}},
            "selector": {"matchLabels": {}},
        },
        "status": {"conditions": [CONDITION], "succeeded": 1},
    },
    ("policy", "v1", "poddisruptionbudgets"): {
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}},
        "status": {},
    },
    ("coordination.k8s.io", "v1", "leases"): {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 1}},
    ("scheduling.k8s.io", "v1", "priorityclasses"): {"value": 1, "globalDefault": False, "preemptionPolicy": "Never"},
    ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"): {
        "webhooks": [
            {
                "name": "a.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1", "caBundle": ""},
                "rules": [{"apiGroups": ["nope"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
                "failurePolicy": "Ignore",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
                "objectSelector": {"matchLabels": {"a": "b"}},
            }
        ]
    },
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"): {
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["g"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".spec.a"}],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string", "pattern": "a"}}}},
                        }
                    },
                }
            ],
        }
    },
    ("slo.koordinator.sh", "v1alpha1", "nodemetrics"): {
        "spec": {"metricCollectPolicy": {"aggregateDurationSeconds": 1}},
        "status": {"nodeMetric": {"nodeUsage": {"resources": {"cpu": "1"}}}},
    },
    ("rbac.authorization.k8s.io", "v1", "clusterroles"): {"rules": [{"verbs": ["get"]}]},
}


def paths(value, prefix=()):
    yield prefix
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*prefix, key))


def replaced(obj, path, value):
    obj = copy.deepcopy(obj)
    *way, last = path
    inner = obj
    for key in way:
        inner = inner[key]
    inner[last] = value
    return obj


class Router:
    """The API without its sockets."""

    def __init__(self, server):
        self.server, self.token = server, server.handler("t")

    async def __call__(self, method, where, name, body, type_="application/json", subresource=""):
        kind = self.server.catalog.get(*where)
        target = Target(*where, namespace="default" if kind.namespaced else "", name=name, subresource=subresource)
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        try:
            return (await self.server.router.answer(Call(method, target, kind, {}, type_, "", raw))).code
        except ApiError as err:
            if err.code < 500:
                return err.code
            raise


@pytest.fixture
async def router(tmp_path):
    async with Server.open(tmp_path, SystemClock()) as server:
        yield Router(server)


@pytest.mark.slow
@pytest.mark.parametrize("where", list(OBJECTS), ids=lambda where: where[2])
async def test_no_field_can_break_the_server(router, where):
    name = "gadgets.example.com" if where[2] == "customresourcedefinitions" else "a"
    base = {"metadata": {"name": name, "labels": {"a": "b"}}, **OBJECTS[where]}
    base["metadata"] = {"name": name, "labels": {"a": "b"}, **OBJECTS[where].get("metadata", {})}
    assert await router("POST", where, "", base) == 201, where
    has_status = "status" in router.server.catalog.get(*where).subresources
    for path in paths(base):
        for value in NONSENSE if path else ():
            broken = replaced(base, path, value)
            await router("PUT", where, name, broken)
            await router("PATCH", where, name, broken, "application/merge-patch+json")
            await router("PATCH", where, name, broken, "application/strategic-merge-patch+json")
            if has_status:
                await router("PUT", where, name, broken, subresource="status")
            fresh = (
                {**broken, "metadata": {**broken["metadata"], "name": "fresh"}}
                if isinstance(broken["metadata"], dict)
                else broken
            )
            if await router("POST", where, "", fresh) == 201:
                await router("PATCH", where, "fresh", {"metadata": {"finalizers": None}}, "application/merge-patch+json")
                await router("DELETE", where, "fresh", b'{"gracePeriodSeconds":0}')


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", [*NONSENSE, {"target": 1}, {"target": {"name": 1}}, {"deleteOptions": []}, {"spec": {"replicas": "x"}}]
)
async def test_no_body_can_break_a_subresource(router, body):
    pods, deployments = ("", "v1", "pods"), ("apps", "v1", "deployments")
    await router("POST", pods, "", {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {**TEMPLATE, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }
    assert await router("POST", deployments, "", {"metadata": {"name": "a"}, "spec": spec}) == 201
    await router("POST", pods, "a", body, subresource="binding")
    await router("POST", pods, "a", body, subresource="eviction")
    await router("PUT", deployments, "a", body, subresource="scale")
    await router("PATCH", deployments, "a", body, "application/merge-patch+json", subresource="scale")
    await router("PATCH", deployments, "a", body, "application/json-patch+json")
    await router("PUT", ("", "v1", "namespaces"), "default", body, subresource="finalize")
    await router("DELETE", pods, "a", body)
