"""Vectors of the scheduler: LoadAwareScheduling, and kube-scheduler's own plugins as far as they are built."""

import msgspec
import numpy as np

from koordinator.api.core import Node, NodeAffinity, Pod, PodDisruptionBudget
from koordinator.api.meta import format_time
from koordinator.api.slo import NodeMetric
from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid
from koordinator.scheduler import reservation_event
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config import multipoint
from koordinator.scheduler.config.read import plugin_args
from koordinator.scheduler.config.types import PluginRef, Plugins, PluginSet
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.framework import UNRESOLVABLE, Code, Diagnosis
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.hooks import Nominating, taken_over
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.versions import reached
from koordinator.scheduler.explain import sampling
from koordinator.scheduler.metrics import job_size
from koordinator.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs, defaulted, dimensions
from koordinator.scheduler.plugins.load_aware.estimator import Estimator, node_amounts
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.node_affinity import NodeAffinity as NodeAffinityPlugin
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import FitArgs, NodeResourcesFit, Point, ResourceWeight
from koordinator.scheduler.plugins.resources_fit_plus import FitPlusArgs, NodeResourcesFitPlus, pod_request
from koordinator.scheduler.plugins.scarce_resource_avoidance import ScarceArgs, ScarceResourceAvoidance
from koordinator.scheduler.plugins.scheduling_hint import SchedulingHint, SchedulingHintArgs
from koordinator.scheduler.plugins.taint_toleration import TaintToleration

from .neighbours import NEIGHBOUR_OPERATIONS

NOW = ManualClock().now()


def dated(value):
    """Relative times (``at``, ``updateAt``, ``startAt``) as the wire's time stamps."""
    names = {"at": "lastTransitionTime", "updateAt": "updateTime", "startAt": "startTime"}
    if isinstance(value, dict):
        return {
            names.get(key, key): format_time(NOW + inner) if key in names and inner is not None else dated(inner)
            for key, inner in value.items()
        }
    return [dated(inner) for inner in value] if isinstance(value, list) else value


def read_pod(raw):
    pod = msgspec.convert(dated(raw), Pod)
    pod.metadata.uid = pod.metadata.uid or pod.key
    return PodReader().read(pod)


class World:
    """A cluster of the case's nodes and pods, and one plugin on it."""

    def __init__(self, make, nodes, pods_on_node=()):
        self.cluster = Cluster()
        self.plugin = make(self.cluster)
        self.nodes = [msgspec.convert(node, Node) for node in nodes]
        for node in self.nodes:
            self.cluster.set_node(node)
        for raw in pods_on_node:
            info = read_pod(raw)
            if not info.pod.terminated:
                self.cluster.place(info, self.nodes[0].name)

    def compiled(self, pod):
        return Compiled(Profile(["x"], [PrioritySort(), self.plugin]), read_pod(pod), self.cluster.columns)

    def filter(self, pod):
        """(code, reasons) on the first node."""
        compiled, columns = self.compiled(pod), self.cluster.columns
        if compiled.status is not None:
            return "UnschedulableAndUnresolvable", list(compiled.status.reasons)
        if not compiled.filters:
            return "Success", []
        code = int(self.plugin.filter(compiled.state, compiled.pod, columns, columns.rows)[0])
        if code == 0:
            return "Success", []
        kind = "UnschedulableAndUnresolvable" if code & UNRESOLVABLE else "Unschedulable"
        return kind, self.plugin.explain(compiled.state, code & ~UNRESOLVABLE, columns)

    def scores(self, pod):
        """(raw, normalized) by node."""
        compiled, columns = self.compiled(pod), self.cluster.columns
        raw = self.plugin.score(compiled.state, compiled.pod, columns, columns.rows)
        feasible = np.ones(len(raw), dtype=np.bool_)
        normalized = self.plugin.normalize(raw, self.plugin.bounds(raw, feasible)) if self.plugin.normalizes else raw
        names = columns.names
        return dict(zip(names, raw.tolist(), strict=True)), dict(zip(names, normalized.tolist(), strict=True))


def outcome(world, pod):
    code, reasons = world.filter(pod)
    return {"code": code, "reason": reasons[0] if reasons else None, "reasons": reasons}


# --- LoadAwareScheduling ---------------------------------------------------------------------------------------------------


def load_args(case):
    return msgspec.convert(case.get("args") or {}, LoadAwareArgs)


def load_world(case):
    clock = ManualClock()
    world = World(
        lambda cluster: LoadAwareScheduling(cluster, clock, load_args(case)),
        [case.get("node") or {"metadata": {"name": "test-node-1"}}],
        case.get("assignedPods") or (),
    )
    if case.get("nodeMetric"):
        world.plugin.object_set(msgspec.convert(dated(case["nodeMetric"]), NodeMetric))
    return world


def estimator(case):
    args = defaulted(load_args(case))
    return Estimator(args, dimensions(args))


