"""Vectors of the manager: overcommit, preparation of nodes, profiles, pod validation."""

import asyncio
import json

import msgspec

from koordinator.api import keys, quantity
from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import Node, Pod, PriorityClass
from koordinator.api.meta import parse_time
from koordinator.api.quota import ElasticQuota, ElasticQuotaProfile
from koordinator.api.slo import NodeMetric, NodeSLOSpec
from koordinator.api.sloconfig import review
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.api.sloconfig.ratios import resolve_amplification, resolve_normalization
from koordinator.api.sloconfig.resolve import COLOCATION_CONFIG, Resolved
from koordinator.clock import ManualClock
from koordinator.kube.patches import merge
from koordinator.manager import config
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers import quotaprofile
from koordinator.manager.overcommit import batch, inputs, mid, prepare, ratios, zones
from koordinator.manager.webhooks.nodes import status
from koordinator.manager.webhooks.pods import devices, profiles, validate
from koordinator.manager.webhooks.quotas import admission, rules, topology


def batch_case(case):
    metric = inputs.reported(msgspec.convert(case.get("nodeMetric") or {}, NodeMetric).status)
    strategy = msgspec.convert(case["strategy"], ColocationStrategy)
    if batch.stale(metric.updated, parse_time(case["now"]), strategy.degrade_time_minutes):
        return {"reset": True, "message": batch.DEGRADED}
    pods = [inputs.pod_share(msgspec.convert(pod, Pod)) for pod in case["pods"]]
    row = inputs.demand_row(inputs.node_share(msgspec.convert(case["node"], Node)), pods, metric)
    rules = batch.Rules.of([batch.rule_row(strategy)])
    cpu, memory = batch.batch(batch.Demand.of([row]), rules)[0].tolist()
    result = {"batch-cpu": cpu, "batch-memory": memory}
    if found := zone_capacities(case.get("noderesourcetopology")):
        sold = zones.zone_batch(list(found.values()), row, rules, pods, metric).tolist()
        result["zones"] = {
            name: {"batch-cpu": one[0], "batch-memory": one[1] / 1000} for name, one in zip(found, sold, strict=True)
        }
    return result


def mid_case(case):
    metric = inputs.reported(msgspec.convert(case.get("nodeMetric") or {}, NodeMetric).status)
    strategy = msgspec.convert(case["strategy"], ColocationStrategy)
    if batch.stale(metric.updated, parse_time(case["now"]), strategy.degrade_time_minutes):
        return {"reset": True, "message": mid.DEGRADED}
    pods = [inputs.pod_share(msgspec.convert(pod, Pod)) for pod in case["pods"]]
    row = inputs.mid_row(inputs.node_share(msgspec.convert(case["node"], Node)), pods, metric)
    cpu, memory = mid.mid(mid.MidDemand.of([row]), mid.MidRules.of([mid.mid_rule_row(strategy)]))[0].tolist()
    return {"mid-cpu": cpu, "mid-memory": memory}


def zone_capacities(topology):
    found = {}
    for zone in (topology or {}).get("zones") or []:
        given = {resource["name"]: resource["allocatable"] for resource in zone["resources"]}
        found[zone["name"]] = (quantity.milli_value(given["cpu"]), quantity.value(given["memory"]))
    return found


def numbers(value):
    """Quantity texts in a zones answer as numbers."""
    if isinstance(value, dict):
        return {name: numbers(one) for name, one in value.items()}
    return quantity.parse(value).nano / quantity.NANO if isinstance(value, str) and value[:1].isdigit() else value


def zones_by_number(expected, actual):
    want, got = numbers(expected), numbers({name: actual.get(name) for name in expected})
    return "" if want == got else f"expected {want}, got {got}"


def prepare_case(case):
    calculated = {name: None if text is None else quantity.value(text) for name, text in case["calculated"].items()}
    result = prepare.prepare_batch(
        calculated,
        case["node"]["annotations"],
        prepare.usable_ratio({"node.koordinator.sh/cpu-normalization-ratio": case.get("ratio", "1")}),
    )
    origin = result.annotations.get(prepare.ORIGIN)
    remembered = msgspec.json.decode(origin)["resources"] if origin else None
    return {
        "allocatable": result.resources,
        "capacity": result.resources,
        "origin": remembered and {name: quantity.value(text) for name, text in remembered.items()},
        "error": bool(result.problem),
    }


def diff_case(case):
    old, new = (None if case[name] is None else quantity.parse(case[name]) for name in ("old", "new"))
    return {"needSync": quantity.differs(old, new, case["resourceDiffThreshold"])}


def attempt(answer, read):
    """``read`` as the answer's value, or the mark of an error."""
    try:
        return {answer: read()}
    except ValueError:
        return {"error": True, answer: None}


def normalization_case(case):
    strategy = resolve_normalization(json.dumps(case["cpu-normalization-config"])).for_labels(case["node"]["labels"])
    topology = (case["nodeResourceTopology"] or {}).get("annotations")
    return attempt("ratioAnnotation", lambda: ratios.normalization_text(strategy, case["node"]["labels"], topology))


