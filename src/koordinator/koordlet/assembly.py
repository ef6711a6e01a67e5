"""koordlet, put together from its options: every part is made here and none is started."""

import logging
from collections.abc import Callable

import msgspec

from koordinator.clock import Clock
from koordinator.errors import Unavailable
from koordinator.koordlet.agent import Agent, Parts, Strategy
from koordinator.koordlet.enforce import identity, idleclass
from koordinator.koordlet.enforce.audit import AuditLog
from koordinator.koordlet.enforce.batch import BatchResource
from koordinator.koordlet.enforce.executor import Executor
from koordinator.koordlet.enforce.identity import GroupIdentity
from koordinator.koordlet.enforce.idleclass import IdleClass
from koordinator.koordlet.enforce.suppress import CPUSuppress
from koordinator.koordlet.host import cgroup, machine, paths, registry
from koordinator.koordlet.host.cgroup import Cgroups
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.paths import Driver, Layout
from koordinator.koordlet.notices import Notices, Recorder
from koordinator.koordlet.observe.cluster import ClusterView
from koordinator.koordlet.observe.collect import Host
from koordinator.koordlet.observe.kubelet import Endpoint, Kubelet, PodList
from koordinator.koordlet.observe.report import Floor, Reporter
from koordinator.koordlet.observe.series import MetricStore
from koordinator.koordlet.options import KoordletOptions
from koordinator.kube.store import Store

log = logging.getLogger("koordinator.koordlet")


class Koordlet(msgspec.Struct, frozen=True):
    """Everything that runs."""

    agent: Agent
    parts: Parts
    kubelet: Kubelet
    reporter: Reporter


def build(options: KoordletOptions, store: Store, clock: Clock, recorder: Recorder | None = None) -> Koordlet:
    """Raises Unavailable when there are no cgroups, or the audit directory cannot be made."""
    notices = Notices(log, recorder)
    host = _host(options, clock, notices)
    audit = AuditLog(
        options.audit_log_dir if options.enabled("AuditEvents") else "",
        clock,
        options.audit_max_disk_space_mb,
        options.audit_verbose,
    )
    endpoint = Endpoint(
        options.kubelet_token_file,
        options.kubelet_ca_file,
        options.kubelet_read_only_port,
        options.kubelet_preferred_address_type,
        options.kubelet_sync_timeout,
    )
    kubelet = Kubelet(endpoint, clock)
    parts = Parts(
        host,
        ClusterView(store, options.node_name, clock, Floor(options.aggregate_floor, options.report_floor)),
        PodList(kubelet, host.layout, clock, notices),
        MetricStore(),
        Executor(host.cgroups, clock, notices, audit, options.resource_force_update),
        _strategies(options, host, notices),
        clock,
    )
    reporter = Reporter(store, options.node_name, clock, notices)
    return Koordlet(Agent(parts, options), parts, kubelet, reporter)


def _host(options: KoordletOptions, clock: Clock, notices: Notices) -> Host:
    roots = machine.Roots(options.cgroup_root, options.proc_root.rstrip("/"), options.sys_root.rstrip("/"))
    version = cgroup.detect_version(roots.cgroup)
    missing = cgroup.missing_controllers(roots.cgroup, version)
    if {"cpu", "memory"} <= set(missing):
        raise Unavailable(
            f"cgroups at {roots.cgroup}", f"no {' and no '.join(missing)} controller", "mount them or name another root"
        )
    for name in missing:
        notices.say(f"controller {name}", f"no cgroup controller {name} at {roots.cgroup}: what needs it is left out")
    driver = options.cgroup_driver or machine.detect_driver(roots.cgroup, version, options.cgroup_parent) or Driver.CGROUPFS
    layout = Layout(Driver(driver), options.cgroup_parent)
    return Host(Cgroups(roots.cgroup, version, HotFiles(), layout.root), roots, layout, clock, notices)


def _strategies(options: KoordletOptions, host: Host, notices: Notices) -> list[Strategy]:
    """In no particular order: the executor orders their writes."""
    strategies: list[Strategy] = []
    if options.enabled("BECPUSuppress"):
        strategies.append(CPUSuppress())
    if options.enabled("BatchResource"):
        strategies.append(BatchResource(notices))
    if options.enabled("GroupIdentity"):
        strategies.append(GroupIdentity(notices, _supports(host, identity.FILE), _kube_dirs(host)))
    if options.enabled("CoreSched"):
        strategies.append(IdleClass(notices, _supports(host, idleclass.FILE), _kube_dirs(host)))
    return strategies


def _supports(host: Host, name: str) -> Callable[[], bool]:
    file = registry.find(name, host.cgroups.version)
    return lambda: host.cgroups.supports(file, host.layout.root)


def _kube_dirs(host: Host) -> dict[str, str]:
    return {qos: host.layout.qos_dir(qos) for qos in (paths.GUARANTEED, paths.BURSTABLE, paths.BEST_EFFORT)}