def assign_cache(case):
    world = load_world(case)
    plugin = world.plugin
    ledger = plugin.ledgers["test-node-1"]

    def named(vector):
        return dict(zip(plugin.dimensions, vector, strict=True))

    def pods(counts):
        return sorted(pod.key for pod in ledger.pods.values() if counts(pod))

    return {
        "prodUsage": named(ledger.prod_usage),
        "nodeDelta": named(ledger.node_delta),
        "prodDelta": named(ledger.prod_delta),
        "nodeEstimated": named(ledger.estimated),
        "nodeDeltaPods": pods(lambda pod: any(pod.share.node_delta)),
        "prodDeltaPods": pods(lambda pod: any(pod.share.prod_delta)),
        "nodeEstimatedPods": pods(lambda pod: pod.estimate is not None),
    }


def deadline(case):
    pod = read_pod(case["pod"]).pod
    found = estimator(case).deadline(pod, NOW + case["assignTimestamp"])
    return {"deadline": None if found is None else found - NOW}


LOADAWARE_OPERATIONS = {
    "filter": lambda case: outcome(load_world(case), case["pod"]),
    "score": lambda case: {"score": load_world(case).scores(case["pod"])[0]["test-node-1"]},
    "estimatePod": lambda case: {"estimated": estimator(case).amounts(read_pod(case["pod"]))},
    "estimateNode": lambda case: {"allocatable": node_amounts(msgspec.convert(case["node"], Node))},
    "estimationDeadline": deadline,
    "assignCache": assign_cache,
}


# --- kube-scheduler's own ----------------------------------------------------------------------------------------------------


def weights(resources):
    return tuple(ResourceWeight(one["name"], one.get("weight", 1)) for one in resources)


def fit(case):
    strategy, args = case.get("scoringStrategy") or {}, case.get("args") or {}
    settings = {
        "strategy": strategy.get("type", "LeastAllocated"),
        "shape": tuple(Point(**point) for point in strategy.get("requestedToCapacityRatio", {}).get("shape", ())),
        "ignored_resources": frozenset(args.get("ignoredResources") or ()),
        "ignored_groups": frozenset(args.get("ignoredResourceGroups") or ()),
    }
    if "resources" in strategy:
        settings["resources"] = weights(strategy["resources"])
    return World(lambda _: NodeResourcesFit(FitArgs(**settings)), [case["node"]], case.get("podsOnNode") or ())


def balanced(case):
    arguments = [weights(case["resources"])] if "resources" in case else []
    return World(lambda _: NodeResourcesBalancedAllocation(*arguments), [case["node"]], case.get("podsOnNode") or ())


def taints(case):
    return World(lambda _: TaintToleration(), case.get("nodes") or [case["node"]])


def taint_filter(case):
    code, reasons = taints(case).filter(case["pod"])
    return {"code": code, "taintKey": reasons[0].partition("{")[2].partition(":")[0] if reasons else None}


def affinity(case):
    added = (case.get("args") or {}).get("addedAffinity")
    wanted = msgspec.convert(added, NodeAffinity) if added else None
    return World(lambda _: NodeAffinityPlugin(wanted), case.get("nodes") or [case["node"]])


def affinity_filter(case):
    """The engine also takes PreFilter's node names for an answer; this asks the filter itself."""
    return outcome(affinity(case), case["pod"])


def both_scores(world, pod):
    raw, normalized = world.scores(pod)
    return {"raw": raw, "normalized": normalized}


def fit_error(case):
    diagnosis = Diagnosis(case["numAllNodes"], {}, set())
    for reasons in case["nodeReasons"].values():
        for reason in reasons:
            diagnosis.reasons[reason] = diagnosis.reasons.get(reason, 0) + 1
    diagnosis.pre_filter_message = case.get("preFilterMessage", "")
    diagnosis.post_filter_message = case.get("postFilterMessage", "")
    return {"message": diagnosis.message}


def preemption(case):
    cluster, clock = Cluster(), ManualClock()
    plugin = DefaultPreemption(Handle(cluster, None, clock, "x"))
    decided = []
    plugin.evict = decided.append
    for raw in case["nodes"]:
        cluster.set_node(msgspec.convert(raw, Node))
    for raw in case["pods"]:
        cluster.place(read_pod(raw), raw["spec"]["nodeName"])
    for raw in case.get("pdbs") or ():
        plugin.object_set(msgspec.convert(raw, PodDisruptionBudget))
    profile = Profile(["x"], [PrioritySort(), NodeResourcesFit(), plugin])
    pod = read_pod(case["pod"])
    diagnosis = Evaluator(profile, cluster.columns).evaluate(pod)
    found = diagnosis.diagnose()
    found.evaluation = diagnosis
    node, _ = plugin.post_filter({}, pod, found)
    if not decided:
        return {"nominatedNode": node or "", "victims": []}
    victims = decided[0].victims
    names = [victim.name for victim in victims.pods]
    return {"nominatedNode": node, "victims": names, "numPDBViolations": victims.violations}