def amplification_case(case):
    labels, annotations = case["node"]["labels"], case["node"]["annotations"]
    strategy = resolve_amplification(json.dumps(case["resource-amplification-config"])).for_labels(labels)
    return attempt("amplificationAnnotation", lambda: ratios.amplification_text(strategy, annotations))


def status_case(case):
    node = case["node"]
    try:
        status.amplify_status(node, case["oldNode"])
    except ValueError:
        return {"error": True, "code": 500}
    raw = node["metadata"].get("annotations", {}).get(keys.RAW_ALLOCATABLE)
    return {"rawAllocatable": raw and json.loads(raw), "allocatable": node["status"]["allocatable"]}


def amounts_by_number(expected, actual):
    want, got = ({name: normal(one, "amounts") for name, one in side.items()} for side in (expected, actual))
    return "" if want == {name: got.get(name) for name in want} else f"expected {want}, got {got}"


def enabled(case):
    return frozenset(name for name, on in case.get("featureGates", {}).items() if on)


def profile_case(case):
    pod = case["pod"]
    classes = {
        name: msgspec.convert({"metadata": {"name": name}, **given}, PriorityClass)
        for name, given in case["priorityClasses"].items()
    }
    given = [profiles.compile_profile(msgspec.convert(one, ClusterColocationProfile)) for one in case["profiles"]]
    found = profiles.matching(given, pod["metadata"].get("labels") or {}, case["namespaceLabels"])
    if found:
        skip = "ColocationProfileSkipMutatingResources" in enabled(case)
        profiles.apply_profiles(pod, found, profiles.Surroundings(classes.get, lambda: case["rand"], skip))
    return {"pod": pod}


def normal(value, inside=""):
    """Quantities of resource lists by number, everything else as it is."""
    if isinstance(value, dict):
        return {
            name: normal(one, name if name in ("requests", "limits", "overhead") else inside) for name, one in value.items()
        }
    if isinstance(value, list):
        return [normal(one) for one in value]
    return quantity.parse(value).nano if inside and isinstance(value, str) else value


def by_number(expected, actual):
    want, got = normal(expected), normal(actual)
    return "" if want == got else f"expected {want}, got {got}"


def validate_case(case):
    old = msgspec.convert(case["oldPod"], Pod) if case.get("oldPod") else None
    rules = validate.enhanced_rules(case.get("podEnhancedValidatorConfig"))
    message = validate.denial(validate.Review(case["operation"], msgspec.convert(case["pod"], Pod), old, enabled(case), rules))
    return {"allowed": not message, "message": message}


def device_case(case):
    pod = {"spec": {"containers": [{"name": "main", "resources": case["containerResources"]}]}}
    devices.complete_devices(pod)
    return {"containerResources": pod["spec"]["containers"][0]["resources"]}


def node_of(given):
    return msgspec.convert({"metadata": {"name": "n", **given}}, Node)


def strategy_case(case):
    cache = ConfigCache()
    cache.sync({} if case["config"] is None else {COLOCATION_CONFIG: case["config"]})
    answer = {"configAvailable": cache.colocation is not None, "errorStatus": cache.colocation_error}
    strategy = cache.colocation_of(node_of(case["node"]))
    if strategy is None:
        return answer
    shown = msgspec.to_builtins(strategy)
    answer["strategy"] = {name: shown.get(name) for name in case["show"]}
    return {**answer, "colocationEnabled": cache.colocation_enabled(strategy)}


def nodeslo_case(case):
    cache = ConfigCache()
    for field, key in config.STRATEGIES.items():
        wire = {name: encoded for encoded, name in strategy_fields()}[field]
        if wire in case.get("previous", {}):
            cache.strategies[field] = Resolved(msgspec.convert(case["previous"][wire], type(key.default)))
    outcome = cache.sync(case["configMap"])
    spec, _ = cache.slo_of(node_of(case["node"]))
    shown = msgspec.to_builtins(spec)
    return {"spec": {name: shown.get(name) for name in case["show"]}, "events": [one.reason for one in outcome.problems]}


def configmap_case(case):
    if case["operation"] == "DELETE":
        return {"allowed": True}
    nodes = [(node["name"], node.get("labels") or {}) for node in case.get("nodes", [])]
    names_needed = case.get("nodeStrategyNameNeedCheck", False)
    refusal = review.review_all(case["configMap"], case.get("oldConfigMap"), lambda: nodes, names_needed=names_needed)
    return {"allowed": True} if refusal is None else {"allowed": False, "reason": refusal.reason, "message": refusal.message}


def strategy_fields():
    return [(field.encode_name, field.name) for field in msgspec.structs.fields(NodeSLOSpec)]


