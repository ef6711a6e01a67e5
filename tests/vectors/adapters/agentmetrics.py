"""Vectors of koordlet's observing half: cgroup paths and values, kernel files, usage, aggregation, the report."""

import msgspec
import numpy as np

from koordinator.api import cpuset, durations, qos, quantity
from koordinator.api.core import Pod
from koordinator.api.slo import NodeMetricSpec
from koordinator.api.strategies import HostApplication
from koordinator.koordlet.host import convert, parse, programs, registry
from koordinator.koordlet.host.paths import Driver, Layout
from koordinator.koordlet.observe import aggregate, rates, report, series
from koordinator.koordlet.observe.rates import Point, Reading, TicksByCpu
from koordinator.koordlet.view import PodView

ERROR = {"error": True}


def failing(call):
    """The call's answer, or the vectors' form of a failure."""
    try:
        return call()
    except (ValueError, LookupError):
        return ERROR


# cgroup paths


def layout(case):
    return Layout(Driver(case.get("driver", "cgroupfs")))


def pod_dir(case):
    pod = msgspec.convert(case["pod"], Pod)
    return {"path": layout(case).pod_dir(pod.metadata.uid, qos.kube(pod))}


def file_path(case):
    file = registry.find(case["resourceType"], case["cgroupVersion"])
    return {"path": registry.path("/host-cgroup/", case["cgroupVersion"], file, case["cgroupDir"])}


PATHS = {
    "podDir": pod_dir,
    "containerDir": lambda case: {"path": layout(case).container_dir(case["podDir"], case["containerID"])},
    "parsePodDir": lambda case: {"id": layout(case).pod_id(case["basename"])},
    "parseContainerDir": lambda case: {"id": layout(case).container_id(case["basename"])},
    "filePath": file_path,
    "hostAppDir": lambda case: {"path": layout(case).host_app_dir(msgspec.convert(case["hostApplication"], HostApplication))},
}


# cgroup values


def value_of(case):
    return registry.find(case["resourceType"], case["cgroupVersion"]).encode(case["value"], case["cgroupVersion"])


def cpu_max(case):
    quota = failing(lambda: convert.cpu_max_quota(case["content"]))
    period = failing(lambda: convert.cpu_max_period(case["content"]))
    if quota == ERROR:
        return {"quotaError": True, "periodError": period == ERROR}
    return {"quota": quota, "period": period}


def merge_update(case):
    file = registry.find(case["resourceType"], case["cgroupVersion"])
    merged = file.widened(case["current"], case["value"])
    return {"write": merged is not None, "merged": merged}


CONVERSIONS = {
    "sharesToWeight": lambda case: {"value": convert.shares_to_weight(int(case["value"]))},
    "weightToShares": lambda case: {"value": convert.weight_to_shares(case["value"])},
    "milliToShares": lambda case: {"value": convert.milli_to_shares(case["value"])},
    "milliToQuota": lambda case: {"value": convert.milli_to_quota(case["value"])},
    "parseCpuMax": cpu_max,
    "writeValue": lambda case: {"written": value_of(case)},
    "readMemoryLimit": lambda case: {"value": convert.memory_limit(case["content"], case["cgroupVersion"])},
    "validate": lambda case: {"valid": failing(lambda: value_of(case)) != ERROR},
    "mergeUpdate": merge_update,
}


# kernel files


def cpu_stat(case):
    found = parse.cpu_stat(case["content"], case["cgroupVersion"])
    return {"nrPeriods": found.periods, "nrThrottled": found.throttled, "throttledNs": found.throttled_ns}


def memory_stat(case):
    found = parse.memory_use(case["content"], case["cgroupVersion"])
    return {"usage": found.usage, "usageWithPageCache": found.with_page_cache}


def numa_stat(case):
    return {"pages": {str(node): pages for node, pages in parse.numa_pages(case["content"], case["cgroupVersion"]).items()}}


def psi(case):
    found = parse.pressure(case["content"])
    lines = {name: msgspec.structs.asdict(getattr(found, name)) for name in ("some", "full")}
    return {**lines, "fullSupported": found.full_supported}