def nodes_to_find(case):
    return {"numFeasibleNodesToFind": sampling.nodes_to_find(case["numNodes"], case["percentageOfNodesToScore"])}


NATIVE_OPERATIONS = {
    "numFeasibleNodesToFind": nodes_to_find,
    "nodeResourcesFitFilter": lambda case: outcome(fit(case), case["pod"]),
    "nodeResourcesFitScore": lambda case: {"score": next(iter(fit(case).scores(case["pod"])[0].values()))},
    "balancedAllocationScore": lambda case: {"score": next(iter(balanced(case).scores(case["pod"])[0].values()))},
    "taintTolerationFilter": taint_filter,
    "taintTolerationScore": lambda case: both_scores(taints(case), case["pod"]),
    "nodeAffinityFilter": affinity_filter,
    "nodeAffinityScore": lambda case: both_scores(affinity(case), case["pod"]),
    "fitErrorMessage": fit_error,
    "defaultPreemption": preemption,
    **NEIGHBOUR_OPERATIONS,
}

# --- NodeResourcesFitPlus, ScarceResourceAvoidance -------------------------------------------------------------------------


def fit_plus(case):
    args = msgspec.convert(case.get("args") or {}, FitPlusArgs)
    return World(lambda _: NodeResourcesFitPlus(args), [case["node"]], case.get("podsOnNode") or ())


def scarce(case):
    args = msgspec.convert(case.get("args") or {}, ScarceArgs)
    return World(lambda _: ScarceResourceAvoidance(args), [case["node"]])


def only_score(world, pod):
    return {"score": next(iter(world.scores(pod)[0].values()))}


FITPLUS_OPERATIONS = {
    "nodeResourcesFitPlusScore": lambda case: only_score(fit_plus(case), case["pod"]),
    "nodeResourcesFitPlusPodRequest": lambda case: {"value": pod_request(read_pod(case["pod"]).pod, case["resource"])},
    "scarceResourceAvoidanceScore": lambda case: only_score(scarce(case), case["pod"]),
}


# --- what is around plugins --------------------------------------------------------------------------------------------------


def reservation_level(case):
    found = reservation_event.message(case["message"])
    return {"emit": found is not None, "message": found}


def nominating(case):
    status, info = case["status"], case["nominatingInfo"]
    wanted = Nominating(info["mode"], info["nodeName"])
    plugin, node = status["plugin"], case["pod"]["spec"]["nodeName"]
    found = taken_over(wanted, status["code"], plugin, plugin, node)
    return {"mode": found.mode, "nodeName": found.node}


def validate(case):
    try:
        plugin_args(case["kind"].removesuffix("Args"), case["args"], built_in(), "args")
    except ConfigInvalid:
        return {"valid": False}
    return {"valid": True}


def hint(case):
    args = SchedulingHintArgs(max_hint_nodes=case["maxHintNodes"])
    plugin = SchedulingHint(args)
    pod = read_pod({"metadata": {"name": "p", "annotations": case["annotations"]}, "spec": {}})
    compiled = Compiled(Profile(["x"], [PrioritySort(), plugin]), pod, Cluster().columns)
    if compiled.status is not None and compiled.status.code is Code.ERROR:
        return {"error": True}
    allowed = case["preFilterNodeNames"]
    preferred = plugin.prefer_nodes(compiled.state, frozenset(allowed) if allowed is not None else None)
    return {
        "preFilterNodes": sorted(compiled.only) if compiled.only is not None else None,
        "preferredNodes": list(preferred) or None,
    }


def prebind(case):
    plugins = multipoint.with_default_prebind(msgspec.convert(case["plugins"], Plugins))
    return {"preBindEnabled": [one.name for one in plugins.pre_bind.enabled or ()]}


def multi_point(case):
    def refs(names):
        return [PluginRef(name=name) for name in names]

    own = PluginSet(enabled=refs(case["enabled"]), disabled=refs(case["disabled"]))
    return {"order": [one.name for one in multipoint.expanded(refs(case["multiPoint"]), own, lambda _: True)]}


FRAMEWORK_OPERATIONS = {
    "reservationLevelMessage": reservation_level,
    "takeoverNominatingInfo": nominating,
    "validateArgs": validate,
    "schedulingHint": hint,
    "appendDefaultPreBind": prebind,
    "expandMultiPoint": multi_point,
    "gangJobSizeBucket": lambda case: {"label": job_size(case["size"])},
    "resourceVersionReached": lambda case: {"reached": reached(case["current"], case["target"])},
}

OPERATIONS = {
    "loadaware": LOADAWARE_OPERATIONS,
    "fitplus": FITPLUS_OPERATIONS,
    "framework": FRAMEWORK_OPERATIONS,
    "native": NATIVE_OPERATIONS,
}


def adapter(topic):
    return lambda case: OPERATIONS[topic][case["op"]](case)


ADAPTERS = {topic: adapter(topic) for topic in OPERATIONS}