def quota_profile_case(case):
    profile = msgspec.convert(case["profile"], ElasticQuotaProfile)
    nodes = [msgspec.convert(node, Node) for node in case["nodes"]]
    wanted = quotaprofile.wanted_quota(profile, nodes)
    labels = (case["quota"] or {}).get("metadata", {}).get("labels", {}) | wanted["metadata"]["labels"]
    annotations = {key: json.loads(text) for key, text in wanted["metadata"]["annotations"].items()}
    return {
        "profileTreeID": quotaprofile.tree_id(profile),
        "labels": labels,
        **{name: by_value(amounts) for name, amounts in wanted["spec"].items()},
        "totalResource": by_value(annotations[keys.QUOTA_TOTAL_RESOURCE]),
        "unschedulableResource": by_value(annotations[keys.QUOTA_UNSCHEDULABLE_RESOURCE]),
    }


class OneStore:
    """Keeps the patched quotas of a vector."""

    def __init__(self, quotas):
        self.quotas = {one.name: one for one in quotas}

    async def patch(self, resource, name, patch, namespace):
        self.quotas[name] = msgspec.convert(merge(msgspec.to_builtins(self.quotas[name]), patch), ElasticQuota)
        return self.quotas[name]


def admit(quotas, operation, pods, gates):
    """The objection, and the account as it was written."""
    store, known = OneStore(quotas), topology.Topology()
    for one in quotas:
        known.heard(one)

    def named(name):
        return [one for one in store.quotas.values() if one.name == name]

    def quota_of(pod):
        return known.of_pod(pod, use_default="DisableDefaultQuota" not in gates)

    async def ask():
        asked = admission.QuotaAdmission(store, ManualClock(), named, quota_of, admission.Settings.of(gates))
        return await asked.objection(operation, *pods)

    message = asyncio.run(ask())
    written = [one.annotations.get(keys.QUOTA_CHILD_REQUEST) for one in store.quotas.values()]
    return message, json.loads(next(filter(None, written), "{}"))


def quota_admission_case(case):
    quotas = [msgspec.convert(one, ElasticQuota) for one in case["quotas"]]
    pod, old = msgspec.convert(case["pod"], Pod), case.get("oldPod") and msgspec.convert(case["oldPod"], Pod)
    message, account = admit(quotas, case["operation"], (pod, old), enabled(case))
    return {"allowed": not message, "message": message, "childRequest": account}


class QuotaPods:
    """Pods of a vector, as the quota rules ask about them."""

    def __init__(self, pods):
        self._pods = [pod["metadata"] for pod in pods]

    def labelled(self, name):
        return [pod["name"] for pod in self._pods if (pod.get("labels") or {}).get(keys.QUOTA_NAME) == name]

    def any_in(self, namespaces):
        return any(pod.get("namespace") in namespaces for pod in self._pods)


def quota_request(request, known, judge):
    body = request.get("object")
    old = msgspec.convert(request["oldObject"], ElasticQuota) if "oldObject" in request else None
    try:
        match request["operation"]:
            case "CREATE":
                topology.fill_defaults(known, body, msgspec.convert(body, ElasticQuota))
                judge.create(msgspec.convert(body, ElasticQuota))
                return {"allowed": True, "message": "", "mutated": body["metadata"]}
            case "UPDATE":
                judge.update(msgspec.convert(body, ElasticQuota), old)
            case "DELETE":
                judge.delete(old.name)
    except topology.Denied as denied:
        return {"allowed": False, "message": str(denied)}
    return {"allowed": True, "message": ""}


def quota_webhook_case(case):
    known = topology.Topology()
    judge = rules.Rules(known, QuotaPods(case.get("pods", [])), enabled(case))
    return {"responses": [quota_request(request, known, judge) for request in case["requests"]]}


def each_response(expected, actual):
    for number, (want, got) in enumerate(zip(expected["responses"], actual["responses"], strict=True)):
        mutated = {part: (got.get("mutated") or {}).get(part, {}) for part in want.get("mutated", {})}
        shown = {name: mutated if name == "mutated" else got.get(name) for name in want}
        if shown != want:
            return f"response {number}: expected {want}, got {shown}"
    return ""


def by_value(amounts):
    return {name: quantity.parse(text).nano / quantity.NANO for name, text in amounts.items()}


ADAPTERS = {
    "quotaprofile": quota_profile_case,
    "quotawebhook": quota_webhook_case,
    "quotaadmission": quota_admission_case,
    "configmap": configmap_case,
    "strategy": strategy_case,
    "nodeslo": nodeslo_case,
    "batch": batch_case,
    "mid": mid_case,
    "prepare": prepare_case,
    "resourcediff": diff_case,
    "cpunormalization": normalization_case,
    "amplification": amplification_case,
    "nodestatus": status_case,
    "profile": profile_case,
    "podvalidate": validate_case,
    "devicespec": device_case,
}
DIFFERENCE = {
    "batch": zones_by_number,
    "devicespec": by_number,
    "nodestatus": amounts_by_number,
    "profile": by_number,
    "quotawebhook": each_response,
}
