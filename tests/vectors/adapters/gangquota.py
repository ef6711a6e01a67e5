"""Vectors of gangs and quotas: so far what the manager does about quotas, and the tree of the network."""

import importlib
import json

import msgspec

from koordinator.api import keys, resources
from koordinator.api.core import Node, Pod
from koordinator.api.networktopology import NetworkTopologyLayer
from koordinator.api.quota import ElasticQuota, ElasticQuotaProfile
from koordinator.manager.controllers import quotaprofile
from koordinator.manager.webhooks.quotas import rules, topology
from koordinator.scheduler.topology import tree

manager = importlib.import_module(".manager", __package__)


class Pods:
    """``hasBoundPods`` and ``labelledPods`` of a case."""

    def __init__(self, case):
        self._labelled = case.get("labelledPods") or (["pod"] if case.get("hasBoundPods") else [])
        self._bound = bool(case.get("hasBoundPods"))

    def labelled(self, name):
        return self._labelled

    def any_in(self, namespaces):
        return self._bound


def webhook_case(case):
    known = topology.Topology()
    for one in case.get("existing", []):
        known.heard(msgspec.convert(one, ElasticQuota))
    judge = rules.Rules(known, Pods(case), frozenset(case.get("featureGates", ())))
    one = msgspec.convert(case["object"], ElasticQuota)
    try:
        match case["operation"]:
            case "CREATE":
                judge.create(one)
            case "UPDATE":
                judge.update(one, msgspec.convert(case["oldObject"], ElasticQuota))
            case "DELETE":
                judge.delete(one.name)
    except topology.Denied as denied:
        return {"allowed": False, "message": str(denied)}
    return {"allowed": True}


def read_node(given):
    conditions = [{"type": "Ready", "status": "True" if given.get("ready", True) else "False"}]
    return msgspec.convert(
        {
            "metadata": {"name": given["name"], "labels": given.get("labels", {})},
            "spec": {"unschedulable": given.get("unschedulable", False)},
            "status": {"allocatable": given["allocatable"], "conditions": conditions},
        },
        Node,
    )


def profile_case(case):
    profile = msgspec.convert(case["profile"], ElasticQuotaProfile)
    wanted = quotaprofile.wanted_quota(profile, map(read_node, case["nodes"]))
    annotations = {key: json.loads(text) for key, text in wanted["metadata"]["annotations"].items()}
    return {
        "treeId": quotaprofile.tree_id(profile),
        "labels": wanted["metadata"]["labels"],
        "min": resources.amounts(wanted["spec"]["min"]),
        "maxQuantity": next(iter(wanted["spec"]["max"].values())),
        "totalResource": resources.amounts(annotations[keys.QUOTA_TOTAL_RESOURCE]),
        "unschedulableResource": resources.amounts(annotations[keys.QUOTA_UNSCHEDULABLE_RESOURCE]),
    }


def evaluate_case(case):
    quotas = [msgspec.convert(one, ElasticQuota) for one in case["quotas"]]
    gates = frozenset(case.get("featureGates", ["EnableQuotaAdmission"]))
    old = quota_pod(case["oldPod"]) if "oldPod" in case else None
    message, account = manager.admit(quotas, case["operation"], (quota_pod(case["pod"]), old), gates)
    return {"allowed": not message, "message": message, "childRequest": resources.amounts(account)}


def quota_pod(given):
    containers = [{"name": "c", "resources": {"requests": given.get("requests", {})}}]
    labels = {keys.QUOTA_NAME: given["quota"]}
    return msgspec.convert({"metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}}, Pod)


def tree_case(case):
    spec = msgspec.convert(case["networkTopologySpec"], list[NetworkTopologyLayer])
    try:
        built = tree.build(spec, [(node["name"], node["labels"]) for node in case["nodes"]])
    except tree.InvalidTopology as err:
        return {"error": str(err)}
    return {"detailStatus": msgspec.to_builtins(tree.details(built.tree))}


ADAPTERS = {
    "quota-webhook": webhook_case,
    "quota-profile": profile_case,
    "quota-evaluate": evaluate_case,
    "topology-tree": tree_case,
}