def proc_stat(case):
    total = failing(lambda: parse.total_ticks(case["content"]))
    cpus = failing(lambda: parse.cpu_ticks(case["content"]))
    result = {"totalError": True} if total == ERROR else {"totalTicks": total}
    return result | (
        {"perCpuError": True} if cpus == ERROR else {"perCpuTicks": {str(cpu): ticks for cpu, ticks in cpus.items()}}
    )


def memory(found):
    return {"usageBytes": found.usage, "usageWithPageCacheBytes": found.with_page_cache, "totalBytes": found.total}


def lscpu(case):
    names = {"inner_cache": "l1dl1il2"}
    found = [msgspec.structs.asdict(line) for line in programs.lscpu(case["content"])]
    return {"processors": [{names.get(name, name): value for name, value in line.items()} for line in found]}


PARSERS = {
    "cpuStat": cpu_stat,
    "cpuUsage": lambda case: {"usageNs": parse.cpu_usage_ns(case["content"], case["cgroupVersion"])},
    "memoryStat": memory_stat,
    "memoryNumaStat": numa_stat,
    "psi": psi,
    "procStat": proc_stat,
    "memInfo": lambda case: memory(parse.node_memory(case["content"])),
    "numaMemInfo": lambda case: memory(parse.numa_memory(case["content"])),
    "lscpu": lscpu,
    "lsblk": lambda case: msgspec.structs.asdict(programs.lsblk(case["content"])),
    "lvs": lambda case: {"lvMapperToVG": programs.lvs(case["content"])},
    "procPidStat": lambda case: msgspec.structs.asdict(parse.process_stat(case["content"])),
    "idlePageStats": lambda case: {"coldBytes": parse.cold_bytes(case["content"])},
    "cgroupProcs": lambda case: {"pids": parse.process_ids(case["content"])},
}


# usage


def reading(sample, time_key="timeNs", value_key="usageNs", scale=1):
    return Reading(sample[time_key] * scale, sample[value_key])


def cores_of(case, value_key, unit=1):
    readings = [reading(sample, value_key=value_key) for sample in case["samples"]]
    return {"cores": rates.cores(readings[0] if len(readings) > 1 else None, readings[-1], unit)}


def ticks(sample):
    return TicksByCpu(sample["timeNs"], {int(cpu): value for cpu, value in sample["ticks"].items()})


def numa_cpu(case):
    node_of = {int(cpu): node for cpu, node in case["cpuToNuma"].items()}
    found = rates.numa_cores(ticks(case["last"]), ticks(case["current"]), node_of, case["jiffyNs"])
    return {"cores": {str(node): cores for node, cores in found.items()}}


def throttled(case):
    last, now = (parse.CpuStat(one["nrPeriods"], one["nrThrottled"], 0) for one in (case["last"], case["current"]))
    return {"ratio": rates.throttled(last, now)}


def be_usage(case):
    readings = [reading(sample, "timeMs", "usageNs") for sample in case["samples"]]
    readings = [Reading(one.time_ns * 1_000_000, one.value) for one in readings]
    return {"milliCores": rates.best_effort_usage(readings[0] if len(readings) > 1 else None, readings[-1])}


def be_limit(case):
    cpus = [len(cpuset.parse(text)) for text in (case["besteffortCpuset"], *case["containerCpusets"])]
    return {"milliCores": rates.best_effort_limit(cpus, case["quota"], case["period"])}


def point(given):
    return None if given is None else Point(given["time"], given.get("cpu", 0.0), given["memory"])


def system_usage(case):
    usages = rates.Usages(
        point(case["node"]),
        [point(one) for one in case["pods"]],
        point(case["hostApps"]),
        {int(number): point(one) for number, one in case.get("nodeNuma", {}).items()},
        [{int(number): point(one) for number, one in pod.items()} for pod in case.get("podsNumaMemory", [])],
    )
    found = rates.system_usage(usages, case["nowSeconds"], case["outdatedSeconds"])
    if found is None:
        return {"skipped": True}
    nodes = sorted({*found.numa_cpu, *found.numa_memory})
    numa = {str(node): {"cpu": found.numa_cpu.get(node), "memory": found.numa_memory.get(node)} for node in nodes}
    return {"cpu": found.cpu, "memory": found.memory, "numa": numa}


