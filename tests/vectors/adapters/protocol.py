"""Vectors of the wire protocol: quantities, CPU lists, QoS and priority."""

import msgspec

from koordinator.api import amplification, cpuset, eviction, priority, qos, quantity, resources, validation
from koordinator.api.annotations import Malformed
from koordinator.api.core import Node, Pod
from koordinator.api.priority import Band
from koordinator.api.slo import NodeSLOSpec
from koordinator.api.sloconfig import completion, nodeslo, resolve, review
from koordinator.api.sloconfig.colocation import NodeColocation


def attempt(read):
    """What ``read`` gives, or the mark of an error."""
    try:
        return read()
    except ValueError:
        return {"error": True}


def or_error(value, fallback=0):
    bad = isinstance(value, Malformed)
    return {"value": fallback if bad else value, "error": bad}


def parse_quantity(case):
    one = quantity.parse(case["text"])
    return {
        "error": False,
        "emitted": str(one),
        "canonical": one.canonical,
        "value": one.value,
        "milliValue": one.milli,
        "format": one.format,
    }


def optional_quantity(text):
    return None if text is None else quantity.parse(text)


def quantity_case(case):
    match case["op"]:
        case "parse":
            return attempt(lambda: parse_quantity(case))
        case "add":
            return {"text": str(quantity.parse(case["a"]) + quantity.parse(case["b"]))}
        case "amplify":
            return {"resources": resources.texts(amplification.amplify(resources.exact(case["resources"]), case["ratios"]))}
        case "diff":
            old, new = optional_quantity(case["old"]), optional_quantity(case["new"])
            return {"result": quantity.differs(old, new, case["threshold"])}
    raise NotImplementedError(case["op"])


def parse_cpus(text):
    cpus = cpuset.parse(text)
    return {"error": False, "cpus": sorted(cpus), "formatted": cpuset.to_text(cpus)}


def cpuset_case(case):
    match case["op"]:
        case "parse":
            return attempt(lambda: parse_cpus(case["text"]))
        case "format":
            return {"text": cpuset.to_text(case["cpus"])}
        case "equal":
            return {"result": cpuset.equal(case["a"], case["b"])}
    raise NotImplementedError(case["op"])


def plain(value):
    """A struct as the JSON that would go on the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))


def read_pod(raw):
    return None if raw is None else msgspec.convert(raw, Pod)


def derive(case):
    pod = read_pod(case["pod"])
    return {
        "qosRaw": qos.raw(pod),
        "qosWithDefault": qos.with_default(pod),
        "kubeQoS": qos.kube(pod) if pod else "",
        "priorityRaw": priority.raw(pod),
        "priorityWithDefault": priority.with_default(pod),
        "priorityValueWithDefault": priority.value_with_default(pod),
    }


def validate(case):
    old = read_pod(case.get("oldPod")) if case["operation"] == "UPDATE" else None
    reason = validation.aggregate(validation.pod_problems(read_pod(case["pod"]), old))
    return {"allowed": not reason, "reason": reason}


def translate_spec(case):
    return {
        "resources": resources.texts(resources.translate_spec(Band(case["priorityClass"]), resources.exact(case["resources"])))
    }


def aliases(case):
    mapper = {"batch": resources.BATCH_ALIASES, "device": resources.DEVICE_ALIASES}[case["mapper"]]
    return {"resources": resources.rename(case["resources"], mapper)}


def replace_resources(case):
    found = resources.replacements({resources.keys.REPLACE_RESOURCES: case["annotation"]})
    return {"erase": [old for old, new in found.items() if not new], "replace": {old: new for old, new in found.items() if new}}


def preemption_policy(case):
    policy = eviction.preemption_policy(case["labels"])
    return {"value": policy, "withDefault": policy or eviction.NEVER}


QOS_OPERATIONS = {
    "derive": derive,
    "validate": validate,
    "translateSpec": translate_spec,
    "aliases": aliases,
    "replaceResources": replace_resources,
    "preemptionPolicy": preemption_policy,
    "subPriority": lambda case: or_error(priority.sub_priority(case["labels"])),
    "evictionPriority": lambda case: or_error(eviction.eviction_priority(case["annotations"])),
    "evictionCost": lambda case: or_error(eviction.eviction_cost(case["annotations"])),
    "evictable": lambda case: {"value": eviction.evictable(case["labels"])},
    "preemptible": lambda case: {"value": eviction.preemptible(case["labels"])},
    "schedulerName": lambda case: {"value": eviction.scheduler_name(read_pod(case["pod"]))},
    "translate": lambda case: or_error(resources.translate(Band(case["priorityClass"]), case["resource"])),
}


def qos_case(case):
    return QOS_OPERATIONS[case["op"]](case)


def colocation_strategy(case):
    node = msgspec.convert(case["node"], Node)
    config = resolve.resolve_colocation(case["config"])
    return {"strategy": plain(resolve.colocation_for_node(config, node.labels, node.annotations))}


def node_slo(case):
    node = msgspec.convert(case["node"], Node)
    return plain(nodeslo.Settings.read(case["data"]).for_node(node.labels, node.annotations))


def koordlet_merge(case):
    completed = plain(completion.complete(msgspec.convert(case["spec"], NodeSLOSpec)))
    return completed | {f"{part}.{name}": kind for part, kinds in completed.items() for name, kind in flattened(kinds)}


def flattened(value, path=""):
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield f"{path}{name}", inner
        yield from flattened(inner, f"{path}{name}.")


def overlap(case):
    nodes = msgspec.convert(case["nodeConfigs"], list[NodeColocation])
    return {"error": bool(review.overlapping(nodes))}


def review_key(case):
    data = {case["key"]: case["config"]}
    if "systemConfig" in case:
        data[nodeslo.SYSTEM_CONFIG] = case["systemConfig"]
    return {"error": review.review(case["key"], data) is not None}


SLOCONFIG_OPERATIONS = {
    "colocation": colocation_strategy,
    "nodeslo": node_slo,
    "koordletMerge": koordlet_merge,
    "overlap": overlap,
    "validate": review_key,
}


def sloconfig_case(case):
    return SLOCONFIG_OPERATIONS[case["op"]](case)


ADAPTERS = {"quantity": quantity_case, "cpuset": cpuset_case, "qos-priority": qos_case, "sloconfig": sloconfig_case}
