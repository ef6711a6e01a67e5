"""Vectors of the wire protocol: quantities, CPU lists, QoS and priority."""

import msgspec

from koordinator.api import (
    amplification,
    cpuset,
    deviceshare,
    eviction,
    gang,
    nodes,
    numa,
    podqos,
    priority,
    qos,
    quantity,
    quota,
    reservation,
    resources,
    scheduling,
    validation,
)
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
    found = resolve.resolve_colocation(case["config"])
    config = usable(found, resolve.resolve_colocation(None))
    return {"error": found is not config, "strategy": plain(resolve.colocation_for_node(config, node.labels, node.annotations))}


def usable(found, before):
    """What a first reader goes by: what it found, or the defaults where that cannot be used."""
    return found if isinstance(found, resolve.Resolved) else before


def node_slo(case):
    node = msgspec.convert(case["node"], Node)
    data = case["data"]

    def of(key):
        return usable(key.resolve(data.get(key.key)), key.resolve(None))

    applications = usable(
        nodeslo.resolve_host_applications(data.get(nodeslo.HOST_APPLICATION_CONFIG)), nodeslo.resolve_host_applications(None)
    )
    system = nodeslo.system_for_node(of(nodeslo.SYSTEM), node.labels, node.annotations)
    spec = NodeSLOSpec(
        resource_used_threshold_with_be=of(nodeslo.RESOURCE_THRESHOLD).for_labels(node.labels),
        resource_qos_strategy=of(nodeslo.RESOURCE_QOS).for_labels(node.labels),
        cpu_burst_strategy=of(nodeslo.CPU_BURST).for_labels(node.labels),
        system_strategy=None if isinstance(system, Malformed) else system,
        host_applications=applications.for_labels(node.labels).applications,
    )
    return plain(spec)


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
    return {"error": case["key"] in review.CHECKED and review.review(case["key"], data) is not None}


SLOCONFIG_OPERATIONS = {
    "colocation": colocation_strategy,
    "nodeslo": node_slo,
    "koordletMerge": koordlet_merge,
    "overlap": overlap,
    "validate": review_key,
}


def sloconfig_case(case):
    return SLOCONFIG_OPERATIONS[case["op"]](case)


def found(value, fallback=None):
    """A read annotation as vectors show it: its JSON, null when absent, or an error."""
    if isinstance(value, Malformed):
        return {"error": True, "fallback": fallback}
    return {"error": False, "value": None if value is None else plain(value)}


def reader(accessor, *, empty=False, source="annotations"):
    read = accessor.read_or_empty if empty else accessor.read
    return lambda case, argument: found(read(case.get(source)))


def system_qos(case, argument):
    value = numa.SYSTEM_QOS_RESOURCE.read_or_empty(case["annotations"])
    exclusive = None if isinstance(value, Malformed) else value.exclusive
    return found(value) | {"exclusive": exclusive}


def reserved_cpus(case, argument):
    cpus, count = numa.reserved_cpus(case["annotations"])
    return {"error": False, "value": {"reservedCPUs": cpus, "numReservedCPUs": count}}


def network_qos(case, argument):
    limits = podqos.network_bytes(case["annotations"], both=argument == "terway")
    if isinstance(limits, Malformed):
        return {"error": True}
    return {"error": False, "value": dict(zip(("ingressBytes", "egressBytes"), limits, strict=True))}


def exact_match(case, argument):
    given = case["object"]
    requests, allocatable = resources.amounts(given["podRequests"]), resources.amounts(given["reservationAllocatable"])
    return {"error": False, "value": reservation.matches_exactly(requests, allocatable, given.get("resourceNames"))}


def shared_weight(case, argument):
    with_annotations = {**case["object"], "metadata": {"annotations": case["annotations"]}}
    return found(quota.shared_weight(msgspec.convert(with_annotations, quota.ElasticQuota)))


