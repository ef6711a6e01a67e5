"""Which plugins run where: a profile's ``plugins`` merged with the defaults and expanded, exactly as kube-scheduler does it."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from koordinator.scheduler.config.types import PluginRef, Plugins, PluginSet

DEFAULT_PREBIND = "DefaultPreBind"

NATIVE: tuple[tuple[str, int], ...] = (
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 0),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
)
"""Kubernetes' default plugins (MultiPoint), with the weights of their scores."""

POINTS = tuple(name for name in Plugins.__struct_fields__ if name != "multi_point")
"""The extension points, as attribute names of ``Plugins``."""

Refs = Sequence[PluginRef]


def wire_name(point: str) -> str:
    """``pre_filter`` as the file writes it: ``preFilter``."""
    head, *rest = point.split("_")
    return head + "".join(part.capitalize() for part in rest)


def with_defaults(plugins: Plugins | None) -> Plugins:
    """The user's plugins merged with Kubernetes' defaults, and DefaultPreBind where it is not ruled out."""
    given = plugins or Plugins()
    native = [PluginRef(name=name, weight=weight) for name, weight in NATIVE]
    multi_point = merged(native, given.multi_point)
    return with_default_prebind(msgspec.structs.replace(given, multi_point=multi_point))


def with_default_prebind(plugins: Plugins) -> Plugins:
    """Allocations are written by DefaultPreBind; a profile that does not list it gets it."""
    enabled = list(plugins.pre_bind.enabled or ())
    ruled_out = _names(plugins.pre_bind.disabled) & {"*", DEFAULT_PREBIND}
    if ruled_out or DEFAULT_PREBIND in _names(enabled):
        return plugins
    pre_bind = PluginSet(enabled=[*enabled, PluginRef(name=DEFAULT_PREBIND)], disabled=plugins.pre_bind.disabled)
    return msgspec.structs.replace(plugins, pre_bind=pre_bind)


def merged(defaults: Refs, given: PluginSet) -> PluginSet:
    """Defaults that are not disabled, each replaced in its place when the user enables it, too; then the rest of the user's."""
    disabled = _names(given.disabled)
    enabled = {one.name: one for one in given.enabled or ()}
    kept = [] if "*" in disabled else [enabled.get(one.name, one) for one in defaults if one.name not in disabled]
    there = {one.name for one in kept}
    rest = [one for one in given.enabled or () if one.name not in there]
    return PluginSet(enabled=[*kept, *rest], disabled=given.disabled)


def expanded(multi_point: Refs, own: PluginSet, implements: Callable[[str], bool]) -> list[PluginRef]:
    """The plugins of one extension point: first those named both in multiPoint and here, in the order of here; then the others
    of multiPoint; then the others of here. Of multiPoint those do not count that are disabled here.
    """
    disabled = _names(own.disabled)
    here = list(own.enabled or ())
    if "*" in disabled:
        return _first_of_each(here)
    usable = [one for one in multi_point if one.name not in disabled and implements(one.name)]
    overridden = [one for one in here if one.name in _names(usable)]
    taken = _names(overridden)
    return _first_of_each([*overridden, *(one for one in usable if one.name not in taken), *here])


def _first_of_each(refs: Iterable[PluginRef]) -> list[PluginRef]:
    first: dict[str, PluginRef] = {}
    for one in refs:
        first.setdefault(one.name, one)
    return list(first.values())


def _names(refs: Iterable[PluginRef] | None) -> set[str]:
    return {one.name for one in refs or ()}


def score_weight(ref: PluginRef, multi_point: Refs) -> int:
    """The weight here wins over the one in multiPoint; 0 is 1."""
    general = next((one.weight for one in multi_point if one.name == ref.name), 0)
    return ref.weight or general or 1