USAGE = {
    "nodeCpu": lambda case: cores_of(case, "ticks", case["jiffyNs"]),
    "cgroupCpu": lambda case: cores_of(case, "usageNs"),
    "numaCpu": numa_cpu,
    "throttled": throttled,
    "beUsage": be_usage,
    "beLimit": be_limit,
    "beRequest": lambda case: {"milliCores": rates.best_effort_request([msgspec.convert(pod, Pod) for pod in case["pods"]])},
    "systemUsage": system_usage,
    "hotPageNode": lambda case: {
        "bytes": rates.hot_memory(case["memTotalKiB"] * 1024, case["memFreeKiB"] * 1024, case["coldBytes"])
    },
}


# aggregation and report


def aggregated(case):
    times = np.array([one[0] for one in case["points"]], np.int64)
    values = np.array([one[1] for one in case["points"]], np.float64)
    answers = {kind: failing(lambda kind=kind: aggregate.aggregate(values, kind)) for kind in aggregate.TYPES}
    answers["last"] = failing(lambda: aggregate.last(times, values))
    return {"count": float(len(values)), **{kind: "error" if value == ERROR else value for kind, value in answers.items()}}


AGGREGATES = {
    "aggregate": aggregated,
    "coldStart": lambda case: {
        "coldStart": aggregate.cold(0, int(case["sampleSpanSeconds"] * 1000), int(case["windowSeconds"] * 1000))
    },
}


def effective_spec(case):
    found = report.policy(msgspec.convert(case["spec"], NodeMetricSpec))
    return {
        "aggregateDurationSeconds": int(found.aggregate),
        "reportIntervalSeconds": int(found.interval),
        "durations": [durations.to_text(int(seconds * durations.SECOND)) for seconds in found.durations],
        "nodeMemoryCollectPolicy": found.memory,
    }


def source(case):
    store = series.MetricStore(3600)
    for one in case["series"]:
        subject = next(iter(one["properties"].values()), "")
        for seconds, value in one["points"]:
            store.append(seconds * 1000, [(one["kind"], subject, value)])
    pods = [msgspec.convert(pod, Pod) for pod in case.get("pods", [])]
    apps = case.get("hostApplications")
    return report.Source(
        store,
        case["nowSeconds"],
        report.policy(msgspec.convert(case["spec"], NodeMetricSpec)),
        [PodView(pod, pod.metadata.uid, "", qos.raw(pod), qos.kube(pod)) for pod in pods],
        apps and [msgspec.convert(app, HostApplication) for app in apps],
        case.get("numaNodeIDs", ()),
    )


def gpu_devices(case):
    series_ = [one | {"properties": {"id": one["properties"]["gpu_device_uuid"]}} for one in case["series"]]
    found = source({"spec": {}, **case, "series": series_})
    gpus = [report.Gpu(gpu["id"], gpu["minor"], gpu["memoryTotal"]) for gpu in case["gpus"]]
    return {"devices": report.gpu_usages(found, gpus)}


REPORT = {
    "effectiveSpec": effective_spec,
    "assemble": lambda case: report.assemble(source(case)),
    "gpuDevices": gpu_devices,
    "numaUsages": lambda case: {"numaUsages": report.numa_usages(source(case))},
}


def by_op(table):
    def run(case):
        if case["op"] not in table:
            raise NotImplementedError(case["op"])
        return failing(lambda: table[case["op"]](case))

    return run


def amounts(value):
    """Quantities as numbers, so that 1Gi and 1073741824 are equal."""
    if isinstance(value, dict):
        return {
            key: {name: quantity.parse(text).nano for name, text in one.items()} if key == "resources" else amounts(one)
            for key, one in value.items()
        }
    return [amounts(one) for one in value] if isinstance(value, list) else value


def report_difference(expected, actual):
    want, got = amounts(expected), amounts({key: actual.get(key) for key in expected})
    return "" if want == got else f"expected {want}, got {got}"


ADAPTERS = {
    "cgroup-path": by_op(PATHS),
    "cgroup-convert": by_op(CONVERSIONS),
    "parse": by_op(PARSERS),
    "usage": by_op(USAGE),
    "aggregate": by_op(AGGREGATES),
    "nodemetric": by_op(REPORT),
}
DIFFERENCE = {"nodemetric": report_difference}
