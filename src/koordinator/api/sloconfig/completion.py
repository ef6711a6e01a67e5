"""What koordlet makes of a NodeSLO: every part laid over its default, and switched-off kinds neutralised.

A kind of QoS that is not enabled must leave no trace on the node, so its parameters are replaced by the neutral ones.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api.slo import NodeSLOSpec
from koordinator.api.sloconfig.nodeslo import DEFAULT_CPU_BURST, DEFAULT_SYSTEM, DEFAULT_THRESHOLD
from koordinator.api.sloconfig.overlay import overlay
from koordinator.api.strategies import (
    CPUQOS,
    BlkIOQOS,
    MemoryQOS,
    NetworkQOS,
    ResctrlQOS,
    ResourceQOS,
    ResourceQOSPolicies,
    ResourceQOSStrategy,
)


def _memory(wmark_ratio: int, wmark_scale_permill: int, wmark_min_adj: int) -> MemoryQOS:
    return MemoryQOS(
        enable=False,
        min_limit_percent=0,
        low_limit_percent=0,
        throttling_percent=0,
        wmark_ratio=wmark_ratio,
        wmark_scale_permill=wmark_scale_permill,
        wmark_min_adj=wmark_min_adj,
        priority_enable=0,
        priority=0,
        oom_kill_group=0,
    )


def _class(cpu: CPUQOS, memory: MemoryQOS, cat_end: int = 100) -> ResourceQOS:
    return ResourceQOS(
        cpu_qos=cpu,
        memory_qos=memory,
        blkio_qos=BlkIOQOS(enable=False),
        resctrl_qos=ResctrlQOS(enable=False, cat_range_start_percent=0, cat_range_end_percent=cat_end, mba_percent=100),
        network_qos=NetworkQOS(enable=False, ingress_request=0, ingress_limit=0, egress_request=0, egress_limit=0),
    )


def _cpu(identity: int, *, expeller: bool) -> CPUQOS:
    return CPUQOS(enable=False, group_identity=identity, sched_idle=0, core_expeller=expeller)


NEUTRAL = _class(_cpu(0, expeller=False), _memory(0, 50, 0))
"""A class without any privilege or restraint."""

DEFAULT_RESOURCE_QOS = ResourceQOSStrategy(
    policies=ResourceQOSPolicies(cpu_policy="groupIdentity", net_qos_policy="tc"),
    lsr_class=_class(_cpu(2, expeller=True), _memory(95, 20, -25)),
    ls_class=_class(_cpu(2, expeller=True), _memory(95, 20, -25)),
    be_class=_class(_cpu(-1, expeller=False), _memory(95, 20, 50), cat_end=30),
    system_class=NEUTRAL,
    cgroup_root=ResourceQOS(blkio_qos=BlkIOQOS(enable=False)),
)

_NEUTRALISED_KINDS = ("cpu_qos", "memory_qos", "resctrl_qos")


def complete(spec: NodeSLOSpec, extension_defaults: Mapping[str, Any] | None = None) -> NodeSLOSpec:
    """Every part filled in. Extensions survive only where a default is registered for them."""
    qos = overlay(DEFAULT_RESOURCE_QOS, spec.resource_qos_strategy)
    classes = {name: _neutralised(getattr(qos, name)) for name in ("lsr_class", "ls_class", "be_class")}
    return NodeSLOSpec(
        resource_used_threshold_with_be=overlay(DEFAULT_THRESHOLD, spec.resource_used_threshold_with_be),
        resource_qos_strategy=msgspec.structs.replace(qos, **classes),
        cpu_burst_strategy=overlay(DEFAULT_CPU_BURST, spec.cpu_burst_strategy),
        system_strategy=overlay(DEFAULT_SYSTEM, spec.system_strategy),
        extensions=_extensions(spec.extensions, extension_defaults or {}),
        host_applications=spec.host_applications,
    )


def _neutralised(one: ResourceQOS) -> ResourceQOS:
    off = {
        kind: msgspec.structs.replace(getattr(NEUTRAL, kind), enable=getattr(one, kind).enable)
        for kind in _NEUTRALISED_KINDS
        if not getattr(one, kind).enable
    }
    return msgspec.structs.replace(one, **off) if off else one


def _extensions(given: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> dict[str, Any]:
    found = (given or {}).get("Object") or given or {}
    return {key: found.get(key, default) for key, default in defaults.items()}