ANNOTATION_PARSERS = {
    "reservedCPUs": reserved_cpus,
    "nodeReservation": reader(numa.NODE_RESERVATION),
    "systemQOSResource": system_qos,
    "resctrl": reader(podqos.RESCTRL, empty=True),
    "extendedResourceSpec": reader(podqos.EXTENDED_RESOURCE_SPEC, empty=True),
    "resourceSpec": reader(numa.RESOURCE_SPEC, empty=True),
    "resourceStatus": reader(numa.RESOURCE_STATUS, empty=True),
    "numaTopologySpec": reader(numa.NUMA_TOPOLOGY_SPEC, empty=True),
    "cpuTopology": reader(numa.CPU_TOPOLOGY, empty=True),
    "podCPUAllocs": reader(numa.POD_CPU_ALLOCS, empty=True),
    "cpuSharedPools": reader(numa.CPU_SHARED_POOLS, empty=True),
    "kubeletCPUManagerPolicy": reader(numa.KUBELET_CPU_MANAGER_POLICY, empty=True),
    "cpuBasicInfo": reader(numa.CPU_BASIC_INFO),
    "reservationAffinity": reader(reservation.AFFINITY),
    "reservationAllocated": reader(reservation.ALLOCATED),
    "reservationOwners": reader(reservation.OWNERS),
    "reservationRestrictedOptions": reader(reservation.RESTRICTED_OPTIONS, empty=True),
    "schedulingHint": lambda case, argument: found(scheduling.scheduling_hint(case["annotations"])),
    "softEviction": reader(scheduling.SOFT_EVICTION, empty=True),
    "usageThresholds": reader(scheduling.USAGE_THRESHOLDS, empty=True),
    "gpuPartitionSpec": reader(deviceshare.GPU_PARTITION_SPEC),
    "gpuPartitionTable": reader(deviceshare.GPU_PARTITIONS),
    "gpuPartitionPolicy": reader(deviceshare.GPU_PARTITION_POLICY, source="labels"),
    "deviceAllocations": reader(deviceshare.DEVICE_ALLOCATED),
    "deviceAllocateHint": reader(deviceshare.DEVICE_ALLOCATE_HINT),
    "deviceJointAllocate": reader(deviceshare.DEVICE_JOINT_ALLOCATE),
    "networkTopologyIndex": lambda case, argument: found(gang.topology_index(case["annotations"]), gang.NO_INDEX),
    "networkTopologySpec": reader(gang.NETWORK_TOPOLOGY_SPEC),
    "cpuNormalizationRatio": lambda case, argument: found(nodes.normalization_ratio(case["annotations"]), nodes.NO_RATIO),
    "cpuNormalizationEnabled": reader(nodes.CPU_NORMALIZATION_ENABLED, source="labels"),
    "amplificationRatios": reader(nodes.AMPLIFICATION_RATIOS),
    "rawAllocatable": reader(nodes.RAW_ALLOCATABLE),
    "writeAmplificationRatios": lambda case, argument: found(nodes.write_amplification_ratios(case["object"])),
    "writeCPUNormalizationRatio": lambda case, argument: found(nodes.write_normalization_ratio(case["object"])),
    "originExtendedAllocatable": reader(nodes.ORIGIN_EXTENDED_ALLOCATABLE),
    "thirdPartyAllocations": reader(nodes.THIRD_PARTY_ALLOCATIONS),
    "oomScoreAdj": lambda case, argument: found(podqos.oom_score_adj(case["annotations"], argument)),
    "networkQOS": network_qos,
    "evictionPolicyAllowed": lambda case, argument: found(eviction.may_evict(case["annotations"], argument)),
    "podCPUQOS": reader(podqos.CPU_QOS),
    "podCPUBurst": reader(podqos.CPU_BURST),
    "podMemoryQOS": reader(podqos.MEMORY_QOS),
    "podBlkIOQOS": reader(podqos.BLKIO_QOS),
    "gangName": lambda case, argument: found(gang.gang_name(read_pod(case["object"]))),
    "gangMinAvailable": lambda case, argument: found(gang.min_available(read_pod(case["object"]))),
    "gangMatchPolicy": lambda case, argument: found(gang.match_policy(case.get("annotations"), "")),
    "gangWaitTime": reader(gang.WAITING_TIME),
    "nodeCPUBindPolicy": lambda case, argument: found(numa.node_bind_policy(case.get("labels"), case.get("annotations"))),
    "exactMatchReservation": exact_match,
    "sharedWeight": shared_weight,
}


def annotation_case(case):
    name, _, argument = case["parser"].rstrip(")").partition("(")
    return ANNOTATION_PARSERS[name](case, argument)


ADAPTERS = {
    "annotations": annotation_case,
    "quantity": quantity_case,
    "cpuset": cpuset_case,
    "qos-priority": qos_case,
    "sloconfig": sloconfig_case,
}
