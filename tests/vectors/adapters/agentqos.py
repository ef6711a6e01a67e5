"""Vectors of koordlet's enforcing half: CPU suppress, the executor, batch resources."""

import logging
import tempfile
from pathlib import Path

import msgspec

from koordinator.api import cpuset, qos
from koordinator.api.core import Node, Pod
from koordinator.api.strategies import HostApplication, ResourceQOSStrategy
from koordinator.clock import ManualClock
from koordinator.koordlet.enforce import batch, cpuset_policy, identity, suppress
from koordinator.koordlet.enforce.audit import AuditLog
from koordinator.koordlet.enforce.decision import Write
from koordinator.koordlet.enforce.executor import Executor
from koordinator.koordlet.host import convert, registry
from koordinator.koordlet.host.cgroup import Cgroups
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.machine import Processor
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.observe.strategy import Thresholds
from koordinator.koordlet.view import PodView, Tier, View


def pod_of(given):
    return msgspec.convert({"metadata": {name: given.get(name) for name in ("labels", "annotations")}}, Pod)


def processors_of(case):
    return [Processor(node, socket, core, cpu) for cpu, core, socket, node in case["processors"]]


def budget(case):
    given = case["node"]
    status = {"capacity": {"cpu": given["capacityCPU"]}, "allocatable": {"cpu": given["allocatableCPU"]}}
    node = msgspec.convert({"metadata": {"annotations": given.get("annotations")}, "status": status}, Node)
    pods = [PodView(pod := pod_of(one), one["uid"], "", qos.raw(pod), one["kubeQoS"]) for one in case["pods"]]
    view = View(
        node=node,
        thresholds=Thresholds(True, case["thresholdPercent"], case.get("minPercent")),
        pods=pods,
        pod_cpu=case["podUsage"],
        host_apps=[msgspec.convert(app, HostApplication) for app in case.get("hostApps", [])],
        host_app_cpu=case.get("hostAppUsage", {}),
        tier=Tier(""),
    )
    return {"suppressMilliCPU": suppress.budget(view, case["nodeUsedCPU"], suppress.capacity(node)).suppress_milli}


def adjust_cpuset(case):
    picked = cpuset_policy.squeezed(
        case["suppressMilliCPU"],
        processors_of(case),
        cpuset.parse(case["oldCpuset"]),
        cpuset_policy.owners([pod_of(pod) for pod in case["pods"]]),
        cpuset_policy.excluded(case.get("nodeTopologyAnnotations", {})),
    )
    return {"beRootCpuset": cpuset.to_text(picked) or "unchanged"}


def adjust_quota(case):
    quota = suppress.next_quota(case["suppressMilliCPU"], case["capacityCPU"] * 1000, case["currentQuota"])
    return {"quota": case["currentQuota"] if quota is None else quota, "written": quota is not None}


def recover(case):
    pods = [pod_of(pod) for pod in case["pods"]]
    return {"cpuset": cpuset.to_text(cpuset_policy.full(processors_of(case), pods, case.get("nodeTopologyAnnotations", {})))}


SUPPRESS = {
    "budget": budget,
    "pick": lambda case: {"cpus": cpuset_policy.pick(case["cpus"], processors_of(case))},
    "adjustCpuset": adjust_cpuset,
    "adjustQuota": adjust_quota,
    "recover": recover,
}

_MERGED = {"larger": "memory.min", "quota": "cpu.cfs_quota_us", "cpuset": "cpuset.cpus"}


def merge_condition(case):
    merged = registry.find(_MERGED[case["kind"]], case["cgroupVersion"]).widened(case["old"], case["new"])
    return {"needMerge": merged is not None, "merged": merged}


class Recording(Cgroups):
    """Real files, and the order in which they were written."""

    def __init__(self, root, version):
        super().__init__(root, version, HotFiles(), "k")
        self.writes = []

    def write(self, name, group, text):
        super().write(name, group, text)
        self.writes.append([f"{group}/{name}", text])


def leveled(case):
    with tempfile.TemporaryDirectory() as root:
        cgroups = Recording(root, case["cgroupVersion"])
        paths = {key: Path(cgroups.path(key.rpartition("/")[2], key.rpartition("/")[0])) for key in case["initial"]}
        for key, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(case["initial"][key])
        clock = ManualClock()
        executor = Executor(cgroups, clock, Notices(logging.getLogger("vectors")), AuditLog("", clock))
        levels = [[Write(one["path"], one["file"], one["value"], "vectors") for one in level] for level in case["levels"]]
        executor.apply_levels(levels)
        cgroups.hot.close()
        return {"writes": cgroups.writes, "final": {key: path.read_text() for key, path in paths.items()}}


def milli_to_shares(case):
    shares = convert.milli_to_shares(case["milliCPU"])
    return {"shares": shares, "weight": convert.shares_to_weight(shares)}


def valid(case):
    if case["file"] == "min_free_kbytes":
        return {"valid": not registry.SYSTEM_FILES[case["file"]](case["value"])}
    return {"valid": not registry.find(case["file"], 1).accepts(case["value"])}


EXECUTOR = {
    "mergeCondition": merge_condition,
    "leveled": leveled,
    "milliToShares": milli_to_shares,
    "milliToQuota": lambda case: {"quota": convert.milli_to_quota(case["milliCPU"])},
    "sharesToWeight": lambda case: {"weight": convert.shares_to_weight(case["shares"])},
    "blkioNeedUpdate": lambda case: {"needUpdate": registry.device_line_differs(case["old"], case["new"])},
    "validate": valid,
}

_NOTHING = {"cpuShares": None, "cfsQuota": None, "memoryLimit": None}


def rule(case):
    return batch.Rule(case.get("cfsQuotaEnabled", True), case.get("normalizationRatio", -1.0))


def values(found):
    return {"cpuShares": found.shares, "cfsQuota": found.quota, "memoryLimit": found.memory}


def amounts(container):
    return batch.amounts(container["requests"], container["limits"])


def batch_pod(case):
    if qos.of_labels(case["labels"]) is not qos.QoS.BE or case["containers"] is None:
        return _NOTHING
    return values(batch.pod_values({name: amounts(one) for name, one in case["containers"].items()}, rule(case)))


def batch_container(case):
    return values(batch.container_values(amounts(case["container"]), rule(case)))


def bvt(case):
    found = identity.rule(msgspec.convert(case["strategy"], ResourceQOSStrategy))
    if case["target"] == "kubeDir":
        return {"bvt": identity.of_kube(case["kubeQoS"], found)}
    pod = pod_of(case)
    return {"bvt": identity.of_pod(PodView(pod, "u", "", qos.raw(pod), case["kubeQoS"]), found)}


HOOKS = {"bvt": bvt, "batchPod": batch_pod, "batchContainer": batch_container}


def by_op(table):
    def run(case):
        if case["op"] not in table:
            raise NotImplementedError(case["op"])
        return table[case["op"]](case)

    return run


ADAPTERS = {"cpusuppress": by_op(SUPPRESS), "executor": by_op(EXECUTOR)}
